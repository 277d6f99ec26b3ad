// Loops over plain arrays without branches, so that the compiler makes
// vector code of them; files promise no alignment, so every load is a memcpy.
#include "dtype_convert.h"

#include "check.h"
#include "quant.h"

#include <string.h>

bool dtype_can_convert(DType src_dtype) {
  switch (src_dtype) {
  case DT_F32:
  case DT_BF16:
  case DT_F16:
  case DT_Q8_0:
  case DT_Q4_0:
  case DT_Q4_1:
  case DT_Q4_K:
  case DT_Q6_K:
    return true;
  default:
    return false;
  }
}

static inline uint16_t load16(const uint8_t *src) {
  uint16_t bits;
  memcpy(&bits, src, sizeof bits);
  return bits;
}

static inline float as_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// f16_to_f32 without branches: the exponent's bias moved by an addition; a subnormal half, whose
// leading one is not where a normal number has it, is set right by a subtraction of 2^-14. Chosen
// by masks: with "?:" the compiler makes the subtraction conditional and gives up on vectors.
static inline float half_to_float(uint16_t h) {
  uint32_t magnitude = (uint32_t)(h & 0x7fffu) << 13, sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t is_special = 0u - (uint32_t)(magnitude >= 0x0f800000u); // infinities and NaNs
  uint32_t is_subnormal = 0u - (uint32_t)(magnitude < 0x00800000u);
  uint32_t normal = magnitude + 0x38000000u + (is_special & 0x38000000u), subnormal;
  float below = as_float(magnitude + 0x38800000u) - as_float(0x38800000u);
  memcpy(&subnormal, &below, sizeof subnormal);
  return as_float((subnormal & is_subnormal) | (normal & ~is_subnormal) | sign);
}

static void f16_to_f32_span(float *dst, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = half_to_float(load16(src + 2 * i));
}

static void f16_to_bf16_span(bf16 *dst, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = bf16_from_f32(half_to_float(load16(src + 2 * i)));
}

static void bf16_to_f32_span(float *dst, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(load16(src + 2 * i));
}

static void f32_to_bf16_span(bf16 *dst, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float f;
    memcpy(&f, src + 4 * i, sizeof f);
    dst[i] = bf16_from_f32(f);
  }
}

// 32 elements go to f32 in dst itself, or in registers and then to bf16.
static void quantised_to_f32_span(float *dst, DType dtype, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i += QUANT_BLOCK) quant_expand(dst + i, dtype, src, i);
}

static void quantised_to_bf16_span(bf16 *dst, DType dtype, const uint8_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i += QUANT_BLOCK) {
    float x[QUANT_BLOCK];
    quant_expand(x, dtype, src, i);
    for (int k = 0; k < QUANT_BLOCK; k++) dst[i + k] = bf16_from_f32(x[k]);
  }
}

static void to_f32(float *dst, DType src_dtype, const uint8_t *src, int64_t n) {
  switch (src_dtype) {
  case DT_F32:
    memcpy(dst, src, (size_t)n * sizeof *dst);
    break;
  case DT_BF16:
    bf16_to_f32_span(dst, src, n);
    break;
  case DT_F16:
    f16_to_f32_span(dst, src, n);
    break;
  default:
    quantised_to_f32_span(dst, src_dtype, src, n);
  }
}

static void to_bf16(bf16 *dst, DType src_dtype, const uint8_t *src, int64_t n) {
  switch (src_dtype) {
  case DT_F32:
    f32_to_bf16_span(dst, src, n);
    break;
  case DT_BF16:
    memcpy(dst, src, (size_t)n * sizeof *dst);
    break;
  case DT_F16:
    f16_to_bf16_span(dst, src, n);
    break;
  default:
    quantised_to_bf16_span(dst, src_dtype, src, n);
  }
}

void dtype_convert(DType dtype, void *dst, DType src_dtype, const uint8_t *src, int64_t n) {
  CHECK(dtype_can_convert(src_dtype), "dtype %d", (int)src_dtype);
  if (n == 0) return;
  if (dtype == DT_F32) {
    to_f32(dst, src_dtype, src, n);
  } else {
    to_bf16(dst, src_dtype, src, n);
  }
}
