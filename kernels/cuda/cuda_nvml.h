// What the driver's own library says of a device's memory, without a context on it: so that what
// opening the device takes can be told from what other programs hold. The library is opened at run
// time; where there is none, or it speaks of another device, nothing is known.
#ifndef VMA_CUDA_NVML_H
#define VMA_CUDA_NVML_H

#include <stdint.h>

typedef struct CudaNvml {
  void *library; // NULL: not known
  void *device;
} CudaNvml;

// `pci` as cudaDeviceGetPCIBusId writes it.
void cuda_nvml_open(CudaNvml *nvml, const char *pci);
void cuda_nvml_close(CudaNvml *nvml);

// Bytes in use by all programs, and all that the device has; -1: not known.
int64_t cuda_nvml_used(const CudaNvml *nvml, int64_t *all);

#endif
