// One vector of floats of the instruction set that a file is compiled for, and what the ops do with
// it. GCC's vector types give the arithmetic (+ - * / work on vf); intrinsics stand only where
// those say too little.
//
// VW lanes: 16 with AVX-512, 8 with AVX2, 4 otherwise (SSE4.2, or whatever the compiler makes of
// four floats).
#ifndef VMA_SIMD_VEC_H
#define VMA_SIMD_VEC_H

#include "bf16.h"
#include "tensor.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define SIMD_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VW 16
#elif defined(__AVX2__)
#define VW 8
#else
#define VW 4
#endif

typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef uint32_t vu __attribute__((vector_size(VW * 4)));
typedef uint16_t vh __attribute__((vector_size(VW * 2)));
typedef float vf_memory __attribute__((vector_size(VW * 4), aligned(4), may_alias));
typedef uint16_t vh_memory __attribute__((vector_size(VW * 2), aligned(2), may_alias));

SIMD_INLINE vf vf_set(float x) {
  return x - (vf){0};
}

SIMD_INLINE vf vf_load(const float *p) {
  return *(const vf_memory *)p;
}

SIMD_INLINE void vf_store(float *p, vf x) {
  *(vf_memory *)p = x;
}

// a * b + c, fused where the instruction set can.
SIMD_INLINE vf vf_fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// mask (all bits or none, by lane) ? a : b
SIMD_INLINE vf vf_where(vi mask, vf a, vf b) {
  return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

// The larger or smaller; b where either is a NaN.
SIMD_INLINE vf vf_max(vf a, vf b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return vf_where(a > b, a, b);
#endif
}

SIMD_INLINE vf vf_min(vf a, vf b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return vf_where(a < b, a, b);
#endif
}

SIMD_INLINE vf vf_sqrt(vf x) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(x);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(x);
#elif defined(__x86_64__)
  return _mm_sqrt_ps(x);
#else
  for (int i = 0; i < VW; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

#ifdef __x86_64__
// The upper half of the lanes added to the lower, or the larger of both, down to one lane.
#define VF_FOLD(x, op)                                                                             \
  do {                                                                                             \
    x = op(x, _mm_movehl_ps(x, x));                                                                \
    x = op(x, _mm_shuffle_ps(x, x, 1));                                                            \
  } while (0)

#if VW == 16
SIMD_INLINE __m256 vf_half(vf x, int upper) {
  return upper ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x);
}
#endif
#endif

// Sum over the lanes, by halves: the same tree every time.
SIMD_INLINE float vf_sum(vf x) {
#ifdef __x86_64__
#if VW == 16
  __m256 y = _mm256_add_ps(vf_half(x, 0), vf_half(x, 1));
#elif VW == 8
  __m256 y = x;
#endif
#if VW >= 8
  __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
#else
  __m128 z = x;
#endif
  VF_FOLD(z, _mm_add_ps);
  return _mm_cvtss_f32(z);
#else
  return (x[0] + x[2]) + (x[1] + x[3]);
#endif
}

SIMD_INLINE float vf_largest(vf x) {
#ifdef __x86_64__
#if VW == 16
  __m256 y = _mm256_max_ps(vf_half(x, 0), vf_half(x, 1));
#elif VW == 8
  __m256 y = x;
#endif
#if VW >= 8
  __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
#else
  __m128 z = x;
#endif
  VF_FOLD(z, _mm_max_ps);
  return _mm_cvtss_f32(z);
#else
  float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
  return a > b ? a : b;
#endif
}

// ---- bf16, as core's bf16.h bit for bit ----

SIMD_INLINE vf vf_of_bf16(vh h) {
  return (vf)(__builtin_convertvector(h, vu) << 16);
}

SIMD_INLINE vh bf16_of_vf(vf x) {
  vu bits = (vu)x;
  vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  vu mask = (vu)(x != x); // a NaN keeps its upper bits and becomes quiet
  rounded = (rounded & ~mask) | (((bits >> 16) | 0x40u) & mask);
  return __builtin_convertvector(rounded, vh);
}

// ---- n <= VW lanes; those beyond n are zero and not stored ----

SIMD_INLINE vf vf_load_part(const float *p, int64_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  float v[VW] = {0};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return vf_load(v);
#endif
}

SIMD_INLINE void vf_store_part(float *p, vf x, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
#else
  float v[VW];
  vf_store(v, x);
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

// Elements [i, i + n) of a row of F (f32 or bf16, known when compiled) as floats.
SIMD_INLINE vf row_load(const void *row, DType f, int64_t i, int64_t n) {
  if (f == DT_F32) {
    const float *p = (const float *)row + i;
    return n == VW ? vf_load(p) : vf_load_part(p, n);
  }
  const bf16 *p = (const bf16 *)row + i;
  if (n == VW) return vf_of_bf16(*(const vh_memory *)p);
  bf16 v[VW] = {0};
  for (int64_t k = 0; k < n; k++) v[k] = p[k];
  return vf_of_bf16(*(const vh_memory *)v);
}

SIMD_INLINE void row_store(void *row, DType f, int64_t i, vf x, int64_t n) {
  if (f == DT_F32) {
    float *p = (float *)row + i;
    if (n == VW) {
      vf_store(p, x);
    } else {
      vf_store_part(p, x, n);
    }
    return;
  }
  bf16 *p = (bf16 *)row + i;
  if (n == VW) {
    *(vh_memory *)p = bf16_of_vf(x);
    return;
  }
  bf16 v[VW];
  *(vh_memory *)v = bf16_of_vf(x);
  for (int64_t k = 0; k < n; k++) p[k] = v[k];
}

// `for` over a row of `count` elements in vectors: i is the first element of each, n how many it
// has.
#define SIMD_FOR(i, n, count)                                                                      \
  for (int64_t i = 0, n; i < (count) && (n = (count)-i < VW ? (count)-i : VW, true); i += VW)

// The body once for each F, so that the dtype is a constant inside.
#define SIMD_BY_F(dtype, F, ...)                                                                   \
  do {                                                                                             \
    if ((dtype) == DT_F32) {                                                                       \
      const DType F = DT_F32;                                                                      \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      const DType F = DT_BF16;                                                                     \
      __VA_ARGS__;                                                                                 \
    }                                                                                              \
  } while (0)

// The address of row r.
SIMD_INLINE void *row_at(Tensor t, int64_t r) {
  return (char *)t.data + dtype_bytes(t.dtype, r * t.stride);
}

#endif
