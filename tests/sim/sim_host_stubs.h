// What the host side of an object that nvcc made calls to register its kernels and variables before
// main; the toolkit's headers do not declare it for C. The simulated runtime and the check of the
// object layout define it, each for itself.
#ifndef VMA_SIM_HOST_STUBS_H
#define VMA_SIM_HOST_STUBS_H

#include <stddef.h>

void **__cudaRegisterFatBinary(void *wrapper);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, void *tid, void *bid, void *block, void *grid, int *warp);
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external,
                       size_t bytes, int constant, int global);

#endif
