// Parity cases on the CUDA backend, simulated or real: VMA_PARITY=cuda in the environment, and the
// module by VMA_CUDA_MODULE. Used by parity.c alone; tests ask parity_on_cuda.
#ifndef VMA_PARITY_CUDA_H
#define VMA_PARITY_CUDA_H

#include "../sim/sim_control.h"
#include "parity.h"

// A block of guarded host memory, which goes to the device and comes back whole.
typedef struct ParityImage {
  void *memory;
  int64_t bytes; // a multiple of 256
  Tensor t;      // inside it
} ParityImage;

// Calls the op of the case on tensors of the device that hold what the images hold, and brings all
// bytes of the images back. `second`: with another order of blocks, warps and streams, on a device
// of another number of multiprocessors. What the simulated device reports is a failure of the test.
void parity_cuda_call(const ParityCase *c, const ParityImage *images, bool second);

// NULL: a real device.
const SimControl *parity_cuda_control(void);

#endif
