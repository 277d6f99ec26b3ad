#include "memory.h"

#include <stdlib.h>
#include <string.h>

static Status open_arena(Arena *arena, Backend *be, const char *name, int64_t bytes, Error *err) {
  bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  void *base = NULL; // an arena that nothing is put in takes nothing
  Status status = bytes > 0 ? be->mem_alloc(be, bytes, &base, err) : STATUS_OK;
  if (status != STATUS_OK) {
    error_prefix(err, "memory for %s (%.1f MiB)", name, (double)bytes / (1 << 20));
    return status;
  }
  arena_init(arena, name, base, bytes);
  arena->hook = be->arena_hook;
  arena->hook_user = be->arena_hook_user;
  return STATUS_OK;
}

static Status open_host(Arena *arena, int64_t bytes, Error *err) {
  bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  void *base = aligned_alloc(ARENA_ALIGN, (size_t)(bytes > 0 ? bytes : ARENA_ALIGN));
  if (base == NULL) {
    return error_set(err, STATUS_MEMORY, "memory for host (%.1f MiB): none left",
                     (double)bytes / (1 << 20));
  }
  arena_init(arena, "host", base, bytes);
  return STATUS_OK;
}

Status memory_open(Memory *memory, Backend *be, const MemoryPlan *plan, Error *err) {
  Status status = STATUS_OK;
  *memory = (Memory){.be = be};
  TRY(open_arena(&memory->weights, be, "weights", plan->weights, err));
  TRY(open_arena(&memory->state, be, "state", plan->state, err));
  TRY(open_arena(&memory->step, be, "step", plan->step, err));
  TRY(open_arena(&memory->cache, be, "cache", plan->cache, err));
  TRY(open_host(&memory->host, plan->host, err));
  if (plan->scratch > 0) TRY(be->reserve(be, err));
done:
  if (status != STATUS_OK) memory_close(memory);
  return status;
}

static void close_arena(Backend *be, Arena *arena) {
  if (arena->base != NULL) be->mem_free(be, arena->base, arena->capacity);
}

void memory_close(Memory *memory) {
  if (memory->be == NULL) return;
  close_arena(memory->be, &memory->weights);
  close_arena(memory->be, &memory->state);
  close_arena(memory->be, &memory->step);
  close_arena(memory->be, &memory->cache);
  free(memory->host.base);
  *memory = (Memory){0};
}

enum { REHEARSAL_HOST = 64 << 20 };
static const int64_t rehearsal_bytes = INT64_C(1) << 44; // 16 TiB of addresses an arena

Status memory_open_rehearsal(Memory *memory, Backend *null_backend, Error *err) {
  MemoryPlan plan = {.weights = rehearsal_bytes,
                     .state = rehearsal_bytes,
                     .step = rehearsal_bytes,
                     .cache = rehearsal_bytes,
                     .host = REHEARSAL_HOST};
  return memory_open(memory, null_backend, &plan, err);
}

MemoryPlan memory_peak(const Memory *memory) {
  const Backend *shadow = memory->be->shadow;
  return (MemoryPlan){.scratch = shadow != NULL ? shadow->counts.scratch : 0,
                      .weights = memory->weights.peak,
                      .state = memory->state.peak,
                      .step = memory->step.peak,
                      .cache = memory->cache.peak,
                      .host = memory->host.peak};
}
