// What kernels of every family share: loads and stores of F as f32, sums over a warp and a block in
// a fixed order, the activations, Philox and the dropout mask, and the dispatch on the activation
// dtype.
//
// Device code computes in f32 and rounds once, at the store. A vector access is taken where
// pointers and strides allow it ("wide"); it carries the same elements through the same arithmetic,
// so it never changes a bit.
#ifndef VMA_CUDA_MATH_CUH
#define VMA_CUDA_MATH_CUH

#include "cuda_backend.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// ---- dispatch ----

// Runs the statements with `F` as the activation type of `dtype`:
//   CUDA_F(y.dtype, "add", CUDA_LAUNCH(cuda, add_kernel<F>, ...));
#define CUDA_F(dtype, op, ...)                                                                     \
  do {                                                                                             \
    if ((dtype) == DT_F32) {                                                                       \
      typedef float F;                                                                             \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      CHECK((dtype) == DT_BF16, "%s: activations are %s; the CUDA backend computes f32 and bf16",  \
            (op), dtype_info(dtype)->name);                                                        \
      typedef __nv_bfloat16 F;                                                                     \
      __VA_ARGS__;                                                                                 \
    }                                                                                              \
  } while (0)

// A tensor as a kernel's argument.
template <typename T> struct Rows {
  T *data;
  int64_t stride; // elements
  __device__ __forceinline__ T *row(int64_t r) const {
    return data + r * stride;
  }
  __device__ __forceinline__ T *at(int64_t r, int64_t c) const {
    return data + r * stride + c;
  }
};

template <typename T> static inline Rows<T> rows_of(Tensor t) {
  Rows<T> rows = {(T *)t.data, t.stride};
  return rows;
}

template <typename T> static inline Rows<const T> const_rows(Tensor t) {
  Rows<const T> rows = {(const T *)t.data, t.stride};
  return rows;
}

// Whether every row of t begins at a multiple of 16 bytes; absent tensors do not object.
static inline bool cuda_wide(Tensor t) {
  int64_t row = t.stride * dtype_info(t.dtype)->block_bytes;
  return (uintptr_t)t.data % 16 == 0 && (t.rows <= 1 || row % 16 == 0);
}

static inline int64_t cuda_ceil(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// ---- single elements ----

__device__ __forceinline__ float load_f32(const float *p) {
  return *p;
}
__device__ __forceinline__ float load_f32(const __nv_bfloat16 *p) {
  return __bfloat162float(*p);
}
__device__ __forceinline__ float load_f32(const __half *p) {
  return __half2float(*p);
}
__device__ __forceinline__ void store_f32(float *p, float v) {
  *p = v;
}
__device__ __forceinline__ void store_f32(__nv_bfloat16 *p, float v) {
  *p = __float2bfloat16_rn(v);
}
__device__ __forceinline__ void store_f32(__half *p, float v) {
  *p = __float2half_rn(v);
}

// What storing v as F and loading it again gives.
template <typename F> __device__ __forceinline__ float round_to(float v);
template <> __device__ __forceinline__ float round_to<float>(float v) {
  return v;
}
template <> __device__ __forceinline__ float round_to<__nv_bfloat16>(float v) {
  return __bfloat162float(__float2bfloat16_rn(v));
}

// ---- several elements of a row ----

// Elements of 16 bytes.
template <typename F> struct Wide {
  enum { N = 16 / sizeof(F) };
};

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *(uint32_t *)&pair;
}

__device__ __forceinline__ void unpack_bf16(float *low, float *high, uint32_t pair) {
  *low = __uint_as_float(pair << 16);
  *high = __uint_as_float(pair & 0xffff0000u);
}

template <int N> __device__ __forceinline__ void load_wide(float (&v)[N], const float *p) {
  static_assert(N % 4 == 0, "16 bytes at a time");
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    float4 w = *(const float4 *)(p + i);
    v[i] = w.x;
    v[i + 1] = w.y;
    v[i + 2] = w.z;
    v[i + 3] = w.w;
  }
}

template <int N> __device__ __forceinline__ void load_wide(float (&v)[N], const __nv_bfloat16 *p) {
  static_assert(N == 4 || N % 8 == 0, "8 or 16 bytes at a time");
  if constexpr (N == 4) {
    uint2 w = *(const uint2 *)p;
    unpack_bf16(&v[0], &v[1], w.x);
    unpack_bf16(&v[2], &v[3], w.y);
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 8) {
      uint4 w = *(const uint4 *)(p + i);
      unpack_bf16(&v[i], &v[i + 1], w.x);
      unpack_bf16(&v[i + 2], &v[i + 3], w.y);
      unpack_bf16(&v[i + 4], &v[i + 5], w.z);
      unpack_bf16(&v[i + 6], &v[i + 7], w.w);
    }
  }
}

template <int N> __device__ __forceinline__ void store_wide(float *p, const float (&v)[N]) {
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    *(float4 *)(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
  }
}

template <int N> __device__ __forceinline__ void store_wide(__nv_bfloat16 *p, const float (&v)[N]) {
  if constexpr (N == 4) {
    *(uint2 *)p = make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 8) {
      *(uint4 *)(p + i) = make_uint4(pack_bf16(v[i], v[i + 1]), pack_bf16(v[i + 2], v[i + 3]),
                                     pack_bf16(v[i + 4], v[i + 5]), pack_bf16(v[i + 6], v[i + 7]));
    }
  }
}

// v[i] = p[i] for i < left, 0 behind; left >= 1. wide: p is aligned to N elements or to 16 bytes.
template <int N, typename F>
__device__ __forceinline__ void load_some(float (&v)[N], const F *p, int left, bool wide) {
  if (wide && left >= N) {
    load_wide(v, p);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = i == 0 || i < left ? load_f32(p + i) : 0.0f;
  }
}

// p[i] = v[i] for i < left; left >= 1.
template <int N, typename F>
__device__ __forceinline__ void store_some(F *p, const float (&v)[N], int left, bool wide) {
  if (wide && left >= N) {
    store_wide(p, v);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) {
      if (i == 0 || i < left) store_f32(p + i, v[i]);
    }
  }
}

// ---- reductions: all threads get the result, whose order only the block's size decides ----

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
  }
  return v;
}

__device__ __forceinline__ double warp_sum_f64(double v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

// v[i] = the sum of v[i] over the block, which is a whole number of warps of one dimension.
// slots: shared memory for [N][32] values of no other use until the next barrier after this.
template <int N> __device__ __forceinline__ void block_sums(float (&v)[N], float *slots) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int i = 0; i < N; i++) {
    v[i] = warp_sum(v[i]);
    if (lane == 0) slots[32 * i + warp] = v[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = warp_sum(lane < warps ? slots[32 * i + lane] : 0.0f);
}

__device__ __forceinline__ float block_sum(float v, float *slots) {
  float one[1] = {v};
  block_sums(one, slots);
  return one[0];
}

__device__ __forceinline__ double block_sum_f64(double v, double *slots) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_sum_f64(v);
  if (lane == 0) slots[warp] = v;
  __syncthreads();
  return warp_sum_f64(lane < warps ? slots[lane] : 0.0);
}

__device__ __forceinline__ float block_max(float v, float *slots) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_max(v);
  if (lane == 0) slots[warp] = v;
  __syncthreads();
  return warp_max(lane < warps ? slots[lane] : -INFINITY);
}

// ---- activations, as backend.h defines them ----

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// act(x), and act'(x) in *slope. The kind is the same for all threads of a launch.
__device__ __forceinline__ float activation(Activation kind, float x, float *slope) {
  if (kind == ACT_GELU) {
    float cdf = 0.5f * erfcf(x * -0.70710678f); // erfc: nothing cancels for large -x
    *slope = fmaf(x * 0.39894228f, expf(-0.5f * x * x), cdf);
    return x * cdf;
  }
  float u = x, du = 1.0f; // act(x) = x sigmoid(u)
  if (kind == ACT_QUICK_GELU) {
    u = 1.702f * x;
    du = 1.702f;
  } else if (kind == ACT_GELU_TANH) { // 0.5 (1 + tanh v) = sigmoid(2 v)
    float square = x * x;
    u = 1.5957691216f * x * fmaf(square, 0.044715f, 1.0f);
    du = 1.5957691216f * fmaf(square, 0.134145f, 1.0f);
  }
  float s = sigmoid(u);
  *slope = fmaf(x * s * (1.0f - s), du, s);
  return x * s;
}

// ---- dropout: the words of dropout_mask.h, bit for bit ----

// Philox4x32-10; rng.h has the host's.
__device__ __forceinline__ uint4 philox_words(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2,
                                              uint32_t c3) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
  for (int i = 0; i < 10; i++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return make_uint4(c0, c1, c2, c3);
}

// A Dropout as a kernel's argument; off: keeps all, reads no tensor.
struct DropoutMask {
  const int32_t *step, *sequences, *positions;
  uint64_t seed;
  uint32_t tensor_id, threshold;
  float scale; // 1 / (1 - p)
  bool on;
};

static inline DropoutMask dropout_mask_of(const Dropout *d) {
  DropoutMask mask = {};
  if (d == NULL || d->p == 0) return mask;
  mask.step = (const int32_t *)d->step.data;
  mask.sequences = (const int32_t *)d->sequences.data;
  mask.positions = (const int32_t *)d->positions.data;
  mask.seed = d->seed;
  mask.tensor_id = d->tensor_id;
  mask.threshold = (uint32_t)(d->p * 4294967296.0);
  mask.scale = 1.0f / (1.0f - d->p);
  mask.on = true;
  return mask;
}

// The factors, 0 or 1 / (1 - p), of columns 4 * group .. 4 * group + 3 of a row.
__device__ __forceinline__ void dropout_factors(float (&factor)[4], const DropoutMask &mask,
                                                int64_t row, uint32_t group) {
  if (!mask.on) {
#pragma unroll
    for (int i = 0; i < 4; i++) factor[i] = 1.0f;
    return;
  }
  uint64_t key = mask.seed + (uint64_t)(uint32_t)*mask.step * 0x9E3779B97F4A7C15u;
  uint4 words = philox_words(key, group, (uint32_t)mask.positions[row],
                             (uint32_t)mask.sequences[row], mask.tensor_id);
  factor[0] = words.x >= mask.threshold ? mask.scale : 0.0f;
  factor[1] = words.y >= mask.threshold ? mask.scale : 0.0f;
  factor[2] = words.z >= mask.threshold ? mask.scale : 0.0f;
  factor[3] = words.w >= mask.threshold ? mask.scale : 0.0f;
}

// The factor of one element. No indexing by a variable: that would put the four in local memory.
__device__ __forceinline__ float dropout_factor(const DropoutMask &mask, int64_t row, int64_t col) {
  float factor[4];
  dropout_factors(factor, mask, row, (uint32_t)(col / 4));
  int i = (int)(col % 4);
  return i < 2 ? (i == 0 ? factor[0] : factor[1]) : (i == 2 ? factor[2] : factor[3]);
}

// ---- one element a thread ----

enum { BLOCK = 256 };

// Blocks of BLOCK threads that cover n elements one a thread.
static inline unsigned blocks_for(int64_t n) {
  return (unsigned)((n + BLOCK - 1) / BLOCK);
}

static __device__ inline int64_t global_thread(void) {
  return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

#endif
