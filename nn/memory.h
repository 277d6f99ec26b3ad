// The five arenas of a run, one allocation each, made before anything runs (design: memory).
#ifndef VMA_MEMORY_H
#define VMA_MEMORY_H

#include "arena.h"
#include "backend.h"

typedef struct MemoryPlan {
  int64_t weights, state, step, cache, host; // bytes
} MemoryPlan;

typedef struct Memory {
  Backend *be;
  Arena weights, state, step, cache; // of the backend
  Arena host;                        // of this process
} Memory;

// Allocates all five; on failure none is left. STATUS_MEMORY names the arena and its size.
Status memory_open(Memory *memory, Backend *be, const MemoryPlan *plan, Error *err);
void memory_close(Memory *memory);

// For a rehearsal on the null backend: arenas as large as addresses go (host: 64 MiB of real
// memory). Run the step, then memory_peak tells the plan that it needs.
Status memory_open_rehearsal(Memory *memory, Backend *null_backend, Error *err);
MemoryPlan memory_peak(const Memory *memory);

#endif
