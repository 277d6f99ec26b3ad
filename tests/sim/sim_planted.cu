// Kernels with one planted defect each, and their correct twins, for test_sim_planted.c: one for
// every kind of report of the simulated device. Each is an op as those of kernels/cuda are: y and x
// are f32 rows of 64, the op declares them, one block of 64 threads (two warps) unless said.
//
// A line with `reports: NAME` is the one that the report of defect NAME must name.
#include "cuda_math.cuh"
#include "cuda_ptx.cuh"

enum { PLANTED = 64 };

#define PLANTED_KERNEL static __global__ void __launch_bounds__(128)

// An exchange between the warps, twice through the buffer.
template <bool RAW, bool WAR> PLANTED_KERNEL exchange_kernel(float *y, const float *x) {
  __shared__ float s[PLANTED];
  int t = threadIdx.x;
  s[t] = x[t];
  if (!RAW) __syncthreads();
  float v = s[PLANTED - 1 - t]; // reports: raw
  if (!WAR) __syncthreads();
  s[t] = v + 1.0f; // reports: war
  __syncthreads();
  y[t] = s[PLANTED - 1 - t];
}

// Two blocks, each with a row of its own, or not.
PLANTED_KERNEL blocks_kernel(float *y, const float *x, int64_t stride) {
  y[blockIdx.x * stride + threadIdx.x] = x[threadIdx.x]; // reports: blocks
}

template <bool WAIT, bool LATE> PLANTED_KERNEL async_kernel(float *y, const float *x, float *z) {
  __shared__ __align__(16) float s[PLANTED];
  int t = threadIdx.x;
  if (t < PLANTED / 4) ptx_async_copy16(ptx_shared(s + 4 * t), x + 4 * t, 16);
  ptx_async_commit();
  if (LATE && t < PLANTED / 4) z[4 * t] = 0.0f; // reports: async source
  if (WAIT) ptx_async_wait<0>();
  if (!LATE && z != NULL && t < PLANTED / 4) z[4 * t] = 0.0f;
  __syncthreads();
  y[t] = s[PLANTED - 1 - t]; // reports: async
}

// Between the lanes of a warp.
template <bool SYNC> PLANTED_KERNEL lanes_kernel(float *y, const float *x) {
  __shared__ float s[PLANTED];
  int t = threadIdx.x;
  s[t] = x[t];
  if (SYNC) __syncwarp();
  y[t] = s[t ^ 1]; // reports: warp sync
}

// The upper half of a warp reads what the lower half wrote; only the lower half, or both, sync.
template <bool ALL> PLANTED_KERNEL half_kernel(float *y, const float *x) {
  __shared__ float s[PLANTED];
  int t = threadIdx.x;
  s[t] = x[t];
  if (ALL) {
    __syncwarp();
  } else if (t % 32 < 16) {
    __syncwarp(0xffffu);
  } else {
    __syncwarp(0xffff0000u);
  }
  y[t] = s[t ^ 16]; // reports: half a warp
}

PLANTED_KERNEL bounds_kernel(float *y, const float *x, int n) {
  int t = threadIdx.x;
  for (int i = t; i < n; i += PLANTED) y[i] = x[t]; // reports: bounds
}

PLANTED_KERNEL shared_kernel(float *y, const float *x, int n) {
  __shared__ float s[PLANTED];
  int t = threadIdx.x;
  if (t < n) s[t] = x[t];
  __syncthreads();
  y[t] = s[PLANTED - 1 - t]; // reports: shared
}

template <bool ADD> PLANTED_KERNEL global_kernel(float *y, const float *x) {
  int t = threadIdx.x;
  float before = ADD ? y[t] : 0.0f; // reports: global
  y[t] = before + x[t];
}

// An array that is indexed by a variable lies in local memory.
PLANTED_KERNEL local_kernel(float *y, const float *x, int n) {
  float own[16];
  int t = threadIdx.x;
#pragma unroll 1
  for (int i = 0; i < n; i++) own[(i + t) % 16] = x[i];
  y[t] = own[(t + 15) % 16]; // reports: local
}

PLANTED_KERNEL vector_kernel(float *y, const float *x, int shift) {
  int t = threadIdx.x % 8;
  float4 v = *(const float4 *)(x + 4 * t + shift); // reports: misaligned
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

PLANTED_KERNEL divergent_kernel(float *y, const float *x, int n) {
  __shared__ float s[PLANTED];
  int t = threadIdx.x;
  s[t] = x[t];
  if (t < n) __syncthreads(); // reports: divergent
  y[t] = s[t];
}

PLANTED_KERNEL large_kernel(float *y, const float *x) {
  extern __shared__ float own[];
  own[threadIdx.x] = x[threadIdx.x % PLANTED];
  y[threadIdx.x] = own[threadIdx.x];
}

// y[c] += sum of x[r,c]: a block adds its row, in the order of blocks that comes, or a thread its
// column in a fixed one. Atomics are no race, but their order is another each time.
PLANTED_KERNEL atomic_sum_kernel(float *y, const float *x, int cols) {
  if ((int)threadIdx.x < cols) atomicAdd(y + threadIdx.x, x[blockIdx.x * cols + threadIdx.x]);
}

PLANTED_KERNEL ordered_sum_kernel(float *y, const float *x, int rows, int cols) {
  if ((int)threadIdx.x >= cols) return;
  float sum = y[threadIdx.x];
  for (int r = 0; r < rows; r++) sum += x[r * cols + threadIdx.x];
  y[threadIdx.x] = sum;
}

// ---- the ops ----

#define PLANTED_OP extern "C" __attribute__((visibility("default")))
#define RUN_PLANTED(kernel, blocks, ...)                                                           \
  CUDA_LAUNCH(cuda, kernel, blocks, PLANTED, 0, to, from, ##__VA_ARGS__)

PLANTED_OP bool planted_op(Backend *be, const char *name, bool wrong, Tensor y, Tensor x) {
  CudaBackend *cuda = cuda_of(be);
  float *to = (float *)y.data, *from = (float *)x.data;
  CUDA_OP(cuda, name, CUDA_UPDATE(y), CUDA_UPDATE(x));
  if (strcmp(name, "raw") == 0) {
    if (wrong)
      RUN_PLANTED((exchange_kernel<true, false>), 1);
    else
      RUN_PLANTED((exchange_kernel<false, false>), 1);
  } else if (strcmp(name, "war") == 0) {
    if (wrong)
      RUN_PLANTED((exchange_kernel<false, true>), 1);
    else
      RUN_PLANTED((exchange_kernel<false, false>), 1);
  } else if (strcmp(name, "blocks") == 0) {
    RUN_PLANTED(blocks_kernel, 2, wrong ? 0 : y.stride);
  } else if (strcmp(name, "async") == 0) {
    if (wrong)
      RUN_PLANTED((async_kernel<false, false>), 1, (float *)NULL);
    else
      RUN_PLANTED((async_kernel<true, false>), 1, (float *)NULL);
  } else if (strcmp(name, "async source") == 0) {
    if (wrong)
      RUN_PLANTED((async_kernel<true, true>), 1, from);
    else
      RUN_PLANTED((async_kernel<true, false>), 1, from);
  } else if (strcmp(name, "warp sync") == 0) {
    if (wrong)
      RUN_PLANTED(lanes_kernel<false>, 1);
    else
      RUN_PLANTED(lanes_kernel<true>, 1);
  } else if (strcmp(name, "half a warp") == 0) {
    if (wrong)
      RUN_PLANTED(half_kernel<false>, 1);
    else
      RUN_PLANTED(half_kernel<true>, 1);
  } else if (strcmp(name, "bounds") == 0) {
    RUN_PLANTED(bounds_kernel, 1, 2 * PLANTED + wrong);
  } else if (strcmp(name, "shared") == 0) {
    RUN_PLANTED(shared_kernel, 1, PLANTED - wrong);
  } else if (strcmp(name, "global") == 0) {
    if (wrong)
      RUN_PLANTED(global_kernel<true>, 1);
    else
      RUN_PLANTED(global_kernel<false>, 1);
  } else if (strcmp(name, "local") == 0) {
    RUN_PLANTED(local_kernel, 1, 16 - wrong);
  } else if (strcmp(name, "misaligned") == 0) {
    RUN_PLANTED(vector_kernel, 1, wrong ? 1 : 4);
  } else if (strcmp(name, "divergent") == 0) {
    RUN_PLANTED(divergent_kernel, 1, wrong ? 40 : 64);
  } else if (strcmp(name, "threads") == 0) {
    large_kernel<<<1, wrong ? 160 : 128, 1024, cuda->stream>>>(to, from);
  } else if (strcmp(name, "shared memory") == 0) {
    // More than any block gets that has not asked, and asked for on a device that has less.
    int64_t bytes = wrong ? 100 * 1024 : 48 * 1024;
    large_kernel<<<1, PLANTED, (size_t)bytes, cuda->stream>>>(to, from);
  } else {
    return false;
  }
  return true;
}

// What went wrong until now, whose telling would end the process in an op; 0: nothing.
PLANTED_OP int planted_error(void) {
  cudaError_t launched = cudaGetLastError(), ran = cudaDeviceSynchronize();
  (void)cudaGetLastError();
  return (int)(launched != cudaSuccess ? launched : ran);
}

PLANTED_OP bool planted_attribute(int bytes) {
  return cudaFuncSetAttribute((const void *)large_kernel,
                              cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess;
}

PLANTED_OP void planted_sum(Backend *be, bool atomic, Tensor y, Tensor x) {
  CudaBackend *cuda = cuda_of(be);
  float *to = (float *)y.data;
  const float *from = (const float *)x.data;
  CUDA_OP(cuda, "planted sum", CUDA_UPDATE(y), CUDA_READ(x));
  if (atomic)
    CUDA_LAUNCH(cuda, atomic_sum_kernel, (unsigned)x.rows, 32, 0, to, from, (int)x.cols);
  else
    CUDA_LAUNCH(cuda, ordered_sum_kernel, 1, 32, 0, to, from, (int)x.rows, (int)x.cols);
}
