// The QKV split with the rotary embedding (Su et al. 2021), forward into q and the rows of the
// cache, and its transpose.
//
// Maths, per head and pair (a, b) = (in[i], in[i + D/2]), angle = position * inv_freq[i] in f32:
//   forward   out = (a cos - b sin, b cos + a sin)
//   backward  d += (a cos + b sin, b cos - a sin): the inverse rotation
// v is copied, or added. A row whose slot is -1 (of no sequence) gives q alone.
//
// Tiling: a block of 256 threads owns a row. It works out the D/2 cosines and sines once, in shared
// memory, then thread i takes pairs i, i + 256, ... of all heads of q, k and v: neighbouring
// threads have neighbouring columns. Shared memory: D floats. flops: 6 a pair, D/2 sincos a row;
// bytes: qkv read and written once (the gradient read too).
#include "cuda_math.cuh"

enum { ROPE_THREADS = 256 };

struct RopeView {
  const int32_t *positions, *slots;
  const float *inv_freq;
  int32_t heads, kv_heads, half;
};

static RopeView rope_view(const RopeArgs *a) {
  RopeView view = {(const int32_t *)a->positions.data,
                   (const int32_t *)a->slots.data,
                   (const float *)a->inv_freq.data,
                   (int32_t)a->n_heads,
                   (int32_t)a->n_kv_heads,
                   (int32_t)(a->head_dim / 2)};
  return view;
}

// cosines [half], then sines.
__device__ __forceinline__ void row_angles(float *angles, const RopeView &view, int64_t row) {
  for (int i = threadIdx.x; i < view.half; i += ROPE_THREADS) {
    float c = 1.0f, s = 0.0f;
    if (view.inv_freq != NULL) sincosf((float)view.positions[row] * view.inv_freq[i], &s, &c);
    angles[i] = c;
    angles[view.half + i] = s;
  }
  __syncthreads();
}

// budget: rope_split_kernel registers=40 shared=0
template <typename F>
static __global__ void __launch_bounds__(ROPE_THREADS)
    rope_split_kernel(Rows<F> q, Rows<F> k, Rows<F> v, Rows<const F> qkv, RopeView view) {
  extern __shared__ float angles[];
  int64_t row = blockIdx.x, slot = view.slots != NULL ? view.slots[row] : row;
  row_angles(angles, view, row);
  int half = view.half, rotated = (view.heads + view.kv_heads) * half;
  for (int p = threadIdx.x; p < rotated + view.kv_heads * half; p += ROPE_THREADS) {
    int head = p / half, i = p % half;
    const F *in = qkv.row(row) + (int64_t)head * 2 * half + i;
    float a = load_f32(in), b = load_f32(in + half);
    F *out = q.row(row) + (int64_t)head * 2 * half + i;
    if (head >= view.heads && slot < 0) break; // all pairs behind it are of k and v too
    if (head >= view.heads) out = k.row(slot) + (int64_t)(head - view.heads) * 2 * half + i;
    float c = angles[i], s = angles[half + i];
    if (p >= rotated) {
      out = v.row(slot) + (int64_t)(head - view.heads - view.kv_heads) * 2 * half + i;
      c = 1.0f;
      s = 0.0f;
    }
    store_f32(out, p >= rotated ? a : a * c - b * s);
    store_f32(out + half, p >= rotated ? b : b * c + a * s);
  }
}

// budget: rope_back_kernel registers=40 shared=0
template <typename F>
static __global__ void __launch_bounds__(ROPE_THREADS)
    rope_back_kernel(Rows<F> dqkv, Rows<const F> dq, Rows<const F> dk, Rows<const F> dv,
                     RopeView view) {
  extern __shared__ float angles[];
  int64_t row = blockIdx.x;
  row_angles(angles, view, row);
  int half = view.half, rotated = (view.heads + view.kv_heads) * half;
  for (int p = threadIdx.x; p < rotated + view.kv_heads * half; p += ROPE_THREADS) {
    int head = p / half, i = p % half;
    F *out = dqkv.row(row) + (int64_t)head * 2 * half + i;
    const F *in = dq.row(row) + (int64_t)head * 2 * half + i;
    if (head >= view.heads) in = dk.row(row) + (int64_t)(head - view.heads) * 2 * half + i;
    float c = angles[i], s = angles[half + i];
    if (p >= rotated) {
      in = dv.row(row) + (int64_t)(head - view.heads - view.kv_heads) * 2 * half + i;
      c = 1.0f;
      s = 0.0f;
    }
    float a = load_f32(in), b = load_f32(in + half);
    float da = p >= rotated ? a : a * c + b * s, db = p >= rotated ? b : b * c - a * s;
    store_f32(out, load_f32(out) + da);
    store_f32(out + half, load_f32(out + half) + db);
  }
}

static void cuda_rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                            const RopeArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_rope_split(be, q, k, v, qkv, args);
  CUDA_OP(cuda, "rope_split", CUDA_WRITE(q), CUDA_WRITE(k), CUDA_WRITE(v), CUDA_READ(qkv),
          CUDA_READ(args->positions), CUDA_READ(args->inv_freq), CUDA_READ(args->slots));
  if (qkv.rows == 0) return;
  CUDA_F(qkv.dtype, "rope_split",
         CUDA_LAUNCH(cuda, rope_split_kernel<F>, qkv.rows, ROPE_THREADS,
                     args->head_dim * sizeof(float), rows_of<F>(q), rows_of<F>(k), rows_of<F>(v),
                     const_rows<F>(qkv), rope_view(args)));
}

static void cuda_rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                     const RopeArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_rope_split_back_acc(be, dqkv, dq, dk, dv, args);
  CUDA_OP(cuda, "rope_split_back_acc", CUDA_UPDATE(dqkv), CUDA_READ(dq), CUDA_READ(dk),
          CUDA_READ(dv), CUDA_READ(args->positions), CUDA_READ(args->inv_freq));
  if (dqkv.rows == 0) return;
  CUDA_F(dqkv.dtype, "rope_split_back_acc",
         CUDA_LAUNCH(cuda, rope_back_kernel<F>, dqkv.rows, ROPE_THREADS,
                     args->head_dim * sizeof(float), rows_of<F>(dqkv), const_rows<F>(dq),
                     const_rows<F>(dk), const_rows<F>(dv), rope_view(args)));
}

void cuda_rope_install(Backend *be) {
  be->rope_split = cuda_rope_split;
  be->rope_split_back_acc = cuda_rope_split_back_acc;
}
