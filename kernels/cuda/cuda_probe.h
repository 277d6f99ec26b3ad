// A kernel to ask whether a device can run what this build holds.
#ifndef VMA_CUDA_PROBE_H
#define VMA_CUDA_PROBE_H

#ifdef __cplusplus
extern "C" {
#endif

// Its symbol, for cudaFuncGetAttributes. cuda_elementwise.cu
const void *cuda_some_kernel(void);

#ifdef __cplusplus
}
#endif

#endif
