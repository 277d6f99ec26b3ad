// Memory of the simulated device: allocations, the tensors inside them by name, which bytes hold
// something, and what the op at hand has declared. The runtime stand-in tells of allocations and
// copies, the backend's hooks of tensors and ops, sim_check asks.
#ifndef VMA_SIM_MEMORY_H
#define VMA_SIM_MEMORY_H

#include "sim.h"

typedef enum SimMemoryKind { SIM_MEMORY_DEVICE, SIM_MEMORY_PINNED } SimMemoryKind;

typedef struct SimMemory {
  uint8_t *data;
  int64_t bytes;
  SimMemoryKind kind;
  uint8_t *written; // of each byte: whether something was stored; NULL for pinned memory
  void *cells;      // sim_check's
} SimMemory;

typedef struct SimTensorName {
  char *name; // "arena/tensor"
  uint8_t *from;
  int64_t bytes;
  bool live;
} SimTensorName;

typedef struct SimRange { // rows of `row` bytes, `stride` apart
  uint8_t *from;
  int64_t rows, row, stride;
  bool reads, writes;
} SimRange;

typedef struct SimOp {
  char name[64];
  SimRange *ranges;
  int n, room;
} SimOp;

void sim_memory_add(void *address, int64_t bytes, SimMemoryKind kind);
bool sim_memory_remove(void *address); // false: no allocation begins there
SimMemory *sim_memory_find(const void *address);
int64_t sim_memory_bytes(void), sim_memory_peak(void);     // of the device
void sim_memory_wrote(const void *address, int64_t bytes); // by a copy, memset or product
void sim_memory_copied(void *to, const void *from,
                       int64_t bytes); // as far as `from` holds something

// The tensor that holds the address, or the nearest below it; NULL: none in that allocation.
const SimTensorName *sim_tensor_at(const SimMemory *memory, const void *address);
// Names a range of memory and leaves what it holds.
void sim_tensor_name(const char *arena, const char *name, void *address, int64_t bytes);
const SimOp *sim_op_now(void); // what launches from now on may touch; NULL: nothing was declared

// What an address in no allocation is: freed memory (SIM_RELEASED), just outside of one
// (SIM_OUT_OF_BOUNDS), or far from all of them (SIM_HOST_POINTER).
SimFault sim_memory_stray(const void *address);

// Set by a runtime that queues work; NULL: work runs at once. The first is called before names or
// content of memory change, NULL: of all; the second with what an undeclared kernel touches.
extern void (*sim_before_change)(const void *address, int64_t bytes);
extern void (*sim_touched)(const SimMemory *memory, const void *address, int64_t bytes, bool reads,
                           bool writes);

// The backend's hooks (cuda_hooks.h).
struct SimTouch;
void vma_sim_tensor(const char *arena, const char *name, void *address, int64_t bytes, bool born);
void vma_sim_scratch(void *address, int64_t bytes);
void vma_sim_op(const char *op, const SimRange *touches, int n); // SimTouch is laid out alike

#endif
