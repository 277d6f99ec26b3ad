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
