// Decoded PTX: what the parser (sim_ptx_*.c) makes and the interpreter (sim_exec_*.c) runs. No
// other part of the simulator looks in here.
//
// Registers. Each register is 32 lanes of its own width at a fixed offset of the warp's register
// file; a predicate is one 32-bit mask. Immediates, addresses of symbols and special registers are
// registers too, filled before the block starts, so an operand is always an offset.
//
// Functions are expanded where they are called: `ret` there is a branch behind the call, and their
// .param variables lie in the thread's local memory, as those of the caller do.
#ifndef VMA_SIM_CODE_H
#define VMA_SIM_CODE_H

#include "sim_ptx.h"

typedef struct SimWarp SimWarp;
typedef void SimRun(SimWarp *w, const SimInstr *i);

// What an instruction is counted as.
typedef enum SimKind {
  SIM_KIND_OTHER,
  SIM_KIND_INT,
  SIM_KIND_FLOAT,
  SIM_KIND_SPECIAL,
  SIM_KIND_MMA,
  SIM_KIND_BRANCH,
  SIM_KIND_BARRIER,
  SIM_KIND_SHUFFLE,
  SIM_KIND_ATOMIC,
  SIM_KIND_SHARED,
  SIM_KIND_GLOBAL,
  SIM_KIND_LOCAL,
  SIM_KINDS
} SimKind;

// State spaces of an access. A generic one is looked up by lane; params of functions are local
// memory that is not checked; those of the kernel are the launch's.
typedef enum SimStateSpace {
  SIM_IN_GENERIC,
  SIM_IN_GLOBAL,
  SIM_IN_SHARED,
  SIM_IN_LOCAL,
  SIM_IN_CONST,
  SIM_IN_PARAM,
  SIM_IN_CALL,
} SimStateSpace;

// Generic addresses of shared and local memory; those of global memory are host addresses.
#define SIM_WINDOW_SHARED ((uint64_t)0x7e00000000000000)
#define SIM_WINDOW_LOCAL ((uint64_t)0x7d00000000000000)
#define SIM_WINDOW_PARAM ((uint64_t)0x7c00000000000000)
#define SIM_WINDOW_MASK ((uint64_t)0xff00000000000000)

enum { SIM_OPERANDS = 20 };

struct SimInstr {
  SimRun *run;
  SimRun *inner;              // with a rounding mode or flushing: what run calls
  int32_t o[SIM_OPERANDS];    // register offsets: results first
  uint8_t size[SIM_OPERANDS]; // bytes of a lane of that register; 0: sink, 1: predicate
  int32_t guard;              // predicate's offset, or -1
  uint8_t guard_not;
  uint8_t kind;  // SimKind
  uint8_t space; // SimStateSpace
  uint8_t bytes; // of an element in memory, or of a cp.async
  uint8_t n;     // elements of a vector, or rows of matrices
  uint8_t type;  // SimType of the data
  uint8_t from;  // SimType that cvt converts from
  uint8_t mode;  // compare, rounding, shuffle, ...: the opcode's own
  uint8_t combine, negate;
  uint8_t round; // 0 nearest, 1 zero, 2 down, 3 up
  bool ftz, sat, relu, trans, sign;
  int32_t target; // of a branch
  int64_t imm;    // displacement of the address
  const char *text;
};

typedef enum SimType {
  SIM_T_NONE,
  SIM_T_U8,
  SIM_T_U16,
  SIM_T_U32,
  SIM_T_U64,
  SIM_T_S8,
  SIM_T_S16,
  SIM_T_S32,
  SIM_T_S64,
  SIM_T_B8,
  SIM_T_B16,
  SIM_T_B32,
  SIM_T_B64,
  SIM_T_F16,
  SIM_T_BF16,
  SIM_T_F32,
  SIM_T_F64,
  SIM_T_F16X2,
  SIM_T_BF16X2,
  SIM_T_TF32,
  SIM_T_PRED,
  SIM_T_B128,
  SIM_TYPES
} SimType;

SimType sim_type(const char *name, size_t length); // SIM_T_NONE: not a type
int sim_type_bytes(SimType type);                  // 1 for a predicate

// Special registers, 32 lanes of 4 bytes each from the file's start on.
typedef enum SimSpecial {
  SIM_S_TID_X,
  SIM_S_TID_Y,
  SIM_S_TID_Z,
  SIM_S_NTID_X,
  SIM_S_NTID_Y,
  SIM_S_NTID_Z,
  SIM_S_CTAID_X,
  SIM_S_CTAID_Y,
  SIM_S_CTAID_Z,
  SIM_S_NCTAID_X,
  SIM_S_NCTAID_Y,
  SIM_S_NCTAID_Z,
  SIM_S_LANEID,
  SIM_S_WARPID,
  SIM_S_NWARPID,
  SIM_S_SMID,
  SIM_S_NSMID,
  SIM_S_LANEMASK_EQ,
  SIM_S_LANEMASK_LE,
  SIM_S_LANEMASK_LT,
  SIM_S_LANEMASK_GE,
  SIM_S_LANEMASK_GT,
  SIM_S_DYNAMIC_SMEM,
  SIM_S_TOTAL_SMEM,
  SIM_S_CLOCK,
  SIM_S_CLOCK_HI,
  SIM_S_GRIDID,
  SIM_SPECIALS
} SimSpecial;

enum { SIM_SPECIAL_BYTES = 128 };

// A list of branch targets of brx.idx.
typedef struct SimTargets {
  int32_t *target;
  int n;
} SimTargets;

typedef struct SimCode {
  uint8_t *image; // registers before the first instruction
  int64_t image_bytes;
  SimTargets *lists;
  int n_lists;
  int64_t call_bytes; // of local_bytes: params of functions, from the end on
  char *unknown;      // opcodes that are not known
} SimCode;

// An opcode that works on registers alone, by its key: the opcode without rounding, ftz and sat.
// `sizes`: one digit an operand, bytes of a lane (1: predicate), results first.
typedef struct SimOpcode {
  const char *key;
  SimRun *run;
  const char *sizes;
  SimKind kind;
} SimOpcode;

const SimOpcode *sim_opcode_integer(const char *key);
const SimOpcode *sim_opcode_float(const char *key);
const SimOpcode *sim_opcode_half(const char *key);

SimRun sim_run_rounded; // runs ->inner under ->round, ->ftz, then ->sat
SimRun sim_run_setp, sim_run_set, sim_run_cvt, sim_run_cvt_pack;
SimRun sim_run_mov_pack, sim_run_mov_unpack;
SimRun sim_run_load, sim_run_store, sim_run_atomic, sim_run_isspacep;
SimRun sim_run_cp_async, sim_run_cp_commit, sim_run_cp_wait;
SimRun sim_run_ldmatrix, sim_run_stmatrix, sim_run_movmatrix;
SimRun sim_run_mma_float, sim_run_mma_s8;
SimRun sim_run_shfl, sim_run_vote, sim_run_match, sim_run_redux, sim_run_activemask;
SimRun sim_run_warp_sync, sim_run_barrier, sim_run_nop;
SimRun sim_run_branch, sim_run_branch_indexed, sim_run_exit, sim_run_trap, sim_run_printf;
SimRun sim_run_unknown;

// Fast forms of cvt, or NULL.
SimRun *sim_cvt_fast(const SimInstr *i);
SimRun *sim_setp_fast(const SimInstr *i);

// ->mode of setp and set.
typedef enum SimCompare {
  SIM_EQ,
  SIM_NE,
  SIM_LT,
  SIM_LE,
  SIM_GT,
  SIM_GE,
  SIM_EQU,
  SIM_NEU,
  SIM_LTU,
  SIM_LEU,
  SIM_GTU,
  SIM_GEU,
  SIM_NUM,
  SIM_NAN,
} SimCompare;

// ->combine of setp: with the predicate operand.
typedef enum SimCombine { SIM_C_NONE, SIM_C_AND, SIM_C_OR, SIM_C_XOR } SimCombine;

// ->mode of atomics.
typedef enum SimAtomic {
  SIM_A_ADD,
  SIM_A_MIN,
  SIM_A_MAX,
  SIM_A_AND,
  SIM_A_OR,
  SIM_A_XOR,
  SIM_A_EXCH,
  SIM_A_CAS,
  SIM_A_INC,
  SIM_A_DEC,
} SimAtomic;

// ->mode of shfl, vote, match, barrier.
typedef enum SimShuffle { SIM_SHFL_UP, SIM_SHFL_DOWN, SIM_SHFL_BFLY, SIM_SHFL_IDX } SimShuffle;
typedef enum SimVote { SIM_VOTE_ALL, SIM_VOTE_ANY, SIM_VOTE_UNI, SIM_VOTE_BALLOT } SimVote;
typedef enum SimBarrier {
  SIM_BAR_SYNC,
  SIM_BAR_ARRIVE,
  SIM_BAR_AND,
  SIM_BAR_OR,
  SIM_BAR_POPC,
} SimBarrier;

// ->mode of cvt: the rounding written in the opcode.
typedef enum SimRounding {
  SIM_R_NONE,
  SIM_R_RN,
  SIM_R_RZ,
  SIM_R_RM,
  SIM_R_RP,
  SIM_R_RNI,
  SIM_R_RZI,
  SIM_R_RMI,
  SIM_R_RPI,
  SIM_R_RNA,
} SimRounding;

#endif
