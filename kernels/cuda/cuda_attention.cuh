// What the attention kernels share: the arguments of a call as a kernel sees them, which sequence a
// row belongs to, which keys a query sees, and the bucket of the relative bias.
#ifndef VMA_CUDA_ATTENTION_CUH
#define VMA_CUDA_ATTENTION_CUH

#include "cuda_math.cuh"

// A warp owns a row of a head: lane l has columns l, l + 32, ...
enum { ATTENTION_WARPS = 4, ATTENTION_THREADS = 32 * ATTENTION_WARPS, ATTENTION_COLS = 512 };

struct AttentionView {
  const int32_t *cu_q, *cu_k, *k_lens, *offset, *prefix, *pages;
  int64_t page_stride;
  int32_t seqs, page_size, heads, group, width;
  float scale;
  int32_t buckets; // 0: no bias
  float bias_log;  // ln(max_distance / exact buckets)
};

static inline AttentionView attention_view(const AttentionArgs *a) {
  AttentionView v = {};
  v.cu_q = (const int32_t *)a->cu_q.data;
  v.cu_k = (const int32_t *)a->cu_k.data;
  v.k_lens = (const int32_t *)a->k_lens.data;
  v.offset = (const int32_t *)a->offset.data;
  v.prefix = (const int32_t *)a->prefix.data;
  v.pages = (const int32_t *)a->pages.data;
  v.page_stride = a->pages.stride;
  v.seqs = (int32_t)a->n_seqs;
  v.page_size = (int32_t)a->page_size;
  v.heads = (int32_t)a->n_heads;
  v.group = (int32_t)(a->n_heads / a->n_kv_heads);
  v.width = (int32_t)a->head_dim;
  v.scale = a->scale;
  if (tensor_given(a->bias)) {
    v.buckets = (int32_t)a->bias.rows;
    v.bias_log = (float)log((double)a->bias_max_distance / (double)(a->bias.rows / 2));
  }
  return v;
}

// The tensors of a call that kernels read besides q, k and v.
#define CUDA_READ_ATTENTION(a)                                                                     \
  CUDA_READ((a)->cu_q), CUDA_READ((a)->cu_k), CUDA_READ((a)->k_lens), CUDA_READ((a)->offset),      \
      CUDA_READ((a)->prefix), CUDA_READ((a)->pages), CUDA_READ((a)->bias)

// The sequence whose rows [starts[s], starts[s + 1]) hold `row`, or -1.
__device__ __forceinline__ int sequence_of(const int32_t *starts, int seqs, int64_t row) {
  int low = 0, high = seqs + 1; // of the starts, so many are <= row: low .. high
#pragma unroll 1
  do {
    int middle = (low + high) / 2;
    if (starts[middle] <= row)
      low = middle + 1;
    else
      high = middle;
  } while (low < high);
  return low <= seqs ? low - 1 : -1;
}

__device__ __forceinline__ int key_count(const AttentionView &v, int s) {
  return v.k_lens != NULL ? v.k_lens[s] : v.cu_k[s + 1] - v.cu_k[s];
}

__device__ __forceinline__ int offset_of(const AttentionView &v, int s) {
  return v.offset != NULL ? v.offset[s] : 0;
}

// How many keys query i of s sees: they are the first ones.
__device__ __forceinline__ int visible_keys(const AttentionView &v, int s, int i) {
  int n = max(offset_of(v, s) + i + 1, v.prefix != NULL ? v.prefix[s] : 0);
  return min(max(n, 0), key_count(v, s));
}

__device__ __forceinline__ int64_t key_row(const AttentionView &v, int s, int j) {
  if (v.pages == NULL) return v.cu_k[s] + j;
  return (int64_t)v.pages[s * v.page_stride + j / v.page_size] * v.page_size + j % v.page_size;
}

// attention_bias_bucket of the host, operation by operation.
__device__ __forceinline__ int bias_bucket(const AttentionView &v, int distance) {
  int exact = v.buckets / 2, n = max(distance, 0);
  float ratio = logf((float)max(n, exact) / (float)exact);
  int large = exact + (int)__fmul_rn(ratio / v.bias_log, (float)(v.buckets - exact));
  return n < exact ? n : min(large, v.buckets - 1);
}

// ---- a warp's row of a head: lane l has columns l, l + 32, ..., N of them where it is wide ----

// Whether column 32 x + lane is one of every head that the instance of N columns a lane is for
// (CUDA_BY_WIDTH).
template <int N> __device__ __forceinline__ constexpr bool has_column(int x) {
  return 32 * x + 32 <= 8 + (N == 2 ? 0 : N == 4 ? 64 : 128);
}

// A lane's columns; behind the last column the last one, which is read once more in vain.
template <int N> __device__ __forceinline__ void lane_columns(int (&column)[N], int width) {
#pragma unroll
  for (int x = 0; x < N; x++) column[x] = min((int)(threadIdx.x % 32) + 32 * x, width - 1);
}

// A head's columns to shared memory.
template <typename F, int N>
__device__ __forceinline__ void head_to_shared(float *head, const F *row, int width) {
  int c = threadIdx.x % 32;
  if (has_column<N>(0) || c < width) {
#pragma unroll 1
    do {
      head[c] = load_f32(row + c);
      c += 32;
    } while (c < width);
  }
}

// The dot product of a head in shared memory with one in memory.
template <typename F>
__device__ __forceinline__ float head_dot(const float *head, const F *other, int width) {
  float sum = 0.0f;
  int c = 0;
#pragma unroll 1
  do {
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(head[c + i], load_f32(other + c + i), sum);
    c += 8;
  } while (c < width);
  return sum;
}

// How many rows are loaded before they are added up: a divisor of 32.
template <int N> __device__ __forceinline__ constexpr int heads_at_once(void) {
  return N > 4 ? 1 : 4;
}

template <typename F, int N>
__device__ __forceinline__ void add_head(float (&sum)[N], float weight, const F *row,
                                         const int (&column)[N]) {
#pragma unroll
  for (int x = 0; x < N; x++) sum[x] = fmaf(weight, load_f32(row + column[x]), sum[x]);
}

// row += scale sum
template <typename F, int N>
__device__ __forceinline__ void store_head_acc(F *row, const float (&sum)[N], float scale,
                                               int width) {
#pragma unroll
  for (int x = 0; x < N; x++) {
    int c = threadIdx.x % 32 + 32 * x;
    if (has_column<N>(x) || c < width) store_f32(row + c, load_f32(row + c) + scale * sum[x]);
  }
}

void cuda_attention_back_install(Backend *be); // cuda_attention_back.cu

// The forward on tensor cores, where dtype, width, rows and lengths allow it; false: nothing done.
// cuda_attention_mma.cu
bool cuda_attention_mma(CudaBackend *cuda, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                        const AttentionArgs *args);

// The backward on tensor cores, likewise.
// cuda_attention_mma_back.cu
bool cuda_attention_mma_back(CudaBackend *cuda, Tensor dq, Tensor dk, Tensor dv, Tensor d_o,
                             Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                             const AttentionArgs *args);

// The forward of few queries a sequence; the same. scratch: cuda_scratch_attention bytes.
// cuda_decode.cu
bool cuda_attention_decode(CudaBackend *cuda, void *scratch, Tensor o, Tensor lse, Tensor q,
                           Tensor k, Tensor v, const AttentionArgs *args);

// The instance for a head of `width` columns: N columns a lane, 32 N >= width.
#define CUDA_BY_WIDTH(op, width, ...)                                                              \
  do {                                                                                             \
    CHECK((width) <= ATTENTION_COLS, "%s: heads of %lld columns; the CUDA backend takes %d", (op), \
          (long long)(width), (int)ATTENTION_COLS);                                                \
    if ((width) <= 64) {                                                                           \
      enum { N = 2 };                                                                              \
      __VA_ARGS__;                                                                                 \
    } else if ((width) <= 128) {                                                                   \
      enum { N = 4 };                                                                              \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      enum { N = ATTENTION_COLS / 32 };                                                            \
      __VA_ARGS__;                                                                                 \
    }                                                                                              \
  } while (0)

#endif
