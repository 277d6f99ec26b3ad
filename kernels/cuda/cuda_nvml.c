// NVML by its binary interface, which is stable: three calls and one struct of it.
#include "cuda_nvml.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

typedef struct NvmlMemory { // nvmlMemory_t
  unsigned long long total, free, used;
} NvmlMemory;

typedef int Call(void);
typedef int HandleByPci(const char *pci, void **device);
typedef int MemoryInfo(void *device, NvmlMemory *memory);

// The function of that name, into *out; false: there is none.
static bool find(const CudaNvml *n, const char *name, void *out) {
  void *symbol = dlsym(n->library, name);
  memcpy(out, &symbol, sizeof symbol);
  return symbol != NULL;
}

void cuda_nvml_close(CudaNvml *n) {
  Call *shutdown;
  if (n->library == NULL) return;
  if (n->device != NULL && find(n, "nvmlShutdown", &shutdown)) (void)shutdown();
  dlclose(n->library);
  *n = (CudaNvml){0};
}

void cuda_nvml_open(CudaNvml *n, const char *pci) {
  Call *init;
  HandleByPci *handle;
  *n = (CudaNvml){.library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)};
  if (n->library == NULL) return;
  bool there =
      find(n, "nvmlInit_v2", &init) && find(n, "nvmlDeviceGetHandleByPciBusId_v2", &handle);
  if (there && init() == 0 && handle(pci, &n->device) == 0) return;
  n->device = NULL;
  cuda_nvml_close(n);
}

int64_t cuda_nvml_used(const CudaNvml *n, int64_t *all) {
  MemoryInfo *info;
  NvmlMemory memory;
  *all = 0;
  if (n->library == NULL || !find(n, "nvmlDeviceGetMemoryInfo", &info)) return -1;
  if (info(n->device, &memory) != 0) return -1;
  *all = (int64_t)memory.total;
  return (int64_t)memory.used;
}
