// Mutation over the parity cases, with no rebuild: with VMA_MUTATE=FILE (and VMA_PARITY=cuda on the
// simulated device) every case, after it has passed, is run again in a process of its own for each
// instruction of the kernels that it launched: one barrier, __syncwarp, cp.async wait or bounds
// predicate dropped at a time. Caught: a report, a wrong value, a guard, other bytes in another
// order, a crash, or no end.
//
// FILE holds one line a point, "tries <tab> caught <tab> kernel: kind: instruction at file:line"
// (tries: in cases in which the instruction does something), is read at the first case and written
// at the end of the process, so that programs that run one after the other go on with what the ones
// before did not catch. VMA_MUTATE_SAMPLE=K: one point of K, drawn with VMA_MUTATE_SEED.
// VMA_MUTATE_KERNEL=TEXT: only kernels whose name contains it.
#ifndef VMA_PARITY_MUTATE_H
#define VMA_PARITY_MUTATE_H

#include "../sim/sim_control.h"

#include <stdbool.h>

// NULL: no mutation is wanted.
const char *parity_mutation_file(void);

// `run` is the case on the device; what it fails is told by test_failures.
void parity_mutate(const SimControl *sim, void (*run)(const void *), const void *user);

#endif
