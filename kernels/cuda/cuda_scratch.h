// How much scratch each op of the CUDA backend takes, by shape and stride alone: plain C that needs
// no toolkit and no device, so that a plan on any machine counts the bytes that the ops will ask
// for. The number of multiprocessors plays no part: it must not decide how sums are cut.
#ifndef VMA_CUDA_SCRATCH_H
#define VMA_CUDA_SCRATCH_H

#ifdef __cplusplus
extern "C" {
#endif

#include "backend.h"

static inline int64_t cuda_round(int64_t bytes) {
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

// ---- sums over rows, in two steps (cuda_norm.cu) ----

// What an open backend holds besides.
enum { CUDA_WORKSPACE = 32 << 20, CUDA_RING_BYTES = 8 << 20 };

// Rows of x that one block adds up in the first step of a column sum; and the partial rows that
// this gives.
enum { CUDA_SUM_ROWS = 64 };

static inline int64_t cuda_partials(int64_t rows) {
  return (rows + CUDA_SUM_ROWS - 1) / CUDA_SUM_ROWS;
}

static inline int64_t cuda_scratch_column_sum(int64_t rows, int64_t cols) {
  return cuda_round(cuda_partials(rows) * cols * (int64_t)sizeof(float));
}

// ---- products (cuda_gemm.c) ----

// What is not aligned to 16 bytes is copied before cuBLASLt sees it.
static inline bool cuda_gemm_stages(Tensor t) {
  int64_t stride = dtype_bytes(t.dtype, t.stride);
  return (uintptr_t)t.data % 16 != 0 || (stride % 16 != 0 && t.rows > 1);
}

static inline int64_t cuda_gemm_stride(Tensor t) {
  int64_t unit = 16 / dtype_bytes(t.dtype, 1);
  return (t.cols + unit - 1) / unit * unit;
}

static inline int64_t cuda_gemm_staged_bytes(Tensor t) {
  if (!tensor_given(t) || tensor_count(t) == 0 || !cuda_gemm_stages(t)) return 0;
  return cuda_round(dtype_bytes(t.dtype, t.rows * cuda_gemm_stride(t)));
}

static inline int64_t cuda_gemm_bias_bytes(Tensor bias, DType dtype) {
  if (!tensor_given(bias) || bias.cols == 0) return 0;
  bool fits = bias.dtype == dtype && (uintptr_t)bias.data % 16 == 0;
  return fits ? 0 : cuda_round(dtype_bytes(dtype, bias.cols));
}

static inline int64_t cuda_scratch_gemm(Tensor d, Tensor a, Tensor b, Tensor bias) {
  return cuda_gemm_staged_bytes(d) + cuda_gemm_staged_bytes(a) + cuda_gemm_staged_bytes(b) +
         cuda_gemm_bias_bytes(bias, d.dtype);
}

// ---- linear (cuda_linear.c): a few rows are multiplied by the weight as it lies (cuda_matvec.cu),
// for more a quantised one is expanded to the activations' dtype ----

enum { CUDA_MATVEC_ROWS = 16 };

static inline bool cuda_is_quantised(DType dtype) {
  return dtype_info(dtype)->block_elements > 1;
}

static inline int64_t cuda_scratch_weight(Tensor w, DType dtype) {
  return cuda_is_quantised(w.dtype) ? cuda_round(dtype_bytes(dtype, w.rows * w.cols)) : 0;
}

// As the product will see it: dense where it is expanded.
static inline Tensor cuda_expanded(Tensor w, DType dtype, void *scratch) {
  return cuda_is_quantised(w.dtype) ? tensor_make(scratch, dtype, w.rows, w.cols) : w;
}

static inline int64_t cuda_scratch_product(Tensor d, Tensor a, Tensor w, Tensor bias) {
  Tensor expanded = cuda_expanded(w, a.dtype, (void *)ARENA_ALIGN);
  return cuda_scratch_weight(w, a.dtype) + cuda_scratch_gemm(d, a, expanded, bias);
}

static inline int64_t cuda_scratch_linear(Tensor y, Tensor x, Tensor w, Tensor bias) {
  if (x.rows <= CUDA_MATVEC_ROWS) return 0;
  return cuda_scratch_product(y, x, w, bias);
}

// dx += dy w has no form of its own for few rows.
static inline int64_t cuda_scratch_linear_back_x(Tensor dx, Tensor dy, Tensor w) {
  return cuda_scratch_product(dx, dy, w, TENSOR_NONE);
}

static inline int64_t cuda_scratch_linear_back_w(Tensor dw, Tensor db, Tensor dy, Tensor x) {
  int64_t gemm = tensor_given(dw) ? cuda_scratch_gemm(dw, dy, x, TENSOR_NONE) : 0;
  int64_t sums = tensor_given(db) ? cuda_scratch_column_sum(dy.rows, dy.cols) : 0;
  return gemm > sums ? gemm : sums;
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

// ---- attention of few queries (cuda_decode.cu) ----

// Such a call has at most that many queries a sequence. Its keys are cut into splits of 512, or of
// a multiple where more than 32 splits (the lanes of a warp) would be needed. Sequences whose
// partial sums take more than CUDA_DECODE_BYTES are worked off some at a time.
enum {
  CUDA_DECODE_QUERIES = 16,
  CUDA_DECODE_SPLIT = 512,
  CUDA_DECODE_SPLITS = 32,
  CUDA_DECODE_BYTES = 16 << 20
};

// How many keys a sequence may have.
static inline int64_t cuda_decode_keys(const AttentionArgs *a) {
  return tensor_given(a->pages) ? a->pages.cols * a->page_size : a->max_k;
}

static inline int64_t cuda_decode_length(int64_t keys) {
  int64_t most = (int64_t)CUDA_DECODE_SPLIT * CUDA_DECODE_SPLITS, times = (keys + most - 1) / most;
  return CUDA_DECODE_SPLIT * (times > 1 ? times : 1);
}

// Partial sums of a query row: out, maximum and sum of each head and split. It grows with the keys.
static inline int64_t cuda_decode_row_bytes(const AttentionArgs *a) {
  int64_t splits = (cuda_decode_keys(a) + CUDA_DECODE_SPLIT - 1) / CUDA_DECODE_SPLIT;
  if (splits > CUDA_DECODE_SPLITS) splits = CUDA_DECODE_SPLITS;
  return a->n_heads * splits * (a->head_dim + 2) * (int64_t)sizeof(float);
}

// Sequences at a time.
static inline int64_t cuda_decode_seqs(const AttentionArgs *a) {
  int64_t each = a->max_q * cuda_decode_row_bytes(a), most = 65535; // blocks along z
  int64_t fit = each > 0 ? CUDA_DECODE_BYTES / each : most;
  return fit < 1 ? 1 : fit < most ? fit : most;
}

// The same whatever the lengths are, so that it is enough for any shorter ones.
static inline int64_t cuda_scratch_attention(Tensor q, const AttentionArgs *a) {
  int64_t row = cuda_decode_row_bytes(a), all = q.rows * row, one = CUDA_DECODE_QUERIES * row;
  int64_t most = one > CUDA_DECODE_BYTES ? one : (int64_t)CUDA_DECODE_BYTES;
  return all < most ? all : most;
}

// ---- attention (cuda_attention_back.cu) ----

// do . o of each query and head; their sums for each bias bucket, and what adding these up takes.
static inline int64_t cuda_scratch_attention_back(Tensor q, Tensor dbias, int64_t heads) {
  int64_t sums = tensor_given(dbias) ? dbias.rows * heads : 0;
  return q.rows * (heads + sums) * (int64_t)sizeof(float) + cuda_scratch_column_sum(q.rows, sums);
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
