// GGUF files (the format of ggml and llama.cpp), versions 2 and 3, little-endian: metadata and the
// table of tensors. Source: ggml's docs/gguf.md and the rules of its reference reader.
//
// Everything is checked at the opening, in 64 bits, against the file's size and before memory is
// taken: counts, string and array lengths, types, duplicate keys and names, block and row sizes,
// offsets (each tensor starts where the previous one ended, padded), the end of the data. Arrays of
// arrays, version 1 and big-endian files are refused. A fault is STATUS_DATA with "path: byte N:
// ...".
#ifndef VMA_GGUF_H
#define VMA_GGUF_H

#include "error.h"
#include "mapped_file.h"
#include "tensor.h"

#include <stdbool.h>
#include <stdint.h>

enum { GGUF_DIMS_MAX = 4, GGUF_NAME_MAX = 64 };

typedef struct Gguf Gguf;

// A string as it stands in the file: any bytes, no NUL at its end. Alive as long as the Gguf.
typedef struct GgufString {
  const char *data;
  int64_t size;
} GgufString;

typedef struct GgufTensor {
  char name[GGUF_NAME_MAX];
  const char *type_name;       // "Q4_1"
  DType dtype;                 // DT_COUNT: a type that is known, but cannot be converted here
  int ndim;                    // 1 to 4
  int64_t dims[GGUF_DIMS_MAX]; // fastest-varying first (the reverse of torch); 1 from ndim on
  int64_t offset;              // of the data, from the start of the file
  int64_t bytes;
} GgufTensor;

// Whether a key may be missing. A getter of an optional key that is missing leaves its outputs as
// they are and returns STATUS_OK: set the default before the call.
typedef enum GgufNeed { GGUF_REQUIRED, GGUF_OPTIONAL } GgufNeed;

Status gguf_open(Gguf **gguf, const char *path, Error *err);

// The same over memory that outlives the Gguf; `path` is for messages.
Status gguf_open_memory(Gguf **gguf, const char *path, const void *data, int64_t size, Error *err);

// May be given NULL.
void gguf_close(Gguf *gguf);

const char *gguf_path(const Gguf *gguf);
int gguf_version(const Gguf *gguf);
const MappedFile *gguf_file(const Gguf *gguf); // size 0 and no data when over memory

// The whole file's bytes; a tensor's data are at + offset.
const uint8_t *gguf_data(const Gguf *gguf);

bool gguf_has(const Gguf *gguf, const char *key);

// A value of any integer type in [min, max].
Status gguf_get_int(const Gguf *gguf, const char *key, GgufNeed need, int64_t min, int64_t max,
                    int64_t *value, Error *err);

// A finite value of type f32 or f64.
Status gguf_get_float(const Gguf *gguf, const char *key, GgufNeed need, double *value, Error *err);

Status gguf_get_bool(const Gguf *gguf, const char *key, GgufNeed need, bool *value, Error *err);

Status gguf_get_string(const Gguf *gguf, const char *key, GgufNeed need, GgufString *value,
                       Error *err);

// Arrays. *items is a new array of *count items to be freed by the caller (NULL when count is 0).
Status gguf_get_strings(const Gguf *gguf, const char *key, GgufNeed need, GgufString **items,
                        int64_t *count, Error *err);

// Of f32.
Status gguf_get_floats(const Gguf *gguf, const char *key, GgufNeed need, float **items,
                       int64_t *count, Error *err);

// Of any integer type, each in the range of int32_t.
Status gguf_get_ints(const Gguf *gguf, const char *key, GgufNeed need, int32_t **items,
                     int64_t *count, Error *err);

// STATUS_DATA unless "general.architecture" is `expected`.
Status gguf_expect_architecture(const Gguf *gguf, const char *expected, Error *err);

// Whether a string equals `text`.
bool gguf_string_is(GgufString string, const char *text);

// Tensors in the file's order, and by name (NULL when there is none of this name).
int64_t gguf_tensor_count(const Gguf *gguf);
const GgufTensor *gguf_tensor_at(const Gguf *gguf, int64_t index);
const GgufTensor *gguf_tensor_find(const Gguf *gguf, const char *name);

#endif
