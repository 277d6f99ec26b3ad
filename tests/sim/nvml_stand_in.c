// libnvidia-ml.so.1 for tests of the memory line: what a driver would say is in use of the
// simulated device, VMA_NVML_BEFORE bytes the first time and VMA_NVML_AFTER from then on, of
// VMA_NVML_ALL.
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef struct Memory { // nvmlMemory_t
  unsigned long long total, free, used;
} Memory;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **device);
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory);

static int inited;
static char the_device;

EXPORTED int nvmlInit_v2(void) {
  inited++;
  return 0;
}

EXPORTED int nvmlShutdown(void) {
  return --inited == 0 ? 0 : 1;
}

EXPORTED int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **device) {
  *device = &the_device;
  return inited == 1 && strcmp(pci, "0000:51:00.0") == 0 ? 0 : 2;
}

static unsigned long long number(const char *name) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : 0;
}

// The library is closed in between: what was asked before is told by the environment.
EXPORTED int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
  if (device != &the_device || inited != 1) return 2;
  const char *name = getenv("VMA_NVML_ASKED") != NULL ? "VMA_NVML_AFTER" : "VMA_NVML_BEFORE";
  setenv("VMA_NVML_ASKED", "1", 1);
  memory->total = number("VMA_NVML_ALL");
  memory->used = number(name);
  memory->free = memory->total - memory->used;
  return 0;
}
