// The innermost product of the own GEMM and of attention: a tile of MICRO_ROWS x MICRO_COLS sums in
// registers.
//
//   a   row-major, A_PITCH floats from row to row: an operand whose rows run along the sum needs no
//   transposing,
//       and a constant pitch puts every row's address into the instruction
//   b   a panel [kc][MICRO_COLS], padded with zeros to its width
//
// AVX-512: 14 x 32 = 28 accumulators, 2 for b, 1 for a. A step of k is 28 FMAs for 14 broadcasts
// and 2 loads: the FMA ports decide. AVX2: 6 x 16; otherwise 4 x 8.
#ifndef VMA_SIMD_MICRO_H
#define VMA_SIMD_MICRO_H

#include "simd_install.h"
#include "simd_vec.h"

enum {
#if defined(__AVX512F__)
  MICRO_ROWS = 14,
#elif defined(__AVX2__)
  MICRO_ROWS = 6,
#else
  MICRO_ROWS = 4,
#endif
  MICRO_COLS = 2 * VW,
  MICRO_DEPTH = 384, // the longest kc
  A_PITCH = 400,     // 25 cache lines: rows do not meet in one set
};

// c[rows, MICRO_COLS] = or += a[rows, kc] b[kc, MICRO_COLS];  1 <= rows <= MICRO_ROWS, kc <=
// A_PITCH
void SIMD(micro_tile)(float *c, int64_t ldc, const float *a, const float *b, int64_t kc, bool add,
                      int64_t rows);

// out[k * out_pitch + i] = in[i * in_pitch + k] for i < rows, k < cols
void SIMD(micro_transpose)(float *out, int64_t out_pitch, const float *in, int64_t in_pitch,
                           int64_t rows, int64_t cols);

#endif
