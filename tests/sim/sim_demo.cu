// Small kernels for the tests of the simulated runtime.
#include <cuda_runtime_api.h>

__global__ void demo_add_kernel(float *to, const float *from, float value, int n) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) to[i] = from[i] + value;
}

__global__ void demo_shared_kernel(float *to, int n) {
  extern __shared__ float values[];
  for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) values[i] = 1;
  __syncthreads();
  if (threadIdx.x == 0) to[0] = values[n - 1];
}

extern "C" void demo_add(float *to, const float *from, float value, int n, int threads,
                         cudaStream_t stream) {
  demo_add_kernel<<<(n + 63) / 64, threads, 0, stream>>>(to, from, value, n);
}

extern "C" cudaError_t demo_shared(float *to, int n, int allowed, cudaStream_t stream) {
  if (allowed > 0) {
    cudaError_t error = cudaFuncSetAttribute((const void *)demo_shared_kernel,
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, allowed);
    if (error != cudaSuccess) return error;
  }
  demo_shared_kernel<<<1, 32, (size_t)n * sizeof(float), stream>>>(to, n);
  return cudaGetLastError();
}

// ---- variables of a kernel file, and the ways to launch ----

__device__ float demo_table[4] = {1, 2, 3, 4};
__constant__ float demo_factor = 2;

__global__ void demo_table_kernel(float *to, int n) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) to[i] = demo_factor * demo_table[i % 4];
}

// Many registers: the sums of 96 columns.
__global__ void demo_wide_kernel(float *to, const float *from) {
  float sums[96];
#pragma unroll
  for (int k = 0; k < 96; k++) sums[k] = from[k];
  for (int r = 1; r < 4; r++) {
#pragma unroll
    for (int k = 0; k < 96; k++) sums[k] = sums[k] * sums[(k + 7) % 96] + from[r * 96 + k];
  }
#pragma unroll
  for (int k = 0; k < 96; k++) to[(int)threadIdx.x * 96 + k] = sums[k];
}

extern "C" void demo_table_into(float *to, int n, cudaStream_t stream) {
  demo_table_kernel<<<(n + 63) / 64, 64, 0, stream>>>(to, n);
}

extern "C" const void *demo_table_symbol(void) {
  return demo_table;
}
extern "C" const void *demo_factor_symbol(void) {
  return &demo_factor;
}
extern "C" const void *demo_add_function(void) {
  return (const void *)demo_add_kernel;
}
extern "C" const void *demo_shared_function(void) {
  return (const void *)demo_shared_kernel;
}
extern "C" const void *demo_wide_function(void) {
  return (const void *)demo_wide_kernel;
}
