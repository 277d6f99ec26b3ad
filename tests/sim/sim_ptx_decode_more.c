// Decoding of opcodes that touch memory, and of those of warps, blocks and control flow.
#include "sim_ptx_parse.h"

static SimStateSpace space_of(const Ins *ins) {
  for (int k = 1; k < ins->n_mods; k++) {
    const Word mod = ins->mods[k];
    if (word_is(mod, "global")) return SIM_IN_GLOBAL;
    if (word_is(mod, "shared") || word_is(mod, "shared::cta")) return SIM_IN_SHARED;
    if (word_is(mod, "local")) return SIM_IN_LOCAL;
    if (word_is(mod, "const")) return SIM_IN_CONST;
    if (word_starts(mod, "param")) return SIM_IN_PARAM;
  }
  return SIM_IN_GENERIC;
}

static SimKind kind_of(int space) {
  return space == SIM_IN_SHARED                              ? SIM_KIND_SHARED
         : space == SIM_IN_GLOBAL || space == SIM_IN_GENERIC ? SIM_KIND_GLOBAL
         : space == SIM_IN_LOCAL                             ? SIM_KIND_LOCAL
                                                             : SIM_KIND_OTHER;
}

// .param is the kernel's, or a variable of a call: the symbol in the address tells.
static int param_space(Parser *ps, Word address) {
  address = word_trim((Word){address.at + 1, address.n - 2});
  const char *sign = memchr(address.at, '+', (size_t)address.n);
  if (sign != NULL) address = word_trim((Word){address.at, (int)(sign - address.at)});
  Symbol s;
  return ptx_find(ps, address, &s) && s.kind == SYMBOL_CALL ? SIM_IN_CALL : SIM_IN_PARAM;
}

enum { ADDRESS = 8, SECOND_ADDRESS = 9 };

static bool decode_load_store(Parser *ps, Ins *ins, bool load) {
  SimInstr *in = ins->in;
  in->type = (uint8_t)ins_type(ins, 0);
  const int bytes = sim_type_bytes(in->type);
  in->bytes = (uint8_t)bytes;
  in->space = (uint8_t)space_of(ins);
  in->sign = in->type >= SIM_T_S8 && in->type <= SIM_T_S64;
  const int n = ins_has(ins, "v2") ? 2 : ins_has(ins, "v4") ? 4 : ins_has(ins, "v8") ? 8 : 1;
  in->n = (uint8_t)n;
  const int address = load ? 1 : 0, data = load ? 0 : 1;
  if (ins->n_args < 2 || bytes == 0 || bytes > 8) return false;
  if (in->space == SIM_IN_PARAM) in->space = (uint8_t)param_space(ps, ins->args[address]);
  in->kind = (uint8_t)kind_of(in->space);
  in->run = load ? sim_run_load : sim_run_store;
  if (!ins_address(ps, ins, ADDRESS, ins->args[address], &in->imm)) return false;
  // Registers may be wider than what is in memory; an immediate is as wide as that, or 16 bits.
  const Word list = ins->args[data];
  if (!load && n == 1 && list.n > 0 && list.at[0] != '%' && list.at[0] != '{')
    return ins_source(ps, ins, 0, list, bytes < 2 ? 2 : bytes);
  return ins_vector(ps, ins, 0, list, 0, n, load) == n;
}

static bool atomic_of(const Ins *ins, uint8_t *mode) {
  static const char *names[] = {"add", "min",  "max", "and", "or",
                                "xor", "exch", "cas", "inc", "dec"};
  for (int k = 0; k < 10; k++)
    if (ins_has(ins, names[k])) return *mode = (uint8_t)k, true;
  return false;
}

static bool decode_atomic(Parser *ps, Ins *ins, bool result) {
  SimInstr *in = ins->in;
  in->type = (uint8_t)ins_type(ins, 0);
  in->bytes = (uint8_t)sim_type_bytes(in->type);
  in->space = (uint8_t)space_of(ins);
  in->kind = SIM_KIND_ATOMIC;
  in->run = sim_run_atomic;
  const int first = result ? 1 : 0;
  if (in->bytes < 2 || in->bytes > 8 || !atomic_of(ins, &in->mode) || ins_has(ins, "v2") ||
      ins_has(ins, "v4"))
    return false;
  const int operands = in->mode == SIM_A_CAS ? 2 : 1;
  if (ins->n_args < first + 1 + operands) return false;
  if (result && !ins_result(ps, ins, 0, ins->args[0], in->bytes)) return false;
  if (!ins_address(ps, ins, ADDRESS, ins->args[first], &in->imm)) return false;
  for (int k = 0; k < operands; k++)
    if (!ins_source(ps, ins, 1 + k, ins->args[first + 1 + k], in->bytes)) return false;
  return true;
}

static bool decode_cp_async(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->kind = SIM_KIND_OTHER;
  if (!ins_has(ins, "async") || ins_has(ins, "bulk") || ins_has(ins, "mbarrier")) return false;
  uint64_t value = 0;
  if (ins_has(ins, "commit_group")) {
    in->run = sim_run_cp_commit;
    return true;
  }
  if (ins_has(ins, "wait_all") || ins_has(ins, "wait_group")) {
    in->run = sim_run_cp_wait;
    in->mode = ins_has(ins, "wait_all");
    if (!in->mode && (ins->n_args != 1 || !ptx_number(ins->args[0], 4, &value))) return false;
    in->imm = (int64_t)value;
    return true;
  }
  int64_t from = 0;
  if (ins->n_args < 3 || !ins_address(ps, ins, ADDRESS, ins->args[0], &in->imm) ||
      !ins_address(ps, ins, SECOND_ADDRESS, ins->args[1], &from) ||
      !ptx_number(ins->args[2], 4, &value) || (value != 4 && value != 8 && value != 16))
    return false;
  in->target = (int32_t)from;
  in->bytes = (uint8_t)value;
  in->kind = SIM_KIND_GLOBAL;
  in->run = sim_run_cp_async;
  const int policy = ins_has(ins, "L2::cache_hint") ? 1 : 0;
  in->size[2] = 0;
  return ins->n_args - policy == 3 ||
         (ins->n_args - policy == 4 && ins_source(ps, ins, 2, ins->args[3], 4));
}

static bool decode_matrix(Parser *ps, Ins *ins, bool load) {
  SimInstr *in = ins->in;
  const int n = ins_has(ins, "x1") ? 1 : ins_has(ins, "x2") ? 2 : ins_has(ins, "x4") ? 4 : 0;
  in->n = (uint8_t)n;
  in->trans = ins_has(ins, "trans");
  in->kind = SIM_KIND_SHARED;
  in->run = load ? sim_run_ldmatrix : sim_run_stmatrix;
  in->space = (uint8_t)space_of(ins);
  if (n == 0 || ins->n_args != 2 || !ins_has(ins, "m8n8") || !ins_has(ins, "b16")) return false;
  return ins_vector(ps, ins, 0, ins->args[load ? 0 : 1], 4, n, load) == n &&
         ins_address(ps, ins, ADDRESS, ins->args[load ? 1 : 0], &in->imm);
}

// mma.sync.aligned.SHAPE.row.col.D.A.B.C d, a, b, c: mode is the number of k steps of a register.
static bool decode_mma(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->kind = SIM_KIND_MMA;
  const SimType d = ins_type(ins, 3), a = ins_type(ins, 2), b = ins_type(ins, 1),
                c = ins_type(ins, 0);
  if (ins->n_args != 4 || !ins_has(ins, "row") || !ins_has(ins, "col") || ins_has(ins, "sp"))
    return false;
  int na, nb, k;
  if ((a == SIM_T_BF16 || a == SIM_T_F16) && a == b && d == SIM_T_F32 && c == SIM_T_F32) {
    k = ins_has(ins, "m16n8k16") ? 16 : ins_has(ins, "m16n8k8") ? 8 : 0;
    in->run = sim_run_mma_float;
  } else if (a == SIM_T_TF32 && b == SIM_T_TF32 && d == SIM_T_F32 && c == SIM_T_F32) {
    k = ins_has(ins, "m16n8k8") ? 8 : ins_has(ins, "m16n8k4") ? 4 : 0;
    in->run = sim_run_mma_float;
  } else if ((a == SIM_T_S8 || a == SIM_T_U8) && (b == SIM_T_S8 || b == SIM_T_U8) &&
             d == SIM_T_S32 && c == SIM_T_S32) {
    k = ins_has(ins, "m16n8k32") ? 32 : ins_has(ins, "m16n8k16") ? 16 : 0;
    in->run = sim_run_mma_s8;
    in->sat = ins_has(ins, "satfinite");
  } else {
    return false;
  }
  if (k == 0) return false;
  in->type = (uint8_t)a;
  in->from = (uint8_t)b;
  in->mode = (uint8_t)k;
  const int per = a == SIM_T_TF32 ? 1 : a == SIM_T_S8 || a == SIM_T_U8 ? 4 : 2;
  na = 16 * k / 32 / per;
  nb = 8 * k / 32 / per;
  return ins_vector(ps, ins, 0, ins->args[0], 4, 4, true) == 4 &&
         ins_vector(ps, ins, 4, ins->args[1], 4, na, false) == na &&
         ins_vector(ps, ins, 8, ins->args[2], 4, nb, false) == nb &&
         ins_vector(ps, ins, 12, ins->args[3], 4, 4, false) == 4;
}

bool ptx_decode_memory(Parser *ps, Ins *ins) {
  const Word name = ins->mods[0];
  SimInstr *in = ins->in;
  if (word_is(name, "ld") || word_is(name, "ldu")) return decode_load_store(ps, ins, true);
  if (word_is(name, "st")) return decode_load_store(ps, ins, false);
  if (word_is(name, "atom")) return decode_atomic(ps, ins, true);
  if (word_is(name, "red")) return decode_atomic(ps, ins, false);
  if (word_is(name, "cp")) return decode_cp_async(ps, ins);
  if (word_is(name, "ldmatrix")) return decode_matrix(ps, ins, true);
  if (word_is(name, "stmatrix")) return decode_matrix(ps, ins, false);
  if (word_is(name, "mma")) return decode_mma(ps, ins);
  if (word_is(name, "movmatrix")) {
    in->run = sim_run_movmatrix;
    in->kind = SIM_KIND_SHUFFLE;
    return ins->n_args == 2 && ins_has(ins, "m8n8") && ins_has(ins, "b16") &&
           ins_result(ps, ins, 0, ins->args[0], 4) && ins_source(ps, ins, 1, ins->args[1], 4);
  }
  if (word_is(name, "isspacep")) {
    in->space = (uint8_t)space_of(ins);
    in->run = sim_run_isspacep;
    return ins->n_args == 2 && ins_result(ps, ins, 0, ins->args[0], 1) &&
           ins_source(ps, ins, 1, ins->args[1], 8);
  }
  if (word_is(name, "prefetch") || word_is(name, "prefetchu") || word_is(name, "discard") ||
      word_is(name, "applypriority") || word_is(name, "membar") || word_is(name, "fence") ||
      word_is(name, "nanosleep") || word_is(name, "pmevent") || word_is(name, "griddepcontrol")) {
    in->run = sim_run_nop;
    return true;
  }
  return false;
}

static bool with_not(Parser *ps, Ins *ins, int k, Word word) { // a predicate, or !it
  word = word_trim(word);
  if (word.n > 0 && word.at[0] == '!') ins->in->negate = 1, word.at++, word.n--;
  return ins_source(ps, ins, k, word, 1);
}

// d|p
static bool with_predicate(Parser *ps, Ins *ins, Word word, int size) {
  Word p = {"_", 1};
  const char *bar = memchr(word.at, '|', (size_t)word.n);
  if (bar != NULL) {
    p = (Word){bar + 1, (int)(word.at + word.n - bar - 1)};
    word.n = (int)(bar - word.at);
  }
  return ins_result(ps, ins, 0, word, size) && ins_result(ps, ins, 1, p, 1);
}

static bool decode_shfl(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->run = sim_run_shfl;
  in->mode = ins_has(ins, "up")     ? SIM_SHFL_UP
             : ins_has(ins, "down") ? SIM_SHFL_DOWN
             : ins_has(ins, "bfly") ? SIM_SHFL_BFLY
                                    : SIM_SHFL_IDX;
  if (!ins_has(ins, "sync") || ins->n_args != 5 || !with_predicate(ps, ins, ins->args[0], 4))
    return false;
  for (int k = 1; k < 5; k++)
    if (!ins_source(ps, ins, k + 1, ins->args[k], 4)) return false;
  return true;
}

static bool decode_vote(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->run = sim_run_vote;
  const bool ballot = ins_has(ins, "ballot");
  in->mode = ballot                ? SIM_VOTE_BALLOT
             : ins_has(ins, "all") ? SIM_VOTE_ALL
             : ins_has(ins, "any") ? SIM_VOTE_ANY
                                   : SIM_VOTE_UNI;
  return ins_has(ins, "sync") && ins->n_args == 3 &&
         ins_result(ps, ins, 0, ins->args[0], ballot ? 4 : 1) &&
         with_not(ps, ins, 2, ins->args[1]) && ins_source(ps, ins, 3, ins->args[2], 4);
}

static bool decode_match(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->run = sim_run_match;
  in->mode = ins_has(ins, "all");
  const int size = sim_type_bytes(ins_type(ins, 0));
  return ins_has(ins, "sync") && ins->n_args == 3 && size >= 4 &&
         with_predicate(ps, ins, ins->args[0], 4) && ins_source(ps, ins, 2, ins->args[1], size) &&
         ins_source(ps, ins, 3, ins->args[2], 4);
}

static bool decode_redux(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->run = sim_run_redux;
  in->type = (uint8_t)ins_type(ins, 0);
  return atomic_of(ins, &in->mode) && in->mode <= SIM_A_XOR && ins->n_args == 3 &&
         sim_type_bytes(in->type) == 4 && in->type != SIM_T_F32 &&
         ins_result(ps, ins, 0, ins->args[0], 4) && ins_source(ps, ins, 2, ins->args[1], 4) &&
         ins_source(ps, ins, 3, ins->args[2], 4);
}

// bar.sync a[, b]; bar.arrive a, b; bar.red.op.type d, a[, b], [!]c; barrier likewise, whose
// threads need not come together unless .aligned; bar.warp.sync mask.
static bool decode_barrier(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  if (ins_has(ins, "cluster")) return false;
  if (ins_has(ins, "warp")) {
    in->run = sim_run_warp_sync;
    in->kind = SIM_KIND_BARRIER;
    return ins->n_args == 1 && ins_source(ps, ins, 3, ins->args[0], 4);
  }
  in->run = sim_run_barrier;
  in->kind = SIM_KIND_BARRIER;
  in->sign = word_is(ins->mods[0], "bar") || ins_has(ins, "aligned");
  const bool red = ins_has(ins, "red");
  in->mode = ins_has(ins, "arrive") ? SIM_BAR_ARRIVE
             : !red                 ? SIM_BAR_SYNC
             : ins_has(ins, "popc") ? SIM_BAR_POPC
             : ins_has(ins, "and")  ? SIM_BAR_AND
                                    : SIM_BAR_OR;
  int at = 0, n = ins->n_args;
  if (red) {
    if (n < 3 || !ins_result(ps, ins, 0, ins->args[at++], in->mode == SIM_BAR_POPC ? 4 : 1) ||
        !with_not(ps, ins, 3, ins->args[--n]))
      return false;
  }
  if (n - at < 1 || n - at > 2 || !ins_source(ps, ins, 1, ins->args[at], 4)) return false;
  in->size[2] = 0;
  return n - at == 1 || ins_source(ps, ins, 2, ins->args[at + 1], 4);
}

bool ptx_decode_warp(Parser *ps, Ins *ins) {
  const Word name = ins->mods[0];
  SimInstr *in = ins->in;
  const int64_t pc = ps->instrs.n - 1;
  in->kind = SIM_KIND_SHUFFLE;
  if (word_is(name, "shfl")) return decode_shfl(ps, ins);
  if (word_is(name, "vote")) return decode_vote(ps, ins);
  if (word_is(name, "match")) return decode_match(ps, ins);
  if (word_is(name, "redux")) return decode_redux(ps, ins);
  if (word_is(name, "activemask")) {
    in->run = sim_run_activemask;
    return ins->n_args == 1 && ins_result(ps, ins, 0, ins->args[0], 4);
  }
  if (word_is(name, "bar") || word_is(name, "barrier")) return decode_barrier(ps, ins);
  in->kind = SIM_KIND_BRANCH;
  if (word_is(name, "bra")) {
    in->run = sim_run_branch;
    if (ins->n_args != 1) return false;
    ptx_label_use(ps, ins->args[0], pc, -1, 0);
    return true;
  }
  if (word_is(name, "brx")) {
    in->run = sim_run_branch_indexed;
    if (ins->n_args != 2 || !ins_source(ps, ins, 1, ins->args[0], 4)) return false;
    for (int64_t k = 0; k < ps->labels.n; k++) {
      const Label *label = &ps->labels.at[k];
      if (label->is_list && label->name.n == ins->args[1].n &&
          memcmp(label->name.at, ins->args[1].at, (size_t)label->name.n) == 0) {
        in->imm = label->pc; // the last is the nearest expansion's
        in->target = 1;
      }
    }
    return in->target == 1;
  }
  if (word_is(name, "exit") || (word_is(name, "ret") && !ps->in_function)) {
    in->run = sim_run_exit;
    return true;
  }
  if (word_is(name, "ret")) {
    in->run = sim_run_branch;
    ptx_label_use(ps, (Word){"<ret>", 5}, pc, -1, 0);
    return true;
  }
  if (word_is(name, "trap") || word_is(name, "brkpt")) {
    in->run = sim_run_trap;
    return true;
  }
  return false;
}
