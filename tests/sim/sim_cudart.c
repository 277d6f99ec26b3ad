// The part of libcudart that the CUDA backend uses, for the simulated device.
#include "sim_memory.h"
#include "sim_runtime.h"
#include "sim_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

static cudaError_t last_error;

static cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

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

static bool fails(const char *how) {
  return strcmp(sim_runtime()->fail, how) == 0;
}

EXPORTED cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  if (fails("driver") || fails("old")) return result(cudaErrorInsufficientDriver);
  if (fails("none")) return result(cudaErrorNoDevice);
  *count = 1;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaDriverGetVersion(int *version) {
  *version = fails("driver") ? 0 : fails("old") ? 12000 : CUDART_VERSION;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaSetDevice(int device) {
  if (device != 0) return result(cudaErrorInvalidDevice);
  return fails("exclusive") ? result(cudaErrorDevicesUnavailable) : cudaSuccess;
}

EXPORTED cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  const SimDevice *d = &sim_runtime()->device;
  if (device != 0) return result(cudaErrorInvalidDevice);
  switch ((int)attribute) {
  case cudaDevAttrComputeCapabilityMajor:
    *value = d->major;
    return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor:
    *value = d->minor;
    return cudaSuccess;
  case cudaDevAttrMultiProcessorCount:
    *value = d->sms;
    return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    *value = d->shared_optin;
    return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlock:
    *value = d->shared_block;
    return cudaSuccess;
  case cudaDevAttrComputeMode:
    *value = fails("prohibited")  ? cudaComputeModeProhibited
             : fails("exclusive") ? cudaComputeModeExclusiveProcess
                                  : cudaComputeModeDefault;
    return cudaSuccess;
  default:
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaDeviceGetAttribute: attribute %d",
               (int)attribute);
    return result(cudaErrorInvalidValue);
  }
}

EXPORTED cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
  const SimDevice *d = &sim_runtime()->device;
  if (device != 0) return result(cudaErrorInvalidDevice);
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "simulated %s", d->name);
  p->totalGlobalMem = (size_t)d->memory;
  p->major = d->major;
  p->minor = d->minor;
  p->multiProcessorCount = d->sms;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
  const SimRuntime *r = sim_runtime();
  if (fails("exclusive")) return result(cudaErrorDevicesUnavailable);
  *all = (size_t)r->device.memory;
  *left = (size_t)(r->device.memory - r->device_bytes);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGetLastError(void) {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

EXPORTED cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

EXPORTED const char *cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}

EXPORTED const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                 ? "no error"
         : error == cudaErrorMemoryAllocation ? "out of memory"
         : error == cudaErrorNoDevice         ? "no CUDA-capable device is detected"
                                              : "an error of the simulated device";
}

// ---- memory: its content is what no number is ----

SimBlockOfMemory *sim_block_at(const void *address) {
  for (SimBlockOfMemory *b = sim_runtime()->blocks; b != NULL; b = b->next) {
    const char *from = b->address;
    if ((const char *)address >= from && (const char *)address < from + b->bytes) return b;
  }
  return NULL;
}

static cudaError_t allocate(void **out, size_t bytes, bool device) {
  SimRuntime *r = sim_runtime();
  *out = NULL;
  if (bytes == 0) return result(cudaErrorInvalidValue);
  if (device && r->device_bytes + (int64_t)bytes > r->device.memory)
    return result(cudaErrorMemoryAllocation);
  SimBlockOfMemory *b = calloc(1, sizeof *b);
  void *memory = aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (b == NULL || memory == NULL) {
    free(b);
    free(memory);
    return result(cudaErrorMemoryAllocation);
  }
  memset(memory, 0xFF, bytes);
  *b = (SimBlockOfMemory){memory, (int64_t)bytes, device, r->blocks};
  r->blocks = b;
  if (device) r->device_bytes += b->bytes;
  if (r->device_bytes > r->device_peak) r->device_peak = r->device_bytes;
  sim_memory_add(memory, (int64_t)bytes, device ? SIM_MEMORY_DEVICE : SIM_MEMORY_PINNED);
  *out = memory;
  return cudaSuccess;
}

static cudaError_t release(void *address, bool device, const char *call) {
  SimRuntime *r = sim_runtime();
  if (address == NULL)
    return fails("exclusive") ? result(cudaErrorDevicesUnavailable) : cudaSuccess;
  for (SimBlockOfMemory **at = &r->blocks; *at != NULL; at = &(*at)->next) {
    SimBlockOfMemory *b = *at;
    if (b->address != address || b->device != device) continue;
    sim_stream_freed(b->address, b->bytes, call);
    *at = b->next;
    if (device) r->device_bytes -= b->bytes;
    sim_memory_remove(b->address);
    memset(b->address, 0xFF, (size_t)b->bytes);
    free(b->address);
    free(b);
    return cudaSuccess;
  }
  sim_report(SIM_API, NULL, (SimLine){0}, "%s of %p, which was not handed out", call, address);
  return result(cudaErrorInvalidValue);
}

EXPORTED cudaError_t cudaMalloc(void **out, size_t bytes) {
  return allocate(out, bytes, true);
}
EXPORTED cudaError_t cudaMallocHost(void **out, size_t bytes) {
  return allocate(out, bytes, false);
}
EXPORTED cudaError_t cudaFree(void *address) {
  return release(address, true, "cudaFree");
}
EXPORTED cudaError_t cudaFreeHost(void *address) {
  return release(address, false, "cudaFreeHost");
}

// ---- streams and events ----

struct CUevent_st {
  int stream;
  int64_t at; // how much of the stream comes before it
  SimClock clock;
  bool recorded;
};

SimStream *sim_stream_of(cudaStream_t stream) {
  return stream == NULL ? &sim_runtime()->streams[0] : (SimStream *)(void *)stream;
}

void sim_stream_work(SimStream *s, bool kernel) {
  s->clock.at[s->index]++;
  if (kernel) s->last_kernel = s->clock.at[s->index];
}

static void join(SimClock *to, const SimClock *from) {
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (from->at[i] > to->at[i]) to->at[i] = from->at[i];
  }
}

EXPORTED cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
  SimRuntime *r = sim_runtime();
  for (int i = 1; i < SIM_STREAMS; i++) {
    if (r->streams[i].used) continue;
    const int64_t count = r->streams[i].clock.at[i]; // goes on, so that old clocks stay true
    r->streams[i] = (SimStream){.index = i,
                                .used = true,
                                .alone = (flags & cudaStreamNonBlocking) != 0,
                                .last_kernel = 0,
                                .clock = r->host};
    r->streams[i].clock.at[i] = count;
    *out = (cudaStream_t)(void *)&r->streams[i];
    return cudaSuccess;
  }
  return result(cudaErrorMemoryAllocation);
}

EXPORTED cudaError_t cudaStreamCreate(cudaStream_t *out) {
  return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

static bool valid(const SimStream *s) {
  return s >= sim_runtime()->streams && s < sim_runtime()->streams + SIM_STREAMS && s->used;
}

static cudaError_t wait_for(SimStream *s) {
  SimRuntime *r = sim_runtime();
  sim_stream_run_until(s->index, s->clock.at[s->index]);
  sim_stream_known(&s->clock);
  return r->failed != cudaSuccess ? result(r->failed) : cudaSuccess;
}

EXPORTED cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (s->index == 0 || !valid(s)) return result(cudaErrorInvalidResourceHandle);
  // What is queued still runs, as on a device; nobody can wait for it any more.
  if (s->clock.at[s->index] > sim_runtime()->host.at[s->index] && sim_stream_pending(s->index))
    sim_report(SIM_API, NULL, (SimLine){0}, "cudaStreamDestroy of a stream with work queued");
  sim_stream_run_until(s->index, s->clock.at[s->index]);
  s->used = false;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!valid(sim_stream_of(stream))) return result(cudaErrorInvalidResourceHandle);
  sim_runtime()->host_waits++;
  return wait_for(sim_stream_of(stream));
}

EXPORTED cudaError_t cudaStreamQuery(cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!valid(s)) return result(cudaErrorInvalidResourceHandle);
  sim_stream_run_one();
  if (sim_stream_pending(s->index)) return cudaErrorNotReady;
  return wait_for(s);
}

EXPORTED cudaError_t cudaDeviceSynchronize(void) {
  SimRuntime *r = sim_runtime();
  cudaError_t error = cudaSuccess;
  r->host_waits++;
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (r->streams[i].used && wait_for(&r->streams[i]) != cudaSuccess) error = r->failed;
  }
  return error;
}

EXPORTED cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
  (void)flags;
  *out = calloc(1, sizeof **out);
  return *out != NULL ? cudaSuccess : result(cudaErrorMemoryAllocation);
}

EXPORTED cudaError_t cudaEventCreate(cudaEvent_t *out) {
  return cudaEventCreateWithFlags(out, 0);
}

EXPORTED cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == NULL) return result(cudaErrorInvalidResourceHandle);
  free(event);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (event == NULL || !valid(s)) return result(cudaErrorInvalidResourceHandle);
  event->stream = s->index;
  event->at = s->clock.at[s->index];
  event->clock = s->clock;
  event->recorded = true;
  return cudaSuccess;
}

// Asking makes time pass: a piece of work runs. Else a program that asks in a loop had no end.
EXPORTED cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == NULL) return result(cudaErrorInvalidResourceHandle);
  if (!event->recorded) return cudaSuccess;
  if (sim_stream_done(event->stream) < event->at) sim_stream_run_one();
  if (sim_stream_done(event->stream) < event->at) return cudaErrorNotReady;
  sim_stream_known(&event->clock);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  SimRuntime *r = sim_runtime();
  if (event == NULL) return result(cudaErrorInvalidResourceHandle);
  r->host_waits++;
  if (!event->recorded) return cudaSuccess;
  sim_stream_run_until(event->stream, event->at);
  sim_stream_known(&event->clock);
  return r->failed != cudaSuccess ? result(r->failed) : cudaSuccess;
}

EXPORTED cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  (void)flags;
  SimStream *s = sim_stream_of(stream);
  if (event == NULL || !valid(s)) return result(cudaErrorInvalidResourceHandle);
  if (event->recorded) join(&s->clock, &event->clock);
  return cudaSuccess;
}

// ---- copies ----

// Whether [address, +bytes) is one block's; reports what no device could do.
static bool check_side(const void *address, size_t bytes, bool device, const char *what) {
  const SimBlockOfMemory *b = sim_block_at(address);
  if (b == NULL || b->device != device) {
    bool released = b == NULL && sim_memory_stray(address) == SIM_RELEASED;
    sim_report(released ? SIM_RELEASED : SIM_HOST_POINTER, NULL, (SimLine){0},
               "asynchronous copy: its %s %s %s memory", what,
               released ? "was freed, it is no" : "is no", device ? "device" : "pinned");
    return false;
  }
  const char *end = (const char *)b->address + b->bytes;
  if ((const char *)address + bytes <= end) return true;
  sim_report(SIM_OUT_OF_BOUNDS, NULL, (SimLine){0},
             "asynchronous copy: its %s ends %lld bytes too far", what,
             (long long)((const char *)address + bytes - end));
  return false;
}

static void count_overlap(const SimStream *s) {
  SimRuntime *r = sim_runtime();
  for (int i = 0; i < SIM_STREAMS; i++) {
    const SimStream *other = &r->streams[i];
    bool runs = other->used && other->index != s->index && other->last_kernel > r->host.at[i] &&
                s->clock.at[i] < other->last_kernel;
    if (!runs) continue;
    r->overlapped++;
    return;
  }
}

typedef struct Copy {
  char *to;
  const char *from;
  int64_t to_stride, from_stride, row, rows;
  bool to_device;
  int value; // of a memset: from is NULL
} Copy;

static void run_copy(SimWork *work, void *data) {
  const Copy *c = data;
  (void)work;
  for (int64_t i = 0; i < c->rows; i++) {
    char *d = c->to + i * c->to_stride;
    const char *a = c->from != NULL ? c->from + i * c->from_stride : NULL;
    if (a == NULL)
      memset(d, c->value, (size_t)c->row);
    else
      memmove(d, a, (size_t)c->row);
    if (!c->to_device) continue;
    if (a != NULL)
      sim_memory_copied(d, a, c->row);
    else
      sim_memory_wrote(d, c->row);
  }
}

static void queue_copy(Copy copy, const char *title, SimStream *s, bool source_pinned) {
  Copy *c = malloc(sizeof *c);
  if (c == NULL) abort();
  *c = copy;
  SimWork *w = sim_work(title, false, run_copy, c);
  sim_work_touch(w, c->to, c->rows, c->row, c->to_stride, false, true);
  if (c->from != NULL) {
    sim_work_touch(w, c->from, c->rows, c->row, c->from_stride, true, false);
    if (source_pinned) sim_work_source(w, c->from, c->rows, c->row, c->from_stride);
  }
  sim_stream_push(s, w);
}

EXPORTED cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from,
                                       size_t from_stride, size_t row, size_t rows,
                                       enum cudaMemcpyKind kind, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (row == 0 || rows == 0) return cudaSuccess;
  if (row > to_stride || row > from_stride) return result(cudaErrorInvalidPitchValue);
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  bool sound = check_side(to, (rows - 1) * to_stride + row, to_device, "destination");
  sound = check_side(from, (rows - 1) * from_stride + row, from_device, "source") && sound;
  if (!sound) return result(cudaErrorInvalidValue);
  if (to_device != from_device) count_overlap(s);
  Copy copy = {to,           from,          (int64_t)to_stride, (int64_t)from_stride,
               (int64_t)row, (int64_t)rows, to_device,          0};
  queue_copy(copy,
             !from_device ? "a copy to the device"
             : to_device  ? "a copy on the device"
                          : "a copy to the host",
             s, !from_device);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                                     enum cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

// Waits, and takes any host memory.
EXPORTED cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes,
                                enum cudaMemcpyKind kind) {
  SimStream *s = sim_stream_of(NULL);
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes == 0) return cudaSuccess;
  if ((to_device && !check_side(to, bytes, true, "destination")) ||
      (from_device && !check_side(from, bytes, true, "source")))
    return result(cudaErrorInvalidValue);
  sim_runtime()->host_waits++;
  Copy copy = {to, from, (int64_t)bytes, (int64_t)bytes, (int64_t)bytes, 1, to_device, 0};
  queue_copy(copy, "a copy that is waited for", s, false);
  return wait_for(s);
}

EXPORTED cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!check_side(to, bytes, true, "destination")) return result(cudaErrorInvalidValue);
  Copy copy = {to, NULL, (int64_t)bytes, 0, (int64_t)bytes, 1, true, value};
  queue_copy(copy, "a memset", sim_stream_of(stream), false);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, NULL);
}

// ---- kernels ----

typedef struct Registered { // a fat binary, loaded when one of its kernels is wanted first
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

enum { FUNCTIONS_MAX = 4096 };
static HostFunction functions[FUNCTIONS_MAX];
static int n_functions;

void **__cudaRegisterFatBinary(void *wrapper);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, void *tid, void *bid, void *block, void *grid, int *warp);
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

EXPORTED void __cudaRegisterFunction(void **handle, const char *host, char *device,
                                     const char *name, int limit, void *tid, void *bid, void *block,
                                     void *grid, int *warp) {
  (void)device, (void)limit, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
  if (n_functions == FUNCTIONS_MAX) abort();
  functions[n_functions++] =
      (HostFunction){.host = host, .name = name, .from = (Registered *)(void *)handle};
}

static HostFunction *find_function(const void *host) {
  for (int i = 0; i < n_functions; i++) {
    if (functions[i].host == host) return &functions[i];
  }
  return NULL;
}

static bool load(HostFunction *f) {
  char message[600];
  const SimDevice *d = &sim_runtime()->device;
  if (f->kernel != NULL) return true;
  if (f->from->module == NULL)
    f->from->module =
        sim_module_load(f->from->wrapper, 10 * d->major + d->minor, message, sizeof message);
  if (f->from->module == NULL) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "%s: %s", f->name, message);
    return false;
  }
  f->kernel = sim_module_kernel(f->from->module, f->name);
  return f->kernel != NULL;
}

int sim_kernel_count(void) {
  return n_functions;
}

SimKernel *sim_kernel_at(int i) {
  return load(&functions[i]) ? functions[i].kernel : NULL;
}

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

EXPORTED cudaError_t cudaFuncSetAttribute(const void *host, enum cudaFuncAttribute attribute,
                                          int value) {
  HostFunction *f = find_function(host);
  if (f == NULL) return result(cudaErrorInvalidDeviceFunction);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value > sim_runtime()->device.shared_optin) return result(cudaErrorInvalidValue);
  f->dynamic_allowed = value;
  return cudaSuccess;
}

typedef struct Launched {
  SimLaunch launch;
  SimOp op;
  uint8_t params[];
} Launched;

static void run_kernel(SimWork *work, void *data) {
  Launched *l = data;
  (void)work;
  sim_counters_begin(l->launch.kernel->title);
  if (!sim_exec_launch(&l->launch)) sim_runtime()->failed = cudaErrorLaunchFailure;
  free(l->op.ranges);
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
  if (f == NULL || !load(f)) return result(cudaErrorInvalidDeviceFunction);
  const SimKernel *k = f->kernel;
  int64_t threads = (int64_t)block.x * block.y * block.z;
  int64_t allowed =
      f->dynamic_allowed > r->device.shared_block ? f->dynamic_allowed : r->device.shared_block;
  if (threads < 1 || threads > 1024 || threads > k->max_threads || grid.x < 1 || grid.y < 1 ||
      grid.y > 65535 || grid.z < 1 || grid.z > 65535 ||
      k->static_shared + (int64_t)shared > allowed) {
    sim_report(SIM_LAUNCH_LIMITS, k, (SimLine){0},
               "%s: %u x %u x %u blocks of %lld threads, %lld bytes shared", k->title, grid.x,
               grid.y, grid.z, (long long)threads, (long long)(k->static_shared + (int64_t)shared));
    return result(cudaErrorInvalidConfiguration);
  }
  Launched *l = calloc(1, sizeof *l + (size_t)k->param_bytes + 16);
  if (l == NULL) return result(cudaErrorMemoryAllocation);
  for (int i = 0; i < k->n_params; i++)
    memcpy(l->params + k->params[i].offset, args[i], (size_t)k->params[i].bytes);
  l->launch = (SimLaunch){.kernel = k,
                          .device = &r->device,
                          .grid = {grid.x, grid.y, grid.z},
                          .block = {block.x, block.y, block.z},
                          .shared_bytes = k->static_shared + (int64_t)shared,
                          .dynamic_shared = (int64_t)shared,
                          .params = l->params,
                          .seed = r->seed + (uint64_t)r->launches * 0x9E3779B97F4A7C15u,
                          .number = ++r->launches,
                          .checks = r->checks};
  SimWork *w = sim_work(k->title, true, run_kernel, l);
  const SimOp *op = sim_op_now();
  if (op == NULL)
    sim_work_learns(w);
  else
    declare(l, w, op);
  sim_stream_push(sim_stream_of(stream), w);
  return cudaSuccess;
}

EXPORTED cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *host) {
  *out = (cudaKernel_t)(void *)find_function(host);
  return *out != NULL ? cudaSuccess : result(cudaErrorInvalidDeviceFunction);
}

EXPORTED cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                                        size_t shared, cudaStream_t stream) {
  return run((HostFunction *)(void *)kernel, grid, block, args, shared, stream);
}

EXPORTED cudaError_t cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args,
                                      size_t shared, cudaStream_t stream) {
  return run(find_function(host), grid, block, args, shared, stream);
}
