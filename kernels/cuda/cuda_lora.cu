// Low-rank adapters (Hu et al. 2021) in f32 with IEEE FMA: six skinny products of one kernel.
//
// Maths, rows r of the batch (those that are not selected count as zeros), x' = dropout(x), rank p:
//   down   t  [R,p]   =  x'  A^T              dt  dt [R,p]   =  scale dy B
//   up     y  [R,N]  +=  scale t B^T          dx  dx [R,K]  +=  mask (dt A)
//   db     db [N,p]  +=  scale dy^T t         da  da [p,K]  +=  (x'^T dt)^T
//
// Tiling: out[m, n] = sum over d of left[m, d] right[n, d]. A block of 256 threads owns a tile of
// 64 rows and TN columns, TN = 16 where the columns are ranks up to 16, else 64, and walks the
// depth in steps of 32. A thread owns 4 neighbouring columns of MR rows (rows 64 / MR apart): MR
// TN / 4 x 64 / MR = 256 threads. An operand lies in memory with its depth along rows or along
// columns; both are read 4 columns at a time, which is also the group of the dropout mask: one
// Philox draws it where x is read and where dx is written, equal to the CPU's bit for bit.
//
// The sums of da and db run over the rows of the batch: pieces of CUDA_LORA_ROWS rows, each into
// its own partial matrix [width][p] in scratch, which a second kernel adds up in order. The shape
// alone cuts them; there is no atomic. All other sums belong to one thread and run in order.
//
// Shared memory: left [32][65] and right [32][TN + 4] floats (16.6 KiB at TN = 64); the odd pitch
// spreads the transposed stores over the banks, right rows stay 16-byte aligned.
// flops: 2 R p (K + N) forward, twice that backward. bytes: x, y, dy and dx once each per 64
// columns of the other operand, that is once for p <= 64.
#include "cuda_math.cuh"
#include "cuda_scratch.h"

enum { LORA_THREADS = 256, LORA_TM = 64, LORA_DEPTH = 32 };

// Which rows count; adapters NULL: all.
struct Selection {
  const int32_t *adapters;
  int32_t id;
  __device__ __forceinline__ bool has(int64_t row) const {
    return adapters == NULL || adapters[row] == id;
  }
};

// A matrix whose rows of the batch may be masked. BY_DEPTH: its rows are the depth of the product,
// its columns run along the tile; else the other way round.
template <typename T, bool BY_DEPTH> struct Operand {
  Rows<const T> values;
  int64_t rows, cols;
  Selection selection;
  DropoutMask mask;
  bool wide; // 4 columns lie aligned

  // Columns c .. c + 3 of row r, c a multiple of 4; 0 beyond `last` rows and the last column.
  __device__ __forceinline__ void quad(float (&v)[4], int64_t r, int64_t c, int64_t last) const {
    if (r >= last || c >= cols || !selection.has(r)) {
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = 0.0f;
      return;
    }
    load_some(v, values.row(r) + c, cols - c < 4 ? (int)(cols - c) : 4, wide);
    if (!mask.on) return;
    float factor[4];
    dropout_factors(factor, mask, r, (uint32_t)(c / 4));
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] *= factor[i];
  }
};

// Puts the operand's share of one tile into shared memory: tile[d][i] for the depths d0 .. of
// [d0, d1) and SPAN rows or columns from i0.
template <int SPAN, int PITCH, typename T, bool BY_DEPTH>
__device__ __forceinline__ void fill_tile(float *tile, const Operand<T, BY_DEPTH> &operand,
                                          int64_t i0, int64_t d0, int64_t d1) {
  enum { ALONG = (BY_DEPTH ? SPAN : LORA_DEPTH) / 4, QUADS = SPAN * LORA_DEPTH / 4 };
#pragma unroll
  for (int q = 0; q < QUADS; q += LORA_THREADS) {
    int at = q + threadIdx.x;
    if (QUADS % LORA_THREADS != 0 && at >= QUADS) break;
    int across = at / ALONG, along = at % ALONG * 4;
    float v[4];
    if (BY_DEPTH) {
      operand.quad(v, d0 + across, i0 + along, d1);
#pragma unroll
      for (int k = 0; k < 4; k++) tile[across * PITCH + along + k] = v[k];
    } else {
      operand.quad(v, i0 + across, d0 + along, operand.rows);
#pragma unroll
      for (int k = 0; k < 4; k++) tile[(along + k) * PITCH + across] = v[k];
    }
  }
}

// out = factor * sums or, ADD, out += factor * mask * sums in the rows of `selection`.
template <typename T, bool ADD> struct Result {
  Rows<T> out;
  int64_t rows, cols;
  int64_t piece_size; // elements from one piece's result to the next one's
  float factor;
  Selection selection;
  DropoutMask mask;
  bool wide;

  __device__ __forceinline__ void quad(const float (&sum)[4], int64_t r, int64_t c,
                                       int64_t piece) const {
    if (r >= rows || c >= cols || (ADD && !selection.has(r))) return;
    T *p = out.row(r) + c + piece * piece_size;
    int n = cols - c < 4 ? (int)(cols - c) : 4;
    float v[4];
    if constexpr (ADD) {
      float keep[4];
      dropout_factors(keep, mask, r, (uint32_t)(c / 4));
      load_some(v, p, n, wide);
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] += factor * sum[i] * keep[i];
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = factor * sum[i];
    }
    store_some(p, v, n, wide);
  }
};

// Grid: tiles of columns, tiles of rows, pieces of the depth.
// budget: product_kernel registers=80 shared=17024
template <int TN, typename L, bool LD, typename R, bool RD, typename T, bool ADD>
static __global__ void __launch_bounds__(LORA_THREADS, 3)
    product_kernel(Operand<L, LD> left, Operand<R, RD> right, Result<T, ADD> result, int64_t depth,
                   int64_t piece_depth) {
  enum { PL = LORA_TM + 1, PR = TN + 4, QUADS = TN / 4, STEP = LORA_THREADS / QUADS };
  enum { MR = LORA_TM / STEP };
  __shared__ float left_tile[LORA_DEPTH * PL];
  __shared__ __align__(16) float right_tile[LORA_DEPTH * PR];
  int64_t m0 = (int64_t)blockIdx.y * LORA_TM, n0 = (int64_t)blockIdx.x * TN;
  int64_t from = (int64_t)blockIdx.z * piece_depth;
  int64_t to = depth - from < piece_depth ? depth : from + piece_depth;
  int column = threadIdx.x % QUADS * 4, row = threadIdx.x / QUADS;
  float sum[MR][4] = {};
  int64_t d0 = from;
  do { // with no depth at all the tiles are zeros
    fill_tile<LORA_TM, PL>(left_tile, left, m0, d0, to);
    fill_tile<TN, PR>(right_tile, right, n0, d0, to);
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < LORA_DEPTH; d++) {
      float4 r = *(const float4 *)(right_tile + d * PR + column);
#pragma unroll
      for (int i = 0; i < MR; i++) {
        float l = left_tile[d * PL + row + i * STEP];
        sum[i][0] = fmaf(l, r.x, sum[i][0]);
        sum[i][1] = fmaf(l, r.y, sum[i][1]);
        sum[i][2] = fmaf(l, r.z, sum[i][2]);
        sum[i][3] = fmaf(l, r.w, sum[i][3]);
      }
    }
    __syncthreads();
  } while ((d0 += LORA_DEPTH) < to);
#pragma unroll
  for (int i = 0; i < MR; i++) result.quad(sum[i], m0 + row + i * STEP, n0 + column, blockIdx.z);
}

// out (+)= factor * the sum of the pieces, in order; partials [piece][width][rank], out [width,
// rank] or, `transposed`, [rank, width]. A thread owns an element.
// budget: gradient_kernel registers=32 shared=0
static __global__ void gradient_kernel(Rows<float> out, const float *partials, int64_t width,
                                       int64_t rank, int64_t pieces, float factor,
                                       bool transposed) {
  int64_t i = (int64_t)blockIdx.x * LORA_THREADS + threadIdx.x;
  if (i >= width * rank) return;
  int64_t w = transposed ? i % width : i / rank, j = transposed ? i / width : i % rank;
  float sum = 0.0f;
  int64_t p = 0; // there is one at least
  do sum += partials[(p * width + w) * rank + j];
  while (++p < pieces);
  float *at = transposed ? out.row(j) + w : out.row(w) + j;
  *at += factor * sum;
}

// ---- launching ----

static bool quads_lie_aligned(Tensor t) {
  int64_t quad = 4 * dtype_info(t.dtype)->block_bytes;
  return (uintptr_t)t.data % quad == 0 && (t.rows <= 1 || t.stride % 4 == 0);
}

static Selection selection_of(RowSelect select) {
  Selection s = {(const int32_t *)select.adapters.data, select.id};
  return s;
}

static Selection select_all(void) {
  Selection s = {NULL, 0};
  return s;
}

// The whole tensor as it lies.
template <typename T, bool BY_DEPTH> static Operand<T, BY_DEPTH> operand_of(Tensor t) {
  Operand<T, BY_DEPTH> o = {
      const_rows<T>(t), t.rows, t.cols, select_all(), dropout_mask_of(NULL), quads_lie_aligned(t)};
  return o;
}

// Of a tensor with a row per token.
template <typename T, bool BY_DEPTH>
static Operand<T, BY_DEPTH> selected_of(Tensor t, RowSelect select, const Dropout *dropout) {
  Operand<T, BY_DEPTH> o = operand_of<T, BY_DEPTH>(t);
  o.selection = selection_of(select);
  o.mask = dropout_mask_of(dropout);
  return o;
}

template <typename T, bool ADD> static Result<T, ADD> result_of(Tensor t, float factor) {
  Result<T, ADD> r = {
      rows_of<T>(t),       t.rows, t.cols, 0, factor, select_all(), dropout_mask_of(NULL),
      quads_lie_aligned(t)};
  return r;
}

template <int TN, typename L, bool LD, typename R, bool RD, typename T, bool ADD>
static void launch_tiles(CudaBackend *cuda, const Operand<L, LD> &left, const Operand<R, RD> &right,
                         const Result<T, ADD> &result, int64_t depth, int64_t piece_depth,
                         int64_t pieces) {
  enum { MOST = 65535 }; // tiles of a launch along the grid's second dimension
  int64_t tiles = cuda_ceil(result.rows, LORA_TM);
  CHECK(tiles <= MOST && pieces <= MOST, "LoRA: %lld rows in one product; split the batch",
        (long long)result.rows);
  dim3 grid((unsigned)cuda_ceil(result.cols, TN), (unsigned)tiles, (unsigned)pieces);
  CUDA_LAUNCH(cuda, (product_kernel<TN, L, LD, R, RD, T, ADD>), grid, LORA_THREADS, 0, left, right,
              result, depth, piece_depth);
}

// Columns of the result are ranks, few as a rule.
template <typename L, bool LD, typename R, bool RD, typename T, bool ADD>
static void launch_ranks(CudaBackend *cuda, const Operand<L, LD> &left, const Operand<R, RD> &right,
                         const Result<T, ADD> &result, int64_t depth, int64_t piece_depth,
                         int64_t pieces) {
  if (result.cols <= 16)
    launch_tiles<16>(cuda, left, right, result, depth, piece_depth, pieces);
  else
    launch_tiles<64>(cuda, left, right, result, depth, piece_depth, pieces);
}

// ---- the ops ----

static void cuda_lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                           const Dropout *dropout) {
  CudaBackend *cuda = cuda_of(be);
  op_check_lora_down(be, t, x, a, select, dropout);
  CUDA_OP(cuda, "lora_down", CUDA_WRITE(t), CUDA_READ(x), CUDA_READ(a), CUDA_READ(select.adapters),
          CUDA_READ_DROPOUT(dropout));
  if (tensor_count(t) == 0) return;
  CUDA_F(x.dtype, "lora_down",
         launch_ranks(cuda, selected_of<F, false>(x, select, dropout), operand_of<float, false>(a),
                      result_of<float, false>(t, 1.0f), x.cols, x.cols, 1));
}

static void cuda_lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, float scale,
                             RowSelect select) {
  CudaBackend *cuda = cuda_of(be);
  op_check_lora_up_acc(be, y, t, b, select);
  CUDA_OP(cuda, "lora_up_acc", CUDA_UPDATE(y), CUDA_READ(t), CUDA_READ(b),
          CUDA_READ(select.adapters));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "lora_up_acc", {
    Result<F, true> result = result_of<F, true>(y, scale);
    result.selection = selection_of(select);
    launch_tiles<64>(cuda, operand_of<float, false>(t), operand_of<float, false>(b), result, t.cols,
                     t.cols, 1);
  });
}

// out += factor * wide^T narrow over the selected rows, or its transpose: wide [R, width], narrow
// f32 [R, rank].
template <typename F>
static void launch_gradient(CudaBackend *cuda, Tensor out, bool transposed, Tensor wide,
                            Tensor narrow, float factor, RowSelect select, const Dropout *dropout,
                            void *scratch) {
  int64_t width = wide.cols, rank = narrow.cols, pieces = cuda_lora_pieces(wide.rows);
  Tensor partial = tensor_make(scratch, DT_F32, width, rank);
  Result<float, false> result = result_of<float, false>(partial, 1.0f);
  result.piece_size = width * rank;
  result.wide = result.wide && rank % 4 == 0;
  launch_ranks(cuda, selected_of<F, true>(wide, select, dropout), operand_of<float, true>(narrow),
               result, wide.rows, CUDA_LORA_ROWS, pieces);
  CUDA_LAUNCH(cuda, gradient_kernel, cuda_ceil(width * rank, LORA_THREADS), LORA_THREADS, 0,
              rows_of<float>(out), (const float *)scratch, width, rank, pieces, factor, transposed);
}

template <typename F>
static void launch_back(CudaBackend *cuda, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                        Tensor t, Tensor x, Tensor a, Tensor b, float scale, RowSelect select,
                        const Dropout *dropout) {
  launch_ranks(cuda, selected_of<F, false>(dy, select, NULL), operand_of<float, true>(b),
               result_of<float, false>(dt, scale), dy.cols, dy.cols, 1);
  void *scratch = cuda_scratch(cuda, cuda_scratch_lora_back(da, db, x.rows));
  if (tensor_given(db)) launch_gradient<F>(cuda, db, false, dy, t, scale, select, NULL, scratch);
  if (tensor_given(da)) launch_gradient<F>(cuda, da, true, x, dt, 1.0f, select, dropout, scratch);
  if (!tensor_given(dx)) return;
  Result<F, true> result = result_of<F, true>(dx, 1.0f);
  result.selection = selection_of(select);
  result.mask = dropout_mask_of(dropout);
  launch_tiles<64>(cuda, operand_of<float, false>(dt), operand_of<float, true>(a), result, dt.cols,
                   dt.cols, 1);
}

static void cuda_lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                               Tensor t, Tensor x, Tensor a, Tensor b, float scale,
                               RowSelect select, const Dropout *dropout) {
  CudaBackend *cuda = cuda_of(be);
  op_check_lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, select, dropout);
  CUDA_OP(cuda, "lora_back_acc", CUDA_UPDATE(dx), CUDA_UPDATE(da), CUDA_UPDATE(db), CUDA_UPDATE(dt),
          CUDA_READ(dy), CUDA_READ(t), CUDA_READ(x), CUDA_READ(a), CUDA_READ(b),
          CUDA_READ(select.adapters), CUDA_READ_DROPOUT(dropout));
  if (dt.rows == 0 || dt.cols == 0) return;
  CUDA_F(x.dtype, "lora_back_acc",
         launch_back<F>(cuda, dx, da, db, dt, dy, t, x, a, b, scale, select, dropout));
}

void cuda_lora_install(Backend *be) {
  be->lora_down = cuda_lora_down;
  be->lora_up_acc = cuda_lora_up_acc;
  be->lora_back_acc = cuda_lora_back_acc;
}
