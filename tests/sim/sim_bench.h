// For tests of the interpreter without runtime: kernels from PTX text. It defines the sim_report
// (and without BENCH_CHECKED the sim_check_*) that the interpreter calls, so include it once a
// program and link vma_sim_exec (and vma_sim_check), not the whole simulator.
#ifndef VMA_SIM_BENCH_H
#define VMA_SIM_BENCH_H

#include <stdarg.h>

#ifdef BENCH_CHECKED
#include "sim_memory.h"
#endif
#include "sim_ptx.h"
#include "test.h"

static int64_t bench_count;
static SimFault bench_fault;
static char bench_text[600];
static int bench_line;
static SimCounters bench_counters;

static inline int64_t bench_reports(void) {
  return bench_count;
}

static inline SimModule *bench_module(const char *ptx) {
  char message[300];
  SimModule *module = sim_module_parse(ptx, message, sizeof message);
  if (module == NULL) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
  return module;
}

// `params`: pointers, in order, as the kernel's 8-byte parameters.
static inline bool bench_launch(SimKernel *kernel, SimDim grid, SimDim block, int64_t dynamic,
                                const void *params, uint64_t seed) {
  static const SimDevice device = {"a100", 8, 0, 108, 49152, 166912, (int64_t)1 << 30};
  SimLaunch launch = {.kernel = kernel,
                      .device = &device,
                      .grid = grid,
                      .block = block,
                      .shared_bytes = kernel->static_shared + dynamic,
                      .dynamic_shared = dynamic,
                      .params = params,
                      .seed = seed,
#ifdef BENCH_CHECKED
                      .op = sim_op_now(),
                      .checks = true
#endif
  };
  return sim_exec_launch(&launch);
}

void sim_report(SimFault fault, const SimKernel *kernel, SimLine line, const char *fmt, ...) {
  (void)kernel;
  va_list args;
  va_start(args, fmt);
  vsnprintf(bench_text, sizeof bench_text, fmt, args);
  va_end(args);
  bench_fault = fault;
  bench_line = line.line;
  bench_count++;
}

SimCounters *sim_counters_now(void) {
  return &bench_counters;
}

#ifndef BENCH_CHECKED
// The interpreter calls these only in launches that are checked, which these are not.
uint32_t sim_check_access(SimBlock *block, const SimAccess *access) {
  (void)block;
  return access->mask;
}
void sim_check_block_begin(SimBlock *block) {
  (void)block;
}
void sim_check_block_end(SimBlock *block) {
  (void)block;
}
void sim_check_launch_begin(SimLaunch *launch) {
  (void)launch;
}
void sim_check_launch_end(SimLaunch *launch) {
  (void)launch;
}
void sim_check_barrier(SimBlock *block, int id, const uint32_t *masks) {
  (void)block, (void)id, (void)masks;
}
void sim_check_warp_sync(SimBlock *block, int warp, uint32_t mask) {
  (void)block, (void)warp, (void)mask;
}
void sim_check_async_commit(SimBlock *block, int warp, uint32_t mask) {
  (void)block, (void)warp, (void)mask;
}
void sim_check_async_wait(SimBlock *block, int warp, uint32_t mask, int pending, int64_t pc) {
  (void)block, (void)warp, (void)mask, (void)pending, (void)pc;
}
void sim_check_async_copy(SimBlock *block, int warp, uint32_t mask, int bytes,
                          const int *source_bytes, const uint64_t *shared_offset,
                          const uint64_t *global_address, int64_t pc) {
  (void)block, (void)warp, (void)mask, (void)bytes, (void)source_bytes, (void)shared_offset;
  (void)global_address, (void)pc;
}

#endif

#endif
