// One element of a block-quantised row (kernels/core/quant.h has the formats), exactly as the CPU
// expands it: products and sums in f32, each rounded by itself.
#ifndef VMA_CUDA_QUANT_CUH
#define VMA_CUDA_QUANT_CUH

#include "cuda_math.cuh"

// An IEEE half that may lie at any even address.
static __device__ inline float quant_half(const uint8_t *p) {
  return __half2float(__ushort_as_half((unsigned short)(p[0] | p[1] << 8)));
}

static __device__ inline float q8_0_value(const uint8_t *row, int64_t c) {
  const uint8_t *block = row + c / 32 * 34;
  return __fmul_rn(quant_half(block), (float)(int8_t)block[2 + c % 32]);
}

static __device__ inline int nibble(const uint8_t *q, int i) {
  return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static __device__ inline float q4_0_value(const uint8_t *row, int64_t c) {
  const uint8_t *block = row + c / 32 * 18;
  return __fmul_rn(quant_half(block), (float)(nibble(block + 2, (int)(c % 32)) - 8));
}

static __device__ inline float q4_1_value(const uint8_t *row, int64_t c) {
  const uint8_t *block = row + c / 32 * 20;
  float q = (float)nibble(block + 4, (int)(c % 32));
  return __fadd_rn(__fmul_rn(quant_half(block), q), quant_half(block + 2));
}

static __device__ inline float q4_k_value(const uint8_t *row, int64_t c) {
  const uint8_t *block = row + c / 256 * 144, *packed = block + 4;
  int part = (int)(c % 256) / 32, scale, least;
  if (part < 4) {
    scale = packed[part] & 63;
    least = packed[part + 4] & 63;
  } else {
    scale = (packed[part + 4] & 15) | packed[part - 4] >> 6 << 4;
    least = packed[part + 4] >> 4 | packed[part] >> 6 << 4;
  }
  int q = block[16 + part / 2 * 32 + c % 32] >> part % 2 * 4 & 15;
  float d = __fmul_rn(quant_half(block), (float)scale),
        m = __fmul_rn(quant_half(block + 2), (float)least);
  return __fsub_rn(__fmul_rn(d, (float)q), m);
}

static __device__ inline float q6_k_value(const uint8_t *row, int64_t c) {
  const uint8_t *block = row + c / 256 * 210;
  int part = (int)(c % 256) / 32, i = (int)(c % 32), h = part / 4, k = part % 4;
  int low = block[64 * h + 32 * (k % 2) + i] >> (k < 2 ? 0 : 4) & 15,
      high = block[128 + 32 * h + i] >> 2 * k & 3;
  float scale = (float)(int8_t)block[192 + 8 * h + 2 * k + i / 16];
  return __fmul_rn(__fmul_rn(quant_half(block + 208), scale), (float)((low | high << 4) - 32));
}

// Element c of row r of a tensor of any dtype that a cast reads; rows are `stride` bytes apart.
static __device__ inline float value_at(int dtype, const uint8_t *data, int64_t stride, int64_t r,
                                        int64_t c) {
  const uint8_t *row = data + r * stride;
  switch (dtype) {
  case DT_F32:
    return ((const float *)row)[c];
  case DT_BF16:
    return load_f32((const __nv_bfloat16 *)row + c);
  case DT_F16:
    return __half2float(((const __half *)row)[c]);
  case DT_F64:
    return (float)((const double *)row)[c];
  case DT_Q8_0:
    return q8_0_value(row, c);
  case DT_Q4_0:
    return q4_0_value(row, c);
  case DT_Q4_1:
    return q4_1_value(row, c);
  case DT_Q4_K:
    return q4_k_value(row, c);
  default:
    return q6_k_value(row, c);
  }
}

#endif
