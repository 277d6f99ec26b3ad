// safetensors files: u64 little-endian header length, that many bytes of JSON, data. Source:
// huggingface/safetensors, safetensors/src/tensor.rs.
//
// Opening checks every rule of the reference reader, and that no key stands twice: header length
// (at most 100,000,000 and inside the file), strict JSON that begins with '{', fields and their
// types, string-only __metadata__, shape x dtype == bytes without overflow, tensors that follow one
// another from 0 without a hole or an overlap and end at the file's last byte. A fault is
// STATUS_DATA with "path: byte N: ...".
#ifndef VMA_SAFETENSORS_H
#define VMA_SAFETENSORS_H

#include "error.h"
#include "mapped_file.h"
#include "tensor.h"

#include <stdint.h>

enum { SAFETENSORS_DIMS_MAX = 8 };

typedef struct SafeTensor {
  char *name;
  const char *dtype_name; // "BF16"
  DType dtype;            // DT_COUNT: a dtype that has no counterpart here
  int ndim;               // 0: a scalar
  int64_t shape[SAFETENSORS_DIMS_MAX];
  int64_t offset; // of the data from the start of the file; no alignment is promised
  int64_t bytes;
} SafeTensor;

typedef struct SafetensorsPair {
  char *key, *value;
} SafetensorsPair;

typedef struct Safetensors {
  MappedFile file;     // no data when over memory
  char *path;          // for messages
  const uint8_t *data; // the whole file's bytes
  int64_t size;
  int64_t n_tensors;
  SafeTensor *tensors; // by name
  int64_t n_metadata;
  SafetensorsPair *metadata; // by key
} Safetensors;

Status safetensors_open(Safetensors *st, const char *path, Error *err);

// The same over memory that outlives it; `path` is for messages.
Status safetensors_open_memory(Safetensors *st, const char *path, const void *data, int64_t size,
                               Error *err);

// Also right for a zero-initialised struct and after a failed opening.
void safetensors_close(Safetensors *st);

// NULL when there is none.
const SafeTensor *safetensors_find(const Safetensors *st, const char *name);
const char *safetensors_metadata(const Safetensors *st, const char *key);

// A tensor to be written: data [shape], dense, row-major; NULL: asked of a SafetensorsFill.
typedef struct SafetensorsItem {
  const char *name;
  DType dtype; // F32, F16, BF16, F64, I32, I64 or U8
  int ndim;
  int64_t shape[SAFETENSORS_DIMS_MAX];
  const void *data;
} SafetensorsItem;

// Writes elements [first, first + count) of items[item], count > 0, densely into dst. Called item
// by item in the file's order, for ranges that follow one another from 0 to the item's end: whole
// rows (of the product of all dimensions but the first) where there are two dimensions or more, a
// few MiB at a time or one row. A failure ends the writing with its status and error.
typedef Status (*SafetensorsFill)(void *context, int64_t item, int64_t first, int64_t count,
                                  void *dst, Error *err);

// Writes what the reference library writes, byte for byte (but for the order of several metadata
// pairs, which is random there and sorted by key here): __metadata__ first, with {"format":"pt"}
// and the given pairs; tensors by descending dtype alignment, then name; the header padded with
// spaces to 8 bytes. Under a temporary name, then renamed; after a failure the path is as it was.
// Names and pairs are UTF-8, unique. `fill` may be NULL when every item has its data.
Status safetensors_write_stream(const char *path, const SafetensorsItem *items, int64_t n_items,
                                const SafetensorsPair *metadata, int64_t n_metadata,
                                SafetensorsFill fill, void *context, Error *err);

// The same of items that have their data.
Status safetensors_write(const char *path, const SafetensorsItem *items, int64_t n_items,
                         const SafetensorsPair *metadata, int64_t n_metadata, Error *err);

#endif
