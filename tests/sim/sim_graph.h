// Capture of streams into graphs, and graphs: what the streams (sim_stream.c, sim_cudart_*.c) ask
// of sim_capture.c, and what that and sim_graph.c share.
#ifndef VMA_SIM_GRAPH_H
#define VMA_SIM_GRAPH_H

#include "sim_stream.h"

// ---- capture ----

// The stream's work becomes a node. Not cudaSuccess: the capture is invalid; the work is freed.
cudaError_t sim_capture_add(SimStream *stream, SimWork *work);
// Work for a stream that is not captured: what a capture of another one forbids, or cudaSuccess.
cudaError_t sim_capture_implicit(const SimStream *stream);
// A call that no capture allows, whatever stream it is about: allocation, synchronous copies.
cudaError_t sim_capture_unsafe(void);
// The host asks for, or waits for, what a stream does: not while it is captured.
cudaError_t sim_capture_asked(const SimStream *stream);
bool sim_capture_any(void);
void sim_capture_invalidate(SimCapture *capture); // NULL: all of them

// Events: recorded in a captured stream, waited for by any.
bool sim_capture_record(const SimStream *stream, SimEvent *event); // true: it was
cudaError_t sim_capture_wait(SimStream *stream, const SimEvent *event, bool *done);

void sim_deps_add(SimDeps *deps, int at);
void sim_deps_copy(SimDeps *to, const SimDeps *from);
void sim_deps_clear(SimDeps *deps);

// ---- graphs ----

typedef struct SimNode {
  SimWork *work;
  SimDeps after;    // nodes that come before it
  int64_t *numbers; // of the allocations that its ranges lay in at the capture
  int n_numbers;
} SimNode;

typedef struct SimBody { // the nodes, shared by graphs, their executables and launches
  int uses;
  SimNode *nodes; // a node comes after earlier ones only
  int n, room;
  uint64_t *reach; // bit j of row i: node i comes after node j
  int runs;
} SimBody;

SimBody *sim_body_open(void);
void sim_body_close(SimBody *body); // when nobody uses it
int sim_body_add(SimBody *body, SimWork *work, const SimDeps *after);
bool sim_body_after(const SimBody *body, int i, int j); // i comes after j, or is it
void sim_body_finish(SimBody *body);                    // no node comes any more
cudaGraph_t sim_graph_of(SimBody *body);

#endif
