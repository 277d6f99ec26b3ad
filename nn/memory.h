// The memory of a run: five arenas, one allocation each, and the scratch of the backend's ops,
// taken before anything runs (design: memory).
#ifndef VMA_MEMORY_H
#define VMA_MEMORY_H

#include "arena.h"
#include "backend.h"

typedef struct MemoryPlan {
  int64_t weights, state, step, cache, host; // bytes
  int64_t scratch; // that the backend's shadow has noted; 0: it grows as ops ask for it
} MemoryPlan;

// What plans leave of a GPU's memory besides, an assumption: its driver loads the code of a kernel
// where that is first launched, the backend's own as well as those of the library of matrix
// products ("lazy loading", as CUDA does since 12.2), and the launch fails where nothing is left.
enum { MEMORY_LATE_CODE = 64 << 20 };

typedef struct Memory {
  Backend *be;
  Arena weights, state, step, cache; // of the backend
  Arena host;                        // of this process
} Memory;

// Allocates all five, and has the backend take its scratch where the plan has some; on failure no
// arena is left. STATUS_MEMORY names the arena and its size.
Status memory_open(Memory *memory, Backend *be, const MemoryPlan *plan, Error *err);
void memory_close(Memory *memory);

// For a rehearsal on the null backend: arenas as large as addresses go (host: 64 MiB of real
// memory). Run the step, then memory_peak tells the plan that it needs. With null_backend->shadow
// set to another backend's, the scratch of that one is part of the peak.
Status memory_open_rehearsal(Memory *memory, Backend *null_backend, Error *err);
MemoryPlan memory_peak(const Memory *memory);

#endif
