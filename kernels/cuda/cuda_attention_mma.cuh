// What the tensor-core kernels of attention share: tiles of bf16 rows in shared memory and products
// of 16 rows of one with the rows of another, in fragments as cuda_ptx.cuh describes them.
//
// A tile is [rows][D], 16-byte pieces of row r at piece ^ (r % 8), so that the eight rows that
// ldmatrix reads lie in different banks. A block has 4 warps; warp w has rows 16 w .. 16 w + 15 of
// its tile of 64, and of a fragment lane l has rows l / 4 and l / 4 + 8.
#ifndef VMA_CUDA_ATTENTION_MMA_CUH
#define VMA_CUDA_ATTENTION_MMA_CUH

#include "cuda_attention.cuh"
#include "cuda_ptx.cuh"

enum { MMA_TILE = 64, MMA_THREADS = 128 };

#define LOG2_E 1.44269504f
#define LN_2 0.69314718f

// What the queries of a sequence see of its `keys` keys: query i those up to i + offset, and those
// of the prefix. Loaded once, so that the rest is arithmetic.
struct Sight {
  int offset, prefix, keys;
  __device__ __forceinline__ Sight(const AttentionView &view, int s)
      : offset(offset_of(view, s)), prefix(view.prefix != NULL ? view.prefix[s] : 0),
        keys(key_count(view, s)) {
  }
  __device__ __forceinline__ int visible(int i) const {
    return min(max(offset + i + 1, prefix), keys);
  }
  // The first query that sees key j.
  __device__ __forceinline__ int first_of(int j) const {
    return j < prefix ? 0 : max(j - offset, 0);
  }
};

// Byte place of piece c of row r in a tile.
template <int D> static __device__ __forceinline__ uint32_t tile_place(int r, int c) {
  return (uint32_t)((r * (D / 8) + (c ^ (r & 7))) * 16);
}

// Starts the copy of N rows into a tile: row(r) says where the head's columns of row r begin. Rows
// from `some` on become zero. Thread t has piece t % (D / 8) of every MMA_THREADS / (D / 8)-th row.
template <int D, int N, typename Row>
static __device__ __forceinline__ void tile_load(uint32_t tile, int some, Row row) {
  enum { PIECES = D / 8, STEP = MMA_THREADS / PIECES };
  int c = threadIdx.x % PIECES;
#pragma unroll
  for (int x = 0; x < N / STEP; x++) {
    int r = x * STEP + threadIdx.x / PIECES;
    bool there = r < some;
    ptx_async_copy16(tile + tile_place<D>(r, c), row(there ? r : 0) + c * 8, there ? 16 : 0);
  }
}

// The same of rows that lie one after the other.
template <int D, int N>
static __device__ __forceinline__ void tile_load_rows(uint32_t tile,
                                                      const Rows<const __nv_bfloat16> &x,
                                                      int64_t first, int64_t column, int some) {
  const __nv_bfloat16 *base = x.at(first, column);
  tile_load<D, N>(tile, some, [&](int r) { return base + r * x.stride; });
}

// x [16][N] = rows row0 .. row0 + 15 of tile a, times the N rows of tile b.
template <int D, int N>
static __device__ __forceinline__ void tile_product(float (&x)[N / 8][4], uint32_t a_tile, int row0,
                                                    uint32_t b_tile) {
  int lane = ptx_lane();
#pragma unroll
  for (int n = 0; n < N / 8; n++) x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0.0f;
#pragma unroll
  for (int d = 0; d < D / 16; d++) {
    uint32_t a[4];
    ptx_ldmatrix_x4(a, a_tile + tile_place<D>(row0 + (lane & 15), 2 * d + (lane >> 4)));
#pragma unroll
    for (int n = 0; n < N / 16; n++) { // 16 rows of b: 0-7 low and high half, 8-15
      uint32_t b[4];
      ptx_ldmatrix_x4(b, b_tile + tile_place<D>(n * 16 + (lane & 7) + (lane >> 4) * 8,
                                                2 * d + ((lane >> 3) & 1)));
      ptx_mma_bf16(x[2 * n], a, b[0], b[1]);
      ptx_mma_bf16(x[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// out [16][D] += p [16][N], rounded to bf16, times the N rows of tile b.
template <int D, int N>
static __device__ __forceinline__ void tile_add(float (&out)[D / 8][4], const float (&p)[N / 8][4],
                                                uint32_t b_tile) {
  int lane = ptx_lane();
#pragma unroll
  for (int j = 0; j < N / 16; j++) {
    uint32_t a[4] = {ptx_pack_bf16(p[2 * j][0], p[2 * j][1]),
                     ptx_pack_bf16(p[2 * j][2], p[2 * j][3]),
                     ptx_pack_bf16(p[2 * j + 1][0], p[2 * j + 1][1]),
                     ptx_pack_bf16(p[2 * j + 1][2], p[2 * j + 1][3])};
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
      uint32_t b[4];
      ptx_ldmatrix_x4_trans(b, b_tile + tile_place<D>(j * 16 + (lane & 15), 2 * c + (lane >> 4)));
      ptx_mma_bf16(out[2 * c], a, b[0], b[1]);
      ptx_mma_bf16(out[2 * c + 1], a, b[2], b[3]);
    }
  }
}

// Whether a call's dtype, widths and lengths suit the tiles; rows must be wide besides.
static inline bool mma_takes(Tensor q, const AttentionArgs *args) {
  return q.dtype == DT_BF16 && !tensor_given(args->bias) && args->max_q > CUDA_DECODE_QUERIES &&
         (args->head_dim == 64 || args->head_dim == 128);
}

#endif
