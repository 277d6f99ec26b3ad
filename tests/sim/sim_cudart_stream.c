// The stand-in for libcudart: streams and events.
#include "sim_graph.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

#define REFUSE(error)                                                                              \
  do {                                                                                             \
    const cudaError_t error_ = (error);                                                            \
    if (error_ != cudaSuccess) return sim_result(error_);                                          \
  } while (0)

enum { PRIORITY_LEAST = 0, PRIORITY_GREATEST = -5 };

SimStream *sim_stream_of(cudaStream_t stream) {
  return stream == NULL || stream == cudaStreamLegacy ? &sim_runtime()->streams[0]
                                                      : (SimStream *)(void *)stream;
}

void sim_stream_work(SimStream *s, bool kernel) {
  s->clock.at[s->index]++;
  if (kernel) s->last_kernel = s->clock.at[s->index];
}

bool sim_stream_valid(const SimStream *s) {
  return s >= sim_runtime()->streams && s < sim_runtime()->streams + SIM_STREAMS && s->used;
}

cudaError_t sim_stream_wait(SimStream *s) {
  SimRuntime *r = sim_runtime();
  sim_stream_run_until(s->index, s->clock.at[s->index]);
  sim_stream_known(&s->clock);
  return r->failed;
}

// ---- streams ----

EXPORTED cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority) {
  SimRuntime *r = sim_runtime();
  if (out == NULL || (flags & ~(unsigned)cudaStreamNonBlocking) != 0)
    return sim_result(cudaErrorInvalidValue);
  for (int i = 1; i < SIM_STREAMS; i++) {
    if (r->streams[i].used) continue;
    const int64_t count = r->streams[i].clock.at[i]; // goes on, so that old clocks stay true
    r->streams[i] = (SimStream){.index = i,
                                .used = true,
                                .alone = (flags & cudaStreamNonBlocking) != 0,
                                .flags = flags,
                                .priority = priority < PRIORITY_GREATEST ? PRIORITY_GREATEST
                                            : priority > PRIORITY_LEAST  ? PRIORITY_LEAST
                                                                         : priority,
                                .last_kernel = 0,
                                .clock = r->host};
    r->streams[i].clock.at[i] = count;
    *out = (cudaStream_t)(void *)&r->streams[i];
    return cudaSuccess;
  }
  return sim_result(cudaErrorMemoryAllocation);
}

EXPORTED cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
  return cudaStreamCreateWithPriority(out, flags, PRIORITY_LEAST);
}

EXPORTED cudaError_t cudaStreamCreate(cudaStream_t *out) {
  return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

EXPORTED cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  if (least != NULL) *least = PRIORITY_LEAST;
  if (greatest != NULL) *greatest = PRIORITY_GREATEST;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
  if (!sim_stream_valid(sim_stream_of(stream))) return sim_result(cudaErrorInvalidResourceHandle);
  *priority = sim_stream_of(stream)->priority;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned *flags) {
  if (!sim_stream_valid(sim_stream_of(stream))) return sim_result(cudaErrorInvalidResourceHandle);
  *flags = sim_stream_of(stream)->flags;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (s->index == 0 || !sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (s->capture != NULL) return sim_result(sim_capture_asked(s));
  // What is queued still runs, as on a device; nobody can wait for it any more.
  if (s->clock.at[s->index] > sim_runtime()->host.at[s->index] && sim_stream_pending(s->index))
    sim_report(SIM_API, NULL, (SimLine){0}, "cudaStreamDestroy of a stream with work queued");
  sim_stream_run_until(s->index, s->clock.at[s->index]);
  sim_deps_clear(&s->deps);
  s->used = false;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(sim_capture_asked(s));
  sim_runtime()->host_waits++;
  return sim_result(sim_stream_wait(s));
}

EXPORTED cudaError_t cudaStreamQuery(cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(sim_capture_asked(s));
  sim_stream_run_one();
  if (sim_stream_pending(s->index)) return sim_result(cudaErrorNotReady);
  return sim_result(sim_stream_wait(s));
}

EXPORTED cudaError_t cudaDeviceSynchronize(void) {
  SimRuntime *r = sim_runtime();
  cudaError_t error = cudaSuccess;
  if (sim_capture_any()) {
    sim_capture_invalidate(NULL);
    return sim_result(cudaErrorStreamCaptureUnsupported);
  }
  r->host_waits++;
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (r->streams[i].used && sim_stream_wait(&r->streams[i]) != cudaSuccess) error = r->failed;
  }
  return sim_result(error);
}

// ---- events ----

EXPORTED cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
  if (out == NULL) return sim_result(cudaErrorInvalidValue);
  *out = calloc(1, sizeof **out);
  if (*out == NULL) return sim_result(cudaErrorMemoryAllocation);
  (*out)->timed = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaEventCreate(cudaEvent_t *out) {
  return cudaEventCreateWithFlags(out, 0);
}

static void give_back(SimEvent *event) {
  if (!event->destroyed || event->markers > 0) return;
  sim_deps_clear(&event->deps);
  free(event);
}

EXPORTED cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == NULL) return sim_result(cudaErrorInvalidResourceHandle);
  event->destroyed = true;
  give_back(event);
  return cudaSuccess;
}

static void run_marker(SimWork *work, void *data) {
  SimEvent *event;
  (void)work;
  memcpy(&event, data, sizeof event);
  event->time = sim_runtime()->time;
  event->markers--;
  give_back(event);
}

// Only events that may be asked for their time take a place in the queue.
static cudaError_t mark(SimEvent *event, SimStream *s) {
  SimEvent **kept = malloc(sizeof *kept);
  if (kept == NULL) abort();
  *kept = event;
  event->markers++;
  return sim_stream_push(s, sim_work("an event", SIM_WORK_MARKER, run_marker, kept));
}

EXPORTED cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (event == NULL || !sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (s->capture == NULL) REFUSE(sim_capture_implicit(s));
  if (sim_capture_record(s, event)) {
    event->recorded = true;
    return cudaSuccess;
  }
  if (event->timed) REFUSE(mark(event, s));
  event->stream = s->index;
  event->at = s->clock.at[s->index];
  event->clock = s->clock;
  event->recorded = true;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream,
                                              unsigned flags) {
  if (flags != cudaEventRecordDefault) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaEventRecordWithFlags: flags %u", flags);
    return sim_result(cudaErrorNotSupported);
  }
  return cudaEventRecord(event, stream);
}

// The host asks for an event: one of a capture never happens.
static cudaError_t refuse_asking(const SimEvent *event) {
  if (event->captured == 0) return cudaSuccess;
  sim_capture_invalidate(NULL);
  return cudaErrorCapturedEvent;
}

// Asking makes time pass: a piece of work runs. Else a program that asks in a loop had no end.
EXPORTED cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == NULL) return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(refuse_asking(event));
  REFUSE(sim_capture_unsafe());
  if (!event->recorded) return cudaSuccess;
  if (sim_stream_done(event->stream) < event->at) sim_stream_run_one();
  if (sim_stream_done(event->stream) < event->at) return sim_result(cudaErrorNotReady);
  sim_stream_known(&event->clock);
  return sim_result(sim_runtime()->failed);
}

EXPORTED cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  SimRuntime *r = sim_runtime();
  if (event == NULL) return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(refuse_asking(event));
  r->host_waits++;
  if (!event->recorded) return cudaSuccess;
  sim_stream_run_until(event->stream, event->at);
  sim_stream_known(&event->clock);
  return sim_result(r->failed);
}

EXPORTED cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
  if (ms == NULL) return sim_result(cudaErrorInvalidValue);
  if (start == NULL || end == NULL || !start->timed || !end->timed || !start->recorded ||
      !end->recorded)
    return sim_result(cudaErrorInvalidResourceHandle);
  REFUSE(refuse_asking(start));
  REFUSE(refuse_asking(end));
  if (start->markers > 0 || end->markers > 0) return sim_result(cudaErrorNotReady);
  *ms = (float)((end->time - start->time) / 1000);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  SimStream *s = sim_stream_of(stream);
  bool done;
  if (event == NULL || !sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (flags != 0) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaStreamWaitEvent: flags %u", flags);
    return sim_result(cudaErrorNotSupported);
  }
  REFUSE(sim_capture_wait(s, event, &done));
  if (done) return cudaSuccess;
  REFUSE(sim_capture_implicit(s));
  if (event->recorded) sim_stream_join(&s->clock, &event->clock);
  return cudaSuccess;
}
