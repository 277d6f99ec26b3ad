// The kernel that layout_check.sh looks for in its own object: large enough for nvcc to compress it
// where it is not told otherwise.
#include <cuda_runtime_api.h>

__device__ float layout_variable[4];

template <int N> __global__ void layout_kernel(float *to, const float *from, int n) {
  __shared__ float values[N * 32];
  for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) values[i % (N * 32)] = from[i];
  __syncthreads();
  float sum = layout_variable[threadIdx.x % 4];
#pragma unroll
  for (int k = 0; k < N; k++) sum = sum * values[k * 32 + (int)threadIdx.x % 32] + from[k];
  to[threadIdx.x] = sum;
}

extern "C" void layout_launch(float *to, const float *from, int n, cudaStream_t stream) {
  layout_kernel<24><<<1, 64, 0, stream>>>(to, from, n);
  layout_kernel<32><<<1, 64, 0, stream>>>(to, from, n);
}
