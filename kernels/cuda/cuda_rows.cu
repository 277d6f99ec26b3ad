// Ops that move rows, without atomics.
//
// A block has a row (grid x) and 256 of its columns (grid y), a thread one element; a warp reads
// and writes whole lines. No shared memory. Bytes: each moved row once on either side, ids besides.
//
// embedding_back_acc: the block of the first row with an id adds up all rows of that id, in
// ascending order, in registers; the blocks of later ones do nothing. Each warp looks through the
// ids by itself, 32 at a time by a ballot: R^2 / 32 steps of a warp in all; flops: R C.
#include "cuda_quant.cuh"

static dim3 grid_of(Tensor t) {
  return dim3((unsigned)t.rows, blocks_for(t.cols));
}

static __device__ inline int64_t own_column(void) {
  return (int64_t)blockIdx.y * BLOCK + threadIdx.x;
}

// budget: embedding_kernel registers=24 shared=0
template <typename F>
static __global__ void embedding_kernel(Rows<F> y, const uint8_t *table, int64_t stride, int dtype,
                                        bool quantised, const int32_t *ids, int64_t cols) {
  int64_t r = blockIdx.x, c = own_column();
  if (c >= cols) return;
  int32_t id = ids[r];
  const uint8_t *row = table + id * stride;
  float value = 0.0f;
  if (id >= 0) value = quantised ? quantised_at(dtype, row, c) : load_f32((const F *)row + c);
  store_f32(y.at(r, c), value);
}

// Which of rows [first, first + 32) below `end` have this id, as a mask; the same in all lanes.
static __device__ inline unsigned rows_with(int32_t id, const int32_t *ids, int64_t first,
                                            int64_t end) {
  int64_t i = first + threadIdx.x % 32;
  bool same = false;
  if (i < end) same = ids[i] == id;
  return __ballot_sync(0xffffffffu, same);
}

// budget: embedding_back_kernel registers=24 shared=0
template <typename T, typename F>
static __global__ void embedding_back_kernel(Rows<T> dtable, Rows<F> dy, const int32_t *ids,
                                             int64_t rows, int64_t cols) {
  int64_t r = blockIdx.x, c = own_column();
  int32_t id = ids[r];
  bool first = id >= 0;
  for (int64_t i = 0; i < r && first; i += 32) first = rows_with(id, ids, i, r) == 0;
  if (!first) return; // the whole block: it hangs on r alone
  float sum = c < cols ? load_f32(dtable.at(id, c)) : 0.0f;
  int64_t i = r;
  do {
    for (unsigned mask = rows_with(id, ids, i, rows); mask != 0; mask &= mask - 1) {
      if (c < cols) sum += load_f32(dy.at(i + __ffs((int)mask) - 1, c));
    }
  } while ((i += 32) < rows);
  if (c < cols) store_f32(dtable.at(id, c), sum);
}

// budget: gather_kernel registers=16 shared=0
template <typename F>
static __global__ void gather_kernel(Rows<F> y, Rows<F> x, const int32_t *rows, int64_t cols) {
  int64_t i = blockIdx.x, c = own_column();
  if (c >= cols) return;
  int32_t from = rows[i];
  F value;
  store_f32(&value, 0.0f);
  if (from >= 0) value = *x.at(from, c);
  *y.at(i, c) = value;
}

// budget: scatter_kernel registers=16 shared=0
template <typename F>
static __global__ void scatter_kernel(Rows<F> dx, Rows<F> dy, const int32_t *rows, int64_t cols) {
  int64_t i = blockIdx.x, c = own_column();
  int32_t row = rows[i];
  if (c >= cols || row < 0) return;
  F *to = dx.at(row, c);
  store_f32(to, load_f32(to) + load_f32(dy.at(i, c)));
}

// Column c of the row is one value of the patch: its line, column and channel follow from c, so
// that writes are whole lines in either order; reads are where channels stand last, else every
// N-th.
// budget: patch_kernel registers=24 shared=0
template <typename F, typename P>
static __global__ void patch_kernel(Rows<F> y, Rows<P> pixels, const int32_t *tops,
                                    const int32_t *lefts, unsigned size, unsigned channels,
                                    bool channels_first, int64_t cols) {
  int64_t r = blockIdx.x, c = own_column();
  if (c >= cols) return;
  int32_t top = tops[r];
  unsigned to = (unsigned)c, n = to % channels, j = to / channels % size, i = to / channels / size;
  if (channels_first) {
    j = to % size;
    i = to / size % size;
    n = to / size / size;
  }
  float value = 0.0f;
  if (top >= 0) value = load_f32(pixels.at(top + i, ((int64_t)lefts[r] + j) * channels + n));
  store_f32(y.at(r, c), value);
}

// ---- the ops ----

static void cuda_embedding(Backend *be, Tensor y, Tensor table, Tensor ids) {
  CudaBackend *cuda = cuda_of(be);
  op_check_embedding(be, y, table, ids);
  CUDA_OP(cuda, "embedding", CUDA_WRITE(y), CUDA_READ(table), CUDA_READ(ids));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "embedding",
         CUDA_LAUNCH(cuda, embedding_kernel<F>, grid_of(y), BLOCK, 0, rows_of<F>(y),
                     (const uint8_t *)table.data, dtype_bytes(table.dtype, table.stride),
                     (int)table.dtype, table.dtype != y.dtype, (const int32_t *)ids.data, y.cols));
}

template <typename T, typename F>
static void embedding_back(CudaBackend *cuda, Tensor dtable, Tensor dy, Tensor ids) {
  CUDA_LAUNCH(cuda, (embedding_back_kernel<T, F>), grid_of(dy), BLOCK, 0, rows_of<T>(dtable),
              rows_of<F>(dy), (const int32_t *)ids.data, dy.rows, dy.cols);
}

static void cuda_embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids) {
  CudaBackend *cuda = cuda_of(be);
  op_check_embedding_back_acc(be, dtable, dy, ids);
  CUDA_OP(cuda, "embedding_back_acc", CUDA_UPDATE(dtable), CUDA_READ(dy), CUDA_READ(ids));
  if (tensor_count(dy) == 0) return;
  if (dtable.dtype == DT_F32) {
    CUDA_F(dy.dtype, "embedding_back_acc", embedding_back<float, F>(cuda, dtable, dy, ids));
  } else { // then dy too is bf16
    embedding_back<__nv_bfloat16, __nv_bfloat16>(cuda, dtable, dy, ids);
  }
}

static void cuda_gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows) {
  CudaBackend *cuda = cuda_of(be);
  op_check_gather_rows(be, y, x, rows);
  CUDA_OP(cuda, "gather_rows", CUDA_WRITE(y), CUDA_READ(x), CUDA_READ(rows));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "gather_rows",
         CUDA_LAUNCH(cuda, gather_kernel<F>, grid_of(y), BLOCK, 0, rows_of<F>(y), rows_of<F>(x),
                     (const int32_t *)rows.data, y.cols));
}

static void cuda_scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  CudaBackend *cuda = cuda_of(be);
  op_check_scatter_rows_acc(be, dx, dy, rows);
  CUDA_OP(cuda, "scatter_rows_acc", CUDA_UPDATE(dx), CUDA_READ(dy), CUDA_READ(rows));
  if (tensor_count(dy) == 0) return;
  CUDA_F(dy.dtype, "scatter_rows_acc",
         CUDA_LAUNCH(cuda, scatter_kernel<F>, grid_of(dy), BLOCK, 0, rows_of<F>(dx), rows_of<F>(dy),
                     (const int32_t *)rows.data, dy.cols));
}

template <typename F, typename P>
static void launch_patchify(CudaBackend *cuda, Tensor y, Tensor pixels, const PatchArgs *args) {
  CUDA_LAUNCH(cuda, (patch_kernel<F, P>), grid_of(y), BLOCK, 0, rows_of<F>(y), rows_of<P>(pixels),
              (const int32_t *)args->tops.data, (const int32_t *)args->lefts.data,
              (unsigned)args->size, (unsigned)args->channels, args->channels_first, y.cols);
}

static void cuda_patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_patchify(be, y, pixels, args);
  CUDA_OP(cuda, "patchify", CUDA_WRITE(y), CUDA_READ(pixels), CUDA_READ(args->tops),
          CUDA_READ(args->lefts));
  if (tensor_count(y) == 0) return;
  if (pixels.dtype == DT_F32) {
    CUDA_F(y.dtype, "patchify", (launch_patchify<F, float>(cuda, y, pixels, args)));
  } else { // of y's dtype
    launch_patchify<__nv_bfloat16, __nv_bfloat16>(cuda, y, pixels, args);
  }
}

extern "C" void cuda_rows_install(Backend *be) {
  be->embedding = cuda_embedding;
  be->embedding_back_acc = cuda_embedding_back_acc;
  be->gather_rows = cuda_gather_rows;
  be->scatter_rows_acc = cuda_scatter_rows_acc;
  be->patchify = cuda_patchify;
}
