// What the files of the CPU backend share: its state behind the public op table, scratch memory,
// and the fast ops of each instruction set.
//
// An op that a fast variant does not cover (f64 tensors, head widths without a tile) goes to the
// reference; a reference call checks and counts by itself, so it comes before the fast op's check.
#ifndef VMA_CPU_BACKEND_H
#define VMA_CPU_BACKEND_H

#include "backend.h"
#include "read_tickets.h"

// Scratch memory by purpose: two purposes may be in use at once, two uses of one may not.
typedef enum CpuScratch {
  SCRATCH_SHARED,  // packed operands that all threads read
  SCRATCH_THREADS, // tiles of each thread
  SCRATCH_SUMS,    // partial sums, in an order that threads do not change
  SCRATCH_ROWS,    // expanded or transposed small operands
  SCRATCH_EXPAND,  // whole operands converted for the library GEMM
  SCRATCH_ROPE,    // frequencies, then cosines and sines of every position
  SCRATCH_COUNT
} CpuScratch;

typedef struct CpuLibrary CpuLibrary; // cached primitives of the library GEMM

typedef struct CpuBackend {
  Backend be;  // first: a Backend* of this backend is a CpuBackend*
  Backend ref; // the reference's ops (f64, rare cases)
  Backend own; // the fast ops as installed, before another GEMM replaces three of them
  int threads;
  char gemm_path[64];
  void *scratch[SCRATCH_COUNT];
  int64_t scratch_bytes[SCRATCH_COUNT];
  bool noting;                        // a shadow: scratch is noted, nothing is computed
  int64_t rope_positions, rope_pairs; // what SCRATCH_ROPE holds
  CpuLibrary *library;                // NULL until it is asked for
  ReadTickets tickets;
  bool library_bf16; // bf16 operands are multiplied as they lie
} CpuBackend;

static inline CpuBackend *cpu_of(Backend *be) {
  return (CpuBackend *)be;
}

// At least n floats, 64-byte aligned, uninitialised; kept and grown, never given back before close.
// A shadow's holds nothing: an op of the shadow asks for all that it would take, and returns.
float *cpu_scratch(Backend *be, CpuScratch purpose, int64_t n);

static inline bool cpu_noting(Backend *be) {
  return cpu_of(be)->noting;
}

// Makes the shadow of a backend whose ops are installed.
Status cpu_shadow_open(CpuBackend *cpu, Error *err);
void cpu_shadow_close(CpuBackend *cpu);

// How many threads an op of `work` element operations is worth: fewer than this machine's for small
// ones. The number never decides a bit of a result.
static inline int cpu_team(Backend *be, int64_t work) {
  return work < 16384 ? 1 : cpu_of(be)->threads;
}

// A dtype that the fast ops take as F.
static inline bool cpu_fast(Tensor t) {
  return t.dtype == DT_F32 || t.dtype == DT_BF16;
}

void cpu_memory_install(Backend *be);

// Sets every op to its fast variant for one instruction set. x86 has all four, others `base`.
void simd_install_base(Backend *be);
void simd_install_avx2(Backend *be);
void simd_install_avx512(Backend *be);
void simd_install_avx512bf16(Backend *be);

// Replaces the three linear ops by the library's, in f32 or bf16 arithmetic; false, and nothing
// replaced, where the library has no such arithmetic on this CPU.
bool cpu_library_install(CpuBackend *cpu, bool bf16);
// Runs every primitive once: what the library takes for them is taken.
void cpu_library_warm(CpuBackend *cpu);
// Gives back the library's primitives; an install makes them anew.
void cpu_library_close(CpuBackend *cpu);

#endif
