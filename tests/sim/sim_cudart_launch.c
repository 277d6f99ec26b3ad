// The stand-in for libcudart: what host stubs register and call, both the style of CUDA 12
// (cudaLaunchKernel with the stub's address) and of CUDA 13 (__cudaGetKernel, __cudaLaunchKernel);
// launches, kernels' attributes and occupancy, variables of kernel files.
#include "sim_fatbin.h"
#include "sim_graph.h"
#include "sim_host_stubs.h"
#include "sim_memory.h"

#include <cuda_occupancy.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef struct Registered { // a fat binary, loaded when something of it is wanted first
  const void *wrapper;
  SimModule *module;
} Registered;

typedef struct HostFunction {
  const void *host;
  const char *name;
  Registered *from;
  SimKernel *kernel;
  int dynamic_allowed;
} HostFunction;

typedef struct HostVariable {
  const void *host;
  const char *name;
  Registered *from;
  SimVariable *variable;
} HostVariable;

enum { FUNCTIONS_MAX = 4096, VARIABLES_MAX = 256 };
static HostFunction functions[FUNCTIONS_MAX];
static HostVariable variables[VARIABLES_MAX];
static int n_functions, n_variables;

// ---- registration ----

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *host);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared, cudaStream_t stream);

EXPORTED void **__cudaRegisterFatBinary(void *wrapper) {
  Registered *r = calloc(1, sizeof *r);
  if (r == NULL) abort();
  r->wrapper = wrapper;
  return (void **)(void *)r;
}

EXPORTED void __cudaRegisterFatBinaryEnd(void **handle) {
  (void)handle;
}

EXPORTED void __cudaUnregisterFatBinary(void **handle) {
  (void)handle; // at the end of the process
}

EXPORTED char __cudaInitModule(void **handle) {
  (void)handle; // it is loaded when it is wanted
  return 1;
}

EXPORTED void __cudaRegisterFunction(void **handle, const char *host, char *device,
                                     const char *name, int limit, void *tid, void *bid, void *block,
                                     void *grid, int *warp) {
  (void)device, (void)limit, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
  if (n_functions == FUNCTIONS_MAX) abort();
  functions[n_functions++] =
      (HostFunction){.host = host, .name = name, .from = (Registered *)(void *)handle};
}

EXPORTED void __cudaRegisterVar(void **handle, char *host, char *device, const char *name,
                                int external, size_t bytes, int constant, int global) {
  (void)device, (void)external, (void)bytes, (void)constant, (void)global;
  if (n_variables == VARIABLES_MAX) abort();
  variables[n_variables++] =
      (HostVariable){.host = host, .name = name, .from = (Registered *)(void *)handle};
}

// Variables are memory of the device that holds its first values.
static void show_variables(const SimModule *m) {
  for (int64_t i = 0; i < m->n_variables; i++) {
    if (m->variables[i].bytes == 0) continue;
    sim_block_borrow(m->variables[i].data, m->variables[i].bytes, true, 0);
    sim_memory_wrote(m->variables[i].data, m->variables[i].bytes);
  }
}

static bool load_module(Registered *from, const char *name) {
  char message[600];
  const SimDevice *d = &sim_runtime()->device;
  if (from->module != NULL) return true;
  from->module = sim_module_load(from->wrapper, 10 * d->major + d->minor, message, sizeof message);
  if (from->module == NULL) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "%s: %s", name, message);
    return false;
  }
  show_variables(from->module);
  return true;
}

static HostFunction *find_function(const void *host) {
  for (int i = 0; i < n_functions; i++) {
    if (functions[i].host == host) return &functions[i];
  }
  return NULL;
}

static bool load(HostFunction *f) {
  if (f->kernel != NULL) return true;
  if (!load_module(f->from, f->name)) return false;
  f->kernel = sim_module_kernel(f->from->module, f->name);
  return f->kernel != NULL;
}

int sim_kernel_count(void) {
  return n_functions;
}

SimKernel *sim_kernel_at(int i) {
  return load(&functions[i]) ? functions[i].kernel : NULL;
}

// ---- variables ----

static SimVariable *find_variable(const void *host) {
  for (int i = 0; i < n_variables; i++) {
    HostVariable *v = &variables[i];
    if (v->host != host) continue;
    if (v->variable == NULL && load_module(v->from, v->name))
      v->variable = sim_module_variable(v->from->module, v->name);
    return v->variable;
  }
  return NULL;
}

EXPORTED cudaError_t cudaGetSymbolAddress(void **out, const void *symbol) {
  SimVariable *v = find_variable(symbol);
  if (v == NULL) return sim_result(cudaErrorInvalidSymbol);
  *out = v->data;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGetSymbolSize(size_t *out, const void *symbol) {
  const SimVariable *v = find_variable(symbol);
  if (v == NULL) return sim_result(cudaErrorInvalidSymbol);
  *out = (size_t)v->bytes;
  return cudaSuccess;
}

static cudaError_t symbol_part(const void *symbol, size_t offset, size_t bytes, char **out) {
  SimVariable *v = find_variable(symbol);
  if (v == NULL) return cudaErrorInvalidSymbol;
  if (offset + bytes > (size_t)v->bytes) return cudaErrorInvalidValue;
  *out = (char *)v->data + offset;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpyToSymbolAsync(const void *symbol, const void *from, size_t bytes,
                                             size_t offset, enum cudaMemcpyKind kind,
                                             cudaStream_t stream) {
  char *at;
  const cudaError_t error = symbol_part(symbol, offset, bytes, &at);
  return error != cudaSuccess ? sim_result(error) : cudaMemcpyAsync(at, from, bytes, kind, stream);
}

EXPORTED cudaError_t cudaMemcpyFromSymbolAsync(void *to, const void *symbol, size_t bytes,
                                               size_t offset, enum cudaMemcpyKind kind,
                                               cudaStream_t stream) {
  char *at;
  const cudaError_t error = symbol_part(symbol, offset, bytes, &at);
  return error != cudaSuccess ? sim_result(error) : cudaMemcpyAsync(to, at, bytes, kind, stream);
}

EXPORTED cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t bytes,
                                        size_t offset, enum cudaMemcpyKind kind) {
  char *at;
  const cudaError_t error = symbol_part(symbol, offset, bytes, &at);
  return error != cudaSuccess ? sim_result(error) : cudaMemcpy(at, from, bytes, kind);
}

EXPORTED cudaError_t cudaMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset,
                                          enum cudaMemcpyKind kind) {
  char *at;
  const cudaError_t error = symbol_part(symbol, offset, bytes, &at);
  return error != cudaSuccess ? sim_result(error) : cudaMemcpy(to, at, bytes, kind);
}

// ---- what a kernel is ----

EXPORTED cudaError_t cudaFuncSetAttribute(const void *host, enum cudaFuncAttribute attribute,
                                          int value) {
  HostFunction *f = find_function(host);
  if (f == NULL || !load(f)) return sim_result(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess; // a hint
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaFuncSetAttribute: attribute %d",
               (int)attribute);
    return sim_result(cudaErrorNotSupported);
  }
  if (value < 0 || value + f->kernel->static_shared > sim_runtime()->device.shared_optin)
    return sim_result(cudaErrorInvalidValue);
  f->dynamic_allowed = value;
  return cudaSuccess;
}

static int dynamic_limit(const HostFunction *f) {
  const int rest = sim_runtime()->device.shared_block - (int)f->kernel->static_shared;
  return f->dynamic_allowed > rest ? f->dynamic_allowed : rest;
}

EXPORTED cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *host) {
  const SimDevice *d = &sim_runtime()->device;
  HostFunction *f = find_function(host);
  if (f == NULL || !load(f)) return sim_result(cudaErrorInvalidDeviceFunction);
  if (sim_fails("ptx")) return sim_result(cudaErrorUnsupportedPtxVersion);
  const SimKernel *k = f->kernel;
  int64_t bytes = 0;
  const uint8_t *elf = sim_fatbin_machine_code(f->from->wrapper, 10 * d->major + d->minor, &bytes);
  memset(out, 0, sizeof *out);
  out->numRegs = sim_cubin_registers(elf, bytes, f->name);
  out->maxThreadsPerBlock = k->max_threads;
  out->sharedSizeBytes = (size_t)k->static_shared;
  out->localSizeBytes = (size_t)k->local_bytes;
  out->maxDynamicSharedSizeBytes = dynamic_limit(f);
  out->ptxVersion = f->from->module->arch;
  out->binaryVersion = 10 * d->major + d->minor;
  return cudaSuccess;
}

static cudaOccDeviceProp occupancy_device(void) {
  struct cudaDeviceProp p;
  (void)cudaGetDeviceProperties(&p, 0);
  return (cudaOccDeviceProp){.computeMajor = p.major,
                             .computeMinor = p.minor,
                             .maxThreadsPerBlock = p.maxThreadsPerBlock,
                             .maxThreadsPerMultiprocessor = p.maxThreadsPerMultiProcessor,
                             .regsPerBlock = p.regsPerBlock,
                             .regsPerMultiprocessor = p.regsPerMultiprocessor,
                             .warpSize = p.warpSize,
                             .sharedMemPerBlock = p.sharedMemPerBlock,
                             .sharedMemPerMultiprocessor = p.sharedMemPerMultiprocessor,
                             .numSms = p.multiProcessorCount,
                             .sharedMemPerBlockOptin = p.sharedMemPerBlockOptin,
                             .reservedSharedMemPerBlock = 1024};
}

EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int *blocks, const void *host, int threads, size_t dynamic, unsigned flags) {
  struct cudaFuncAttributes f;
  const cudaError_t error = cudaFuncGetAttributes(&f, host);
  if (error != cudaSuccess) return error;
  if (threads < 1 || flags != 0) return sim_result(cudaErrorInvalidValue);
  const cudaOccDeviceProp device = occupancy_device();
  const cudaOccDeviceState state = {.cacheConfig = CACHE_PREFER_NONE, .carveoutConfig = -1};
  const cudaOccFuncAttributes kernel = {.maxThreadsPerBlock = f.maxThreadsPerBlock,
                                        .numRegs = f.numRegs,
                                        .sharedSizeBytes = f.sharedSizeBytes,
                                        .partitionedGCConfig = PARTITIONED_GC_OFF,
                                        .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
                                        .maxDynamicSharedSizeBytes =
                                            (size_t)f.maxDynamicSharedSizeBytes};
  cudaOccResult result;
  *blocks = 0;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads,
                                              dynamic) != CUDA_OCC_SUCCESS)
    return sim_result(cudaErrorInvalidValue);
  *blocks = result.activeBlocksPerMultiprocessor;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *host,
                                                                   int threads, size_t dynamic) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, host, threads, dynamic, 0);
}

// ---- launches ----

typedef struct Configuration {
  dim3 grid, block;
  size_t shared;
  void *stream;
} Configuration;
static Configuration configuration;

EXPORTED unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  configuration = (Configuration){grid, block, shared, stream};
  return 0;
}

EXPORTED cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared,
                                                void *stream) {
  *grid = configuration.grid;
  *block = configuration.block;
  *shared = configuration.shared;
  memcpy(stream, &configuration.stream, sizeof configuration.stream);
  return cudaSuccess;
}

typedef struct Launched {
  SimLaunch launch;
  SimOp op;
  uint8_t params[];
} Launched;

static void drop_launched(void *data) {
  Launched *l = data;
  free(l->op.ranges);
  free(l);
}

static void run_kernel(SimWork *work, void *data) {
  Launched *l = data;
  SimRuntime *r = sim_runtime();
  (void)work;
  l->launch.number = ++r->launches;
  l->launch.seed = r->seed + (uint64_t)r->launches * 0x9E3779B97F4A7C15u;
  l->launch.checks = r->checks;
  sim_counters_begin(&l->launch);
  const int64_t before = sim_counters_now()->warp_instrs;
  if (!sim_exec_launch(&l->launch)) r->failed = cudaErrorLaunchFailure;
  // Four instructions a cycle on every multiprocessor, at 1 GHz.
  r->time += 2 + (double)(sim_counters_now()->warp_instrs - before) / (4000.0 * r->device.sms);
}

// What the op has declared by now, for when the kernel runs.
static void declare(Launched *l, SimWork *w, const SimOp *op) {
  l->op = *op;
  l->op.room = l->op.n;
  l->op.ranges = malloc((size_t)(op->n + 1) * sizeof *op->ranges);
  if (l->op.ranges == NULL) abort();
  if (op->n > 0) memcpy(l->op.ranges, op->ranges, (size_t)op->n * sizeof *op->ranges);
  l->launch.op = &l->op;
  for (int i = 0; i < op->n; i++) {
    const SimRange *t = &op->ranges[i];
    sim_work_touch(w, t->from, t->rows, t->row, t->stride, t->reads, t->writes);
  }
}

static cudaError_t run(HostFunction *f, dim3 grid, dim3 block, void **args, size_t shared,
                       cudaStream_t stream) {
  SimRuntime *r = sim_runtime();
  SimStream *s = sim_stream_of(stream);
  if (f == NULL || !load(f)) return cudaErrorInvalidDeviceFunction;
  if (!sim_stream_valid(s)) return cudaErrorInvalidResourceHandle;
  const SimKernel *k = f->kernel;
  int64_t threads = (int64_t)block.x * block.y * block.z;
  if (threads < 1 || threads > 1024 || threads > k->max_threads || block.z > 64 || grid.x < 1 ||
      grid.x > INT32_MAX || grid.y < 1 || grid.y > 65535 || grid.z < 1 || grid.z > 65535 ||
      (int64_t)shared > dynamic_limit(f)) {
    sim_report(SIM_LAUNCH_LIMITS, k, (SimLine){0},
               "%s: %u x %u x %u blocks of %lld threads, %lld bytes shared", k->title, grid.x,
               grid.y, grid.z, (long long)threads, (long long)(k->static_shared + (int64_t)shared));
    return cudaErrorInvalidConfiguration;
  }
  Launched *l = calloc(1, sizeof *l + (size_t)k->param_bytes + 16);
  if (l == NULL) return cudaErrorMemoryAllocation;
  for (int i = 0; i < k->n_params; i++)
    memcpy(l->params + k->params[i].offset, args[i], (size_t)k->params[i].bytes);
  l->launch = (SimLaunch){.kernel = k,
                          .device = &r->device,
                          .grid = {grid.x, grid.y, grid.z},
                          .block = {block.x, block.y, block.z},
                          .shared_bytes = k->static_shared + (int64_t)shared,
                          .dynamic_shared = (int64_t)shared,
                          .params = l->params};
  SimWork *w = sim_work(k->title, SIM_WORK_KERNEL, run_kernel, l);
  w->drop = drop_launched;
  const SimOp *op = sim_op_now();
  if (op == NULL)
    sim_work_learns(w);
  else
    declare(l, w, op);
  return sim_stream_push(s, w);
}

EXPORTED cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *host) {
  *out = (cudaKernel_t)(void *)find_function(host);
  return *out != NULL ? cudaSuccess : sim_result(cudaErrorInvalidDeviceFunction);
}

EXPORTED cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                                        size_t shared, cudaStream_t stream) {
  return sim_result(run((HostFunction *)(void *)kernel, grid, block, args, shared, stream));
}

EXPORTED cudaError_t cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args,
                                      size_t shared, cudaStream_t stream) {
  return sim_result(run(find_function(host), grid, block, args, shared, stream));
}

// Attributes that change nothing are taken; others would change what the launch means.
EXPORTED cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *host,
                                         void **args) {
  if (c == NULL) return sim_result(cudaErrorInvalidValue);
  for (unsigned i = 0; i < c->numAttrs; i++) {
    const cudaLaunchAttribute *a = &c->attrs[i];
    if (a->id == cudaLaunchAttributeIgnore || a->id == cudaLaunchAttributePriority) continue;
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaLaunchKernelExC: attribute %d",
               (int)a->id);
    return sim_result(cudaErrorNotSupported);
  }
  return cudaLaunchKernel(host, c->gridDim, c->blockDim, args, c->dynamicSmemBytes, c->stream);
}
