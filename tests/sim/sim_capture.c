// Capture: streams whose work becomes the nodes of a graph. A stream joins by waiting for an event
// that was recorded in a captured stream; each stream keeps the nodes that its next one comes
// after. What a capture does not allow ends it, as on a device: every use of its streams is an
// error from then on, until the capture is ended, which gives no graph.
#include "sim_graph.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

struct SimCapture {
  int64_t id;
  SimStream *origin;
  enum cudaStreamCaptureMode mode;
  bool invalid;
  SimBody *body;
};

static SimCapture *captures[SIM_STREAMS]; // of the stream that each was begun in
static int64_t n_captures;
static enum cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

// ---- sets of nodes ----

void sim_deps_add(SimDeps *d, int at) {
  for (int i = 0; i < d->n; i++)
    if (d->at[i] == at) return;
  if (d->n == d->room) {
    d->room = d->room * 2 + 4;
    d->at = realloc(d->at, (size_t)d->room * sizeof *d->at);
    if (d->at == NULL) abort();
  }
  d->at[d->n++] = at;
}

void sim_deps_copy(SimDeps *to, const SimDeps *from) {
  to->n = 0;
  for (int i = 0; i < from->n; i++) sim_deps_add(to, from->at[i]);
}

void sim_deps_clear(SimDeps *d) {
  free(d->at);
  *d = (SimDeps){0};
}

// ---- what is allowed ----

void sim_capture_invalidate(SimCapture *capture) {
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (captures[i] != NULL && (capture == NULL || captures[i] == capture))
      captures[i]->invalid = true;
  }
}

bool sim_capture_any(void) {
  for (int i = 0; i < SIM_STREAMS; i++)
    if (captures[i] != NULL) return true;
  return false;
}

static bool blocking(const SimCapture *capture) { // a stream of it waits for the default stream
  const SimRuntime *r = sim_runtime();
  for (int i = 1; i < SIM_STREAMS; i++)
    if (r->streams[i].used && r->streams[i].capture == capture && !r->streams[i].alone) return true;
  return false;
}

cudaError_t sim_capture_implicit(const SimStream *s) {
  cudaError_t error = cudaSuccess;
  if (s->index != 0) return cudaSuccess;
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (captures[i] == NULL || !blocking(captures[i])) continue;
    captures[i]->invalid = true;
    error = cudaErrorStreamCaptureImplicit;
  }
  return error;
}

cudaError_t sim_capture_unsafe(void) {
  cudaError_t error = cudaSuccess;
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (captures[i] == NULL || captures[i]->mode == cudaStreamCaptureModeRelaxed) continue;
    captures[i]->invalid = true;
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

cudaError_t sim_capture_asked(const SimStream *s) {
  if (s->capture == NULL) return sim_capture_implicit(s);
  if (s->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  s->capture->invalid = true;
  return cudaErrorStreamCaptureUnsupported;
}

// ---- work and events ----

cudaError_t sim_capture_add(SimStream *s, SimWork *w) {
  SimCapture *c = s->capture;
  cudaError_t error = c->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
  if (w->kind == SIM_WORK_GRAPH) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0},
               "cudaGraphLaunch into a captured stream: graphs within graphs");
    c->invalid = true;
    error = cudaErrorNotSupported;
  }
  if (error != cudaSuccess) {
    sim_work_free(w);
    return error;
  }
  const int node = sim_body_add(c->body, w, &s->deps);
  s->deps.n = 0;
  sim_deps_add(&s->deps, node);
  return cudaSuccess;
}

bool sim_capture_record(const SimStream *s, SimEvent *event) {
  event->captured = 0;
  if (s->capture == NULL) return false;
  event->captured = s->capture->id;
  sim_deps_copy(&event->deps, &s->deps);
  return true;
}

cudaError_t sim_capture_wait(SimStream *s, const SimEvent *event, bool *done) {
  SimCapture *of_event = NULL;
  *done = true;
  if (event->captured == 0) {
    if (s->capture != NULL && event->recorded) { // what came before the capture is no node of it
      s->capture->invalid = true;
      return cudaErrorStreamCaptureIsolation;
    }
    *done = s->capture != NULL;
    return cudaSuccess;
  }
  for (int i = 0; i < SIM_STREAMS; i++)
    if (captures[i] != NULL && captures[i]->id == event->captured) of_event = captures[i];
  if (of_event == NULL) return cudaErrorCapturedEvent;
  if (of_event->invalid) return cudaErrorStreamCaptureInvalidated;
  if (s->index == 0) {
    of_event->invalid = true;
    return cudaErrorStreamCaptureImplicit;
  }
  if (s->capture != NULL && s->capture != of_event) {
    s->capture->invalid = of_event->invalid = true;
    return cudaErrorStreamCaptureMerge;
  }
  s->capture = of_event;
  for (int i = 0; i < event->deps.n; i++) sim_deps_add(&s->deps, event->deps.at[i]);
  return cudaSuccess;
}

// ---- begin and end ----

EXPORTED cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
  const enum cudaStreamCaptureMode old = thread_mode;
  if (*mode > cudaStreamCaptureModeRelaxed) return sim_result(cudaErrorInvalidValue);
  thread_mode = *mode;
  *mode = old;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (s->index == 0) return sim_result(cudaErrorStreamCaptureUnsupported);
  if (s->capture != NULL) return sim_result(cudaErrorIllegalState);
  SimCapture *c = calloc(1, sizeof *c);
  if (c == NULL) return sim_result(cudaErrorMemoryAllocation);
  *c = (SimCapture){++n_captures, s, mode, false, sim_body_open()};
  captures[s->index] = s->capture = c;
  s->deps.n = 0;
  return cudaSuccess;
}

// Whether the node, or one that comes after it, is among them.
static bool reached(const SimBody *body, const SimDeps *ends, int node) {
  for (int i = 0; i < ends->n; i++)
    if (sim_body_after(body, ends->at[i], node)) return true;
  return false;
}

static bool joined(const SimCapture *c) {
  SimRuntime *r = sim_runtime();
  for (int i = 1; i < SIM_STREAMS; i++) {
    const SimStream *s = &r->streams[i];
    if (!s->used || s->capture != c || s == c->origin) continue;
    for (int k = 0; k < s->deps.n; k++)
      if (!reached(c->body, &c->origin->deps, s->deps.at[k])) return false;
  }
  return true;
}

EXPORTED cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  SimRuntime *r = sim_runtime();
  SimStream *s = sim_stream_of(stream);
  SimCapture *c = s->capture;
  *graph = NULL;
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  if (c == NULL) return sim_result(cudaErrorIllegalState);
  if (c->origin != s) {
    c->invalid = true;
    return sim_result(cudaErrorStreamCaptureUnmatched);
  }
  sim_body_finish(c->body);
  const cudaError_t error = c->invalid   ? cudaErrorStreamCaptureInvalidated
                            : !joined(c) ? cudaErrorStreamCaptureUnjoined
                                         : cudaSuccess;
  for (int i = 1; i < SIM_STREAMS; i++) {
    if (r->streams[i].capture != c) continue;
    r->streams[i].capture = NULL;
    r->streams[i].deps.n = 0;
  }
  captures[s->index] = NULL;
  if (error == cudaSuccess)
    *graph = sim_graph_of(c->body);
  else
    sim_body_close(c->body);
  free(c);
  return sim_result(error);
}

EXPORTED cudaError_t cudaStreamIsCapturing(cudaStream_t stream,
                                           enum cudaStreamCaptureStatus *status) {
  const SimStream *s = sim_stream_of(stream);
  if (!sim_stream_valid(s)) return sim_result(cudaErrorInvalidResourceHandle);
  for (int i = 0; i < SIM_STREAMS && s->index == 0; i++) // it asks, and so ends nothing
    if (captures[i] != NULL && blocking(captures[i]))
      return sim_result(cudaErrorStreamCaptureImplicit);
  *status = s->capture == NULL    ? cudaStreamCaptureStatusNone
            : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
