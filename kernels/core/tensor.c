#include "tensor.h"

#include "check.h"

#include <string.h>

static const DTypeInfo infos[DT_COUNT] = {
    [DT_F32] = {"f32", 1, 4, true},        [DT_BF16] = {"bf16", 1, 2, true},
    [DT_F16] = {"f16", 1, 2, true},        [DT_F64] = {"f64", 1, 8, true},
    [DT_I32] = {"i32", 1, 4, false},       [DT_I64] = {"i64", 1, 8, false},
    [DT_U8] = {"u8", 1, 1, false},         [DT_Q8_0] = {"q8_0", 32, 34, false},
    [DT_Q4_0] = {"q4_0", 32, 18, false},   [DT_Q4_1] = {"q4_1", 32, 20, false},
    [DT_Q4_K] = {"q4_k", 256, 144, false}, [DT_Q6_K] = {"q6_k", 256, 210, false},
};

const DTypeInfo *dtype_info(DType dtype) {
  CHECK(dtype >= 0 && dtype < DT_COUNT, "dtype %d", (int)dtype);
  return &infos[dtype];
}

DType dtype_from_name(const char *name) {
  for (int i = 0; i < DT_COUNT; i++) {
    if (strcmp(infos[i].name, name) == 0) return (DType)i;
  }
  return DT_COUNT;
}

int64_t dtype_bytes(DType dtype, int64_t n) {
  const DTypeInfo *info = dtype_info(dtype);
  CHECK(n % info->block_elements == 0, "%lld elements are no whole number of %s blocks",
        (long long)n, info->name);
  return n / info->block_elements * info->block_bytes;
}

int64_t tensor_bytes(Tensor t) {
  if (t.rows == 0 || t.cols == 0) return 0;
  return dtype_bytes(t.dtype, (t.rows - 1) * t.stride) + dtype_bytes(t.dtype, t.cols);
}

Tensor tensor_rows(Tensor t, int64_t row0, int64_t rows) {
  CHECK(row0 >= 0 && rows >= 0 && row0 + rows <= t.rows, "rows [%lld, +%lld) of %lld",
        (long long)row0, (long long)rows, (long long)t.rows);
  t.data = (char *)t.data + dtype_bytes(t.dtype, row0 * t.stride);
  t.rows = rows;
  return t;
}

Tensor tensor_cols(Tensor t, int64_t col0, int64_t cols) {
  CHECK(col0 >= 0 && cols >= 0 && col0 + cols <= t.cols, "columns [%lld, +%lld) of %lld",
        (long long)col0, (long long)cols, (long long)t.cols);
  t.data = (char *)t.data + dtype_bytes(t.dtype, col0);
  t.cols = cols;
  return t;
}

Tensor tensor_reshape(Tensor t, int64_t rows, int64_t cols) {
  CHECK(t.stride == t.cols && rows * cols == t.rows * t.cols,
        "[%lld,%lld] stride %lld as [%lld,%lld]", (long long)t.rows, (long long)t.cols,
        (long long)t.stride, (long long)rows, (long long)cols);
  t.rows = rows;
  t.cols = t.stride = cols;
  return t;
}
