// The state behind the stand-ins for libcudart and cuBLASLt: device, allocations, streams as vector
// clocks, events. For the files sim_cudart*.c, sim_cublaslt.c, sim_product.c, sim_capture.c,
// sim_graph.c, sim_stream.c and sim_control.c.
//
// Work is queued and run later: sim_stream.h.
#ifndef VMA_SIM_RUNTIME_H
#define VMA_SIM_RUNTIME_H

#include "sim_control.h"
#include "sim_ptx.h"

#include <cuda_runtime_api.h>

enum { SIM_STREAMS = 16 };

typedef struct SimClock {
  int64_t at[SIM_STREAMS];
} SimClock;

typedef struct SimCapture SimCapture; // sim_capture.c

typedef struct SimDeps { // nodes of a capture, by number
  int *at;
  int n, room;
} SimDeps;

typedef struct SimStream {
  int index;           // 0: the default stream
  int64_t last_kernel; // its number among the stream's work
  SimClock clock;      // what has happened before the stream's next work
  bool used, alone;    // alone: not ordered with the default stream
  unsigned flags;
  int priority;
  SimCapture *capture; // its work becomes nodes of a graph
  SimDeps deps;        // what the next node comes after
} SimStream;

typedef struct CUevent_st {
  int stream;
  int64_t at; // how much of the stream comes before it
  SimClock clock;
  bool recorded, timed, destroyed;
  int markers;      // that have yet to run and write `time`
  double time;      // of the device, microseconds
  int64_t captured; // the number of the capture that it was recorded in last, or 0
  SimDeps deps;
} SimEvent;

typedef struct SimBlockOfMemory {
  void *address;
  int64_t bytes;
  bool device;    // else pinned
  bool borrowed;  // not ours: registered host memory, a variable of a module
  int64_t number; // counts allocations: memory that came again at an address is another
  unsigned flags; // of pinned memory
  struct SimBlockOfMemory *next;
} SimBlockOfMemory;

typedef struct SimRuntime {
  SimDevice device;
  uint64_t seed;
  bool checks, opened;
  const char *fail; // VMA_SIM_FAIL: driver, old, minor, ptx, none, cc, exclusive, prohibited
  bool has_context;
  cudaError_t failed; // of work that ran: told at the next wait
  SimStream streams[SIM_STREAMS];
  SimClock host; // what the host knows to have happened
  SimBlockOfMemory *blocks;
  int64_t device_bytes, device_peak, host_waits, overlapped, launches, allocations;
  double time; // of the device, microseconds: one thing after the other, by a rough cost
} SimRuntime;

SimRuntime *sim_runtime(void);
int64_t sim_memory_left(void);             // bytes of the device's
void sim_take_device(const char *name);    // "3090", "a100", "h100"; others: it stays
bool sim_fails(const char *how);           // VMA_SIM_FAIL
cudaError_t sim_result(cudaError_t error); // kept for cudaGetLastError

// A stream's next piece of work has been queued.
void sim_stream_work(SimStream *stream, bool kernel);
SimStream *sim_stream_of(cudaStream_t stream);
bool sim_stream_valid(const SimStream *stream);
cudaError_t sim_stream_wait(SimStream *stream); // the host waits; what failed on the device

// Host memory that may be copied from or to asynchronously, or device memory; NULL: neither.
SimBlockOfMemory *sim_block_at(const void *address);
// Memory that was not allocated here, as device or pinned memory.
void sim_block_borrow(void *address, int64_t bytes, bool device, unsigned flags);

// A copy as the streams' work; `waited`: the host memory may be of any kind. The kind may be
// cudaMemcpyDefault.
cudaError_t sim_copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                     SimStream *stream, bool waited);

// sim_counters.c
void sim_counters_begin(const SimLaunch *launch); // of the launch that comes
SimCounters sim_counters_sum(const char *name);   // of kernels whose title contains it; NULL: all
void sim_counters_clear(void);
void sim_counters_write(void); // to the file that VMA_SIM_COUNTERS names, if any

// sim_product.c: distinct products since the last clear, by shape, types and layouts
int64_t sim_product_shapes(void);
void sim_product_clear(void);

// The registered kernels, loaded; NULL: its PTX could not be.
int sim_kernel_count(void);
SimKernel *sim_kernel_at(int i);

// sim_mutate.c
int64_t sim_mutation_points(void);
const char *sim_mutation_point(int64_t i);
void sim_mutation_watch(void);
bool sim_mutation_matters(int64_t i);
void sim_mutate(int64_t i);

#endif
