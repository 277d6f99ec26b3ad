// Elements of a block-quantised row (kernels/core/quant.h has the formats), exactly as the CPU
// expands them: products and sums in f32, each rounded by itself. One at a time, or 8 that follow
// each other from a column that is a multiple of 8, which share their scales.
#ifndef VMA_CUDA_QUANT_CUH
#define VMA_CUDA_QUANT_CUH

#include "cuda_math.cuh"

// Blocks are whole numbers of halves, so that everything in them lies at an even address.
static __device__ __forceinline__ float quant_half(const uint8_t *p) {
  return __half2float(__ushort_as_half(*(const uint16_t *)p));
}

// N bytes; more than one lie at an even address.
template <int N> __device__ __forceinline__ void quant_bytes(int (&q)[N], const uint8_t *p) {
  static_assert(N == 1 || N % 2 == 0, "one, or pairs");
  if constexpr (N == 1) {
    q[0] = *p;
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      int pair = *(const uint16_t *)(p + i);
      q[i] = pair & 255;
      q[i + 1] = pair >> 8;
    }
  }
}

// Elements and bytes of a block; values gives columns c .. c + N - 1 of a row.
template <int DTYPE> struct Quant;

template <> struct Quant<DT_Q8_0> {
  enum { ELEMENTS = 32, BYTES = 34 };
  template <int N>
  static __device__ __forceinline__ void values(float (&v)[N], const uint8_t *row, int64_t c) {
    const uint8_t *block = row + c / ELEMENTS * BYTES;
    float d = quant_half(block);
    int q[N];
    quant_bytes(q, block + 2 + c % ELEMENTS);
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = __fmul_rn(d, (float)(int8_t)q[i]);
  }
};

// Columns 0 .. 15 of a block are the low nibbles of 16 bytes, 16 .. 31 the high ones.
template <int N>
__device__ __forceinline__ void quant_nibbles(int (&q)[N], const uint8_t *bytes, int c) {
  quant_bytes(q, bytes + c % 16);
#pragma unroll
  for (int i = 0; i < N; i++) q[i] = q[i] >> c / 16 * 4 & 15;
}

template <> struct Quant<DT_Q4_0> {
  enum { ELEMENTS = 32, BYTES = 18 };
  template <int N>
  static __device__ __forceinline__ void values(float (&v)[N], const uint8_t *row, int64_t c) {
    const uint8_t *block = row + c / ELEMENTS * BYTES;
    float d = quant_half(block);
    int q[N];
    quant_nibbles(q, block + 2, (int)(c % ELEMENTS));
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = __fmul_rn(d, (float)(q[i] - 8));
  }
};

template <> struct Quant<DT_Q4_1> {
  enum { ELEMENTS = 32, BYTES = 20 };
  template <int N>
  static __device__ __forceinline__ void values(float (&v)[N], const uint8_t *row, int64_t c) {
    const uint8_t *block = row + c / ELEMENTS * BYTES;
    float d = quant_half(block), m = quant_half(block + 2);
    int q[N];
    quant_nibbles(q, block + 4, (int)(c % ELEMENTS));
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = __fadd_rn(__fmul_rn(d, (float)q[i]), m);
  }
};

template <> struct Quant<DT_Q4_K> {
  enum { ELEMENTS = 256, BYTES = 144 };
  template <int N>
  static __device__ __forceinline__ void values(float (&v)[N], const uint8_t *row, int64_t c) {
    const uint8_t *block = row + c / ELEMENTS * BYTES, *packed = block + 4;
    int part = (int)(c % ELEMENTS) / 32, scale, least;
    if (part < 4) {
      scale = packed[part] & 63;
      least = packed[part + 4] & 63;
    } else {
      scale = (packed[part + 4] & 15) | packed[part - 4] >> 6 << 4;
      least = packed[part + 4] >> 4 | packed[part] >> 6 << 4;
    }
    float d = __fmul_rn(quant_half(block), (float)scale),
          m = __fmul_rn(quant_half(block + 2), (float)least);
    int q[N];
    quant_bytes(q, block + 16 + part / 2 * 32 + c % 32);
#pragma unroll
    for (int i = 0; i < N; i++)
      v[i] = __fsub_rn(__fmul_rn(d, (float)(q[i] >> part % 2 * 4 & 15)), m);
  }
};

template <> struct Quant<DT_Q6_K> {
  enum { ELEMENTS = 256, BYTES = 210 };
  template <int N>
  static __device__ __forceinline__ void values(float (&v)[N], const uint8_t *row, int64_t c) {
    const uint8_t *block = row + c / ELEMENTS * BYTES;
    int part = (int)(c % ELEMENTS) / 32, i = (int)(c % 32), h = part / 4, k = part % 4;
    float d =
        __fmul_rn(quant_half(block + 208), (float)(int8_t)block[192 + 8 * h + 2 * k + i / 16]);
    int low[N], high[N];
    quant_bytes(low, block + 64 * h + 32 * (k % 2) + i);
    quant_bytes(high, block + 128 + 32 * h + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
      int q = (low[j] >> k / 2 * 4 & 15) | (high[j] >> 2 * k & 3) << 4;
      v[j] = __fmul_rn(d, (float)(q - 32));
    }
  }
};

template <int DTYPE> static __device__ inline float quant_value(const uint8_t *row, int64_t c) {
  float v[1];
  Quant<DTYPE>::values(v, row, c);
  return v[0];
}

// Element c of a row of a block-quantised tensor.
static __device__ inline float quantised_at(int dtype, const uint8_t *row, int64_t c) {
  switch (dtype) {
  case DT_Q8_0:
    return quant_value<DT_Q8_0>(row, c);
  case DT_Q4_0:
    return quant_value<DT_Q4_0>(row, c);
  case DT_Q4_1:
    return quant_value<DT_Q4_1>(row, c);
  case DT_Q4_K:
    return quant_value<DT_Q4_K>(row, c);
  default:
    return quant_value<DT_Q6_K>(row, c);
  }
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
  default:
    return quantised_at(dtype, row, c);
  }
}

#endif
