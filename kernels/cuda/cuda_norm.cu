// Sums over rows, RMSNorm and LayerNorm with the residual add before them (backend.h has the
// formulas), and their gradients.
//
// Forward and dx: one block of 256 threads a row; thread t owns columns t, t + 256, ... Sums go
// through the warp by shuffles and between warps through 32 floats of shared memory for each sum.
// The second pass over a row finds it in the cache: bytes are 2 R C of F forward (4 R C with the
// residual) and 4 R C backward; about 4 R C and 10 R C flops.
// dw, db: a thread owns a column of 64 rows; then a thread adds a column's partial sums in their
// order. Which sums are taken together hangs on the shape alone, and nothing is added atomically.
#include "cuda_math.cuh"
#include "cuda_scratch.h"

// First step of a column sum: a block adds CUDA_SUM_ROWS rows of 256 columns, a thread a column.
// budget: column_partials_kernel registers=40 shared=0
template <typename F>
static __global__ void column_partials_kernel(float *partials, Rows<F> x, int64_t rows,
                                              int64_t cols) {
  int64_t c = global_thread();
  if (c >= cols) return;
  int64_t first = (int64_t)blockIdx.y * CUDA_SUM_ROWS, end = min(first + CUDA_SUM_ROWS, rows);
  float sum = 0;
  int64_t r = first; // there is one at least
  do sum += load_f32(x.at(r, c));
  while (++r < end);
  partials[blockIdx.y * cols + c] = sum;
}

// Second step: a thread adds a column's partial sums in their order. Columns 0 .. width - 1 are row
// 0 of out, the next ones row 1, ...
// budget: column_sums_kernel registers=32 shared=0
template <typename F>
static __global__ void column_sums_kernel(Rows<F> out, const float *partials, int64_t n,
                                          int64_t cols, int64_t width) {
  int64_t c = global_thread();
  if (c >= cols) return;
  float sum = 0;
  int64_t i = 0; // there is one at least
  do sum += partials[i * cols + c];
  while (++i < n);
  F *to = out.at(c / width, c % width);
  store_f32(to, load_f32(to) + sum);
}

extern "C" void cuda_column_sum_acc(CudaBackend *cuda, Tensor out, Tensor x, void *partials) {
  if (tensor_count(x) == 0) return;
  int64_t n = cuda_partials(x.rows);
  dim3 grid(blocks_for(x.cols), (unsigned)n);
  CUDA_F(x.dtype, "column_sum_acc",
         CUDA_LAUNCH(cuda, column_partials_kernel<F>, grid, BLOCK, 0, (float *)partials,
                     rows_of<F>(x), x.rows, x.cols));
  CUDA_F(out.dtype, "column_sum_acc",
         CUDA_LAUNCH(cuda, column_sums_kernel<F>, blocks_for(x.cols), BLOCK, 0, rows_of<F>(out),
                     (const float *)partials, n, x.cols, out.cols));
}

// ---- forward ----

// z = x + d rounded to F and stored, or x where there is no d: element c of row r, as the norm sees
// it.
template <typename F>
static __device__ inline float residual(Rows<F> z, Rows<F> x, Rows<F> d, int64_t r, int64_t c) {
  float v = load_f32(x.at(r, c));
  if (d.data == NULL) return v;
  v = round_to<F>(v + load_f32(d.at(r, c)));
  store_f32(z.at(r, c), v);
  return v;
}

// One block a row. A thread reads back only what it wrote itself, so that no barrier stands between
// z and y.
// budget: rmsnorm_kernel registers=40 shared=128
template <typename F>
static __global__ void rmsnorm_kernel(Rows<F> z, Rows<F> y, float *rstd, Rows<F> x, Rows<F> d,
                                      const F *w, float eps, int64_t cols) {
  __shared__ float slots[32];
  int64_t r = blockIdx.x;
  float squares = 0;
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    float v = residual(z, x, d, r, c);
    squares = fmaf(v, v, squares);
  }
  float s = 1.0f / sqrtf(block_sum(squares, slots) / (float)cols + eps);
  if (threadIdx.x == 0) rstd[r] = s;
  Rows<F> normed = d.data == NULL ? x : z;
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    store_f32(y.at(r, c), load_f32(normed.at(r, c)) * s * load_f32(w + c));
  }
}

// budget: layernorm_kernel registers=40 shared=256
template <typename F>
static __global__ void layernorm_kernel(Rows<F> z, Rows<F> y, float *mean, float *rstd, Rows<F> x,
                                        Rows<F> d, const F *w, const F *b, float eps,
                                        int64_t cols) {
  __shared__ float slots[2 * 32];
  int64_t r = blockIdx.x;
  float sum = 0, squares = 0;
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) sum += residual(z, x, d, r, c);
  Rows<F> normed = d.data == NULL ? x : z;
  float m = block_sum(sum, slots) / (float)cols;
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    float v = load_f32(normed.at(r, c)) - m; // a second pass: mean(x^2) - mean(x)^2 would cancel
    squares = fmaf(v, v, squares);
  }
  float s = 1.0f / sqrtf(block_sum(squares, slots + 32) / (float)cols + eps);
  if (threadIdx.x == 0) {
    mean[r] = m;
    rstd[r] = s;
  }
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    store_f32(y.at(r, c), (load_f32(normed.at(r, c)) - m) * s * load_f32(w + c) + load_f32(b + c));
  }
}

// ---- backward: n = (z - mean) rstd, dn = w dy ----

// dx += rstd (dn - [mean(dn)] - n mean(dn n)), the bracket for LayerNorm only (mean given). One
// block a row.
// budget: norm_back_x_kernel registers=40 shared=256
template <typename F>
static __global__ void norm_back_x_kernel(Rows<F> dx, Rows<F> dy, Rows<F> z, const float *mean,
                                          const float *rstd, const F *w, int64_t cols) {
  __shared__ float slots[2 * 32];
  int64_t r = blockIdx.x;
  float s = rstd[r], m = mean != NULL ? mean[r] : 0.0f, sums[2] = {0, 0};
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    float dn = load_f32(w + c) * load_f32(dy.at(r, c)), n = (load_f32(z.at(r, c)) - m) * s;
    sums[0] = fmaf(dn, n, sums[0]);
    sums[1] += dn;
  }
  block_sums(sums, slots);
  float along = sums[0] / (float)cols, centre = mean != NULL ? sums[1] / (float)cols : 0.0f;
  for (int64_t c = threadIdx.x; c < cols; c += BLOCK) {
    float dn = load_f32(w + c) * load_f32(dy.at(r, c)), n = (load_f32(z.at(r, c)) - m) * s;
    store_f32(dx.at(r, c), load_f32(dx.at(r, c)) + s * (dn - centre - n * along));
  }
}

// First step of dw += sum_r dy n: as column_partials_kernel.
// budget: norm_back_w_kernel registers=40 shared=0
template <typename F>
static __global__ void norm_back_w_kernel(float *partials, Rows<F> dy, Rows<F> z, const float *mean,
                                          const float *rstd, int64_t rows, int64_t cols) {
  int64_t c = global_thread();
  if (c >= cols) return;
  int64_t first = (int64_t)blockIdx.y * CUDA_SUM_ROWS, end = min(first + CUDA_SUM_ROWS, rows);
  float sum = 0;
  int64_t r = first; // there is one at least
  do {
    float m = mean != NULL ? mean[r] : 0.0f;
    sum = fmaf(load_f32(dy.at(r, c)), (load_f32(z.at(r, c)) - m) * rstd[r], sum);
  } while (++r < end);
  partials[blockIdx.y * cols + c] = sum;
}

// ---- the ops ----

static void cuda_rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w,
                         float eps) {
  CudaBackend *cuda = cuda_of(be);
  op_check_rmsnorm(be, z, y, rstd, x, d, w);
  CUDA_OP(cuda, "rmsnorm", CUDA_UPDATE(z), CUDA_WRITE(y), CUDA_WRITE(rstd), CUDA_READ(x),
          CUDA_READ(d), CUDA_READ(w));
  if (y.rows == 0) return;
  CUDA_F(y.dtype, "rmsnorm",
         CUDA_LAUNCH(cuda, rmsnorm_kernel<F>, (unsigned)y.rows, BLOCK, 0, rows_of<F>(z),
                     rows_of<F>(y), (float *)rstd.data, rows_of<F>(x), rows_of<F>(d),
                     (const F *)w.data, eps, y.cols));
}

static void cuda_layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                           Tensor d, Tensor w, Tensor b, float eps) {
  CudaBackend *cuda = cuda_of(be);
  op_check_layernorm(be, z, y, mean, rstd, x, d, w, b);
  CUDA_OP(cuda, "layernorm", CUDA_UPDATE(z), CUDA_WRITE(y), CUDA_WRITE(mean), CUDA_WRITE(rstd),
          CUDA_READ(x), CUDA_READ(d), CUDA_READ(w), CUDA_READ(b));
  if (y.rows == 0) return;
  CUDA_F(y.dtype, "layernorm",
         CUDA_LAUNCH(cuda, layernorm_kernel<F>, (unsigned)y.rows, BLOCK, 0, rows_of<F>(z),
                     rows_of<F>(y), (float *)mean.data, (float *)rstd.data, rows_of<F>(x),
                     rows_of<F>(d), (const F *)w.data, (const F *)b.data, eps, y.cols));
}

static void add_partials(CudaBackend *cuda, Tensor out, const float *partials, int64_t n) {
  CUDA_F(out.dtype, "add_partials",
         CUDA_LAUNCH(cuda, column_sums_kernel<F>, blocks_for(out.cols), BLOCK, 0, rows_of<F>(out),
                     partials, n, out.cols, out.cols));
}

static void norm_back(CudaBackend *cuda, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                      Tensor mean, Tensor rstd, Tensor w) {
  if (tensor_count(dy) == 0) return;
  const float *m = (const float *)mean.data, *s = (const float *)rstd.data;
  if (tensor_given(dx)) {
    CUDA_F(dy.dtype, "norm_back",
           CUDA_LAUNCH(cuda, norm_back_x_kernel<F>, (unsigned)dy.rows, BLOCK, 0, rows_of<F>(dx),
                       rows_of<F>(dy), rows_of<F>(z), m, s, (const F *)w.data, dy.cols));
  }
  if (!tensor_given(dw) && !tensor_given(db)) return;
  // One after the other in the same memory: the stream keeps them apart.
  float *partials = (float *)cuda_scratch(cuda, cuda_scratch_column_sum(dy.rows, dy.cols));
  int64_t n = cuda_partials(dy.rows);
  dim3 grid(blocks_for(dy.cols), (unsigned)n);
  if (tensor_given(dw)) {
    CUDA_F(dy.dtype, "norm_back",
           CUDA_LAUNCH(cuda, norm_back_w_kernel<F>, grid, BLOCK, 0, partials, rows_of<F>(dy),
                       rows_of<F>(z), m, s, dy.rows, dy.cols));
    add_partials(cuda, dw, partials, n);
  }
  if (tensor_given(db)) cuda_column_sum_acc(cuda, db, dy, partials);
}

static void cuda_rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z,
                                  Tensor rstd, Tensor w) {
  op_check_rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
  CUDA_OP(cuda_of(be), "rmsnorm_back_acc", CUDA_UPDATE(dx), CUDA_UPDATE(dw), CUDA_READ(dy),
          CUDA_READ(z), CUDA_READ(rstd), CUDA_READ(w));
  norm_back(cuda_of(be), dx, dw, TENSOR_NONE, dy, z, TENSOR_NONE, rstd, w);
}

static void cuda_layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy,
                                    Tensor z, Tensor mean, Tensor rstd, Tensor w) {
  op_check_layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
  CUDA_OP(cuda_of(be), "layernorm_back_acc", CUDA_UPDATE(dx), CUDA_UPDATE(dw), CUDA_UPDATE(db),
          CUDA_READ(dy), CUDA_READ(z), CUDA_READ(mean), CUDA_READ(rstd), CUDA_READ(w));
  norm_back(cuda_of(be), dx, dw, db, dy, z, mean, rstd, w);
}

extern "C" void cuda_norm_install(Backend *be) {
  be->rmsnorm = cuda_rmsnorm;
  be->layernorm = cuda_layernorm;
  be->rmsnorm_back_acc = cuda_rmsnorm_back_acc;
  be->layernorm_back_acc = cuda_layernorm_back_acc;
}
