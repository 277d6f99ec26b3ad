// Cross entropy with its gradient in place, and log-probabilities.
//
// Maths, for a row x of V logits with m = max x, s = sum e^(x - m), lse = m + log s:
//   loss = (1 - e) (lse - x_t) + e (lse - mean x)
//   gradient_v = inv_count (e^(x_v - lse) - e / V - [v == t] (1 - e));  at t by expm1: there
//   1 - p of a sure prediction cancels
//   log_prob = x_t - lse;  best = argmax, lowest index on ties
// A row without a label (t = -1): loss, gradient and log_prob are 0, whatever its logits are.
//
// Tiling: one block of 512 threads a row. Thread i owns elements [N i, N i + N) of each piece of
// 512 N, N elements being 16 bytes; V is free. It keeps its own largest value m_i and the sum of
// e^(x - m_i) in one pass over memory (Milakov & Gimelshein 2018); the block puts these together
// by shuffles and 32 slots, in an order that its size alone decides. The gradient's pass finds the
// row in cache (V = 128,256 in bf16: 251 KiB of L2).
//
// Shared memory: 32 slots a reduction (512 bytes at most).
// flops: about 10 a logit, two exponentials. bytes: the row read twice and, for the gradient,
// written once.
#include "cuda_best.cuh"

enum { LOSS_THREADS = 512 };

// The largest value and the sum of e^(x - largest) of what was added so far.
struct LogSum {
  float top, sum;
};

template <int N>
__device__ __forceinline__ void log_sum_add(LogSum *s, const float (&v)[N], int n) {
  float top = s->top;
#pragma unroll
  for (int i = 0; i < N; i++) {
    if (i < n) top = fmaxf(top, v[i]);
  }
  if (top == -INFINITY) return; // nothing but -inf so far: their share of the sum is 0
  float sum = s->sum * expf(s->top - top);
#pragma unroll
  for (int i = 0; i < N; i++) {
    if (i < n) sum += expf(v[i] - top);
  }
  s->top = top;
  s->sum = sum;
}

// Of the block, to all threads; slots [64].
__device__ __forceinline__ LogSum log_sum_block(LogSum s, float *slots) {
  float top = block_max(s.top, slots);
  float share = s.top == -INFINITY ? 0.0f : s.sum * expf(s.top - top);
  LogSum all = {top, block_sum(share, slots + 32)};
  return all;
}

// budget: cross_entropy_kernel registers=40 shared=384
template <typename F>
static __global__ void __launch_bounds__(LOSS_THREADS)
    cross_entropy_kernel(float *loss, Rows<F> logits, const int32_t *targets,
                         const float *inv_count, int64_t cols, float smoothing, bool grad,
                         bool wide) {
  enum { N = Wide<F>::N };
  __shared__ float slots[96];
  int64_t row = blockIdx.x, target = targets[row];
  F *x = logits.row(row);
  // Before the gradient overwrites it: barriers follow.
  float at_target = target < 0 ? 0.0f : load_f32(x + target);
  LogSum own = {-INFINITY, 0.0f};
  float plain = 0.0f;
  for (int64_t c = (int64_t)threadIdx.x * N; c < cols; c += LOSS_THREADS * N) {
    float v[N];
    int n = cols - c < N ? (int)(cols - c) : (int)N;
    load_some(v, x + c, n, wide);
    log_sum_add(&own, v, n);
#pragma unroll
    for (int i = 0; i < N; i++) plain += v[i];
  }
  LogSum all = log_sum_block(own, slots);
  float mean = block_sum(plain, slots + 64) / (float)cols, rest = logf(all.sum);
  float nll = all.top - at_target + rest;
  if (threadIdx.x == 0) {
    float out = (1.0f - smoothing) * nll;
    if (smoothing > 0.0f) out += smoothing * (all.top - mean + rest);
    loss[row] = target < 0 ? 0.0f : out;
  }
  if (!grad) return;
  float factor = *inv_count, floor = smoothing / (float)cols;
  float sure = factor * (expm1f(-nll) + smoothing - floor);
  for (int64_t c = (int64_t)threadIdx.x * N; c < cols; c += LOSS_THREADS * N) {
    float v[N];
    int n = cols - c < N ? (int)(cols - c) : (int)N;
    load_some(v, x + c, n, wide);
#pragma unroll
    for (int i = 0; i < N; i++) {
      v[i] = c + i == target ? sure : factor * (expf(v[i] - all.top - rest) - floor);
      if (target < 0) v[i] = 0.0f;
    }
    store_some(x + c, v, n, wide);
  }
}

// budget: log_probs_kernel registers=40 shared=512
template <typename F>
static __global__ void __launch_bounds__(LOSS_THREADS)
    log_probs_kernel(float *log_probs, int32_t *best, Rows<const F> logits, const int32_t *targets,
                     int64_t cols, bool wide) {
  enum { N = Wide<F>::N };
  __shared__ float slots[64];
  __shared__ Best best_slots[32];
  int64_t row = blockIdx.x;
  const F *x = logits.row(row);
  LogSum own = {-INFINITY, 0.0f};
  Best most = best_none();
  for (int64_t c = (int64_t)threadIdx.x * N; c < cols; c += LOSS_THREADS * N) {
    float v[N];
    int n = cols - c < N ? (int)(cols - c) : (int)N;
    load_some(v, x + c, n, wide);
    log_sum_add(&own, v, n);
#pragma unroll
    for (int i = 0; i < N; i++) {
      Best here = {v[i], (int32_t)(c + i)};
      if (i < n && is_better(here, most)) most = here;
    }
  }
  LogSum all = log_sum_block(own, slots);
  most = block_best(most, best_slots);
  if (threadIdx.x != 0) return;
  int32_t target = targets[row];
  log_probs[row] = target < 0 ? 0.0f : load_f32(x + target) - all.top - logf(all.sum);
  best[row] = most.index == INT32_MAX ? 0 : most.index; // only NaNs: 0
}

// ---- the ops ----

static void cuda_cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                               const CrossEntropyArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_cross_entropy(be, loss, logits, targets, args);
  Tensor inv_count = args->grad ? args->inv_count : TENSOR_NONE;
  const CudaTouch read = CUDA_READ(logits), update = CUDA_UPDATE(logits);
  CUDA_OP(cuda, "cross_entropy", CUDA_WRITE(loss), args->grad ? update : read, CUDA_READ(targets),
          CUDA_READ(inv_count));
  if (logits.rows == 0) return;
  CUDA_F(logits.dtype, "cross_entropy",
         CUDA_LAUNCH(cuda, cross_entropy_kernel<F>, logits.rows, LOSS_THREADS, 0,
                     (float *)loss.data, rows_of<F>(logits), (const int32_t *)targets.data,
                     (const float *)inv_count.data, logits.cols, args->smoothing, args->grad,
                     cuda_wide(logits)));
}

static void cuda_log_probs(Backend *be, Tensor log_probs, Tensor best, Tensor logits,
                           Tensor targets) {
  CudaBackend *cuda = cuda_of(be);
  op_check_log_probs(be, log_probs, best, logits, targets);
  CUDA_OP(cuda, "log_probs", CUDA_WRITE(log_probs), CUDA_WRITE(best), CUDA_READ(logits),
          CUDA_READ(targets));
  if (logits.rows == 0) return;
  CUDA_F(logits.dtype, "log_probs",
         CUDA_LAUNCH(cuda, log_probs_kernel<F>, logits.rows, LOSS_THREADS, 0,
                     (float *)log_probs.data, (int32_t *)best.data, const_rows<F>(logits),
                     (const int32_t *)targets.data, logits.cols, cuda_wide(logits)));
}

void cuda_loss_install(Backend *be) {
  be->cross_entropy = cuda_cross_entropy;
  be->log_probs = cuda_log_probs;
}
