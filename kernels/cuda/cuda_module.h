// The door of the CUDA module: what the program that opens it (cuda_module.c of the always-built
// part) and the module itself agree on.
#ifndef VMA_CUDA_MODULE_H
#define VMA_CUDA_MODULE_H

#include "backend.h"

// Changed with every change of what passes the door; the size of Backend is compared besides.
enum { CUDA_MODULE_ABI = 1 };

typedef struct CudaModule {
  int abi;
  int64_t backend_bytes;
  Status (*open)(Backend **out, int device, Error *err);
  // STATUS_OK also where there is no usable device: system->problem says why.
  void (*describe)(CudaSystem *system);
} CudaModule;

// The module's only exported function.
#define CUDA_MODULE_ENTRY "vma_cuda_module"
typedef const CudaModule *CudaModuleEntry(void);

#endif
