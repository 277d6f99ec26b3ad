// Attention forward in bf16 on tensor cores, for heads of 64 and 128 columns: FlashAttention-2 (Dao
// 2023) for packed sequences with prefix, offsets, key lengths, grouped heads and pages.
//
// It takes a call when q is bf16, a head has 64 or 128 columns, o, q, k and v begin every row at a
// multiple of 16 bytes, max_q > 16 and there is no relative bias. Every other call goes to the
// kernel of cuda_attention.cu.
//
// Maths: as there, in base 2: x_j = scale log2(e) q . k_j, p_j = 2^(x_j - m). p is rounded to bf16
// for the product with v; l adds up the unrounded.
//
// Tiling: a block of 4 warps owns 64 queries of one head of one sequence; warp w has rows 16 w ..
// 16 w + 15, and of the accumulators lane l has rows l / 4 and l / 4 + 8. It walks the keys 64 at a
// time up to the last that its last query sees. V of a tile is under way while q k^T is worked out,
// K of the next while p v is.
// Shared memory: Q, K, V tiles [64][D] bf16, 16-byte pieces of row r at piece ^ (r % 8), so that
// the eight rows that ldmatrix reads lie in different banks: 24 KiB (D 64) or 48 KiB (D 128). The
// output goes through Q's place, to be stored 16 bytes a lane.
// flops: 4 D a pair of whole tiles; bytes: q and o once, K and V once a query tile (mostly L2).
//
// Use of the tensor cores in the loop over the keys, as a model of the machine code predicts it and
// no device has confirmed (in brackets: the same of FlashAttention-2): compute capability 8.0: 60 %
// (76 %) for D 128, 49 % (63 %) for D 64; 8.6: 89 % (97 %) and 98 %. Shared memory is the busiest
// pipe on 8.0: a warp has 16 rows, theirs has 32. With pages it is 13 % and 11 % on 8.0.
#include "cuda_attention_mma.cuh"

// The tile of keys (or values) j0 .. end - 1 of sequence s, whose rows begin at `rows` where there
// are no pages. Finding the page of a key takes a division; without pages the loop over the keys is
// half as long.
template <int D, bool PAGED>
static __device__ __forceinline__ void load_keys(uint32_t tile, const Rows<const __nv_bfloat16> &x,
                                                 const AttentionView &view, int s, int64_t rows,
                                                 int j0, int64_t column, int end) {
  if (PAGED)
    tile_load<D, MMA_TILE>(tile, end - j0,
                           [&](int r) { return x.at(key_row(view, s, j0 + r), column); });
  else
    tile_load_rows<D, MMA_TILE>(tile, x, rows + j0, column, end - j0);
}

// Scores to weights, and what was summed before shrunk to the new maximum. seen: keys of the tile
// that the lane's two rows see.
template <int D>
static __device__ __forceinline__ void tile_softmax(float (&x)[8][4], float (&out)[D / 8][4],
                                                    float (&most)[2], float (&sum)[2],
                                                    const int (&seen)[2], float scale) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = most[half];
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float *score = &x[n][2 * half + e];
        *score = n * 8 + 2 * ptx_lane_column() + e < seen[half] ? *score * scale : -INFINITY;
        top = fmaxf(top, *score);
      }
    }
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    float base = top == -INFINITY ? 0.0f : top, shrink = ptx_exp2(most[half] - base), total = 0.0f;
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        x[n][2 * half + e] = ptx_exp2(x[n][2 * half + e] - base);
        total += x[n][2 * half + e];
      }
    }
    most[half] = top;
    sum[half] = sum[half] * shrink + total; // the lane's own columns; summed over lanes at the end
#pragma unroll
    for (int c = 0; c < D / 8; c++) {
      out[c][2 * half] *= shrink;
      out[c][2 * half + 1] *= shrink;
    }
  }
}

// budget: attention_mma_kernel registers=232 shared=0
template <int D, bool PAGED>
static __global__ void __launch_bounds__(MMA_THREADS)
    attention_mma_kernel(Rows<__nv_bfloat16> o, Rows<float> lse, Rows<const __nv_bfloat16> q,
                         Rows<const __nv_bfloat16> k, Rows<const __nv_bfloat16> v,
                         AttentionView view, int tiles) {
  extern __shared__ uint4 tile_memory[];
  uint32_t q_tile = ptx_shared(tile_memory), k_tile = q_tile + MMA_TILE * D * 2,
           v_tile = k_tile + MMA_TILE * D * 2;
  int lane = ptx_lane(), warp = threadIdx.x / 32, s = blockIdx.x / tiles, head = blockIdx.y;
  int i0 = (tiles - 1 - (int)(blockIdx.x % tiles)) * MMA_TILE; // the longest first
  int64_t first = (int64_t)view.cu_q[s] + i0, rows = view.cu_k[s], column = (int64_t)head * D,
          kv_column = (int64_t)(head / view.group) * D;
  Sight sight(view, s);
  int some = (int)(view.cu_q[s + 1] - first), seen[2]; // queries from i0 on, the tile's and later
  int end = some > 0 ? sight.visible(i0 + min(some, (int)MMA_TILE) - 1) : 0;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int r = warp * 16 + ptx_lane_row() + 8 * half;
    seen[half] = r < some ? sight.visible(i0 + r) : 0;
  }
  float out[D / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
  if (end > 0) { // the same for the whole block
    tile_load_rows<D, MMA_TILE>(q_tile, q, first, column, some);
    load_keys<D, PAGED>(k_tile, k, view, s, rows, 0, kv_column, end);
    ptx_async_commit();
  }
  for (int j0 = 0; j0 < end; j0 += MMA_TILE) {
    ptx_async_wait<0>();
    __syncthreads(); // K is there; nobody reads V any more
    load_keys<D, PAGED>(v_tile, v, view, s, rows, j0, kv_column, end);
    ptx_async_commit();
    float x[8][4];
    tile_product<D, MMA_TILE>(x, q_tile, warp * 16, k_tile);
    ptx_async_wait<0>();
    __syncthreads(); // V is there; nobody reads K any more
    if (j0 + MMA_TILE < end) {
      load_keys<D, PAGED>(k_tile, k, view, s, rows, j0 + MMA_TILE, kv_column, end);
      ptx_async_commit();
    }
    int left[2] = {seen[0] - j0, seen[1] - j0};
    tile_softmax<D>(x, out, most, sum, left, view.scale * LOG2_E);
    tile_add<D, MMA_TILE>(out, x, v_tile);
  }
  char *staged = (char *)tile_memory; // only this warp's rows of Q, last read before a barrier
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int r = warp * 16 + ptx_lane_row() + 8 * half;
    float total = sum[half] + __shfl_xor_sync(0xffffffffu, sum[half], 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    float inverse = total > 0.0f ? 1.0f / total : 0.0f;
#pragma unroll
    for (int c = 0; c < D / 8; c++)
      *(uint32_t *)(staged + tile_place<D>(r, c) + 4 * ptx_lane_column()) =
          ptx_pack_bf16(out[c][2 * half] * inverse, out[c][2 * half + 1] * inverse);
    if (lse.data != NULL && ptx_lane_column() == 0 && r < some)
      lse.row(first + r)[head] = total > 0.0f ? (most[half] + log2f(total)) * LN_2 : -INFINITY;
  }
  __syncwarp();
#pragma unroll
  for (int p = lane; p < 16 * (D / 8); p += 32) {
    int r = warp * 16 + p / (D / 8), c = p % (D / 8);
    if (r < some)
      *(uint4 *)o.at(first + r, column + c * 8) = *(const uint4 *)(staged + tile_place<D>(r, c));
  }
}

// Rows of no sequence: zeros, lse -inf. A block owns a row.
// budget: attention_spare_kernel registers=16 shared=0
static __global__ void attention_spare_kernel(Rows<__nv_bfloat16> o, Rows<float> lse,
                                              AttentionView view) {
  int64_t row = blockIdx.x;
  if (sequence_of(view.cu_q, view.seqs, row) < 0) {
    for (int c = threadIdx.x; c < view.heads * view.width; c += MMA_THREADS)
      store_f32(o.row(row) + c, 0.0f);
    for (int h = threadIdx.x; lse.data != NULL && h < view.heads; h += MMA_THREADS)
      lse.row(row)[h] = -INFINITY;
  }
}

template <int D, bool PAGED>
static void launch_mma(CudaBackend *cuda, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                       const AttentionArgs *args) {
  AttentionView view = attention_view(args);
  int64_t tiles = cuda_ceil(args->max_q, MMA_TILE);
  dim3 grid((unsigned)(tiles * args->n_seqs), (unsigned)args->n_heads);
  if (tiles * args->n_seqs > 0)
    CUDA_LAUNCH(cuda, (attention_mma_kernel<D, PAGED>), grid, MMA_THREADS, 3 * MMA_TILE * D * 2,
                rows_of<__nv_bfloat16>(o), rows_of<float>(lse), const_rows<__nv_bfloat16>(q),
                const_rows<__nv_bfloat16>(k), const_rows<__nv_bfloat16>(v), view, (int)tiles);
  CUDA_LAUNCH(cuda, attention_spare_kernel, q.rows, MMA_THREADS, 0, rows_of<__nv_bfloat16>(o),
              rows_of<float>(lse), view);
}

bool cuda_attention_mma(CudaBackend *cuda, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                        const AttentionArgs *args) {
  if (!mma_takes(q, args)) return false;
  if (!cuda_wide(o) || !cuda_wide(q) || !cuda_wide(k) || !cuda_wide(v)) return false;
  bool paged = tensor_given(args->pages);
  if (args->head_dim == 64 && paged)
    launch_mma<64, true>(cuda, o, lse, q, k, v, args);
  else if (args->head_dim == 64)
    launch_mma<64, false>(cuda, o, lse, q, k, v, args);
  else if (paged)
    launch_mma<128, true>(cuda, o, lse, q, k, v, args);
  else
    launch_mma<128, false>(cuda, o, lse, q, k, v, args);
  return true;
}
