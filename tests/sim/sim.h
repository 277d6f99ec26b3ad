// The simulated device: kernels of the objects that nvcc built, run on the CPU behind stand-ins for
// libcudart and cuBLASLt, with the checks that a GPU does not give. This header is what its parts
// share; what a test sees is sim_control.h.
//
//   sim_fatbin.c    finds the PTX of an architecture in a registered fat binary
//   sim_ptx_*.c     text to SimKernel: decoded instructions with registers, labels, .cu lines
//   sim_exec*.c     runs a launch, a warp at a time; every register is 32 lanes
//   sim_check*.c    what each access may do: bounds, names, races, uninitialised, declared, async
//   sim_memory.c    allocations of every kind, tensors by name inside them
//   sim_stream.c    queues, events, the seeded order, conflicts between streams
//   sim_cudart*.c   the entry points of libcudart; sim_cublaslt.c, sim_product.c those of cuBLASLt
//   sim_capture.c   streams into graphs; sim_graph.c runs them
//   sim_control.c   what a test asks: reports, seeds
//   sim_counters.c  what launches did, summed and as a table
//   sim_mutate.c    drops one instruction of a kernel
#ifndef VMA_SIM_H
#define VMA_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- the device ----

typedef struct SimDevice {
  const char *name; // "3090", "a100", "h100"
  int major, minor; // 8.6, 8.0, 9.0: also which PTX is run
  int sms;          // 82, 108, 132; a test may ask for another number
  int shared_block; // without opting in: 49152
  int shared_optin; // 101376, 166912, 232448
  int64_t memory;   // bytes that cudaMemGetInfo speaks of
} SimDevice;

// ---- kernels: made by sim_ptx, run by sim_exec ----

typedef struct SimInstr SimInstr; // sim_exec's own

typedef struct SimLine {
  const char *file; // base name of the .cu or .cuh
  int line;
} SimLine;

typedef struct SimParam {
  int offset, bytes;
} SimParam;

typedef struct SimKernel {
  char *name;  // mangled
  char *title; // demangled, for reports
  int64_t n_instrs;
  SimInstr *instrs;
  SimLine *lines;      // [n_instrs]; of the innermost inlined place
  int64_t n_registers; // 32 lanes each
  int64_t static_shared, local_bytes, param_bytes;
  int n_params;
  SimParam *params;
  int max_threads; // .maxntid, or 1024
  // mutation: instruction index that is skipped (predicates: taken as if always true), or -1
  int64_t dropped;
  // [n_instrs], or NULL: set where dropping the instruction would have changed what was done
  uint8_t *matters;
  struct SimModule *module;
  struct SimCode *code; // sim_exec's own
} SimKernel;

typedef struct SimDim {
  uint32_t x, y, z;
} SimDim;

typedef struct SimLaunch {
  const SimKernel *kernel;
  const SimDevice *device;
  SimDim grid, block;
  int64_t shared_bytes; // static + dynamic
  int64_t dynamic_shared;
  const uint8_t *params; // copied at the launch, as in CUDA
  uint64_t seed;         // of block and warp order
  int64_t number;        // counts launches: epochs of global shadow
  bool checks;           // false: values only, no sim_check_* is called
  const struct SimOp
      *op; // declared tensors at the launch; NULL: none declared, all of memory allowed
} SimLaunch;

typedef struct SimBlock {
  const SimLaunch *launch;
  int64_t index; // linear
  int n_threads, n_warps;
  uint8_t *shared; // shared_bytes, filled with 0xFF before the block starts
  void *shadow;    // sim_check's
  void *exec;      // sim_exec's
} SimBlock;

// Runs the whole launch to its end. false: the kernel was ended (a fault that cannot be run past).
bool sim_exec_launch(SimLaunch *launch);

// ---- checks: called by sim_exec ----

typedef enum SimSpace { SIM_GLOBAL, SIM_SHARED, SIM_LOCAL } SimSpace;
typedef enum SimAccessKind {
  SIM_READ,
  SIM_WRITE,
  SIM_ATOMIC,      // read and written, ordered with other atomics
  SIM_ASYNC_READ,  // source of cp.async
  SIM_ASYNC_WRITE, // destination of cp.async, in flight until its wait
} SimAccessKind;

// One instruction of one warp. Addresses are host addresses for SIM_GLOBAL, offsets into the
// block's shared memory or the thread's local memory otherwise.
typedef struct SimAccess {
  SimSpace space;
  SimAccessKind kind;
  int warp;                // in the block
  uint32_t mask;           // lanes
  int bytes;               // of a lane: 1, 2, 4, 8, 16 (vectors whole)
  const uint64_t *address; // [32]
  int64_t pc;
} SimAccess;

// Checks, records and reports; returns the lanes whose access may be carried out (the others read
// zeros and write nothing). Also counts wavefronts and sectors.
uint32_t sim_check_access(SimBlock *block, const SimAccess *access);

void sim_check_block_begin(SimBlock *block); // makes ->shadow
void sim_check_block_end(SimBlock *block);
void sim_check_launch_begin(SimLaunch *launch);
void sim_check_launch_end(SimLaunch *launch);
// A barrier of the block that these warps' lanes have all passed (masks [n_warps]; 0: not taking
// part). Named barriers: `id` and who took part.
void sim_check_barrier(SimBlock *block, int id, const uint32_t *masks);
// bar.warp.sync of these lanes.
void sim_check_warp_sync(SimBlock *block, int warp, uint32_t mask);
// cp.async.commit_group / wait_group n / wait_all by these lanes. At a wait the data of the groups
// that are complete lands: sim_check keeps the bytes until then and writes them.
void sim_check_async_commit(SimBlock *block, int warp, uint32_t mask);
void sim_check_async_wait(SimBlock *block, int warp, uint32_t mask, int pending, int64_t pc);
// cp.async of `bytes` a lane, `source_bytes` of them read and the rest zero; checks both sides and
// keeps the data for the wait.
void sim_check_async_copy(SimBlock *block, int warp, uint32_t mask, int bytes,
                          const int *source_bytes, const uint64_t *shared_offset,
                          const uint64_t *global_address, int64_t pc);

// ---- reports ----

typedef enum SimFault {
  SIM_RACE_RAW,
  SIM_RACE_WAR,
  SIM_RACE_WAW, // within a block
  SIM_RACE_BLOCKS,
  SIM_ASYNC_IN_FLIGHT,
  SIM_WARP_SYNC, // ordered by nothing but the warp's lockstep
  SIM_OUT_OF_BOUNDS,
  SIM_UNDECLARED,    // a tensor that the op has not declared, or declared read-only
  SIM_RELEASED,      // use after release
  SIM_UNINITIALISED, // shared, global, local
  SIM_MISALIGNED,
  SIM_DIVERGENT_BARRIER, // or a barrier that some threads never reach
  SIM_LAUNCH_LIMITS,     // threads, shared memory, attribute
  SIM_STREAM_CONFLICT,
  SIM_HOST_POINTER, // pageable memory given to a kernel or an async copy
  SIM_UNSUPPORTED,  // instruction or call that the simulator lacks
  SIM_API,          // misuse of a call: freed while in use, bad leading dimension, ...
  SIM_FAULTS
} SimFault;

// "race: shared read after write: thread 39 at cuda_norm.cu:58 after thread 19 at cuda_norm.cu:51"
// Kernel and line may be NULL / 0. The same fault at the same place is counted, not repeated.
void sim_report(SimFault fault, const SimKernel *kernel, SimLine line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static inline SimLine sim_line(const SimKernel *kernel, int64_t pc) {
  return kernel->lines[pc];
}

// Of one launch, or summed. Instructions are those of warps, also where no lane carries one out;
// one that waits for other lanes of its warp counts once. Accesses to shared and global memory are
// counted where launches are checked, and not those to a module's own variables.
typedef struct SimCounters {
  int64_t launches, blocks, warp_instrs, thread_instrs;
  int64_t mma, float_ops, int_ops, special, branches, barriers, shuffles, atomics;
  int64_t shared_instrs, shared_wavefronts, shared_extra; // extra: of bank conflicts
  int64_t global_instrs, global_sectors, global_ideal;    // 32-byte sectors
  int64_t local_instrs;                                   // the thread's own memory: spills, arrays
  int64_t bytes_read, bytes_written;                      // global, by the lanes
} SimCounters;

SimCounters *sim_counters_now(void); // of the launch that runs

#endif
