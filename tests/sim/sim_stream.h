// Streams of the simulated device as real queues: work is kept until something waits for it (or a
// queue grows long), and is then run in a seeded random order among the streams that events leave
// free. Each piece of work says what memory it touches; two pieces that touch the same bytes, one
// of them writing, with nothing that orders them, are reported.
#ifndef VMA_SIM_STREAM_H
#define VMA_SIM_STREAM_H

#include "sim_memory.h"
#include "sim_runtime.h"

typedef enum SimWorkKind {
  SIM_WORK_KERNEL,
  SIM_WORK_PRODUCT,
  SIM_WORK_COPY,
  SIM_WORK_MEMSET,
  SIM_WORK_GRAPH,
  SIM_WORK_MARKER,
} SimWorkKind;

typedef struct SimWork {
  char title[96];
  SimWorkKind kind;
  bool learns;
  void (*run)(struct SimWork *work, void *data); // may be called again where it is a graph's node
  void (*drop)(void *data);                      // when the work is gone; free() at first
  void *data;
  SimRange *ranges;
  int n, room;
  SimRange source; // pinned memory that is read
  uint64_t hash;
  int stream;
  int64_t at;
  SimClock clock;
  struct SimWork *next;
} SimWork;

SimWork *sim_work(const char *title, SimWorkKind kind, void (*run)(SimWork *work, void *data),
                  void *data);
void sim_work_free(SimWork *work);
void sim_work_run_inside(SimWork *node);     // by a graph's run
uint64_t sim_work_hash(const SimWork *work); // of the pinned source as it is now
// The range of `a` that meets one of `b` with one of them writing, or NULL.
const SimRange *sim_work_meeting(const SimWork *a, const SimWork *b);
void sim_stream_join(SimClock *to, const SimClock *from);
uint64_t sim_stream_draw(void); // the seeded order's next number
void sim_work_touch(SimWork *work, const void *from, int64_t rows, int64_t row, int64_t stride,
                    bool reads, bool writes);
// What a kernel without declared tensors touches is learnt from its accesses.
void sim_work_learns(SimWork *work);
// Pinned memory that the host must leave alone until the work has run: reported if it changes.
void sim_work_source(SimWork *work, const void *from, int64_t rows, int64_t row, int64_t stride);
// To the queue, or to the graph that the stream is being captured into. Not cudaSuccess: what the
// capture does not allow; the work is freed.
cudaError_t sim_stream_push(SimStream *stream, SimWork *work);

void sim_stream_run_until(int stream, int64_t at); // the host waits
void sim_stream_run_all(void);
void sim_stream_run_one(void);
int64_t sim_stream_done(int stream);
bool sim_stream_pending(int stream);
// The host knows of everything up to this clock: earlier work conflicts with nothing any more.
void sim_stream_known(const SimClock *clock);
// Memory goes away: runs what is queued and reports work that nothing has waited for.
void sim_stream_freed(const void *address, int64_t bytes, const char *call);
// Called by kernels' accesses and by changes of names; see sim_memory.h.
void sim_stream_open(void);

#endif
