// Sums over rows and norms.
#include "cuda_math.cuh"
#include "cuda_scratch.h"

// First step of a column sum: a block adds CUDA_SUM_ROWS rows of 256 columns, a thread a column.
// budget: column_partials_kernel registers=32 shared=0
template <typename F>
static __global__ void column_partials_kernel(float *partials, Rows<F> x, int64_t rows,
                                              int64_t cols) {
  int64_t c = global_thread();
  if (c >= cols) return;
  int64_t first = (int64_t)blockIdx.y * CUDA_SUM_ROWS, end = min(first + CUDA_SUM_ROWS, rows);
  float sum = 0;
  for (int64_t r = first; r < end; r++) sum += load(x.at(r, c));
  partials[blockIdx.y * cols + c] = sum;
}

// Second step: a thread adds a column's partial sums in their order.
// budget: column_sums_kernel registers=32 shared=0
template <typename F>
static __global__ void column_sums_kernel(F *out, const float *partials, int64_t n, int64_t cols) {
  int64_t c = global_thread();
  if (c >= cols) return;
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += partials[i * cols + c];
  store(out + c, load(out + c) + sum);
}

extern "C" void cuda_column_sum_acc(CudaBackend *cuda, Tensor out, Tensor x, void *partials) {
  if (tensor_count(x) == 0) return;
  int64_t n = cuda_partials(x.rows);
  dim3 grid(blocks_for(x.cols), (unsigned)n);
  CUDA_F_SWITCH(x.dtype, CUDA_LAUNCH(cuda, column_partials_kernel<F>, grid, BLOCK, 0,
                                     (float *)partials, rows_of<F>(x), x.rows, x.cols));
  CUDA_F_SWITCH(out.dtype, CUDA_LAUNCH(cuda, column_sums_kernel<F>, blocks_for(x.cols), BLOCK, 0,
                                       (F *)out.data, (const float *)partials, n, x.cols));
}
