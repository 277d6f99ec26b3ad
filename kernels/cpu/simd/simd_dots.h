// Dot products of some rows with one: of the inputs with a row of the weight (decode), of an
// adapter's rows with an input.
#ifndef VMA_SIMD_DOTS_H
#define VMA_SIMD_DOTS_H

#include "simd_vec.h"

// sums[r] = x[r] . w for 1, 2 or 4 rows of x, `pitch` apart and `depth` long; w of F.
SIMD_INLINE void dots(float *sums, const float *x, int64_t pitch, const void *w, DType F,
                      int64_t depth, const int rows) {
  enum { WAYS = 4 };
  const int ways = rows == 4 ? 2 : WAYS; // 4 to 8 sums in flight
  vf acc[4][WAYS] = {0};
  int64_t k = 0;
  for (; k + ways * VW <= depth; k += ways * VW) {
#pragma GCC unroll 4
    for (int j = 0; j < ways; j++) {
      vf v = row_load(w, F, k + j * VW, VW);
#pragma GCC unroll 4
      for (int r = 0; r < rows; r++)
        acc[r][j] = vf_fma(vf_load(x + r * pitch + k + j * VW), v, acc[r][j]);
    }
  }
  for (; k < depth; k += VW) {
    int64_t n = depth - k < VW ? depth - k : VW;
    vf v = row_load(w, F, k, n);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      acc[r][0] = vf_fma(row_load(x + r * pitch, DT_F32, k, n), v, acc[r][0]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++) {
    vf all = acc[r][0];
#pragma GCC unroll 4
    for (int j = 1; j < ways; j++) all += acc[r][j];
    sums[r] = vf_sum(all);
  }
}

// Any number of rows, in groups of 4, 2 and 1.
SIMD_INLINE void dots_of(float *sums, const float *x, int64_t pitch, const void *w, DType F,
                         int64_t depth, int64_t rows) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) dots(sums + r, x + r * pitch, pitch, w, F, depth, 4);
  if (r + 2 <= rows) {
    dots(sums + r, x + r * pitch, pitch, w, F, depth, 2);
    r += 2;
  }
  if (r < rows) dots(sums + r, x + r * pitch, pitch, w, F, depth, 1);
}

#endif
