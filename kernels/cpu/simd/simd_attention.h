// What attention and its gradient share: products of tiles with packed panels, and the packing of a
// head's rows.
#ifndef VMA_SIMD_ATTENTION_H
#define VMA_SIMD_ATTENTION_H

#include "cpu_attention.h"
#include "simd_micro.h"
#include "simd_rowio.h"

enum { HEAD_MAX = MICRO_DEPTH }; // wider heads go to the reference

static inline int64_t panel_up(int64_t n) {
  return (n + MICRO_COLS - 1) / MICRO_COLS * MICRO_COLS;
}

// c[rows, cols] = or += a[rows, kc] b[kc, cols]: b in panels of MICRO_COLS columns, `step` floats
// apart; c holds panel_up(cols).
static inline void tile_product(float *c, int64_t ldc, const float *a, const float *b, int64_t step,
                                int64_t rows, int64_t cols, int64_t kc, bool add) {
  for (int64_t n = 0; n < cols; n += MICRO_COLS, b += step) {
    for (int64_t r = 0; r < rows; r += MICRO_ROWS) {
      int64_t m = rows - r < MICRO_ROWS ? rows - r : MICRO_ROWS;
      SIMD(micro_tile)(c + r * ldc + n, ldc, a + r * A_PITCH, b, kc, add, m);
    }
  }
}

// Row `row` of t, columns [col, col + width), into panels [column panel][rows][MICRO_COLS] at place
// i; zeros up to the panel's width.
static inline void pack_row(float *out, int64_t rows, int64_t i, Tensor t, int64_t row, int64_t col,
                            int64_t width) {
  for (int64_t c = 0; c < width; c += MICRO_COLS) {
    float *p = out + c * rows + i * MICRO_COLS;
    int64_t n = width - c < MICRO_COLS ? width - c : MICRO_COLS;
    rowio_load(p, t, row, col + c, n);
    for (int64_t k = n; k < MICRO_COLS; k++) p[k] = 0;
  }
}

#endif
