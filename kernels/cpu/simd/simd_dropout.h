// The dropout mask in parts of rows: a vector of Philox counters at a time, the words of each being
// the mask of four columns that follow one another (dropout_mask.h).
#ifndef VMA_SIMD_DROPOUT_H
#define VMA_SIMD_DROPOUT_H

#include "dropout_mask.h"
#include "simd_vec.h"

enum { DROPOUT_PART = 256 }; // columns that a caller asks for at a time; c0 is a multiple of 4

typedef struct DropoutRow {
  uint64_t key;
  uint32_t position, sequence, tensor_id, threshold;
  float kept; // 1 / (1 - p)
  bool off;   // p == 0: all factors are 1
} DropoutRow;

static inline DropoutRow dropout_row(const Dropout *d, int64_t r) {
  if (d->p == 0) return (DropoutRow){.off = true};
  return (DropoutRow){.key = dropout_key(d->seed, *(const int32_t *)d->step.data),
                      .position = ((const uint32_t *)d->positions.data)[r],
                      .sequence = ((const uint32_t *)d->sequences.data)[r],
                      .tensor_id = d->tensor_id,
                      .threshold = dropout_threshold(d->p),
                      .kept = (float)(1 / (1 - (double)d->p))};
}

enum { PHILOX_LANES = VW / 2 }; // counters at a time; 4 columns each

typedef uint64_t vq __attribute__((vector_size(VW * 4)));

// The product of the lower halves of the lanes with m.
SIMD_INLINE vq vq_multiply(vq x, uint32_t m) {
#if defined(__AVX512F__)
  return (vq)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
  return (vq)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(m));
#elif defined(__x86_64__)
  return (vq)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(m));
#else
  return (x & 0xffffffffu) * (uint64_t)m;
#endif
}

SIMD_INLINE vq vq_interleave(vq a, vq b, bool upper) {
#if VW == 16
  return upper ? __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
               : __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#elif VW == 8
  return upper ? __builtin_shufflevector(a, b, 2, 6, 3, 7)
               : __builtin_shufflevector(a, b, 0, 4, 1, 5);
#else
  return upper ? __builtin_shufflevector(a, b, 1, 3) : __builtin_shufflevector(a, b, 0, 2);
#endif
}

// philox4x32 of the counters c0 .. c0 + PHILOX_LANES - 1 (one a lane, in its lower half; what the
// upper half holds is never looked at), its words in the order of the columns.
SIMD_INLINE void philox_columns(vu out[2], const DropoutRow *row, uint32_t c0) {
  const vq none = {0};
  uint32_t k0 = (uint32_t)row->key, k1 = (uint32_t)(row->key >> 32);
  vq w0, w1 = none + row->position, w2 = none + row->sequence, w3 = none + row->tensor_id;
  for (int l = 0; l < PHILOX_LANES; l++) w0[l] = (uint64_t)c0 + (uint64_t)l;
  for (int i = 0; i < 10; i++) {
    vq p0 = vq_multiply(w0, 0xD2511F53u), p1 = vq_multiply(w2, 0xCD9E8D57u);
    w0 = (p1 >> 32) ^ w1 ^ (uint64_t)k0;
    w2 = (p0 >> 32) ^ w3 ^ (uint64_t)k1;
    w1 = p1;
    w3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const vq low = none + 0xffffffffu;
  vq first = (w0 & low) | (w1 << 32), second = (w2 & low) | (w3 << 32);
  out[0] = (vu)vq_interleave(first, second, false);
  out[1] = (vu)vq_interleave(first, second, true);
}

// factors[0, n) of columns c0 .. of the row: 0 or 1 / (1 - p).
static inline void dropout_factors(float *factors, const DropoutRow *row, int64_t c0, int64_t n) {
  if (row->off) {
    for (int64_t c = 0; c < n; c++) factors[c] = 1;
    return;
  }
  for (int64_t c = 0; c < n; c += 2 * VW) {
    vu words[2];
    philox_columns(words, row, (uint32_t)((c0 + c) / 4));
    for (int i = 0; i < 2; i++) {
      int64_t left = n - c - i * VW;
      vf part = (vf)((vi)vf_set(row->kept) & (vi)(words[i] >= row->threshold));
      if (left > 0) row_store(factors, DT_F32, c + i * VW, part, left < VW ? left : VW);
    }
  }
}

#endif
