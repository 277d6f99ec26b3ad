// Private to gguf*.c: how a Gguf looks inside, and its parser.
#ifndef VMA_GGUF_PARSE_H
#define VMA_GGUF_PARSE_H

#include "gguf.h"

typedef enum GgufType { // as stored
  GGUF_U8,
  GGUF_I8,
  GGUF_U16,
  GGUF_I16,
  GGUF_U32,
  GGUF_I32,
  GGUF_F32,
  GGUF_BOOL,
  GGUF_STRING,
  GGUF_ARRAY,
  GGUF_U64,
  GGUF_I64,
  GGUF_F64,
  GGUF_TYPES
} GgufType;

typedef struct GgufValue {
  GgufString key;
  GgufType type, element; // element: of an array
  int64_t count;          // of an array
  const uint8_t *data;    // [bytes]: of a string its u64 length and text; of an array its items
  int64_t bytes;
} GgufValue;

struct Gguf {
  char *path;
  MappedFile file;
  const uint8_t *data;
  int64_t size;
  uint32_t version;
  GgufValue *values; // by key
  int64_t n_values;
  GgufTensor *tensors;  // in the file's order
  GgufTensor **by_name; // the same by name
  int64_t n_tensors;
};

// Fills version, values and tensors from data; what it allocated is released by gguf_close also
// after a failure.
Status gguf_parse(Gguf *gguf, Error *err);

const char *gguf_type_name(GgufType type);

// Bytes of a value of fixed size; 0 for strings and arrays.
int64_t gguf_type_bytes(GgufType type);

int gguf_compare_strings(GgufString a, GgufString b);

#endif
