// Sums in f64, the clip factor and AdamW.
//
// Sums, two steps: a block of 256 threads adds a piece of SUM_PIECE elements of a row (a dense
// tensor is one row), thread i elements i, i + 256, ... in f64, then the block by shuffles; one
// block adds the pieces' sums the same way. The shape alone cuts the pieces. 1 or 2 flops an
// element; bytes: x once.
//
// clip_factor: one warp over the sums of all tensors; the norm, the guard and the factor stay on
// the device.
//
// adamw: one block of 32 threads works out in f64 what all elements share (lr, decay, both bias
// corrections; b^t by repeated squaring); then a thread owns 4 elements. The predicate that lets a
// step with a norm that is not finite pass over the weights is one of the shared numbers. 15 flops
// a parameter; bytes in f32: w, m, v, g read, w, m, v written: 28.
//
// Shared memory: 32 slots of f64 a sum.
#include "cuda_math.cuh"
#include "cuda_scratch.h"

enum { OPTIM_THREADS = 256, ADAM_QUAD = 4 };

// budget: sum_pieces_kernel registers=40 shared=256
template <typename T>
static __global__ void __launch_bounds__(OPTIM_THREADS)
    sum_pieces_kernel(double *sums, Rows<const T> x, int64_t cols, int64_t per_row, bool squares) {
  __shared__ double slots[32];
  int64_t from = (int64_t)blockIdx.x % per_row * CUDA_SUM_PIECE;
  int64_t to = cols - from < CUDA_SUM_PIECE ? cols : from + CUDA_SUM_PIECE;
  const T *row = x.row((int64_t)blockIdx.x / per_row);
  double sum = 0.0;
  for (int64_t c = from + threadIdx.x; c < to; c += OPTIM_THREADS) {
    double v = (double)load_f32(row + c);
    sum += squares ? v * v : v;
  }
  sum = block_sum_f64(sum, slots);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// budget: sum_up_kernel registers=40 shared=256
static __global__ void __launch_bounds__(OPTIM_THREADS)
    sum_up_kernel(double *out, const double *sums, int64_t n, bool add) {
  __shared__ double slots[32];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += OPTIM_THREADS) sum += sums[i];
  sum = block_sum_f64(sum, slots);
  if (threadIdx.x == 0) *out = add ? *out + sum : sum;
}

// budget: clip_kernel registers=40 shared=0
static __global__ void clip_kernel(float *clip, const double *sums, int64_t n, const double *guard,
                                   float max_norm) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += 32) sum += sums[i];
  sum = warp_sum_f64(sum);
  if (threadIdx.x != 0) return;
  double norm = sqrt(sum);
  if (guard != NULL && !isfinite(*guard)) norm = NAN;
  clip[0] = max_norm > 0.0f ? (float)fmin(1.0, (double)max_norm / (norm + 1e-6)) : 1.0f;
  clip[1] = (float)norm;
}

// ---- AdamW ----

// What all elements share.
struct AdamStep {
  float clip, keep, rate, root;
  int32_t go; // 0: the norm is not finite, nothing is written
};
static_assert(sizeof(AdamStep) <= CUDA_ADAM_BYTES, "the scratch of adamw");

__device__ __forceinline__ double power(double base, int32_t exponent) {
  double out = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) out *= base;
    base *= base;
  }
  return out;
}

// budget: adam_step_kernel registers=32 shared=0
static __global__ void adam_step_kernel(AdamStep *out, const float *clip, const float *lr,
                                        const int32_t *step, float beta1, float beta2,
                                        float decay) {
  if (threadIdx.x != 0) return;
  double rate = (double)*lr;
  AdamStep s;
  s.clip = clip[0];
  s.keep = (float)(1.0 - rate * (double)decay);
  s.rate = (float)(rate / (1.0 - power((double)beta1, *step)));
  s.root = (float)(1.0 / sqrt(1.0 - power((double)beta2, *step)));
  s.go = isfinite(clip[1]) ? 1 : 0;
  *out = s;
}

// master NULL: w itself is what is updated, and f32.
// budget: adamw_kernel registers=40 shared=0
template <typename W, typename G>
static __global__ void __launch_bounds__(OPTIM_THREADS, 6)
    adamw_kernel(W *w, float *master, float *m, float *v, const G *g, const AdamStep *shared_step,
                 int64_t count, float beta1, float beta2, float first_share, float second_share,
                 float eps, bool wide) {
  AdamStep s = *shared_step;
  int64_t from = ((int64_t)blockIdx.x * OPTIM_THREADS + threadIdx.x) * ADAM_QUAD;
  if (s.go == 0 || from >= count) return;
  int n = count - from < ADAM_QUAD ? (int)(count - from) : (int)ADAM_QUAD;
  float grad[ADAM_QUAD], first[ADAM_QUAD], second[ADAM_QUAD], p[ADAM_QUAD];
  load_some(grad, g + from, n, wide);
  load_some(first, m + from, n, wide);
  load_some(second, v + from, n, wide);
  bool mastered = sizeof(W) < sizeof(float) || master != NULL; // bf16 always
  if (mastered) {
    load_some(p, master + from, n, wide);
  } else {
    load_some(p, w + from, n, wide);
  }
#pragma unroll
  for (int i = 0; i < ADAM_QUAD; i++) {
    float gi = grad[i] * s.clip;
    first[i] = fmaf(gi, first_share, beta1 * first[i]);
    second[i] = fmaf(gi * gi, second_share, beta2 * second[i]);
    p[i] = p[i] * s.keep - s.rate * first[i] / (sqrtf(second[i]) * s.root + eps);
  }
  store_some(m + from, first, n, wide);
  store_some(v + from, second, n, wide);
  if (mastered) store_some(master + from, p, n, wide);
  store_some(w + from, p, n, wide); // a bf16 weight is its master rounded
}

// ---- the ops ----

static void launch_sum(CudaBackend *cuda, Tensor out, Tensor x, bool squares, bool add) {
  Tensor flat = cuda_sum_flat(x);
  int64_t per_row = cuda_ceil(flat.cols, CUDA_SUM_PIECE), n = flat.rows * per_row;
  double *sums = (double *)cuda_scratch(cuda, cuda_scratch_sum(x));
  if (n > 0) {
    CUDA_F(x.dtype, "sum",
           CUDA_LAUNCH(cuda, sum_pieces_kernel<F>, n, OPTIM_THREADS, 0, sums, const_rows<F>(flat),
                       flat.cols, per_row, squares));
  }
  if (n > 0 || !add) {
    CUDA_LAUNCH(cuda, sum_up_kernel, 1, OPTIM_THREADS, 0, (double *)out.data, sums, n, add);
  }
}

static void cuda_sum_acc(Backend *be, Tensor out, Tensor x) {
  op_check_sum_acc(be, out, x);
  CUDA_OP(cuda_of(be), "sum_acc", CUDA_UPDATE(out), CUDA_READ(x));
  launch_sum(cuda_of(be), out, x, false, true);
}

static void cuda_sum_squares(Backend *be, Tensor out, Tensor x) {
  op_check_sum_squares(be, out, x);
  CUDA_OP(cuda_of(be), "sum_squares", CUDA_WRITE(out), CUDA_READ(x));
  launch_sum(cuda_of(be), out, x, true, false);
}

static void cuda_clip_factor(Backend *be, Tensor clip, Tensor sums, Tensor guard, float max_norm) {
  op_check_clip_factor(be, clip, sums, guard);
  CUDA_OP(cuda_of(be), "clip_factor", CUDA_WRITE(clip), CUDA_READ(sums), CUDA_READ(guard));
  CHECK(clip.dtype == DT_F32, "clip_factor: clip is f64 on the CUDA backend");
  CUDA_LAUNCH(cuda_of(be), clip_kernel, 1, 32, 0, (float *)clip.data, (const double *)sums.data,
              sums.cols, (const double *)guard.data, max_norm);
}

// Whether 4 elements of each lie together.
static bool quads_align(Tensor t) {
  return !tensor_given(t) || (uintptr_t)t.data % (4 * dtype_info(t.dtype)->block_bytes) == 0;
}

template <typename W, typename G>
static void launch_adamw(CudaBackend *cuda, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                         const AdamArgs *args, const AdamStep *step) {
  int64_t count = tensor_count(w);
  bool wide =
      quads_align(w) && quads_align(master) && quads_align(m) && quads_align(v) && quads_align(g);
  float first_share = (float)(1.0 - (double)args->beta1),
        second_share = (float)(1.0 - (double)args->beta2);
  CUDA_LAUNCH(cuda, (adamw_kernel<W, G>), cuda_ceil(count, OPTIM_THREADS * ADAM_QUAD),
              OPTIM_THREADS, 0, (W *)w.data, (float *)master.data, (float *)m.data, (float *)v.data,
              (const G *)g.data, step, count, args->beta1, args->beta2, first_share, second_share,
              args->eps, wide);
}

static void cuda_adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                       const AdamArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_adamw(be, w, master, m, v, g, args);
  CUDA_OP(cuda, "adamw", CUDA_UPDATE(w), CUDA_UPDATE(master), CUDA_UPDATE(m), CUDA_UPDATE(v),
          CUDA_READ(g), CUDA_READ(args->lr), CUDA_READ(args->step), CUDA_READ(args->clip));
  if (tensor_count(w) == 0) return;
  AdamStep *step = (AdamStep *)cuda_scratch(cuda, CUDA_ADAM_BYTES);
  CUDA_LAUNCH(cuda, adam_step_kernel, 1, 32, 0, step, (const float *)args->clip.data,
              (const float *)args->lr.data, (const int32_t *)args->step.data, args->beta1,
              args->beta2, args->decay);
  if (g.dtype == DT_BF16) {
    CUDA_F(w.dtype, "adamw", launch_adamw<F, __nv_bfloat16>(cuda, w, master, m, v, g, args, step));
  } else {
    CUDA_F(w.dtype, "adamw", launch_adamw<F, float>(cuda, w, master, m, v, g, args, step));
  }
}

void cuda_optim_install(Backend *be) {
  be->sum_acc = cuda_sum_acc;
  be->sum_squares = cuda_sum_squares;
  be->clip_factor = cuda_clip_factor;
  be->adamw = cuda_adamw;
}
