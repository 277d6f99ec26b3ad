// What a test asks of the simulated device. The programs that link or open the simulated module
// reach it through sim_control() (exported).
//
// Environment, for programs that know nothing of it: VMA_SIM_DEVICE=3090|a100|h100 (a100),
// VMA_SIM_SEED=N (1), VMA_SIM_SMS=N, VMA_SIM_CHECKS=0|1 (1), VMA_SIM_EXIT=1: exit status 99 with
// all reports on stderr where anything was reported; VMA_SIM_MEMORY=BYTES of the device,
// VMA_SIM_OTHERS=BYTES of them that another process holds, VMA_SIM_CONTEXT=BYTES that a context
// takes (0); VMA_SIM_FAIL=driver|old|minor|ptx|none|cc|exclusive|prohibited;
// VMA_SIM_COUNTERS=FILE (- is stderr): what each kernel did in each shape that it was launched in,
// as a table at the end.
#ifndef VMA_SIM_CONTROL_H
#define VMA_SIM_CONTROL_H

#include "sim.h"

typedef struct SimControl {
  // Before the backend is opened. NULL, 0: as it is.
  void (*configure)(const char *device, int sms, uint64_t seed, bool checks);
  void (*set_seed)(uint64_t seed);

  // Reports since the last clear: how many distinct ones; the i-th as text; one text of all.
  int64_t (*reports)(void);
  const char *(*report)(int64_t i);
  SimFault (*report_fault)(int64_t i);
  void (*clear)(void);

  // Counters since the last clear, all launches or those of kernels whose title contains `name`.
  SimCounters (*counters)(const char *name);
  // Distinct products of cuBLASLt since the last clear, by shape, types, operations, leading
  // dimensions and epilogue: what a heuristic is asked for once each.
  int64_t (*product_shapes)(void);
  int64_t (*host_waits)(void);   // cudaStreamSynchronize, EventSynchronize, sync copies, ...
  int64_t (*overlapped)(void);   // copies that ran while a kernel of another stream was queued
  int64_t (*device_bytes)(void); // handed out by cudaMalloc and not freed
  int64_t (*device_peak)(void);

  // Mutation: the points of all registered kernels; drop one (or -1: none).
  int64_t (*mutation_points)(void);
  const char *(*mutation_point)(
      int64_t i); // "kernel title: barrier: bar.sync 0; at cuda_norm.cu:58"
  void (*mutate)(int64_t i);
  // From now on note what each instruction does; whether dropping a point would have changed what
  // was done since.
  void (*mutation_watch)(void);
  bool (*mutation_matters)(int64_t i);
} SimControl;

const SimControl *sim_control(void);

#endif
