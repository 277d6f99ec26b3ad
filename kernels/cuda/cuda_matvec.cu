// The linear map of a few rows, as a decode step has them: y[r] = W x[r] (+ bias) (+ y[r]) for 1 to
// 16 rows, with W in f32, bf16 or quantised as it lies in memory.
//
// Bytes decide: W once, whatever the number of rows; 2 R N K flops. A product through tiles would
// expand a quantised W first, which writes and reads it again two to seven times its size.
//
// Tiling: a warp makes two columns of y, that is two rows of W, for all R rows of x (of 9 rows and
// more one: two have more sums than there are registers); a block is four warps that share nothing.
// R is rounded up to 1, 4, 8 or 16, the further rows being the last one again: that costs
// arithmetic, no memory traffic, and no branch inside.
//
// A lane owns 8 elements of every 256 along K. It holds them of both rows of W, reads those of x
// once for the two (16 bytes at a time, in L1 for all but the first warp), and keeps their sums. Of
// the last K % 8 elements the first lanes take one each. W in f32 or bf16 goes to registers, 16
// bytes at a time. Blocks of a quantised one lie at even addresses only: the bytes of 1024 elements
// of the warp's rows are copied to shared memory asynchronously, 16 at a time where they are
// aligned to that, and taken apart there; while a warp waits, others multiply.
//
// At the end the lanes' sums are added in the order of the shuffles, and lane i writes the sum of
// row i % R of W's row i / R. Sums are cut by K alone: not by the number of rows, of
// multiprocessors or the alignment.
//
// Shared memory (quantised): two rows of 1024 elements a warp (1088 bytes in Q8_0); 8,704 bytes a
// block.
#include "cuda_ptx.cuh"
#include "cuda_quant.cuh"

enum { WARPS = 4, PIECE = 8, STEP = 32 * PIECE, CHUNK = 1024, CHUNK_BYTES = 1088 };

// Rows of W that a warp takes at a time with R rows of x.
template <int R> struct Own {
  enum { ROWS = R > 8 ? 1 : 2 };
};

template <int R> using Sums = float[Own<R>::ROWS][R];

template <typename F> struct Matvec {
  void *y; // F or f32
  int64_t y_stride;
  bool y_f32, acc;
  Rows<const F> x;
  const F *bias;    // NULL: none
  const uint8_t *w; // rows w_stride bytes apart
  int64_t w_stride, n, k;
  int rows;
  bool x_wide, w_wide;
};

// Row `which` of those of this warp; the last one where there is none.
template <typename F>
__device__ __forceinline__ const uint8_t *weight_row(const Matvec<F> &m, int64_t first, int which) {
  return m.w + min(first + which, m.n - 1) * m.w_stride;
}

// One element, or a piece.
template <int N, typename F>
__device__ __forceinline__ void load_elements(float (&v)[N], const F *p, bool wide) {
  if constexpr (N > 1) {
    if (wide) {
      load_wide(v, p);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = load_f32(p + i);
}

// sums[i][r] += w[i] . x[r] over N elements from column k on.
template <int N, typename F, int R>
__device__ __forceinline__ void add_products(Sums<R> &sums, const float (&w)[Own<R>::ROWS][N],
                                             const Matvec<F> &m, int64_t k) {
  const F *row = m.x.data + k; // one that moves on: R addresses would not fit the registers
#pragma unroll
  for (int r = 0; r < R; r++) {
    float x[N];
    load_elements(x, row, m.x_wide);
    row += r < m.rows - 1 ? m.x.stride : 0; // the last one again
#pragma unroll
    for (int i = 0; i < Own<R>::ROWS; i++) {
#pragma unroll
      for (int j = 0; j < N; j++) sums[i][r] = fmaf(w[i][j], x[j], sums[i][r]);
    }
  }
}

template <typename F, int R>
__device__ __forceinline__ void write_sums(const Sums<R> &sums, const Matvec<F> &m, int64_t first) {
  int lane = ptx_lane();
  float mine = 0.0f;
#pragma unroll
  for (int i = 0; i < Own<R>::ROWS * R; i++) {
    float sum = warp_sum(sums[i / R][i % R]);
    if (lane == i) mine = sum;
  }
  int r = lane % R;
  int64_t n = first + lane / R;
  if (lane >= Own<R>::ROWS * R || (R > 1 && r >= m.rows) || n >= m.n) return;
  int64_t at = r * m.y_stride + n;
  if (m.bias != NULL) mine += load_f32(m.bias + n);
  if (m.y_f32) {
    float *y = (float *)m.y + at;
    *y = m.acc ? *y + mine : mine;
  } else {
    F *y = (F *)m.y + at;
    store_f32(y, m.acc ? load_f32(y) + mine : mine);
  }
}

template <int R> static __device__ __forceinline__ int64_t first_row(void) {
  return Own<R>::ROWS * ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32);
}

template <int N, typename F, int R>
__device__ __forceinline__ void add_columns(Sums<R> &sums, const Matvec<F> &m, int64_t first,
                                            int64_t k) {
  float w[Own<R>::ROWS][N];
#pragma unroll
  for (int i = 0; i < Own<R>::ROWS; i++)
    load_elements(w[i], (const F *)weight_row(m, first, i) + k, m.w_wide);
  add_products<N, F, R>(sums, w, m, k);
}

// budget: matvec_kernel registers=128 shared=0
template <typename F, int R>
static __global__ void __launch_bounds__(32 * WARPS) matvec_kernel(Matvec<F> m) {
  int lane = ptx_lane(), rest = (int)(m.k % PIECE);
  int64_t first = first_row<R>(), whole = m.k - rest;
  Sums<R> sums = {};
  for (int64_t k = lane * PIECE; k < whole; k += STEP) add_columns<PIECE, F, R>(sums, m, first, k);
  if (lane < rest) add_columns<1, F, R>(sums, m, first, whole + lane);
  write_sums<F, R>(sums, m, first);
}

// Begins to copy n bytes of a row, by LANES lanes. Addresses are even, and multiples of 16 where
// blocks are.
template <int BLOCK_BYTES, int LANES>
static __device__ __forceinline__ void stage(uint8_t *to, const uint8_t *from, int n) {
  int lane = ptx_lane() % LANES, wide = n / 16;
  if (BLOCK_BYTES % 16 != 0 && (uintptr_t)from % 16 != 0) wide = 0;
  for (int i = lane; i < wide; i += LANES)
    ptx_async_copy16(ptx_shared(to + 16 * i), from + 16 * i, 16);
  ptx_async_commit();
  if constexpr (BLOCK_BYTES % 16 != 0) {
    for (int i = 8 * wide + lane; i < n / 2; i += LANES)
      ((uint16_t *)to)[i] = ((const uint16_t *)from)[i];
  }
}

// budget: matvec_quant_kernel registers=128 shared=8704
template <typename F, int DTYPE, int R>
static __global__ void __launch_bounds__(32 * WARPS) matvec_quant_kernel(Matvec<F> m) {
  typedef Quant<DTYPE> Q;
  enum { LANES = 32 / Own<R>::ROWS, BYTES = CHUNK / Q::ELEMENTS * Q::BYTES };
  static_assert((int)BYTES <= (int)CHUNK_BYTES, "a chunk of a row fits its buffer");
  static_assert(STEP % Q::ELEMENTS == 0, "pieces of a step end with its blocks");
  __shared__ __align__(16) uint8_t buffers[WARPS][Own<R>::ROWS][CHUNK_BYTES];
  uint8_t(*own)[CHUNK_BYTES] = buffers[threadIdx.x / 32];
  int lane = ptx_lane(), which = lane / LANES;
  int64_t first = first_row<R>(), left = m.k / Q::ELEMENTS * Q::BYTES, k0 = 0;
  const uint8_t *from = weight_row(m, first, which);
  Sums<R> sums = {};
  do {
    stage<Q::BYTES, LANES>(own[which], from, (int)min((int64_t)BYTES, left));
    ptx_async_wait<0>();
    __syncwarp();
    int end = (int)min((int64_t)CHUNK, m.k - k0), k = lane * PIECE;
    // A step of the large blocks is one of them: no lane is without a piece.
    if (Q::ELEMENTS == STEP || k < end) {
      do {
        float w[Own<R>::ROWS][PIECE];
#pragma unroll
        for (int i = 0; i < Own<R>::ROWS; i++) Q::values(w[i], own[i], (int64_t)k);
        add_products<PIECE, F, R>(sums, w, m, k0 + k);
        k += STEP;
      } while (k < end);
    }
    __syncwarp(); // before the buffers are written again
    from += BYTES;
    left -= BYTES;
    k0 += CHUNK;
  } while (k0 < m.k);
  write_sums<F, R>(sums, m, first);
}

// ---- the op ----

template <typename F, int R> static void launch(CudaBackend *cuda, const Matvec<F> &m, DType w) {
  CHECK(w != DT_Q4_K || (uintptr_t)m.w % 16 == 0, "linear: blocks of %s at an odd address",
        dtype_info(w)->name);
  unsigned blocks = (unsigned)cuda_ceil(m.n, Own<R>::ROWS * WARPS);
  switch (w) {
  case DT_Q8_0:
    CUDA_LAUNCH(cuda, (matvec_quant_kernel<F, DT_Q8_0, R>), blocks, 32 * WARPS, 0, m);
    return;
  case DT_Q4_0:
    CUDA_LAUNCH(cuda, (matvec_quant_kernel<F, DT_Q4_0, R>), blocks, 32 * WARPS, 0, m);
    return;
  case DT_Q4_1:
    CUDA_LAUNCH(cuda, (matvec_quant_kernel<F, DT_Q4_1, R>), blocks, 32 * WARPS, 0, m);
    return;
  case DT_Q4_K:
    CUDA_LAUNCH(cuda, (matvec_quant_kernel<F, DT_Q4_K, R>), blocks, 32 * WARPS, 0, m);
    return;
  case DT_Q6_K:
    CUDA_LAUNCH(cuda, (matvec_quant_kernel<F, DT_Q6_K, R>), blocks, 32 * WARPS, 0, m);
    return;
  default: // of the activations' dtype
    CUDA_LAUNCH(cuda, (matvec_kernel<F, R>), blocks, 32 * WARPS, 0, m);
  }
}

extern "C" void cuda_matvec(CudaBackend *cuda, Tensor y, Tensor x, Tensor w, Tensor bias,
                            bool acc) {
  DType kind = w.cols > 0 ? w.dtype : x.dtype; // without columns there is no block
  CUDA_F(x.dtype, "linear", {
    Matvec<F> m = {y.data,
                   y.stride,
                   y.dtype == DT_F32,
                   acc,
                   const_rows<F>(x),
                   (const F *)bias.data,
                   (const uint8_t *)w.data,
                   dtype_bytes(w.dtype, w.stride),
                   w.rows,
                   w.cols,
                   (int)x.rows,
                   cuda_wide(x),
                   cuda_wide(w)};
    if (x.rows == 1) {
      launch<F, 1>(cuda, m, kind);
    } else if (x.rows <= 4) {
      launch<F, 4>(cuda, m, kind);
    } else if (x.rows <= 8) {
      launch<F, 8>(cuda, m, kind);
    } else {
      launch<F, CUDA_MATVEC_ROWS>(cuda, m, kind);
    }
  });
}
