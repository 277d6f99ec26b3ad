// Parts of rows of any dtype to and from f32: what the GEMM packs, the embedding looks up and cast
// converts.
#ifndef VMA_SIMD_ROWIO_H
#define VMA_SIMD_ROWIO_H

#include "quant.h"
#include "simd_vec.h"

static inline void rowio_half(float *out, const uint16_t *p, int64_t n) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) {
    vf_store(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + i))));
  }
#elif defined(__AVX2__)
  for (; i + 8 <= n; i += 8) {
    vf_store(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + i))));
  }
#endif
  for (; i < n; i++) out[i] = f16_to_f32(p[i]);
}

static inline void rowio_quantised(float *out, Tensor t, int64_t r, int64_t c, int64_t n) {
  const uint8_t *row = row_at(t, r);
  while (n > 0) {
    float x[QUANT_BLOCK];
    quant_expand(x, t.dtype, row, c - c % QUANT_BLOCK);
    int64_t first = c % QUANT_BLOCK, count = QUANT_BLOCK - first < n ? QUANT_BLOCK - first : n;
    for (int64_t i = 0; i < count; i++) out[i] = x[first + i];
    out += count;
    c += count;
    n -= count;
  }
}

// out[0, n) = columns [c, c + n) of row r; f32, bf16, f16 or quantised.
static inline void rowio_load(float *out, Tensor t, int64_t r, int64_t c, int64_t n) {
  const void *row = row_at(t, r);
  if (t.dtype == DT_F32) {
    const float *p = (const float *)row + c;
    SIMD_FOR(i, m, n) row_store(out, DT_F32, i, row_load(p, DT_F32, i, m), m);
  } else if (t.dtype == DT_BF16) {
    const bf16 *p = (const bf16 *)row + c;
    SIMD_FOR(i, m, n) row_store(out, DT_F32, i, row_load(p, DT_BF16, i, m), m);
  } else if (t.dtype == DT_F16) {
    rowio_half(out, (const uint16_t *)row + c, n);
  } else {
    rowio_quantised(out, t, r, c, n);
  }
}

// Columns [c, c + n) of row r = x[0, n), rounded to f32, bf16 or f16.
static inline void rowio_store(Tensor t, int64_t r, int64_t c, const float *x, int64_t n) {
  void *row = row_at(t, r);
  if (t.dtype == DT_F32) {
    float *p = (float *)row + c;
    SIMD_FOR(i, m, n) row_store(p, DT_F32, i, row_load(x, DT_F32, i, m), m);
  } else if (t.dtype == DT_BF16) {
    bf16 *p = (bf16 *)row + c;
    SIMD_FOR(i, m, n) row_store(p, DT_BF16, i, row_load(x, DT_F32, i, m), m);
  } else {
    uint16_t *p = (uint16_t *)row + c;
    for (int64_t i = 0; i < n; i++) p[i] = f16_from_f32(x[i]);
  }
}

// Row y_row of y = row x_row of x, converted.
static inline void rowio_convert(Tensor y, int64_t y_row, Tensor x, int64_t x_row) {
  enum { PART = 512 }; // whole blocks of the quantised types
  float values[PART];
  for (int64_t c = 0; c < y.cols; c += PART) {
    int64_t n = y.cols - c < PART ? y.cols - c : PART;
    rowio_load(values, x, x_row, c, n);
    rowio_store(y, y_row, c, values, n);
  }
}

#endif
