// What the simulated device wants to be told. Weak: only the simulated module defines them; on a
// device they are NULL.
#ifndef VMA_CUDA_HOOKS_H
#define VMA_CUDA_HOOKS_H

#include "cuda_backend.h"

__attribute__((weak)) void vma_sim_tensor(const char *arena, const char *name, void *address,
                                          int64_t bytes, bool born);

// The tensors as byte ranges: rows of `row` bytes, `stride` bytes apart.
typedef struct SimTouch {
  void *address;
  int64_t rows, row, stride;
  bool reads, writes;
} SimTouch;

// Kernels and products queued from now on touch only these, and what vma_sim_scratch adds.
__attribute__((weak)) void vma_sim_op(const char *op, const SimTouch *touches, int n);

// The op that has begun may use this range too, whose content it starts without.
__attribute__((weak)) void vma_sim_scratch(void *address, int64_t bytes);

#endif
