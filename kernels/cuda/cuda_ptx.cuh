// Every PTX instruction that the kernels name themselves, each behind a function: nothing else in
// kernels/cuda contains asm. Tensor cores, their loads from shared memory, asynchronous copies and
// the few instructions that CUDA C has no exact word for. From compute capability 8.0.
//
// A fragment is what one lane holds of a matrix that its warp shares. With g = lane / 4 and
// t = lane % 4 (PTX ISA, "mma.m16n8k16 with floating point type"):
//   a 16x16  a[0]: row g, columns 2t 2t+1; a[1]: row g+8; a[2]: row g, columns 2t+8 2t+9; a[3]:
//   both b 16x8   b[0]: rows 2t 2t+1 of column g; b[1]: rows 2t+8 2t+9 c 16x8   c[0] c[1]: row g,
//   columns 2t 2t+1; c[2] c[3]: row g+8
#ifndef VMA_CUDA_PTX_CUH
#define VMA_CUDA_PTX_CUH

#include <stdint.h>

// ---- lanes ----

static __device__ __forceinline__ int ptx_lane(void) {
  return (int)(threadIdx.x & 31);
}

// Rows g of a fragment, and t: see above.
static __device__ __forceinline__ int ptx_lane_row(void) {
  return ptx_lane() >> 2;
}

static __device__ __forceinline__ int ptx_lane_column(void) {
  return ptx_lane() & 3;
}

// ---- shared memory ----

// The address that the instructions below take for a place in shared memory.
static __device__ __forceinline__ uint32_t ptx_shared(const void *place) {
  return (uint32_t)__cvta_generic_to_shared(place);
}

// Four 8x8 matrices of 16-bit elements; lanes 8i .. 8i+7 give the addresses of the rows of matrix
// i, 16 bytes each and aligned to that. r[i] is the lane's part of matrix i: row g, columns 2t
// 2t+1.
static __device__ __forceinline__ void ptx_ldmatrix_x4(uint32_t r[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// The same transposed: r[i] is column g, rows 2t 2t+1.
static __device__ __forceinline__ void ptx_ldmatrix_x4_trans(uint32_t r[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// ---- tensor cores ----

// c += a b, bf16 products summed in f32.
static __device__ __forceinline__ void ptx_mma_bf16(float c[4], const uint32_t a[4], uint32_t b0,
                                                    uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two f32 rounded to nearest-even bf16, `low` in the low half: the order of memory.
static __device__ __forceinline__ uint32_t ptx_pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// ---- asynchronous copies, global to shared ----

// 16 bytes, both addresses aligned to 16; `bytes` (0 .. 16) of them are read, the rest becomes
// zero. Nothing is read with 0, but the address must still be one of the tensor.
static __device__ __forceinline__ void ptx_async_copy16(uint32_t shared, const void *global,
                                                        int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(bytes)
               : "memory");
}

// Ends a group of this thread's copies.
static __device__ __forceinline__ void ptx_async_commit(void) {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most N of this thread's groups are under way. Other threads see the data only
// after a barrier that follows.
template <int N> static __device__ __forceinline__ void ptx_async_wait(void) {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// ---- arithmetic ----

// 2^x by the special function unit: 2 ulp, subnormal results flushed. For softmax in bf16; f32 ops
// use exp2f.
static __device__ __forceinline__ float ptx_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#endif
