// How much scratch each op of the CUDA backend takes, by shape alone: plain C that needs no toolkit
// and no device, so that a plan on any machine counts the bytes that the ops will ask for. The
// number of multiprocessors plays no part: it must not decide how sums are cut.
#ifndef VMA_CUDA_SCRATCH_H
#define VMA_CUDA_SCRATCH_H

#ifdef __cplusplus
extern "C" {
#endif

#include "backend.h"

// Rows of x that one block adds up in the first step of a column sum, and the partial rows that
// gives.
enum { CUDA_SUM_ROWS = 64 };

static inline int64_t cuda_partials(int64_t rows) {
  return (rows + CUDA_SUM_ROWS - 1) / CUDA_SUM_ROWS;
}

static inline int64_t cuda_scratch_column_sum(int64_t rows, int64_t cols) {
  return cuda_partials(rows) * cols * (int64_t)sizeof(float);
}

#ifdef __cplusplus
}
#endif
#endif
