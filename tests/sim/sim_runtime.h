// The state behind the stand-ins for libcudart and cuBLASLt: device, allocations, streams as vector
// clocks. For the files sim_cudart.c, sim_cublaslt.c, sim_control.c and sim_report.c.
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

typedef struct SimStream {
  int index;           // 0: the default stream
  int64_t last_kernel; // its number among the stream's work
  SimClock clock;      // what has happened before the stream's next work
  bool used, alone;    // alone: not ordered with the default stream
} SimStream;

typedef struct SimBlockOfMemory {
  void *address;
  int64_t bytes;
  bool device; // else pinned
  struct SimBlockOfMemory *next;
} SimBlockOfMemory;

typedef struct SimRuntime {
  SimDevice device;
  uint64_t seed;
  bool checks, opened;
  const char *fail;   // VMA_SIM_FAIL: driver, old, none, cc, exclusive, prohibited
  cudaError_t failed; // of work that ran: told at the next wait
  SimStream streams[SIM_STREAMS];
  SimClock host; // what the host knows to have happened
  SimBlockOfMemory *blocks;
  int64_t device_bytes, device_peak, host_waits, overlapped, launches;
} SimRuntime;

SimRuntime *sim_runtime(void);
void sim_take_device(const char *name); // "3090", "a100", "h100"; others: it stays

// A stream's next piece of work has been queued.
void sim_stream_work(SimStream *stream, bool kernel);
SimStream *sim_stream_of(cudaStream_t stream);

// Host memory that may be copied from or to asynchronously, or device memory; NULL: neither.
SimBlockOfMemory *sim_block_at(const void *address);

SimCounters *sim_counters_of(const char *kernel); // of a kernel, made at first use
void sim_counters_begin(const char *kernel);      // of the launch that comes

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
