// A typed, shaped view of memory that someone else owns. Passed by value.
//
// Every tensor is a matrix [rows, cols] with unit stride along a row and `stride` elements between
// rows: activations are packed rows [R, C] (never padded), a vector of n is [1, n], a scalar [1,
// 1]. Shapes of more dimensions exist only in files; heads are columns (h * D + d). A tensor whose
// data is NULL means "not given" where an op says that an argument may be absent: TENSOR_NONE.
#ifndef VMA_TENSOR_H
#define VMA_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum DType {
  DT_F32,
  DT_BF16,
  DT_F16, // only in files and as the source of a cast
  DT_F64, // only in the plain C variants, for gradient tests, and for sums
  DT_I32,
  DT_I64,
  DT_U8,
  DT_Q8_0, // block-quantised (ggml): only as a weight, sliced by whole rows
  DT_Q4_0,
  DT_Q4_1,
  DT_Q4_K, // super-blocks of 256
  DT_Q6_K,
  DT_COUNT
} DType;

typedef struct DTypeInfo {
  const char *name;   // "f32", as in configs and messages
  int block_elements; // elements of a block; 1 for plain types
  int block_bytes;    // bytes of a block
  bool is_float;      // usable in arithmetic ops
} DTypeInfo;

const DTypeInfo *dtype_info(DType dtype);

// The dtype called `name` ("f32", "bf16", ...), or DT_COUNT.
DType dtype_from_name(const char *name);

// Bytes of n elements; n is a multiple of the block size.
int64_t dtype_bytes(DType dtype, int64_t n);

typedef struct Tensor {
  void *data;
  int64_t rows, cols;
  int64_t stride; // elements from one row to the next, >= cols; a multiple of the block for
                  // quantised types
  DType dtype;
} Tensor;

#ifdef __cplusplus
#define TENSOR_NONE (Tensor{})
#else
#define TENSOR_NONE ((Tensor){0})
#endif

static inline bool tensor_given(Tensor t) {
  return t.data != NULL;
}

// A dense view: stride == cols.
static inline Tensor tensor_make(void *data, DType dtype, int64_t rows, int64_t cols) {
  return (Tensor){.data = data, .rows = rows, .cols = cols, .stride = cols, .dtype = dtype};
}

static inline int64_t tensor_count(Tensor t) {
  return t.rows * t.cols;
}

// Bytes from the first element to the end of the last row; 0 for an empty tensor.
int64_t tensor_bytes(Tensor t);

// Rows [row0, row0 + rows) of t, sharing its memory.
Tensor tensor_rows(Tensor t, int64_t row0, int64_t rows);

// Columns [col0, col0 + cols) of t, sharing its memory; for a quantised type both on block borders.
Tensor tensor_cols(Tensor t, int64_t col0, int64_t cols);

// The same memory as [rows, cols]; t must be dense (stride == cols) and of the same count.
Tensor tensor_reshape(Tensor t, int64_t rows, int64_t cols);

#endif
