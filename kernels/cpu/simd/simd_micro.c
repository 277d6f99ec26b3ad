#include "simd_micro.h"

SIMD_INLINE void micro_rows(float *c, int64_t ldc, const float *a, const float *b, int64_t kc,
                            bool add, const int rows) {
  vf sums[MICRO_ROWS][2];
#pragma GCC unroll 14
  for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = (vf){0};
  for (int64_t k = 0; k < kc; k++, b += MICRO_COLS) {
    vf b0 = vf_load(b), b1 = vf_load(b + VW);
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
      vf x = vf_set(a[i * A_PITCH + k]);
      sums[i][0] = vf_fma(x, b0, sums[i][0]);
      sums[i][1] = vf_fma(x, b1, sums[i][1]);
    }
  }
#pragma GCC unroll 14
  for (int i = 0; i < rows; i++) {
    float *p = c + i * ldc;
    if (add) {
      sums[i][0] += vf_load(p);
      sums[i][1] += vf_load(p + VW);
    }
    vf_store(p, sums[i][0]);
    vf_store(p + VW, sums[i][1]);
  }
}

void SIMD(micro_tile)(float *c, int64_t ldc, const float *a, const float *b, int64_t kc, bool add,
                      int64_t rows) {
#define MICRO_CASE(n)                                                                              \
  case n:                                                                                          \
    micro_rows(c, ldc, a, b, kc, add, n);                                                          \
    break
  switch (rows) {
    MICRO_CASE(1);
    MICRO_CASE(2);
    MICRO_CASE(3);
    MICRO_CASE(4);
#if VW >= 8
    MICRO_CASE(5);
    MICRO_CASE(6);
#endif
#if VW >= 16
    MICRO_CASE(7);
    MICRO_CASE(8);
    MICRO_CASE(9);
    MICRO_CASE(10);
    MICRO_CASE(11);
    MICRO_CASE(12);
    MICRO_CASE(13);
    MICRO_CASE(14);
#endif
  default:
    break;
  }
#undef MICRO_CASE
}

typedef float v4 __attribute__((vector_size(16)));
typedef float v4_memory __attribute__((vector_size(16), aligned(4), may_alias));

static void transpose_4x4(float *out, int64_t out_pitch, const float *in, int64_t in_pitch) {
  v4 a = *(const v4_memory *)in, b = *(const v4_memory *)(in + in_pitch),
     c = *(const v4_memory *)(in + 2 * in_pitch), d = *(const v4_memory *)(in + 3 * in_pitch);
  v4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
     ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7),
     cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5),
     cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *(v4_memory *)out = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  *(v4_memory *)(out + out_pitch) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  *(v4_memory *)(out + 2 * out_pitch) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  *(v4_memory *)(out + 3 * out_pitch) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

void SIMD(micro_transpose)(float *out, int64_t out_pitch, const float *in, int64_t in_pitch,
                           int64_t rows, int64_t cols) {
  int64_t whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  for (int64_t i = 0; i < whole_rows; i += 4) {
    for (int64_t k = 0; k < whole_cols; k += 4) {
      transpose_4x4(out + k * out_pitch + i, out_pitch, in + i * in_pitch + k, in_pitch);
    }
    for (int64_t k = whole_cols; k < cols; k++) {
      for (int64_t j = i; j < i + 4; j++) out[k * out_pitch + j] = in[j * in_pitch + k];
    }
  }
  for (int64_t i = whole_rows; i < rows; i++) {
    for (int64_t k = 0; k < cols; k++) out[k * out_pitch + i] = in[i * in_pitch + k];
  }
}
