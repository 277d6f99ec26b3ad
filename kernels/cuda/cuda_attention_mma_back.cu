// Attention backward in bf16 on tensor cores, for heads of 64 and 128 columns: FlashAttention-2
// (Dao 2023) in two passes, so that no sum is shared between blocks and there is no atomic.
//
// It takes a call when q is bf16, a head has 64 or 128 columns, every tensor but lse begins every
// row at a multiple of 16 bytes, max_q > 16 and there is no relative bias. Every other call goes to
// cuda_attention_back.cu.
//
// Maths: as there, p_ij = 2^(scale log2(e) q_i . k_j - log2(e) lse_i), delta_i = do_i . o_i,
// ds_ij = p_ij (do_i . v_j - delta_i). p and ds are rounded to bf16 for the products with do, k, q.
//
// Tiling: a block has 4 warps; of its tile of 64 warp w owns rows 16 w .. 16 w + 15, whose sums
// stay in registers to the end.
//   dq   a block owns 64 queries of a head of a sequence and walks the keys, 64 at a time, as far
//        as its last query sees. The next K and V are under way meanwhile. It leaves delta in
//        scratch for the second pass.
//   dkv  a block owns 64 keys of a kv head of a sequence and walks the query heads of its group and
//        the queries from the first that sees one of its keys, 64 (D 64) or 32 (D 128) at a time.
//        Its products are transposed, keys by queries: p and ds are then operands as they stand.
// Shared memory, tiles of bf16 rows as cuda_attention_mma.cuh lays them out:
//   dq   Q, dO, V, K, next K [64][D]: 40 KiB (D 64) or 80 KiB (D 128).
//   dkv  K, V [64][D], Q, dO [64 or 32][D], then lse log2(e) and delta of the tile's queries, f32:
//        32.5 KiB or 48.25 KiB; two blocks fit a multiprocessor of compute capability 8.6.
// flops: 14 D a pair of whole tiles (5 products and 2 recomputed); bytes: dq, dk, dv twice; for dq
// Q, dO, o once, K, V once a query tile; for dkv K, V once, Q, dO once a key tile (mostly L2).
//
// Use of the tensor cores in the two loops, as a model of the machine code predicts it and no
// device has confirmed: compute capability 8.0: dq 64 %, dkv 57 % (D 128), 58 % and 59 % (D
// 64); 8.6: 86 % and 99 % (D 128), 97 % and 99 % (D 64). 10 D of the flops are useful: that leaves
// 43 % (D 128) and 42 % (D 64) on 8.0, 67 % and 70 % on 8.6; FlashAttention-2 has 66 % and 59 %
// on 8.0, 95 % (D 128) on 8.6 there. Two products done twice are the price of sums without atomics.
#include "cuda_attention_mma.cuh"
#include "cuda_scratch.h"

typedef __nv_bfloat16 Half;

struct BackTensors {
  Rows<Half> dq, dk, dv;
  Rows<const Half> d_o, o, q, k, v;
  Rows<const float> lse;
  float *delta; // [rows of q][heads]
};

// to[8 c ..] += factor x of the lane's columns of row `half` of its two.
template <int D>
static __device__ __forceinline__ void add_row(Half *to, const float (&x)[D / 8][4], int half,
                                               float factor) {
#pragma unroll
  for (int c = 0; c < D / 8; c++) {
    uint32_t *pair = (uint32_t *)(to + c * 8);
    float low, high;
    unpack_bf16(&low, &high, *pair);
    *pair =
        ptx_pack_bf16(fmaf(factor, x[c][2 * half], low), fmaf(factor, x[c][2 * half + 1], high));
  }
}

// do . o of the warp's 16 rows, D / 8 lanes a row, to delta.
template <int D>
static __device__ __forceinline__ void row_products(const BackTensors &t, int64_t first, int heads,
                                                    int head, int row0, int some) {
  enum { G = D / 8, AT_ONCE = 32 / G };
  int lane = ptx_lane();
  int64_t column = (int64_t)head * D + lane % G * 8;
#pragma unroll
  for (int x = 0; x < 16 / AT_ONCE; x++) {
    int r = row0 + x * AT_ONCE + lane / G;
    float a[8] = {}, b[8] = {}, sum = 0.0f;
    if (r < some) {
      load_wide(a, t.d_o.at(first + r, column));
      load_wide(b, t.o.at(first + r, column));
    }
#pragma unroll
    for (int c = 0; c < 8; c++) sum = fmaf(a[c], b[c], sum);
#pragma unroll
    for (int apart = G / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    if (r < some && lane % G == 0) t.delta[(first + r) * heads + head] = sum;
  }
}

// budget: attention_mma_dq_kernel registers=255 shared=0
template <int D>
static __global__ void __launch_bounds__(MMA_THREADS, 1)
    attention_mma_dq_kernel(BackTensors t, AttentionView view, int tiles) {
  extern __shared__ uint4 tile_memory[];
  enum { BYTES = MMA_TILE * D * 2 };
  uint32_t q_tile = ptx_shared(tile_memory), do_tile = q_tile + BYTES, v_tile = do_tile + BYTES,
           k_tile = v_tile + BYTES, next_k = k_tile + BYTES;
  int row0 = threadIdx.x / 32 * 16, s = blockIdx.x / tiles, head = blockIdx.y;
  int i0 = (tiles - 1 - (int)(blockIdx.x % tiles)) * MMA_TILE; // the longest first
  int64_t first = (int64_t)view.cu_q[s] + i0, keys = view.cu_k[s], column = (int64_t)head * D,
          kv_column = (int64_t)(head / view.group) * D;
  Sight sight(view, s);
  int some = (int)(view.cu_q[s + 1] - first), seen[2]; // queries from i0 on, the tile's and later
  int end = some > 0 ? sight.visible(i0 + min(some, (int)MMA_TILE) - 1) : 0;
  if (end > 0) { // the same for the whole block
    tile_load_rows<D, MMA_TILE>(q_tile, t.q, first, column, some);
    tile_load_rows<D, MMA_TILE>(do_tile, t.d_o, first, column, some);
    tile_load_rows<D, MMA_TILE>(k_tile, t.k, keys, kv_column, end);
    tile_load_rows<D, MMA_TILE>(v_tile, t.v, keys, kv_column, end);
    ptx_async_commit();
  }
  row_products<D>(t, first, view.heads, head, row0, some);
  __syncwarp(); // delta of the warp's rows is there
  float delta[2], lse[2], out[D / 8][4] = {}, scale = view.scale * LOG2_E;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int r = row0 + ptx_lane_row() + 8 * half;
    bool there = r < some;
    seen[half] = there ? sight.visible(i0 + r) : 0;
    lse[half] = there ? t.lse.row(first + r)[head] * LOG2_E : 0.0f;
    delta[half] = there ? t.delta[(first + r) * view.heads + head] : 0.0f;
  }
  for (int j0 = 0; j0 < end; j0 += MMA_TILE) {
    ptx_async_wait<0>();
    __syncthreads(); // K and V are there; nobody reads the K before any more
    int next = j0 + MMA_TILE;
    if (next < end) tile_load_rows<D, MMA_TILE>(next_k, t.k, keys + next, kv_column, end - next);
    float x[8][4], ds[8][4];
    tile_product<D, MMA_TILE>(x, q_tile, row0, k_tile);
    tile_product<D, MMA_TILE>(ds, do_tile, row0, v_tile);
    __syncthreads(); // nobody reads V any more
    if (next < end) {
      tile_load_rows<D, MMA_TILE>(v_tile, t.v, keys + next, kv_column, end - next);
      ptx_async_commit();
    }
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int j = j0 + n * 8 + 2 * ptx_lane_column() + e % 2;
        float p = ptx_exp2(fmaf(x[n][e], scale, -lse[e / 2]));
        ds[n][e] = j < seen[e / 2] ? p * (ds[n][e] - delta[e / 2]) : 0.0f;
      }
    }
    tile_add<D, MMA_TILE>(out, ds, k_tile);
    uint32_t done = k_tile;
    k_tile = next_k;
    next_k = done;
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int r = row0 + ptx_lane_row() + 8 * half;
    if (seen[half] > 0)
      add_row<D>(t.dq.at(first + r, column + 2 * ptx_lane_column()), out, half, view.scale);
  }
}

// budget: attention_mma_dkv_kernel registers=255 shared=0
template <int D, int N>
static __global__ void __launch_bounds__(MMA_THREADS, 1)
    attention_mma_dkv_kernel(BackTensors t, AttentionView view, int tiles) {
  extern __shared__ uint4 tile_memory[];
  uint32_t k_tile = ptx_shared(tile_memory), v_tile = k_tile + MMA_TILE * D * 2,
           q_tile = v_tile + MMA_TILE * D * 2, do_tile = q_tile + N * D * 2;
  float *lse = (float *)tile_memory + (MMA_TILE + N) * D, *delta = lse + N;
  int row0 = threadIdx.x / 32 * 16, s = blockIdx.x / tiles, kv_head = blockIdx.y;
  Sight sight(view, s);
  int j0 = (int)(blockIdx.x % tiles) * MMA_TILE, some = sight.keys - j0;
  int64_t first = view.cu_q[s], keys = (int64_t)view.cu_k[s] + j0, kv_column = (int64_t)kv_head * D;
  int n_q = (int)(view.cu_q[s + 1] - first);
  if (some <= 0) n_q = 0;
  int from = sight.first_of(j0), seen_from[2];
#pragma unroll
  for (int half = 0; half < 2; half++)
    seen_from[half] = sight.first_of(j0 + row0 + ptx_lane_row() + 8 * half);
  float dk[D / 8][4] = {}, dv[D / 8][4] = {}, scale = view.scale * LOG2_E;
  if (from < n_q) { // the same for the whole block
    tile_load_rows<D, MMA_TILE>(k_tile, t.k, keys, kv_column, some);
    tile_load_rows<D, MMA_TILE>(v_tile, t.v, keys, kv_column, some);
  }
  for (int head = kv_head * view.group; head < (kv_head + 1) * view.group; head++) {
    for (int i0 = from; i0 < n_q; i0 += N) {
      int64_t column = (int64_t)head * D;
      tile_load_rows<D, N>(q_tile, t.q, first + i0, column, n_q - i0);
      tile_load_rows<D, N>(do_tile, t.d_o, first + i0, column, n_q - i0);
      ptx_async_commit();
      if (threadIdx.x < N) { // rows behind the last: Q and dO are zero, anything finite will do
        int64_t row = first + i0 + threadIdx.x;
        bool there = i0 + (int)threadIdx.x < n_q;
        lse[threadIdx.x] = there ? t.lse.row(row)[head] * LOG2_E : 0.0f;
        delta[threadIdx.x] = there ? t.delta[row * view.heads + head] : 0.0f;
      }
      ptx_async_wait<0>();
      __syncthreads(); // all of it is there
      float p[N / 8][4], ds[N / 8][4];
      tile_product<D, N>(p, k_tile, row0, q_tile);
      tile_product<D, N>(ds, v_tile, row0, do_tile);
#pragma unroll
      for (int n = 0; n < N / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int i = n * 8 + 2 * ptx_lane_column() + e % 2;
          float weight = ptx_exp2(fmaf(p[n][e], scale, -lse[i]));
          p[n][e] = i0 + i >= seen_from[e / 2] ? weight : 0.0f;
          ds[n][e] = p[n][e] * (ds[n][e] - delta[i]);
        }
      }
      tile_add<D, N>(dv, p, do_tile);
      tile_add<D, N>(dk, ds, q_tile);
      __syncthreads(); // nobody reads the queries any more
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int r = row0 + ptx_lane_row() + 8 * half;
    int64_t column = kv_column + 2 * ptx_lane_column();
    if (r < some) {
      add_row<D>(t.dk.at(keys + r, column), dk, half, view.scale);
      add_row<D>(t.dv.at(keys + r, column), dv, half, 1.0f);
    }
  }
}

// The passes' shared memory, and the queries that the second takes at a time.
template <int D> struct BackTiles {
  enum {
    QUERIES = D == 64 ? 64 : 32,
    DQ_BYTES = 5 * MMA_TILE * D * 2,
    DKV_BYTES = 2 * (MMA_TILE + QUERIES) * D * 2 + 2 * QUERIES * 4,
  };
};

template <int D>
static void launch_mma_back(CudaBackend *cuda, const BackTensors &t, const AttentionArgs *args) {
  typedef BackTiles<D> Tiles;
  AttentionView view = attention_view(args);
  int64_t q_tiles = cuda_ceil(args->max_q, MMA_TILE), k_tiles = cuda_ceil(args->max_k, MMA_TILE);
  if (q_tiles * args->n_seqs > 0)
    CUDA_LAUNCH(cuda, attention_mma_dq_kernel<D>,
                dim3((unsigned)(q_tiles * args->n_seqs), (unsigned)args->n_heads), MMA_THREADS,
                Tiles::DQ_BYTES, t, view, (int)q_tiles);
  if (k_tiles * args->n_seqs > 0)
    CUDA_LAUNCH(cuda, (attention_mma_dkv_kernel<D, Tiles::QUERIES>),
                dim3((unsigned)(k_tiles * args->n_seqs), (unsigned)args->n_kv_heads), MMA_THREADS,
                Tiles::DKV_BYTES, t, view, (int)k_tiles);
}

bool cuda_attention_mma_back(CudaBackend *cuda, Tensor dq, Tensor dk, Tensor dv, Tensor d_o,
                             Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                             const AttentionArgs *args) {
  const Tensor all[] = {dq, dk, dv, d_o, o, q, k, v};
  if (!mma_takes(q, args)) return false;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (!cuda_wide(all[i])) return false;
  }
  int64_t bytes = cuda_scratch_attention_back(q, TENSOR_NONE, args->n_heads);
  BackTensors t = {rows_of<Half>(dq),      rows_of<Half>(dk),
                   rows_of<Half>(dv),      const_rows<Half>(d_o),
                   const_rows<Half>(o),    const_rows<Half>(q),
                   const_rows<Half>(k),    const_rows<Half>(v),
                   const_rows<float>(lse), (float *)cuda_scratch(cuda, bytes)};
  if (args->head_dim == 64)
    launch_mma_back<64>(cuda, t, args);
  else
    launch_mma_back<128>(cuda, t, args);
  return true;
}

void cuda_attention_open(CudaBackend *cuda) {
  typedef BackTiles<128> Tiles; // those of 64 columns take less than 48 KiB
  cuda_allow_shared(cuda, (const void *)attention_mma_dq_kernel<128>, Tiles::DQ_BYTES);
  cuda_allow_shared(cuda, (const void *)attention_mma_dkv_kernel<128, Tiles::QUERIES>,
                    Tiles::DKV_BYTES);
}
