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

enum { PHILOX_LANES = VW / 2 }; // of 64 bits: a product of two words

// philox4x32 of the counters c0 .. c0 + PHILOX_LANES - 1, word by word.
static inline void philox_lanes(uint32_t words[4][PHILOX_LANES], const DropoutRow *row,
                                uint32_t c0) {
  uint32_t k0 = (uint32_t)row->key, k1 = (uint32_t)(row->key >> 32);
  for (int l = 0; l < PHILOX_LANES; l++) {
    words[0][l] = c0 + (uint32_t)l;
    words[1][l] = row->position;
    words[2][l] = row->sequence;
    words[3][l] = row->tensor_id;
  }
  for (int i = 0; i < 10; i++) {
    for (int l = 0; l < PHILOX_LANES; l++) {
      uint64_t p0 = (uint64_t)0xD2511F53u * words[0][l], p1 = (uint64_t)0xCD9E8D57u * words[2][l];
      words[0][l] = (uint32_t)(p1 >> 32) ^ words[1][l] ^ k0;
      words[2][l] = (uint32_t)(p0 >> 32) ^ words[3][l] ^ k1;
      words[1][l] = (uint32_t)p1;
      words[3][l] = (uint32_t)p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// factors[0, n) of columns c0 .. of the row: 0 or 1 / (1 - p).
static inline void dropout_factors(float *factors, const DropoutRow *row, int64_t c0, int64_t n) {
  if (row->off) {
    for (int64_t c = 0; c < n; c++) factors[c] = 1;
    return;
  }
  for (int64_t c = 0; c < n; c += 4 * PHILOX_LANES) {
    uint32_t words[4][PHILOX_LANES];
    philox_lanes(words, row, (uint32_t)((c0 + c) / 4));
    float part[4 * PHILOX_LANES];
    for (int l = 0; l < PHILOX_LANES; l++) {
      for (int w = 0; w < 4; w++) part[4 * l + w] = words[w][l] >= row->threshold ? row->kept : 0;
    }
    int64_t count = n - c < 4 * PHILOX_LANES ? n - c : 4 * PHILOX_LANES;
    for (int64_t i = 0; i < count; i++) factors[c + i] = part[i];
  }
}

#endif
