// Attention backward, for every form that the forward takes but pages. Calls that fit tensor cores
// go to cuda_attention_mma_back.cu; the kernels here take the others.
//
// Maths, with p_ij = e^(s_ij - lse_i) and delta_i = do_i . o_i:
//   ds_ij = p_ij (do_i . v_j - delta_i)
//   dq_i += scale sum_j ds_ij k_j;  dk_j += scale sum_i ds_ij q_i;  dv_j += sum_i p_ij do_i
//   dbias[bucket(i, j)] += ds_ij
//
// Tiling: two passes, so that no sum is shared between blocks.
//   dq   a warp owns a query row of a head: 32 keys at a time, lane l works out ds of key l, then
//        all lanes add ds_j k_j to their columns. It leaves delta in scratch for the second pass,
//        and the row's sums for each bias bucket: a bucket belongs to lane bucket % 32.
//   dkv  a warp owns a key row of a kv head and walks the query heads of its group and the queries
//        that see the key, 32 at a time in the same way.
// The rows' bias sums are added up as any column sum (cuda_norm.cu). All sums run in an order that
// the shape alone decides; there is no atomic.
// Shared memory: two heads a warp (2 D floats), and a warp's bias buckets.
// flops: 14 D a pair (5 products and 2 recomputed); bytes: K, V or Q, dO from L2 once a row.
#include "cuda_attention.cuh"
#include "cuda_scratch.h"

// budget: attention_dq_kernel registers=120 shared=0
template <typename F, int N>
static __global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_dq_kernel(Rows<F> dq, float *delta, float *bias_sums, Rows<const F> d_o,
                        Rows<const F> o, Rows<const float> lse, Rows<const F> q, Rows<const F> k,
                        Rows<const F> v, Rows<const F> bias, AttentionView view, int64_t rows) {
  extern __shared__ float shared[];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = view.width;
  int64_t row = (int64_t)blockIdx.x * ATTENTION_WARPS + warp;
  if (row >= rows) return; // the whole warp: there is no barrier of the block
  int head = blockIdx.y;
  int64_t column = (int64_t)head * width, kv_column = (int64_t)(head / view.group) * width;
  float *query = shared + warp * (2 * width + view.buckets), *dout = query + width,
        *buckets = dout + width, product = 0.0f;
  int c = lane;
  if (has_column<N>(0) || c < width) {
#pragma unroll 1
    do {
      query[c] = load_f32(q.row(row) + column + c);
      dout[c] = load_f32(d_o.row(row) + column + c);
      product = fmaf(dout[c], load_f32(o.row(row) + column + c), product);
      c += 32;
    } while (c < width);
  }
#pragma unroll 1
  for (int b = lane; b < view.buckets; b += 32) buckets[b] = 0.0f;
  product = warp_sum(product);
  if (lane == 0) delta[row * view.heads + head] = product;
  __syncwarp();
  int s = sequence_of(view.cu_q, view.seqs, row), i = 0, n = 0, own[N];
  if (s >= 0) {
    i = (int)(row - view.cu_q[s]);
    n = visible_keys(view, s, i);
  }
  lane_columns(own, width);
  float out[N] = {}, log_sum = lse.row(row)[head];
#pragma unroll 1
  for (int j0 = 0; j0 < n; j0 += 32) {
    int j = min(j0 + lane, n - 1), bucket = 0; // lanes behind the last key add 0 times that one
    int64_t at = key_row(view, s, j);
    float score = view.scale * head_dot(query, k.row(at) + kv_column, width);
    if (view.buckets != 0) {
      bucket = bias_bucket(view, offset_of(view, s) + i - j);
      score += load_f32(bias.row(bucket) + head);
    }
    float dp = head_dot(dout, v.row(at) + kv_column, width),
          ds = expf(score - log_sum) * (dp - product);
    if (j0 + lane >= n) ds = 0.0f;
    int t = 0;
#pragma unroll 1
    do {
#pragma unroll
      for (int u = 0; u < heads_at_once<N>(); u++) {
        float share = __shfl_sync(0xffffffffu, ds, t + u);
        int to = __shfl_sync(0xffffffffu, bucket, t + u);
        if (bias_sums != NULL && to % 32 == lane) buckets[to] += share;
        add_head(out, share, k.row(__shfl_sync(0xffffffffu, at, t + u)) + kv_column, own);
      }
      t += heads_at_once<N>();
    } while (t < min(n - j0, 32));
  }
  store_head_acc(dq.row(row) + column, out, view.scale, width);
  if (bias_sums == NULL) return;
#pragma unroll 1
  for (int b = lane; b < view.buckets; b += 32)
    bias_sums[(row * view.buckets + b) * view.heads + head] = buckets[b];
}

// budget: attention_dkv_kernel registers=160 shared=0
template <typename F, int N>
static __global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_dkv_kernel(Rows<F> dk, Rows<F> dv, const float *delta, Rows<const F> d_o,
                         Rows<const float> lse, Rows<const F> q, Rows<const F> k, Rows<const F> v,
                         Rows<const F> bias, AttentionView view) {
  extern __shared__ float shared[];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = view.width;
  int64_t row = (int64_t)blockIdx.x * ATTENTION_WARPS + warp;
  int s = sequence_of(view.cu_k, view.seqs, row);
  if (s < 0) return; // the whole warp: there is no barrier of the block
  int j = (int)(row - view.cu_k[s]), first = view.cu_q[s], n_q = view.cu_q[s + 1] - first;
  if (j >= key_count(view, s)) return;
  int kv_head = blockIdx.y;
  int64_t kv_column = (int64_t)kv_head * width;
  float *key = shared + warp * 2 * width, *value = key + width;
  head_to_shared<F, N>(key, k.row(row) + kv_column, width);
  head_to_shared<F, N>(value, v.row(row) + kv_column, width);
  __syncwarp();
  // Queries from here on see the key; all do when the prefix has it.
  int from = max(j - offset_of(view, s), 0), own[N];
  if (view.prefix != NULL && j < view.prefix[s]) from = 0;
  lane_columns(own, width);
  float out_k[N] = {}, out_v[N] = {};
  int head = kv_head * view.group;
#pragma unroll 1
  do {
    int64_t column = (int64_t)head * width;
#pragma unroll 1
    for (int i0 = from; i0 < n_q; i0 += 32) {
      int i = min(i0 + lane, n_q - 1); // lanes behind the last query add 0 times that one
      int64_t at = first + i;
      float score = view.scale * head_dot(key, q.row(at) + column, width);
      if (view.buckets != 0)
        score += load_f32(bias.row(bias_bucket(view, offset_of(view, s) + i - j)) + head);
      float dp = head_dot(value, d_o.row(at) + column, width), p = expf(score - lse.row(at)[head]);
      if (i0 + lane >= n_q) p = 0.0f;
      float ds = p * (dp - delta[at * view.heads + head]);
      int t = 0;
#pragma unroll 1
      do {
#pragma unroll
        for (int u = 0; u < heads_at_once<N>(); u++) {
          float share = __shfl_sync(0xffffffffu, ds, t + u),
                weight = __shfl_sync(0xffffffffu, p, t + u);
          int64_t to = first + min(i0 + t + u, n_q - 1);
          add_head(out_k, share, q.row(to) + column, own);
          add_head(out_v, weight, d_o.row(to) + column, own);
        }
        t += heads_at_once<N>();
      } while (t < min(n_q - i0, 32));
    }
    head++;
  } while (head < (kv_head + 1) * view.group);
  store_head_acc(dk.row(row) + kv_column, out_k, view.scale, width);
  store_head_acc(dv.row(row) + kv_column, out_v, 1.0f, width);
}

template <typename F, int N>
static void launch_back(CudaBackend *cuda, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                        Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                        const AttentionArgs *args) {
  AttentionView view = attention_view(args);
  int64_t bytes = cuda_scratch_attention_back(q, dbias, args->n_heads);
  float *delta = (float *)cuda_scratch(cuda, bytes);
  float *bias_sums = tensor_given(dbias) ? delta + q.rows * args->n_heads : NULL;
  if (q.rows > 0) {
    dim3 grid((unsigned)cuda_ceil(q.rows, ATTENTION_WARPS), (unsigned)args->n_heads);
    int64_t shared = ATTENTION_WARPS * (2 * view.width + view.buckets) * (int64_t)sizeof(float);
    CUDA_LAUNCH(cuda, (attention_dq_kernel<F, N>), grid, ATTENTION_THREADS, shared, rows_of<F>(dq),
                delta, bias_sums, const_rows<F>(d_o), const_rows<F>(o), const_rows<float>(lse),
                const_rows<F>(q), const_rows<F>(k), const_rows<F>(v), const_rows<F>(args->bias),
                view, q.rows);
  }
  if (k.rows > 0) {
    dim3 grid((unsigned)cuda_ceil(k.rows, ATTENTION_WARPS), (unsigned)args->n_kv_heads);
    CUDA_LAUNCH(cuda, (attention_dkv_kernel<F, N>), grid, ATTENTION_THREADS,
                ATTENTION_WARPS * 2 * view.width * sizeof(float), rows_of<F>(dk), rows_of<F>(dv),
                delta, const_rows<F>(d_o), const_rows<float>(lse), const_rows<F>(q),
                const_rows<F>(k), const_rows<F>(v), const_rows<F>(args->bias), view);
  }
  if (bias_sums == NULL) return;
  Tensor sums = tensor_make(bias_sums, DT_F32, q.rows, (int64_t)view.heads * view.buckets);
  cuda_column_sum_acc(cuda, dbias, sums, bias_sums + tensor_count(sums));
}

static void cuda_attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                                    Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                                    const AttentionArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
  CUDA_OP(cuda, "attention_back_acc", CUDA_UPDATE(dq), CUDA_UPDATE(dk), CUDA_UPDATE(dv),
          CUDA_UPDATE(dbias), CUDA_READ(d_o), CUDA_READ(o), CUDA_READ(lse), CUDA_READ(q),
          CUDA_READ(k), CUDA_READ(v), CUDA_READ_ATTENTION(args));
  if (cuda_attention_mma_back(cuda, dq, dk, dv, d_o, o, lse, q, k, v, args)) return;
  CUDA_F(q.dtype, "attention_back_acc",
         CUDA_BY_WIDTH("attention_back_acc", args->head_dim,
                       launch_back<F, N>(cuda, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args)));
}

void cuda_attention_back_install(Backend *be) {
  be->attention_back_acc = cuda_attention_back_acc;
}
