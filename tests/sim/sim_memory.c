// Allocations, tensors and declarations: sorted arrays and searches by halves.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_memory.h"

static struct {
  SimMemory *memories; // by address
  int64_t n, room;
  SimTensorName *tensors; // by address
  int64_t n_tensors, tensor_room;
  int64_t bytes, peak;
  SimOp op;
  bool declared;
} state;

void (*sim_before_change)(const void *address, int64_t bytes);
void (*sim_touched)(const SimMemory *memory, const void *address, int64_t bytes, bool reads,
                    bool writes);

enum { FREED_MAX = 64, NEAR = 4 << 20 };
static struct {
  uintptr_t from;
  int64_t bytes;
} freed[FREED_MAX];
static int n_freed;

static int64_t memory_index(const uint8_t *address) { // the last that begins at or before it, or -1
  int64_t low = 0, high = state.n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (state.memories[middle].data <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low - 1;
}

void sim_memory_add(void *address, int64_t bytes, SimMemoryKind kind) {
  if (state.n == state.room) {
    state.room = state.room * 2 + 64;
    state.memories = realloc(state.memories, (size_t)state.room * sizeof *state.memories);
  }
  const int64_t at = memory_index(address) + 1;
  memmove(&state.memories[at + 1], &state.memories[at],
          (size_t)(state.n - at) * sizeof *state.memories);
  state.n++;
  for (int k = 0; k < FREED_MAX; k++) {
    if (freed[k].from < (uintptr_t)address + (uintptr_t)bytes &&
        (uintptr_t)address < freed[k].from + (uintptr_t)freed[k].bytes)
      freed[k].bytes = 0;
  }
  state.memories[at] = (SimMemory){.data = address, .bytes = bytes, .kind = kind};
  if (kind != SIM_MEMORY_DEVICE) return;
  state.memories[at].written = calloc((size_t)bytes + 1, 1);
  state.bytes += bytes;
  if (state.bytes > state.peak) state.peak = state.bytes;
}

bool sim_memory_remove(void *address) {
  const int64_t at = memory_index(address);
  if (at < 0 || state.memories[at].data != address) return false;
  SimMemory *m = &state.memories[at];
  int64_t kept = 0;
  for (int64_t k = 0; k < state.n_tensors; k++) {
    SimTensorName *t = &state.tensors[k];
    if (t->from >= m->data && t->from < m->data + m->bytes)
      free(t->name);
    else
      state.tensors[kept++] = *t;
  }
  state.n_tensors = kept;
  if (m->kind == SIM_MEMORY_DEVICE) state.bytes -= m->bytes;
  freed[n_freed % FREED_MAX].from = (uintptr_t)m->data;
  freed[n_freed++ % FREED_MAX].bytes = m->bytes;
  free(m->written);
  free(m->cells);
  memmove(m, m + 1, (size_t)(state.n - at - 1) * sizeof *m);
  state.n--;
  return true;
}

SimMemory *sim_memory_find(const void *address) {
  const int64_t at = memory_index(address);
  if (at < 0) return NULL;
  SimMemory *m = &state.memories[at];
  return (const uint8_t *)address < m->data + m->bytes ? m : NULL;
}

SimFault sim_memory_stray(const void *address) {
  const uintptr_t at = (uintptr_t)address;
  for (int k = 0; k < FREED_MAX; k++) {
    if (at >= freed[k].from && at < freed[k].from + (uintptr_t)freed[k].bytes) return SIM_RELEASED;
  }
  for (int64_t k = 0; k < state.n; k++) {
    const uintptr_t from = (uintptr_t)state.memories[k].data;
    if (at + NEAR >= from && at < from + (uintptr_t)state.memories[k].bytes + NEAR)
      return SIM_OUT_OF_BOUNDS;
  }
  return at < 4096 ? SIM_OUT_OF_BOUNDS : SIM_HOST_POINTER;
}

int64_t sim_memory_bytes(void) {
  return state.bytes;
}

int64_t sim_memory_peak(void) {
  return state.peak;
}

static void set_written(const void *address, int64_t bytes, uint8_t value) {
  SimMemory *m = sim_memory_find(address);
  if (m == NULL || m->written == NULL) return;
  const int64_t at = (const uint8_t *)address - m->data;
  memset(m->written + at, value, (size_t)(bytes < m->bytes - at ? bytes : m->bytes - at));
}

void sim_memory_wrote(const void *address, int64_t bytes) {
  if (bytes > 0) set_written(address, bytes, 1);
}

void sim_memory_copied(void *to, const void *from, int64_t bytes) {
  const SimMemory *a = sim_memory_find(from), *b = sim_memory_find(to);
  if (a == NULL || b == NULL || a->written == NULL || b->written == NULL) {
    sim_memory_wrote(to, bytes);
    return;
  }
  memmove(b->written + ((uint8_t *)to - b->data), a->written + ((const uint8_t *)from - a->data),
          (size_t)bytes);
}

static int64_t tensor_index(const uint8_t *address) {
  int64_t low = 0, high = state.n_tensors;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (state.tensors[middle].from <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low - 1;
}

const SimTensorName *sim_tensor_at(const SimMemory *memory, const void *address) {
  const int64_t at = tensor_index(address);
  if (at < 0 || state.tensors[at].from < memory->data) return NULL;
  return &state.tensors[at];
}

// What is born takes the place of what was released there.
void sim_tensor_name(const char *arena, const char *name, void *address, int64_t bytes) {
  uint8_t *from = address;
  if (sim_before_change != NULL && bytes > 0) sim_before_change(address, bytes);
  if (bytes <= 0) return;
  int64_t kept = 0;
  for (int64_t k = 0; k < state.n_tensors; k++) {
    SimTensorName *t = &state.tensors[k];
    const bool overlaps = t->from < from + bytes && from < t->from + t->bytes;
    if (overlaps)
      free(t->name);
    else
      state.tensors[kept++] = *t;
  }
  state.n_tensors = kept;
  if (state.n_tensors == state.tensor_room) {
    state.tensor_room = state.tensor_room * 2 + 256;
    state.tensors = realloc(state.tensors, (size_t)state.tensor_room * sizeof *state.tensors);
  }
  const int64_t at = tensor_index(from) + 1;
  memmove(&state.tensors[at + 1], &state.tensors[at],
          (size_t)(state.n_tensors - at) * sizeof *state.tensors);
  state.n_tensors++;
  char *text = NULL;
  if (asprintf(&text, "%s/%s", arena != NULL ? arena : "?", name != NULL ? name : "?") < 0) abort();
  state.tensors[at] = (SimTensorName){text, from, bytes, true};
}

// A tensor that an arena hands out holds nothing yet, whatever its memory was used for before.
void vma_sim_tensor(const char *arena, const char *name, void *address, int64_t bytes, bool born) {
  const uint8_t *from = address;
  if (born) {
    sim_tensor_name(arena, name, address, bytes);
    if (bytes > 0) set_written(address, bytes, 0);
    return;
  }
  if (sim_before_change != NULL && bytes > 0) sim_before_change(address, bytes);
  for (int64_t k = tensor_index(from + bytes); k >= 0 && state.tensors[k].from >= from; k--)
    if (state.tensors[k].from < from + bytes) state.tensors[k].live = false;
}

static void add_range(SimRange range) {
  SimOp *op = &state.op;
  if (op->n == op->room) {
    op->room = op->room * 2 + 32;
    op->ranges = realloc(op->ranges, (size_t)op->room * sizeof *op->ranges);
  }
  op->ranges[op->n++] = range;
}

void vma_sim_op(const char *name, const SimRange *touches, int n) {
  snprintf(state.op.name, sizeof state.op.name, "%s", name);
  state.op.n = 0;
  state.declared = true;
  for (int k = 0; k < n; k++) {
    if (touches[k].rows <= 0 || touches[k].row <= 0) continue;
    add_range(touches[k]);
    const SimMemory *m = sim_memory_find(touches[k].from);
    const SimTensorName *t = m != NULL ? sim_tensor_at(m, touches[k].from) : NULL;
    if (m == NULL)
      sim_report(SIM_HOST_POINTER, NULL, (SimLine){0}, "op %s: %p is no memory of the device", name,
                 (void *)touches[k].from);
    else if (t != NULL && !t->live && touches[k].from < t->from + t->bytes)
      sim_report(SIM_RELEASED, NULL, (SimLine){0}, "op %s: tensor %s was released", name, t->name);
  }
}

void vma_sim_scratch(void *address, int64_t bytes) {
  if (bytes <= 0) return;
  if (sim_before_change != NULL) sim_before_change(address, bytes);
  set_written(address, bytes, 0);
  add_range((SimRange){address, 1, bytes, bytes, true, true});
}

const SimOp *sim_op_now(void) {
  return state.declared ? &state.op : NULL;
}
