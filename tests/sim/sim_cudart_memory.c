// The stand-in for libcudart: memory of the device and pinned memory of the host. Its content at
// first is what no number is.
#include "sim_graph.h"
#include "sim_memory.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

#define REFUSE(error)                                                                              \
  do {                                                                                             \
    const cudaError_t error_ = (error);                                                            \
    if (error_ != cudaSuccess) return sim_result(error_);                                          \
  } while (0)

SimBlockOfMemory *sim_block_at(const void *address) {
  for (SimBlockOfMemory *b = sim_runtime()->blocks; b != NULL; b = b->next) {
    const char *from = b->address;
    if ((const char *)address >= from && (const char *)address < from + b->bytes) return b;
  }
  return NULL;
}

static void add_block(SimBlockOfMemory block) {
  SimRuntime *r = sim_runtime();
  SimBlockOfMemory *b = malloc(sizeof *b);
  if (b == NULL) abort();
  *b = block;
  b->number = ++r->allocations;
  b->next = r->blocks;
  r->blocks = b;
  sim_memory_add(b->address, b->bytes, b->device ? SIM_MEMORY_DEVICE : SIM_MEMORY_PINNED);
}

void sim_block_borrow(void *address, int64_t bytes, bool device, unsigned flags) {
  add_block((SimBlockOfMemory){
      .address = address, .bytes = bytes, .device = device, .borrowed = true, .flags = flags});
}

static cudaError_t allocate(void **out, size_t bytes, bool device, unsigned flags) {
  SimRuntime *r = sim_runtime();
  *out = NULL;
  if (bytes == 0) return cudaErrorInvalidValue;
  if (device && (int64_t)bytes > sim_memory_left()) return cudaErrorMemoryAllocation;
  void *memory = aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (memory == NULL) return cudaErrorMemoryAllocation;
  memset(memory, 0xFF, bytes);
  add_block((SimBlockOfMemory){
      .address = memory, .bytes = (int64_t)bytes, .device = device, .flags = flags});
  if (device) r->device_bytes += (int64_t)bytes;
  if (r->device_bytes > r->device_peak) r->device_peak = r->device_bytes;
  *out = memory;
  return cudaSuccess;
}

static void take_out(SimBlockOfMemory **at) {
  SimRuntime *r = sim_runtime();
  SimBlockOfMemory *b = *at;
  *at = b->next;
  sim_memory_remove(b->address);
  if (b->device && !b->borrowed) r->device_bytes -= b->bytes;
  if (!b->borrowed) {
    memset(b->address, 0xFF, (size_t)b->bytes);
    free(b->address);
  }
  free(b);
}

// The block that begins there, where it may be given back by that call.
static SimBlockOfMemory **find(const void *address, bool device, bool borrowed) {
  SimBlockOfMemory **at = &sim_runtime()->blocks;
  for (; *at != NULL; at = &(*at)->next)
    if ((*at)->address == address && (*at)->device == device && (*at)->borrowed == borrowed)
      return at;
  return NULL;
}

static cudaError_t release(void *address, bool device, const char *call) {
  if (address == NULL) return sim_fails("exclusive") ? cudaErrorDevicesUnavailable : cudaSuccess;
  SimBlockOfMemory **at = find(address, device, false);
  if (at == NULL) {
    sim_report(SIM_API, NULL, (SimLine){0}, "%s of %p, which was not handed out", call, address);
    return cudaErrorInvalidValue;
  }
  sim_stream_freed((*at)->address, (*at)->bytes, call);
  take_out(at);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaMalloc(void **out, size_t bytes) {
  REFUSE(sim_capture_unsafe());
  return sim_result(allocate(out, bytes, true, 0));
}

EXPORTED cudaError_t cudaFree(void *address) {
  REFUSE(sim_capture_unsafe());
  return sim_result(release(address, true, "cudaFree"));
}

EXPORTED cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags) {
  REFUSE(sim_capture_unsafe());
  if ((flags &
       ~(unsigned)(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) != 0)
    return sim_result(cudaErrorInvalidValue);
  return sim_result(allocate(out, bytes, false, flags));
}

EXPORTED cudaError_t cudaMallocHost(void **out, size_t bytes) {
  return cudaHostAlloc(out, bytes, cudaHostAllocDefault);
}

EXPORTED cudaError_t cudaFreeHost(void *address) {
  REFUSE(sim_capture_unsafe());
  return sim_result(release(address, false, "cudaFreeHost"));
}

// ---- host memory that is there already ----

EXPORTED cudaError_t cudaHostRegister(void *address, size_t bytes, unsigned flags) {
  REFUSE(sim_capture_unsafe());
  if (address == NULL || bytes == 0) return sim_result(cudaErrorInvalidValue);
  if (sim_block_at(address) != NULL || sim_block_at((char *)address + bytes - 1) != NULL)
    return sim_result(cudaErrorHostMemoryAlreadyRegistered);
  sim_block_borrow(address, (int64_t)bytes, false, flags);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaHostUnregister(void *address) {
  REFUSE(sim_capture_unsafe());
  SimBlockOfMemory **at = find(address, false, true);
  if (at == NULL) return sim_result(cudaErrorHostMemoryNotRegistered);
  sim_stream_freed(address, (*at)->bytes, "cudaHostUnregister");
  take_out(at);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaHostGetFlags(unsigned *flags, void *address) {
  const SimBlockOfMemory *b = sim_block_at(address);
  if (b == NULL || b->device) return sim_result(cudaErrorInvalidValue);
  *flags = b->flags;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
  const SimBlockOfMemory *b = sim_block_at(host);
  if (b == NULL || b->device || flags != 0) return sim_result(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out,
                                              const void *address) {
  const SimBlockOfMemory *b = sim_block_at(address);
  if (out == NULL) return sim_result(cudaErrorInvalidValue);
  memset(out, 0, sizeof *out);
  out->type = b == NULL   ? cudaMemoryTypeUnregistered
              : b->device ? cudaMemoryTypeDevice
                          : cudaMemoryTypeHost;
  out->device = b == NULL ? cudaInvalidDeviceId : 0;
  if (b != NULL) out->devicePointer = (void *)(uintptr_t)address;
  if (b == NULL || !b->device) out->hostPointer = (void *)(uintptr_t)address;
  return cudaSuccess;
}

// ---- in the order of a stream: other streams must come after it, or before ----

static void nothing(SimWork *work, void *data) {
  (void)work, (void)data;
}

static void run_free(SimWork *work, void *data) {
  void *address;
  (void)work;
  memcpy(&address, data, sizeof address);
  SimBlockOfMemory **at = find(address, true, false);
  if (at != NULL) take_out(at);
}

static cudaError_t refuse_nodes(const SimStream *s, const char *call) {
  if (s->capture == NULL) return cudaSuccess;
  sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "%s in a captured stream", call);
  sim_capture_invalidate(s->capture);
  return cudaErrorNotSupported;
}

EXPORTED cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(refuse_nodes(s, "cudaMallocAsync"));
  REFUSE(allocate(out, bytes, true, 0));
  SimWork *w = sim_work("cudaMallocAsync", SIM_WORK_MARKER, nothing, NULL);
  sim_work_touch(w, *out, 1, (int64_t)bytes, 0, false, true);
  return sim_result(sim_stream_push(s, w));
}

EXPORTED cudaError_t cudaFreeAsync(void *address, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (address == NULL) return cudaSuccess;
  REFUSE(refuse_nodes(s, "cudaFreeAsync"));
  SimBlockOfMemory **at = find(address, true, false);
  if (at == NULL) {
    sim_report(SIM_API, NULL, (SimLine){0}, "cudaFreeAsync of %p, which was not handed out",
               address);
    return sim_result(cudaErrorInvalidValue);
  }
  void **kept = malloc(sizeof *kept);
  if (kept == NULL) abort();
  *kept = address;
  SimWork *w = sim_work("cudaFreeAsync", SIM_WORK_MARKER, run_free, kept);
  sim_work_touch(w, address, 1, (*at)->bytes, 0, false, true);
  return sim_result(sim_stream_push(s, w));
}
