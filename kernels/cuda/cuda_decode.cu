// Attention forward of few queries a sequence: decoding, by 1 .. 16 queries for each of many
// sequences, K and V through the page table or packed; f32 and bf16, heads of up to 512 columns,
// prefix, offsets, key lengths, grouped heads and relative bias.
//
// It takes every call with max_q <= 16. What differs between two launches of one shape (lengths,
// pages) is read on the device; grid and scratch follow from how many keys there may be.
//
// Maths: the keys of a sequence are cut into splits (flash-decoding). For each query, head and
// split, over its visible keys j, with s_j = scale q . k_j + bias:
//   m = max s_j,  l = sum e^(s_j - m),  a = sum e^(s_j - m) v_j
// and then over the splits p:  M = max m_p,  L = sum e^(m_p - M) l_p,
//   o = sum e^(m_p - M) a_p / L,  lse = M + ln L
//
// Tiling of the first kernel: a block of 4 warps owns a split of a kv head of a sequence and R
// rows, which are queries of the query heads that share the kv head: a key that was loaded serves R
// dot products. G lanes share a key, lane t has columns 8 t .. 8 t + 7 (and 8 t + 256 .. where
// heads are wider than 256), 16 or 32 bytes a load; every G lanes walk their own keys, every 4 * 32
// / G-th of the split, U at a time, with running m, l, a of their own. These meet at the end: by
// shuffles in a warp, through shared memory between warps, always in the same order. Second kernel:
// a warp owns a row of q and a head; lane p has the split p. Shared memory of the first: a
// [4][R][D], m and l [4][R], all f32: 4 to 33 KiB. flops: 4 D a pair; bytes: K and V once for every
// R rows, partial sums of 4 (D + 2) a row, head and split twice.
#include "cuda_attention.cuh"

enum { DECODE_WARPS = 4, DECODE_THREADS = 32 * DECODE_WARPS };

// How a call is cut: by its shape alone.
struct DecodeCut {
  int32_t splits, length; // of the keys
  int32_t row_tiles;      // of the rows that share a kv head
  int32_t first, seqs;    // sequences of this launch
  float *sums;            // [places][D], as many places as scratch has room for
  float2 *tops;           // [places] {m, l}
};

static __device__ __forceinline__ int64_t decode_place(const DecodeCut &cut,
                                                       const AttentionView &view, int64_t row,
                                                       int head, int split) {
  return ((row - view.cu_q[cut.first]) * view.heads + head) * cut.splits + split;
}

// A running softmax: its maximum, sum and weighted values.
template <int C> struct Running { float top, sum, out[C]; };

// e^(x - top) where top may be -inf: then x is too.
static __device__ __forceinline__ float weight_below(float x, float top) {
  return expf(x - (top == -INFINITY ? 0.0f : top));
}

// Joins the running sums of the lanes G, 2 G, ... apart.
template <int G, int C> static __device__ __forceinline__ void join_lanes(Running<C> &a) {
#pragma unroll
  for (int apart = G; apart < 32; apart *= 2) {
    float top = fmaxf(a.top, __shfl_xor_sync(0xffffffffu, a.top, apart));
    float shrink = weight_below(a.top, top);
    a.top = top;
    a.sum *= shrink;
    a.sum += __shfl_xor_sync(0xffffffffu, a.sum, apart);
#pragma unroll
    for (int c = 0; c < C; c++) {
      a.out[c] *= shrink;
      a.out[c] += __shfl_xor_sync(0xffffffffu, a.out[c], apart);
    }
  }
}

// U keys of this lane's group, the first at j0 and the others `step` apart, for R rows. Behind the
// last key, and in lanes behind the last column, the last is read once more: there q is 0 and
// nothing of `out` is kept, and a key that no row sees weighs 0.
template <typename F, int G, int X, int R, int U>
static __device__ __forceinline__ void
decode_keys(Running<8 * X> (&a)[R], const float (&q)[R][8 * X], const Rows<const F> &k,
            const Rows<const F> &v, const Rows<const F> &bias, const AttentionView &view, int s,
            int j0, int step, int end, const int (&seen)[R], const int (&query)[R],
            const int (&head)[R], const int64_t (&column)[X], bool wide) {
  int64_t at[U];
  float x[U][8 * X], score[R][U];
#pragma unroll
  for (int u = 0; u < U; u++) {
    at[u] = key_row(view, s, min(j0 + u * step, end - 1));
#pragma unroll
    for (int p = 0; p < X; p++) {
      float part[8];
      load_some<8>(part, k.at(at[u], column[p]), 8, wide);
#pragma unroll
      for (int c = 0; c < 8; c++) x[u][p * 8 + c] = part[c];
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
    float top = a[r].top;
#pragma unroll
    for (int u = 0; u < U; u++) {
      int j = j0 + u * step;
      float dot = 0.0f;
#pragma unroll
      for (int c = 0; c < 8 * X; c++) dot = fmaf(q[r][c], x[u][c], dot);
#pragma unroll
      for (int apart = G / 2; apart > 0; apart /= 2)
        dot += __shfl_xor_sync(0xffffffffu, dot, apart);
      dot *= view.scale;
      if (view.buckets != 0) dot += load_f32(bias.row(bias_bucket(view, query[r] - j)) + head[r]);
      score[r][u] = j < seen[r] ? dot : -INFINITY;
      top = fmaxf(top, score[r][u]);
    }
    float shrink = weight_below(a[r].top, top);
    a[r].top = top;
    a[r].sum *= shrink;
#pragma unroll
    for (int c = 0; c < 8 * X; c++) a[r].out[c] *= shrink;
#pragma unroll
    for (int u = 0; u < U; u++) {
      score[r][u] = weight_below(score[r][u], top);
      a[r].sum += score[r][u];
    }
  }
#pragma unroll
  for (int u = 0; u < U; u++) {
#pragma unroll
    for (int p = 0; p < X; p++) {
      float part[8];
      load_some<8>(part, v.at(at[u], column[p]), 8, wide);
#pragma unroll
      for (int r = 0; r < R; r++) {
#pragma unroll
        for (int c = 0; c < 8; c++)
          a[r].out[p * 8 + c] = fmaf(score[r][u], part[c], a[r].out[p * 8 + c]);
      }
    }
  }
}

// The warps' sums meet in shared memory; the block's go to their places. m0: the block's first row
// of the kv head; some: its rows.
template <int G, int X, int R>
static __device__ __forceinline__ void decode_store(Running<8 * X> (&a)[R], const DecodeCut &cut,
                                                    const AttentionView &view, int64_t first,
                                                    int kv_head, int m0, int some, int split) {
  extern __shared__ float shared[]; // out [4][R][D], then {m, l} [4][R]
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = view.width;
  float2 *tops = (float2 *)(shared + DECODE_WARPS * R * width);
#pragma unroll
  for (int r = 0; r < R; r++) {
    join_lanes<G>(a[r]);
    if (lane == 0) tops[warp * R + r] = make_float2(a[r].top, a[r].sum);
#pragma unroll
    for (int p = 0; p < X; p++) {
      int c = (lane + p * G) * 8; // lanes from G on have none: a head has at most 8 G X columns
      if (c < width) {
        float part[8];
#pragma unroll
        for (int i = 0; i < 8; i++) part[i] = a[r].out[p * 8 + i];
        store_wide(shared + (warp * R + r) * width + c, part);
      }
    }
  }
  __syncthreads();
  int x = threadIdx.x;
  if (G * X > 16 || x < some * width) { // one row of more than 128 columns has something for all
#pragma unroll 1
    do {
      int r = x / width, c = x % width, m = m0 + r;
      float top = -INFINITY, sum = 0.0f, out = 0.0f;
#pragma unroll
      for (int w = 0; w < DECODE_WARPS; w++) top = fmaxf(top, tops[w * R + r].x);
#pragma unroll
      for (int w = 0; w < DECODE_WARPS; w++) {
        float shrink = weight_below(tops[w * R + r].x, top);
        sum = fmaf(shrink, tops[w * R + r].y, sum);
        out = fmaf(shrink, shared[(w * R + r) * width + c], out);
      }
      int64_t place = decode_place(cut, view, first + m / view.group,
                                   kv_head * view.group + m % view.group, split);
      cut.sums[place * width + c] = out;
      if (c == 0) cut.tops[place] = make_float2(top, sum);
      x += DECODE_THREADS;
    } while (x < some * width);
  }
}

// budget: decode_kernel registers=256 shared=0
template <typename F, int G, int X, int R>
static __global__ void __launch_bounds__(DECODE_THREADS, 1)
    decode_kernel(Rows<const F> q, Rows<const F> k, Rows<const F> v, Rows<const F> bias,
                  AttentionView view, DecodeCut cut, bool wide) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = view.width;
  int s = cut.first + blockIdx.z, kv_head = blockIdx.y / cut.row_tiles,
      m0 = (int)(blockIdx.y % cut.row_tiles) * R, split = blockIdx.x;
  int64_t first = view.cu_q[s];
  int rows = (int)(view.cu_q[s + 1] - first) * view.group; // that share the kv head
  int seen[R], query[R], head[R], most = 0;
  int64_t row[R];
#pragma unroll
  for (int r = 0; r < R; r++) {
    int m = min(m0 + r, rows - 1), i = m / view.group; // a row too many reads the last one's q
    row[r] = first + i;
    head[r] = kv_head * view.group + m % view.group;
    query[r] = offset_of(view, s) + i;
    seen[r] = visible_keys(view, s, i);
    if (m0 + r >= rows) seen[r] = 0;
    most = max(most, seen[r]);
  }
  int begin = split * cut.length, end = min(begin + cut.length, most);
  if (begin < end) { // the same for the whole block
    enum { KEYS = DECODE_WARPS * 32 / G, U = 4 / X };
    float own[R][8 * X];
    int64_t column[X];
    Running<8 * X> a[R];
#pragma unroll
    for (int p = 0; p < X; p++) column[p] = min((lane % G + p * G) * 8, width - 8);
#pragma unroll
    for (int r = 0; r < R; r++) {
      a[r].top = -INFINITY;
      a[r].sum = 0.0f;
#pragma unroll
      for (int p = 0; p < X; p++) {
        float part[8];
        load_some<8>(part, q.at(row[r], (int64_t)head[r] * width + column[p]), 8, wide);
#pragma unroll
        for (int c = 0; c < 8; c++) {
          own[r][p * 8 + c] = (lane % G + p * G) * 8 < width ? part[c] : 0.0f;
          a[r].out[p * 8 + c] = 0.0f;
        }
      }
    }
#pragma unroll
    for (int p = 0; p < X; p++) column[p] += (int64_t)kv_head * width;
    int j0 = begin;
    do { // KEYS * U divides the length of a split: none of the next one's keys is taken
      decode_keys<F, G, X, R, U>(a, own, k, v, bias, view, s, j0 + warp * (32 / G) + lane / G, KEYS,
                                 end, seen, query, head, column, wide);
      j0 += KEYS * U;
    } while (j0 < end);
    decode_store<G, X, R>(a, cut, view, first, kv_head, m0, min(rows - m0, R), split);
  }
}

// Rows of no sequence and queries that see no key: zeros, lse -inf.
// budget: decode_join_kernel registers=32 shared=0
template <typename F>
static __global__ void __launch_bounds__(DECODE_THREADS, 1)
    decode_join_kernel(Rows<F> o, Rows<float> lse, AttentionView view, DecodeCut cut,
                       int64_t rows) {
  int lane = threadIdx.x % 32, head = blockIdx.y;
  int64_t row = (int64_t)blockIdx.x * DECODE_WARPS + threadIdx.x / 32;
  if (row >= rows) return; // the whole warp: there is no barrier of the block
  int s = sequence_of(view.cu_q, view.seqs, row), n = 0;
  // Those of no sequence are the first launch's.
  bool here = s < 0 ? cut.first == 0 : (unsigned)(s - cut.first) < (unsigned)cut.seqs;
  if (!here) return;
  if (s >= 0) n = visible_keys(view, s, (int)(row - view.cu_q[s]));
  int parts = (n + cut.length - 1) / cut.length;
  int64_t place = decode_place(cut, view, row, head, 0);
  float2 own = make_float2(-INFINITY, 0.0f);
  if (lane < parts) own = cut.tops[place + lane];
  float top = warp_max(own.x), share = weight_below(own.x, top), total = warp_sum(share * own.y);
  float inverse = parts > 0 ? 1.0f / total : 0.0f;
  int c = lane;
#pragma unroll 1
  do {
    int from = min(c, view.width - 1); // lanes behind the last column read it too
    float sum = 0.0f;
#pragma unroll 1
    for (int p = 0; p < parts; p++)
      sum =
          fmaf(__shfl_sync(0xffffffffu, share, p), cut.sums[(place + p) * view.width + from], sum);
    if (c < view.width) store_f32(o.at(row, (int64_t)head * view.width + c), sum * inverse);
    c += 32;
  } while (c - lane < view.width);
  if (lse.data != NULL && lane == 0) lse.row(row)[head] = parts > 0 ? top + logf(total) : -INFINITY;
}

template <typename F, int G, int X, int R>
static void launch_decode(CudaBackend *cuda, Tensor q, Tensor k, Tensor v,
                          const AttentionArgs *args, const AttentionView &view, DecodeCut cut) {
  cut.row_tiles = (int32_t)cuda_ceil(args->max_q * view.group, R);
  dim3 grid((unsigned)cut.splits, (unsigned)(args->n_kv_heads * cut.row_tiles), (unsigned)cut.seqs);
  int64_t shared = DECODE_WARPS * R * (view.width + 2) * (int64_t)sizeof(float);
  CUDA_LAUNCH(cuda, (decode_kernel<F, G, X, R>), grid, DECODE_THREADS, shared, const_rows<F>(q),
              const_rows<F>(k), const_rows<F>(v), const_rows<F>(args->bias), view, cut,
              cuda_wide(q) && cuda_wide(k) && cuda_wide(v));
}

template <typename F, int G, int X>
static void decode_rows(CudaBackend *cuda, Tensor q, Tensor k, Tensor v, const AttentionArgs *args,
                        const AttentionView &view, const DecodeCut &cut) {
  if (args->max_q * view.group == 1)
    launch_decode<F, G, X, 1>(cuda, q, k, v, args, view, cut);
  else
    launch_decode<F, G, X, 4>(cuda, q, k, v, args, view, cut);
}

template <typename F>
static void decode(CudaBackend *cuda, void *scratch, Tensor o, Tensor lse, Tensor q, Tensor k,
                   Tensor v, const AttentionArgs *args) {
  AttentionView view = attention_view(args);
  int64_t keys = cuda_decode_keys(args), seqs = cuda_decode_seqs(args);
  DecodeCut cut = {};
  cut.length = (int32_t)cuda_decode_length(keys);
  cut.splits = (int32_t)cuda_ceil(keys, cut.length);
  cut.sums = (float *)scratch;
  cut.tops = (float2 *)(cut.sums + cuda_scratch_attention(q, args) /
                                       ((view.width + 2) * (int64_t)sizeof(float)) * view.width);
  do {
    cut.seqs = (int32_t)(args->n_seqs - cut.first < seqs ? args->n_seqs - cut.first : seqs);
    if (cut.seqs > 0 && cut.splits > 0 && args->max_q > 0) {
      if (args->head_dim <= 64)
        decode_rows<F, 8, 1>(cuda, q, k, v, args, view, cut);
      else if (args->head_dim <= 128)
        decode_rows<F, 16, 1>(cuda, q, k, v, args, view, cut);
      else
        decode_rows<F, 32, 2>(cuda, q, k, v, args, view, cut);
    }
    dim3 grid((unsigned)cuda_ceil(q.rows, DECODE_WARPS), (unsigned)args->n_heads);
    CUDA_LAUNCH(cuda, decode_join_kernel<F>, grid, DECODE_THREADS, 0, rows_of<F>(o),
                rows_of<float>(lse), view, cut, q.rows);
    cut.first += cut.seqs;
  } while (cut.first < args->n_seqs);
}

bool cuda_attention_decode(CudaBackend *cuda, void *scratch, Tensor o, Tensor lse, Tensor q,
                           Tensor k, Tensor v, const AttentionArgs *args) {
  if (args->max_q > CUDA_DECODE_QUERIES || args->head_dim > ATTENTION_COLS) return false;
  CUDA_F(q.dtype, "attention", decode<F>(cuda, scratch, o, lse, q, k, v, args));
  return true;
}
