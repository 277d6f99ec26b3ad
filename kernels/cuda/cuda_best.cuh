// The best of many (value, index) pairs, for argmax and for lists in order: the larger value, the
// lower index on ties. A NaN is never better than anything.
#ifndef VMA_CUDA_BEST_CUH
#define VMA_CUDA_BEST_CUH

#include "cuda_math.cuh"

struct Best {
  float value;
  int32_t index;
};

// What every other pair is better than; its index is no index.
__device__ __forceinline__ Best best_none() {
  Best none = {-INFINITY, INT32_MAX};
  return none;
}

__device__ __forceinline__ bool is_better(Best a, Best b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

__device__ __forceinline__ Best warp_best(Best best) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    Best other = {__shfl_xor_sync(0xffffffffu, best.value, offset),
                  __shfl_xor_sync(0xffffffffu, best.index, offset)};
    if (is_better(other, best)) best = other;
  }
  return best;
}

// Of the whole block, to all threads. slots: shared memory of [32] of no other use until the next
// barrier after this.
__device__ __forceinline__ Best block_best(Best best, Best *slots) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  best = warp_best(best);
  if (lane == 0) slots[warp] = best;
  __syncthreads();
  return warp_best(lane < warps ? slots[lane] : best_none());
}

#endif
