// Attention forward, for every form of a call: packed sequences, prefix, offsets, key lengths,
// grouped heads, pages, relative bias. Calls of at most 16 queries a sequence go to cuda_decode.cu,
// those that fit tensor cores to cuda_attention_mma.cu; the kernel here takes the others.
//
// Maths, for query i of head h and its n visible keys: s_j = scale q . k_j + bias, m = max s,
//   l = sum e^(s_j - m),  o = sum e^(s_j - m) v_j / l,  lse = m + ln l
// one pass over the keys with a running m (Milakov & Gimelshein 2018). No key seen, or a row of no
// sequence: o = 0, lse = -inf.
//
// Tiling: a warp owns a row of q and a head; 4 warps a block, rows along the grid's x, heads along
// y. Keys come 32 at a time: lane l works out the score of key l, then all lanes walk the 32 keys
// and add p_j v_j to the columns that they own (c = lane, lane + 32, ...), which are neighbours in
// memory. Lanes behind the last key or column take that one again, in vain: no load has a
// condition. All sums run over the keys in order. Shared memory: the query of each warp, D floats.
// flops: 4 D a pair; bytes: K and V from L2 once a query and head, q and o once.
#include "cuda_attention.cuh"

// budget: attention_kernel registers=120 shared=0
template <typename F, int N>
static __global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_kernel(Rows<F> o, Rows<float> lse, Rows<const F> q, Rows<const F> k, Rows<const F> v,
                     Rows<const F> bias, AttentionView view, int64_t rows) {
  extern __shared__ float queries[];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = view.width;
  int64_t row = (int64_t)blockIdx.x * ATTENTION_WARPS + warp;
  if (row >= rows) return; // the whole warp: there is no barrier of the block
  int head = blockIdx.y;
  int64_t column = (int64_t)head * width, kv_column = (int64_t)(head / view.group) * width;
  float *query = queries + warp * width;
  head_to_shared<F, N>(query, q.row(row) + column, width);
  __syncwarp();
  int s = sequence_of(view.cu_q, view.seqs, row), i = 0, n = 0, own[N];
  if (s >= 0) {
    i = (int)(row - view.cu_q[s]);
    n = visible_keys(view, s, i);
  }
  lane_columns(own, width);
  float most = -INFINITY, sum = 0.0f, out[N] = {};
#pragma unroll 1
  for (int j0 = 0; j0 < n; j0 += 32) {
    int j = min(j0 + lane, n - 1); // lanes behind the last key take it again, with weight 0
    int64_t at = key_row(view, s, j);
    float score = view.scale * head_dot(query, k.row(at) + kv_column, width);
    if (view.buckets != 0)
      score += load_f32(bias.row(bias_bucket(view, offset_of(view, s) + i - j)) + head);
    float top = fmaxf(most, warp_max(score));
    float shrink = top == -INFINITY ? 0.0f : expf(most - top);
    float p = top == -INFINITY || j0 + lane >= n ? 0.0f : expf(score - top);
    most = top;
    sum = sum * shrink + warp_sum(p);
#pragma unroll
    for (int x = 0; x < N; x++) out[x] *= shrink;
    int t = 0;
#pragma unroll 1
    do {
#pragma unroll
      for (int u = 0; u < heads_at_once<N>(); u++) {
        float share = __shfl_sync(0xffffffffu, p, t + u);
        add_head(out, share, v.row(__shfl_sync(0xffffffffu, at, t + u)) + kv_column, own);
      }
      t += heads_at_once<N>();
    } while (t < min(n - j0, 32));
  }
  float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
#pragma unroll
  for (int x = 0; x < N; x++) {
    int c = lane + 32 * x;
    if (has_column<N>(x) || c < width) store_f32(o.row(row) + column + c, out[x] * inverse);
  }
  if (lse.data != NULL && lane == 0) lse.row(row)[head] = n > 0 ? most + logf(sum) : -INFINITY;
}

static void cuda_attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                           const AttentionArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_attention(be, o, lse, q, k, v, args);
  CUDA_OP(cuda, "attention", CUDA_WRITE(o), CUDA_WRITE(lse), CUDA_READ(q), CUDA_READ(k),
          CUDA_READ(v), CUDA_READ_ATTENTION(args));
  // Whether this call takes it or not: the plan cannot know how short the sequences will be.
  void *scratch = cuda_scratch(cuda, cuda_scratch_attention(q, args));
  if (q.rows == 0 || cuda_attention_decode(cuda, scratch, o, lse, q, k, v, args) ||
      cuda_attention_mma(cuda, o, lse, q, k, v, args))
    return;
  dim3 grid((unsigned)cuda_ceil(q.rows, ATTENTION_WARPS), (unsigned)args->n_heads);
  CUDA_F(q.dtype, "attention",
         CUDA_BY_WIDTH("attention", args->head_dim,
                       CUDA_LAUNCH(cuda, (attention_kernel<F, N>), grid, ATTENTION_THREADS,
                                   ATTENTION_WARPS * args->head_dim * sizeof(float), rows_of<F>(o),
                                   rows_of<float>(lse), const_rows<F>(q), const_rows<F>(k),
                                   const_rows<F>(v), const_rows<F>(args->bias),
                                   attention_view(args), q.rows)));
}

void cuda_attention_install(Backend *be) {
  be->attention = cuda_attention;
  cuda_attention_back_install(be);
}
