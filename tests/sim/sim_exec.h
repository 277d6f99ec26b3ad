// The state of a launch that runs, for the files sim_exec_*.c only: warps, groups of lanes at one
// place, and the loops over lanes that instructions are made of.
#ifndef VMA_SIM_EXEC_H
#define VMA_SIM_EXEC_H

#include <stdlib.h>
#include <string.h>

#include "sim_code.h"

// Lanes of a warp that stand at one pc. The lanes that run are no group: they are ->active at ->pc.
typedef enum SimWait {
  SIM_RUNS,
  SIM_AT_SYNC,    // for other lanes of the warp, at this pc
  SIM_AT_BARRIER, // behind a barrier of the block; released by it
} SimWait;

typedef struct SimGroup {
  int32_t pc;
  uint32_t mask;
  SimWait wait;
  int barrier;
} SimGroup;

enum { SIM_GROUPS = 34, SIM_MAX_WARPS = 32, SIM_BARRIERS = 16, SIM_PICK = INT32_MIN };

typedef struct SimNamedBarrier {
  uint32_t masks[SIM_MAX_WARPS]; // arrived
  int arrived, expected;
  int64_t pc;
  uint32_t predicate[SIM_MAX_WARPS]; // of bar.red
} SimNamedBarrier;

typedef struct SimExec { // a launch
  SimLaunch *launch;
  const SimKernel *kernel;
  const SimCode *code;
  uint8_t *registers; // of all warps
  uint8_t *local;     // of all warps: [warp][lane][local_bytes]
  SimWarp *warps;
  SimBlock block;
  SimNamedBarrier barriers[SIM_BARRIERS];
  uint64_t random;
  int64_t counts[SIM_KINDS], warp_instrs, thread_instrs;
  int64_t left; // instructions that the block may still run
  bool ended;   // by a fault that cannot be run past
} SimExec;

struct SimWarp {
  uint8_t *regs, *local;
  SimExec *exec;
  int32_t pc, next; // next: where another group may be joined or overtaken; SIM_PICK: pick anew
  uint32_t active;  // lanes at pc
  uint32_t lanes;   // of them those that the instruction is carried out for
  uint32_t live, existing;
  int index, n_groups;
  int64_t budget;
  bool again;     // the instruction waits for lanes and is run once more
  uint32_t carry; // of add.cc and kin
  SimGroup groups[SIM_GROUPS];
};

#define SIM_REG(T, k) ((T *)(void *)(w->regs + i->o[k]))

#if defined(__clang__)
#define SIM_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define SIM_IVDEP _Pragma("GCC ivdep")
#endif

// d[l] = EXPR for every lane l that runs. d may be an operand of EXPR.
#define SIM_LANES(d, EXPR)                                                                         \
  do {                                                                                             \
    if (w->lanes == UINT32_MAX) {                                                                  \
      SIM_IVDEP for (int l = 0; l < 32; l++)(d)[l] = (EXPR);                                       \
    } else {                                                                                       \
      const uint32_t lanes_ = w->lanes;                                                            \
      SIM_IVDEP for (int l = 0; l < 32; l++) {                                                     \
        const __typeof__((d)[0]) value_ = (EXPR);                                                  \
        (d)[l] = lanes_ >> l & 1 ? value_ : (d)[l];                                                \
      }                                                                                            \
    }                                                                                              \
  } while (0)

#define SIM_EACH(mask, l)                                                                          \
  for (uint32_t left_##l = (mask), l = 0;                                                          \
       left_##l != 0 && (l = (uint32_t)__builtin_ctz(left_##l), true); left_##l &= left_##l - 1)

// A predicate operand as a mask.
static inline uint32_t sim_mask(const SimWarp *w, const SimInstr *i, int k) {
  uint32_t mask;
  memcpy(&mask, w->regs + i->o[k], sizeof mask);
  return mask;
}

static inline void sim_set_mask(SimWarp *w, int32_t offset, uint32_t mask) {
  uint32_t old;
  memcpy(&old, w->regs + offset, sizeof old);
  old = (old & ~w->lanes) | (mask & w->lanes);
  memcpy(w->regs + offset, &old, sizeof old);
}

// Any integer register as 32 lanes of 64 bits, zero-extended; and back, of the lanes that run.
void sim_read(const SimWarp *w, const SimInstr *i, int k, uint64_t out[32]);
void sim_write(SimWarp *w, const SimInstr *i, int k, const uint64_t in[32]);

static inline int64_t sim_pc(const SimWarp *w) { // of the instruction that runs
  return w->pc - 1;
}

// The lanes of the instruction wait at it for others of their warp: true, and the instruction is
// run again later. `member`: who must be there.
bool sim_wait_for(SimWarp *w, uint32_t member);

void sim_end(SimExec *exec); // ends the launch

// Where an access lands on the host, the lanes it may be made for in *mask.
typedef struct SimPlace {
  uint8_t *base[32];
  uint32_t mask;
} SimPlace;

// Floats of 16 bits.
static inline float sim_bf16_to_f32(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint16_t sim_f32_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : (uint16_t)rounded;
}

float sim_f16_to_f32(uint16_t x);
uint16_t sim_f32_to_f16(float x);
float sim_odd(double x); // to f32, rounded to odd: a second rounding to 16 bits is then exact

#endif
