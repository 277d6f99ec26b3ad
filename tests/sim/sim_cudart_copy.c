// The stand-in for libcudart: copies and memsets, queued or waited for. Pageable, pinned and device
// memory are told apart.
#include "sim_graph.h"
#include "sim_memory.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

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
  if (s->capture != NULL) return;
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
  sim_runtime()->time += 1 + (double)(c->rows * c->row) / 20000; // 20 GB/s
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

static cudaError_t queue_copy(Copy copy, const char *title, SimStream *s, bool source_pinned) {
  Copy *c = malloc(sizeof *c);
  if (c == NULL) abort();
  *c = copy;
  SimWork *w = sim_work(title, copy.from != NULL ? SIM_WORK_COPY : SIM_WORK_MEMSET, run_copy, c);
  sim_work_touch(w, c->to, c->rows, c->row, c->to_stride, false, true);
  if (c->from != NULL) {
    sim_work_touch(w, c->from, c->rows, c->row, c->from_stride, true, false);
    if (source_pinned) sim_work_source(w, c->from, c->rows, c->row, c->from_stride);
  }
  return sim_stream_push(s, w);
}

static bool on_device(const void *address) {
  const SimBlockOfMemory *b = sim_block_at(address);
  return b != NULL && b->device;
}

static void resolve(enum cudaMemcpyKind kind, const void *to, const void *from, bool *to_device,
                    bool *from_device) {
  const bool by_address = kind == cudaMemcpyDefault;
  *to_device = by_address ? on_device(to)
                          : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  *from_device = by_address ? on_device(from)
                            : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
}

EXPORTED cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from,
                                       size_t from_stride, size_t row, size_t rows,
                                       enum cudaMemcpyKind kind, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  bool to_device, from_device;
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (row == 0 || rows == 0) return cudaSuccess;
  if (row > to_stride || row > from_stride) return sim_result(cudaErrorInvalidPitchValue);
  resolve(kind, to, from, &to_device, &from_device);
  bool sound = check_side(to, (rows - 1) * to_stride + row, to_device, "destination");
  sound = check_side(from, (rows - 1) * from_stride + row, from_device, "source") && sound;
  if (!sound && s->capture != NULL) return sim_result(sim_capture_asked(s));
  if (!sound) return sim_result(cudaErrorInvalidValue);
  if (to_device != from_device) count_overlap(s);
  Copy copy = {to,           from,          (int64_t)to_stride, (int64_t)from_stride,
               (int64_t)row, (int64_t)rows, to_device,          0};
  return sim_result(queue_copy(copy,
                               !from_device ? "a copy to the device"
                               : to_device  ? "a copy on the device"
                                            : "a copy to the host",
                               s, !from_device));
}

EXPORTED cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                                     enum cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

// A call that runs on the default stream and waits.
static cudaError_t refuse_waiting(void) {
  const cudaError_t error = sim_capture_implicit(sim_stream_of(NULL));
  return error != cudaSuccess ? error : sim_capture_unsafe();
}

EXPORTED cudaError_t cudaMemcpy2D(void *to, size_t to_stride, const void *from, size_t from_stride,
                                  size_t row, size_t rows, enum cudaMemcpyKind kind) {
  SimStream *s = sim_stream_of(NULL);
  bool to_device, from_device;
  const cudaError_t refused = refuse_waiting();
  if (refused != cudaSuccess) return sim_result(refused);
  if (row == 0 || rows == 0) return cudaSuccess;
  if (row > to_stride || row > from_stride) return sim_result(cudaErrorInvalidPitchValue);
  resolve(kind, to, from, &to_device, &from_device);
  if ((to_device && !check_side(to, (rows - 1) * to_stride + row, true, "destination")) ||
      (from_device && !check_side(from, (rows - 1) * from_stride + row, true, "source")))
    return sim_result(cudaErrorInvalidValue);
  sim_runtime()->host_waits++;
  Copy copy = {to,           from,          (int64_t)to_stride, (int64_t)from_stride,
               (int64_t)row, (int64_t)rows, to_device,          0};
  const cudaError_t error = queue_copy(copy, "a copy that is waited for", s, false);
  return sim_result(error != cudaSuccess ? error : sim_stream_wait(s));
}

EXPORTED cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes,
                                enum cudaMemcpyKind kind) {
  return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

EXPORTED cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (!check_side(to, bytes, true, "destination")) return sim_result(cudaErrorInvalidValue);
  Copy copy = {to, NULL, (int64_t)bytes, 0, (int64_t)bytes, 1, true, value};
  return sim_result(queue_copy(copy, "a memset", s, false));
}

EXPORTED cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  const cudaError_t refused = refuse_waiting();
  return refused != cudaSuccess ? sim_result(refused) : cudaMemsetAsync(to, value, bytes, NULL);
}
