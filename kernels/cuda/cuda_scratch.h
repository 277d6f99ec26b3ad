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

// ---- sums in f64 and AdamW (cuda_optim.cu) ----

enum { CUDA_SUM_PIECE = 16384, CUDA_ADAM_BYTES = 256 };

// A dense tensor as one row.
static inline Tensor cuda_sum_flat(Tensor x) {
  if (x.rows > 1 && x.stride != x.cols) return x;
  int64_t count = tensor_count(x);
  return tensor_make(x.data, x.dtype, count > 0 ? 1 : 0, count);
}

static inline int64_t cuda_scratch_sum(Tensor x) {
  Tensor flat = cuda_sum_flat(x);
  int64_t pieces = (flat.cols + CUDA_SUM_PIECE - 1) / CUDA_SUM_PIECE;
  return flat.rows * pieces * (int64_t)sizeof(double);
}

// ---- LoRA (cuda_lora.cu) ----

// Rows whose products one piece of a gradient's sum takes, and the pieces.
enum { CUDA_LORA_ROWS = 1024 };

static inline int64_t cuda_lora_pieces(int64_t rows) {
  return (rows + CUDA_LORA_ROWS - 1) / CUDA_LORA_ROWS;
}

// The partial sums of da or db, one after the other in the same memory.
static inline int64_t cuda_scratch_lora_back(Tensor da, Tensor db, int64_t rows) {
  int64_t a = tensor_given(da) ? tensor_count(da) : 0, b = tensor_given(db) ? tensor_count(db) : 0;
  return cuda_lora_pieces(rows) * (a > b ? a : b) * (int64_t)sizeof(float);
}

// ---- choosing tokens (cuda_sample.cu) ----

// Rows that are sampled at a time: each takes a copy of its logits and their weights.
enum { CUDA_SAMPLE_ROWS = 16 };

static inline int64_t cuda_scratch_sample(Tensor logits) {
  int64_t rows = logits.rows < CUDA_SAMPLE_ROWS ? logits.rows : (int64_t)CUDA_SAMPLE_ROWS;
  return rows * logits.cols * (int64_t)(sizeof(double) + sizeof(float));
}

// A list of the best of each beam.
static inline int64_t cuda_scratch_beam(Tensor scores, int64_t beams) {
  return scores.rows * beams * scores.cols * (int64_t)(sizeof(float) + sizeof(int32_t));
}

#ifdef __cplusplus
}
#endif
#endif
