#include "ref_values.h"

#include "bf16.h"
#include "check.h"
#include "quant.h"

#include <math.h>
#include <stdlib.h>

double *ref_scratch(int64_t n) {
  double *p = calloc(n > 0 ? (size_t)n : 1, sizeof *p);
  CHECK(p != NULL, "no memory for %lld doubles of the reference", (long long)n);
  return p;
}

// Double to float, rounding to odd: an inexact result has its last bit set, so that rounding it
// again to a narrower type gives what one rounding would have given.
static float float_odd(double v) {
  float f = (float)v;
  if ((double)f == v || isnan(f) || isinf(v)) return f;
  if (isinf(f)) return copysignf(0x1.fffffep127f, f);
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (!(bits & 1)) return nextafterf(f, v > (double)f ? INFINITY : -INFINITY);
  return f;
}

static void *element(Tensor t, int64_t row, int64_t col) {
  return (char *)t.data + (row * t.stride + col) * dtype_info(t.dtype)->block_bytes;
}

double ref_get(Tensor t, int64_t row, int64_t col) {
  const void *p = element(t, row, col);
  switch (t.dtype) {
  case DT_F32:
    return *(const float *)p;
  case DT_BF16:
    return bf16_to_f32(*(const bf16 *)p);
  case DT_F16:
    return f16_to_f32(*(const uint16_t *)p);
  case DT_F64:
    return *(const double *)p;
  case DT_I32:
    return *(const int32_t *)p;
  default:
    break;
  }
  CHECK(false, "reading elements of %s", dtype_info(t.dtype)->name);
  return 0;
}

void ref_set(Tensor t, int64_t row, int64_t col, double value) {
  void *p = element(t, row, col);
  switch (t.dtype) {
  case DT_F32:
    *(float *)p = (float)value;
    return;
  case DT_BF16:
    *(bf16 *)p = bf16_from_f32(float_odd(value));
    return;
  case DT_F16:
    *(uint16_t *)p = f16_from_f32(float_odd(value));
    return;
  case DT_F64:
    *(double *)p = value;
    return;
  case DT_I32:
    *(int32_t *)p = (int32_t)value;
    return;
  default:
    break;
  }
  CHECK(false, "writing elements of %s", dtype_info(t.dtype)->name);
}

double ref_round(DType dtype, double v) {
  double memory = 0;
  Tensor t = tensor_make(&memory, dtype, 1, 1);
  ref_set(t, 0, 0, v);
  return ref_get(t, 0, 0);
}

static void load_quantised(double *out, Tensor t, int64_t row) {
  const uint8_t *blocks = (const uint8_t *)t.data + dtype_bytes(t.dtype, row * t.stride);
  for (int64_t c = 0; c < t.cols; c += QUANT_BLOCK) {
    float x[QUANT_BLOCK];
    quant_expand(x, t.dtype, blocks, c);
    for (int i = 0; i < QUANT_BLOCK; i++) out[c + i] = x[i];
  }
}

void ref_load_row(double *out, Tensor t, int64_t row) {
  if (dtype_info(t.dtype)->block_elements > 1) {
    load_quantised(out, t, row);
  } else {
    for (int64_t c = 0; c < t.cols; c++) out[c] = ref_get(t, row, c);
  }
}

double *ref_load(Tensor t) {
  double *out = ref_scratch(t.rows * t.cols);
  for (int64_t r = 0; r < t.rows; r++) ref_load_row(out + r * t.cols, t, r);
  return out;
}

void ref_store_row(Tensor t, int64_t row, const double *values) {
  for (int64_t c = 0; c < t.cols; c++) ref_set(t, row, c, values[c]);
}

void ref_store(Tensor t, const double *values) {
  for (int64_t r = 0; r < t.rows; r++) ref_store_row(t, r, values + r * t.cols);
}

int32_t ref_i32(Tensor t, int64_t i, int32_t fallback) {
  return tensor_given(t) ? ((const int32_t *)t.data)[i] : fallback;
}

int64_t ref_index(const char *op, const char *name, Tensor t, int64_t i, int64_t limit) {
  int64_t value = ((const int32_t *)t.data)[i];
  CHECK(value >= 0 && value < limit, "%s: %s[%lld] is %lld; expected 0 <= it < %lld", op, name,
        (long long)i, (long long)value, (long long)limit);
  return value;
}
