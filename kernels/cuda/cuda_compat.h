// What differs between the CUDA toolkits 12.4 to 13.x, in one place.
#ifndef VMA_CUDA_COMPAT_H
#define VMA_CUDA_COMPAT_H

#include <cuda_runtime_api.h>

#if CUDART_VERSION < 12040
#error "vma needs CUDA 12.4 or newer"
#endif

// Attributes are asked for one by one: cudaDeviceProp lost its clocks and its computeMode in 13.0.
static inline int cuda_attribute(enum cudaDeviceAttr attribute, int device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

#endif
