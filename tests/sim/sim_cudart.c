// The stand-in for libcudart: the device and its attributes. Its other parts: sim_cudart_memory.c,
// sim_cudart_copy.c, sim_cudart_stream.c, sim_cudart_launch.c, sim_cudart_error.c, sim_graph.c.
#include "sim_memory.h"
#include "sim_runtime.h"
#include "sim_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

// ---- the device ----

static const SimDevice devices[] = {
    {"3090", 8, 6, 82, 49152, 101376, INT64_C(24) << 30},
    {"a100", 8, 0, 108, 49152, 166912, INT64_C(40) << 30},
    {"h100", 9, 0, 132, 49152, 232448, INT64_C(80) << 30},
};

static void take_device(SimRuntime *r, const char *name) {
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    if (strcmp(devices[i].name, name) == 0) r->device = devices[i];
  }
}

void sim_take_device(const char *name) {
  take_device(sim_runtime(), name);
}

static void read_environment(SimRuntime *r) {
  const char *name = getenv("VMA_SIM_DEVICE"), *seed = getenv("VMA_SIM_SEED"),
             *sms = getenv("VMA_SIM_SMS"), *checks = getenv("VMA_SIM_CHECKS"),
             *memory = getenv("VMA_SIM_MEMORY");
  r->device = devices[1];
  if (name != NULL) take_device(r, name);
  r->seed = seed != NULL ? strtoull(seed, NULL, 10) : 1;
  if (sms != NULL) r->device.sms = (int)strtol(sms, NULL, 10);
  if (memory != NULL) r->device.memory = strtoll(memory, NULL, 10);
  r->checks = checks == NULL || strcmp(checks, "0") != 0;
  r->fail = getenv("VMA_SIM_FAIL");
  if (r->fail == NULL) r->fail = "";
  if (strcmp(r->fail, "cc") == 0) {
    r->device.major = 7;
    r->device.minor = 5;
  }
}

SimRuntime *sim_runtime(void) {
  static SimRuntime runtime;
  if (!runtime.opened) {
    runtime.opened = true;
    read_environment(&runtime);
    runtime.streams[0].used = true;
    sim_stream_open();
  }
  return &runtime;
}

bool sim_fails(const char *how) {
  return strcmp(sim_runtime()->fail, how) == 0;
}

EXPORTED cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  if (sim_fails("driver") || sim_fails("old")) return sim_result(cudaErrorInsufficientDriver);
  if (sim_fails("none")) return sim_result(cudaErrorNoDevice);
  *count = 1;
  return cudaSuccess;
}

// A driver of the toolkit's own version; "old": of the major release before; "minor": the toolkit
// is a later one of the driver's major release.
EXPORTED cudaError_t cudaDriverGetVersion(int *version) {
  *version = sim_fails("driver") ? 0
             : sim_fails("old")  ? CUDART_VERSION / 1000 * 1000 - 1000 + 80
                                 : CUDART_VERSION;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION + (sim_fails("minor") || sim_fails("ptx") ? 20 : 0);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaSetDevice(int device) {
  if (device != 0) return sim_result(cudaErrorInvalidDevice);
  sim_runtime()->has_context = !sim_fails("exclusive");
  return sim_fails("exclusive") ? sim_result(cudaErrorDevicesUnavailable) : cudaSuccess;
}

EXPORTED cudaError_t cudaDeviceGetPCIBusId(char *pci, int size, int device) {
  snprintf(pci, (size_t)size, "0000:51:00.0");
  return device == 0 ? cudaSuccess : sim_result(cudaErrorInvalidDevice);
}

// What the architectures have: the occupancy of kernels follows from it.
typedef struct Architecture {
  int major, minor;
  int threads_sm, blocks_sm, shared_sm, l2;
} Architecture;

static const Architecture architectures[] = {
    {8, 0, 2048, 32, 167936, 40 << 20},
    {8, 6, 1536, 16, 102400, 6 << 20},
    {9, 0, 2048, 32, 233472, 50 << 20},
};

static const Architecture *architecture(void) {
  const SimDevice *d = &sim_runtime()->device;
  for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
    if (architectures[i].major == d->major && architectures[i].minor == d->minor)
      return &architectures[i];
  return &architectures[0];
}

static int compute_mode(void) {
  return sim_fails("prohibited")  ? cudaComputeModeProhibited
         : sim_fails("exclusive") ? cudaComputeModeExclusiveProcess
                                  : cudaComputeModeDefault;
}

// Attributes that every device of these architectures has alike.
static const struct {
  enum cudaDeviceAttr attribute;
  int value;
} common[] = {
    {cudaDevAttrMaxThreadsPerBlock, 1024},
    {cudaDevAttrMaxBlockDimX, 1024},
    {cudaDevAttrMaxBlockDimY, 1024},
    {cudaDevAttrMaxBlockDimZ, 64},
    {cudaDevAttrMaxGridDimX, 2147483647},
    {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535},
    {cudaDevAttrWarpSize, 32},
    {cudaDevAttrMaxRegistersPerBlock, 65536},
    {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
    {cudaDevAttrTotalConstantMemory, 65536},
    {cudaDevAttrTextureAlignment, 512},
    {cudaDevAttrMaxPitch, 2147483647},
    {cudaDevAttrConcurrentKernels, 1},
    {cudaDevAttrAsyncEngineCount, 2},
    {cudaDevAttrUnifiedAddressing, 1},
    {cudaDevAttrCanMapHostMemory, 1},
    {cudaDevAttrManagedMemory, 0},
    {cudaDevAttrPageableMemoryAccess, 0},
    {cudaDevAttrConcurrentManagedAccess, 0},
    {cudaDevAttrHostRegisterSupported, 1},
    {cudaDevAttrMemoryPoolsSupported, 1},
    {cudaDevAttrStreamPrioritiesSupported, 1},
    {cudaDevAttrComputePreemptionSupported, 1},
    {cudaDevAttrCooperativeLaunch, 0},
    {cudaDevAttrIntegrated, 0},
    {cudaDevAttrKernelExecTimeout, 0},
    {cudaDevAttrEccEnabled, 0},
    {cudaDevAttrTccDriver, 0},
    {cudaDevAttrPciBusId, 1},
    {cudaDevAttrPciDeviceId, 0},
    {cudaDevAttrPciDomainId, 0},
};

EXPORTED cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  const SimDevice *d = &sim_runtime()->device;
  const Architecture *a = architecture();
  if (device != 0) return sim_result(cudaErrorInvalidDevice);
  if (value == NULL) return sim_result(cudaErrorInvalidValue);
  const struct {
    enum cudaDeviceAttr attribute;
    int value;
  } own[] = {
      {cudaDevAttrComputeCapabilityMajor, d->major},
      {cudaDevAttrComputeCapabilityMinor, d->minor},
      {cudaDevAttrMultiProcessorCount, d->sms},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, d->shared_optin},
      {cudaDevAttrMaxSharedMemoryPerBlock, d->shared_block},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, a->shared_sm},
      {cudaDevAttrMaxThreadsPerMultiProcessor, a->threads_sm},
      {cudaDevAttrMaxBlocksPerMultiprocessor, a->blocks_sm},
      {cudaDevAttrL2CacheSize, a->l2},
      {cudaDevAttrComputeMode, compute_mode()},
  };
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    if (own[i].attribute != attribute) continue;
    *value = own[i].value;
    return cudaSuccess;
  }
  for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
    if (common[i].attribute != attribute) continue;
    *value = common[i].value;
    return cudaSuccess;
  }
  sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaDeviceGetAttribute: attribute %d",
             (int)attribute);
  return sim_result(cudaErrorInvalidValue);
}

EXPORTED cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
  const SimDevice *d = &sim_runtime()->device;
  if (device != 0) return sim_result(cudaErrorInvalidDevice);
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "simulated %s", d->name);
  p->totalGlobalMem = (size_t)d->memory;
  p->major = d->major;
  p->minor = d->minor;
  p->multiProcessorCount = d->sms;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->sharedMemPerBlock = (size_t)d->shared_block;
  p->sharedMemPerBlockOptin = (size_t)d->shared_optin;
  p->sharedMemPerMultiprocessor = (size_t)architecture()->shared_sm;
  p->maxThreadsPerMultiProcessor = architecture()->threads_sm;
  p->maxBlocksPerMultiProcessor = architecture()->blocks_sm;
  p->l2CacheSize = architecture()->l2;
  return cudaSuccess;
}

// Another process may hold some of the memory, and a context takes some.
int64_t sim_memory_left(void) {
  const SimRuntime *r = sim_runtime();
  const char *others = getenv("VMA_SIM_OTHERS"), *context = getenv("VMA_SIM_CONTEXT");
  int64_t used = r->device_bytes + (others != NULL ? strtoll(others, NULL, 10) : 0);
  if (r->has_context && context != NULL) used += strtoll(context, NULL, 10);
  return used < r->device.memory ? r->device.memory - used : 0;
}

EXPORTED cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
  const SimRuntime *r = sim_runtime();
  if (sim_fails("exclusive")) return sim_result(cudaErrorDevicesUnavailable);
  *all = (size_t)r->device.memory;
  *left = (size_t)sim_memory_left();
  return cudaSuccess;
}
