// One instruction's text to its decoded form: operands, and the opcodes that work on registers.
// Memory and warp opcodes: sim_ptx_decode_more.c.
#include <ctype.h>
#include <stdio.h>

#include "sim_ptx_parse.h"

static const struct {
  const char *name;
  SimSpecial special;
} specials[] = {
    {"%tid.x", SIM_S_TID_X},
    {"%tid.y", SIM_S_TID_Y},
    {"%tid.z", SIM_S_TID_Z},
    {"%ntid.x", SIM_S_NTID_X},
    {"%ntid.y", SIM_S_NTID_Y},
    {"%ntid.z", SIM_S_NTID_Z},
    {"%ctaid.x", SIM_S_CTAID_X},
    {"%ctaid.y", SIM_S_CTAID_Y},
    {"%ctaid.z", SIM_S_CTAID_Z},
    {"%nctaid.x", SIM_S_NCTAID_X},
    {"%nctaid.y", SIM_S_NCTAID_Y},
    {"%nctaid.z", SIM_S_NCTAID_Z},
    {"%laneid", SIM_S_LANEID},
    {"%warpid", SIM_S_WARPID},
    {"%nwarpid", SIM_S_NWARPID},
    {"%smid", SIM_S_SMID},
    {"%nsmid", SIM_S_NSMID},
    {"%lanemask_eq", SIM_S_LANEMASK_EQ},
    {"%lanemask_le", SIM_S_LANEMASK_LE},
    {"%lanemask_lt", SIM_S_LANEMASK_LT},
    {"%lanemask_ge", SIM_S_LANEMASK_GE},
    {"%lanemask_gt", SIM_S_LANEMASK_GT},
    {"%dynamic_smem_size", SIM_S_DYNAMIC_SMEM},
    {"%total_smem_size", SIM_S_TOTAL_SMEM},
    {"%clock", SIM_S_CLOCK},
    {"%clock_hi", SIM_S_CLOCK_HI},
    {"%gridid", SIM_S_GRIDID},
};

bool ins_has(const Ins *ins, const char *mod) {
  for (int k = 1; k < ins->n_mods; k++)
    if (word_is(ins->mods[k], mod)) return true;
  return false;
}

SimType ins_type(const Ins *ins, int from_last) {
  for (int k = ins->n_mods - 1; k >= 1; k--) {
    const SimType type = sim_type(ins->mods[k].at, (size_t)ins->mods[k].n);
    if (type != SIM_T_NONE && from_last-- == 0) return type;
  }
  return SIM_T_NONE;
}

bool ins_result(Parser *ps, Ins *ins, int k, Word word, int size) {
  word = word_trim(word);
  if (word_is(word, "_")) {
    ins->in->o[k] = ptx_immediate(ps, 0x5117c0de, 8, false); // written by nobody who reads
    ins->in->size[k] = 0;
    return true;
  }
  Symbol s;
  if (!ptx_find(ps, word, &s) || s.kind != SYMBOL_REGISTER) return false;
  if (size != 0 && s.size != size) return false;
  ins->in->o[k] = (int32_t)s.value;
  ins->in->size[k] = (uint8_t)s.size;
  return true;
}

bool ins_source(Parser *ps, Ins *ins, int k, Word word, int size) {
  word = word_trim(word);
  SimInstr *in = ins->in;
  in->size[k] = (uint8_t)(size == 0 ? 8 : size);
  uint64_t value;
  if (word.n > 0 && (isdigit((unsigned char)word.at[0]) || word.at[0] == '-')) {
    if (!ptx_number(word, in->size[k], &value)) return false;
    if (in->size[k] == 1 && value != 0) value = UINT32_MAX; // a predicate's
    in->o[k] = ptx_immediate(ps, value, in->size[k], false);
    return true;
  }
  if (word_is(word, "WARP_SZ")) {
    in->o[k] = ptx_immediate(ps, 32, in->size[k], false);
    return true;
  }
  if (word_starts(word, "%") && (size == 0 || size >= 4)) {
    for (size_t s = 0; s < sizeof specials / sizeof *specials; s++) {
      if (!word_is(word, specials[s].name)) continue;
      if (size == 8) return false;
      in->size[k] = 4;
      in->o[k] = (int32_t)specials[s].special * SIM_SPECIAL_BYTES;
      return true;
    }
    if (word_is(word, "%clock64") || word_is(word, "%globaltimer")) {
      in->o[k] = ptx_immediate(ps, 0, in->size[k], false);
      return true;
    }
  }
  int64_t plus = 0;
  const char *sign = memchr(word.at, '+', (size_t)word.n);
  if (sign != NULL) {
    uint64_t number;
    if (!ptx_number((Word){sign + 1, (int)(word.at + word.n - sign - 1)}, 8, &number)) return false;
    plus = (int64_t)number;
    word = word_trim((Word){word.at, (int)(sign - word.at)});
  }
  Symbol s;
  if (!ptx_find(ps, word, &s)) return false;
  if (s.kind == SYMBOL_REGISTER) {
    if ((size != 0 && s.size != size) || sign != NULL) return false;
    in->o[k] = (int32_t)s.value;
    in->size[k] = (uint8_t)s.size;
    return true;
  }
  if (s.kind == SYMBOL_SHARED && s.value == PTX_DYNAMIC) {
    in->o[k] = ptx_immediate(ps, (uint64_t)plus, in->size[k], true);
    return plus == 0;
  }
  in->o[k] = ptx_immediate(ps, (uint64_t)(s.value + plus), in->size[k], false);
  return in->size[k] >= 4;
}

bool ins_address(Parser *ps, Ins *ins, int k, Word word, int64_t *displacement) {
  word = word_trim(word);
  if (word.n < 2 || word.at[0] != '[' || word.at[word.n - 1] != ']') return false;
  word = word_trim((Word){word.at + 1, word.n - 2});
  *displacement = 0;
  const char *sign = memchr(word.at, '+', (size_t)word.n);
  if (sign != NULL) {
    uint64_t number;
    if (!ptx_number((Word){sign + 1, (int)(word.at + word.n - sign - 1)}, 8, &number)) return false;
    *displacement = (int64_t)number;
    word = word_trim((Word){word.at, (int)(sign - word.at)});
  }
  return ins_source(ps, ins, k, word, 0) && ins->in->size[k] >= 4;
}

int ins_vector(Parser *ps, Ins *ins, int k, Word word, int size, int room, bool result) {
  word = word_trim(word);
  if (word.n < 2 || word.at[0] != '{')
    return (result ? ins_result(ps, ins, k, word, size) : ins_source(ps, ins, k, word, size)) ? 1
                                                                                              : 0;
  int n = 0;
  const char *at = word.at + 1, *end = word.at + word.n - 1;
  while (at < end) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const Word part = {at, (int)((comma != NULL ? comma : end) - at)};
    if (n == room) return 0;
    if (!(result ? ins_result(ps, ins, k + n, part, size) : ins_source(ps, ins, k + n, part, size)))
      return 0;
    n++;
    at = comma != NULL ? comma + 1 : end;
  }
  return n;
}

static SimRounding rounding_of(Word mod) {
  static const char *names[] = {"", "rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"};
  for (int k = 1; k < 10; k++)
    if (word_is(mod, names[k])) return (SimRounding)k;
  return SIM_R_NONE;
}

// Opcodes of the tables: the key is the opcode without rounding, ftz, sat of f32 and f64.
static bool decode_table(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  const SimType type = ins_type(ins, 0);
  const bool single = type == SIM_T_F32 || type == SIM_T_F64;
  char key[80];
  int n = 0;
  for (int k = 0; k < ins->n_mods && n < 60; k++) {
    const Word mod = ins->mods[k];
    const SimRounding round = rounding_of(mod);
    if (k > 0 && round >= SIM_R_RN && round <= SIM_R_RP) {
      in->round = (uint8_t)(round - SIM_R_RN);
      continue;
    }
    if (k > 0 && word_is(mod, "ftz")) {
      in->ftz = single;
      continue;
    }
    if (k > 0 && (word_is(mod, "noftz"))) continue;
    if (k > 0 && word_is(mod, "sat") && single) {
      in->sat = true;
      continue;
    }
    n += snprintf(key + n, sizeof key - (size_t)n, "%s%.*s", k > 0 ? "." : "", mod.n, mod.at);
  }
  const SimOpcode *op = sim_opcode_integer(key);
  if (op == NULL) op = sim_opcode_float(key);
  if (op == NULL) op = sim_opcode_half(key);
  if (op == NULL || ins->n_args != (int)strlen(op->sizes)) return false;
  in->run = op->run;
  in->kind = strncmp(op->key, "mov.", 4) == 0 ? SIM_KIND_OTHER : (uint8_t)op->kind;
  in->type = (uint8_t)type;
  for (int k = 0; k < ins->n_args; k++) {
    const int size = op->sizes[k] - '0';
    if (!(k == 0 ? ins_result(ps, ins, k, ins->args[k], size)
                 : ins_source(ps, ins, k, ins->args[k], size)))
      return false;
  }
  if (in->round != 0 || in->ftz || in->sat) {
    in->inner = in->run;
    in->run = sim_run_rounded;
  }
  return true;
}

static bool compare_of(Word mod, uint8_t *mode) {
  static const char *names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  static const char *unsigned_names[] = {"lo", "ls", "hi", "hs"};
  static const uint8_t unsigned_modes[] = {SIM_LT, SIM_LE, SIM_GT, SIM_GE};
  for (int k = 0; k < 14; k++)
    if (word_is(mod, names[k])) return *mode = (uint8_t)k, true;
  for (int k = 0; k < 4; k++)
    if (word_is(mod, unsigned_names[k])) return *mode = unsigned_modes[k], true;
  return false;
}

// setp.cmp[.bool][.ftz].type p[|q], a, b[, [!]c]; set.cmp[.bool].dtype.stype d, a, b[, c]
static bool decode_setp(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->type = (uint8_t)ins_type(ins, 0);
  const int size = sim_type_bytes(in->type);
  if (ins->n_mods < 3 || ins->n_args < 3 || size < 2 || !compare_of(ins->mods[1], &in->mode))
    return false;
  in->combine = ins_has(ins, "and")   ? SIM_C_AND
                : ins_has(ins, "or")  ? SIM_C_OR
                : ins_has(ins, "xor") ? SIM_C_XOR
                                      : SIM_C_NONE;
  in->ftz = ins_has(ins, "ftz");
  in->kind = in->type >= SIM_T_F16 ? SIM_KIND_FLOAT : SIM_KIND_INT;
  const bool set = word_is(ins->mods[0], "set");
  Word p = ins->args[0], q = {"_", 1};
  const char *bar = memchr(p.at, '|', (size_t)p.n);
  if (bar != NULL) {
    q = (Word){bar + 1, (int)(p.at + p.n - bar - 1)};
    p.n = (int)(bar - p.at);
  }
  if (set) in->from = (uint8_t)ins_type(ins, 1);
  if (!ins_result(ps, ins, 0, p, set ? sim_type_bytes(in->from) : 1) ||
      !ins_result(ps, ins, 1, q, 1) || !ins_source(ps, ins, 2, ins->args[1], size) ||
      !ins_source(ps, ins, 3, ins->args[2], size))
    return false;
  if (in->combine != SIM_C_NONE) {
    if (ins->n_args != 4) return false;
    Word c = word_trim(ins->args[3]);
    if (c.n > 0 && c.at[0] == '!') in->negate = 1, c.at++, c.n--;
    if (!ins_source(ps, ins, 4, c, 1)) return false;
  }
  in->run = set ? sim_run_set : sim_run_setp;
  if (!set) {
    SimRun *fast = sim_setp_fast(in);
    if (fast != NULL) in->run = fast;
  }
  return true;
}

static bool decode_cvt(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  in->type = (uint8_t)ins_type(ins, 1);
  in->from = (uint8_t)ins_type(ins, 0);
  in->kind = SIM_KIND_FLOAT;
  for (int k = 1; k < ins->n_mods; k++) {
    const Word mod = ins->mods[k];
    if (rounding_of(mod) != SIM_R_NONE)
      in->mode = (uint8_t)rounding_of(mod);
    else if (word_is(mod, "ftz"))
      in->ftz = true;
    else if (word_is(mod, "sat"))
      in->sat = true;
    else if (word_is(mod, "relu"))
      in->relu = true;
    else if (sim_type(mod.at, (size_t)mod.n) == SIM_T_NONE)
      return false;
  }
  if (in->type == SIM_T_NONE || in->from == SIM_T_NONE) return false;
  if (in->type == SIM_T_F16X2 || in->type == SIM_T_BF16X2) {
    in->run = sim_run_cvt_pack;
    return ins->n_args == 3 && in->from == SIM_T_F32 && ins_result(ps, ins, 0, ins->args[0], 4) &&
           ins_source(ps, ins, 1, ins->args[1], 4) && ins_source(ps, ins, 2, ins->args[2], 4);
  }
  if (ins->n_args != 2 || !ins_result(ps, ins, 0, ins->args[0], 0) ||
      !ins_source(ps, ins, 1, ins->args[1], 0))
    return false;
  if (in->type == SIM_T_TF32 && in->mode != SIM_R_RNA && in->mode != SIM_R_RN) return false;
  in->run = sim_cvt_fast(in);
  if (in->run == NULL) in->run = sim_run_cvt;
  return true;
}

// cvta[.to].space.u64: windows are OR-ed in and cut off.
static bool decode_cvta(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  uint64_t window = 0;
  if (ins_has(ins, "shared") || ins_has(ins, "shared::cta")) window = SIM_WINDOW_SHARED;
  if (ins_has(ins, "local")) window = SIM_WINDOW_LOCAL;
  if (ins_has(ins, "param")) window = SIM_WINDOW_PARAM;
  const bool to = ins_has(ins, "to");
  in->kind = SIM_KIND_INT;
  in->run = sim_opcode_integer(window == 0 ? "mov.b64" : to ? "and.b64" : "or.b64")->run;
  in->o[2] = ptx_immediate(ps, to ? ~SIM_WINDOW_MASK : window, 8, false);
  in->size[2] = 8;
  return ins->n_args == 2 && ins_type(ins, 0) == SIM_T_U64 &&
         ins_result(ps, ins, 0, ins->args[0], 8) && ins_source(ps, ins, 1, ins->args[1], 8);
}

// mov with {...} on a side; else the table's.
static bool decode_mov(Parser *ps, Ins *ins) {
  SimInstr *in = ins->in;
  if (ins->n_args != 2) return false;
  const bool unpack = ins->args[0].at[0] == '{', pack = ins->args[1].at[0] == '{';
  if (!pack && !unpack) return decode_table(ps, ins);
  const int size = sim_type_bytes(ins_type(ins, 0));
  in->kind = SIM_KIND_INT;
  if (pack == unpack || size < 4 || size > 8) return false;
  // The elements' size is the whole's by their number.
  int commas = 1;
  const Word list = pack ? ins->args[1] : ins->args[0];
  for (int k = 0; k < list.n; k++) commas += list.at[k] == ',';
  const int element = size / commas;
  if (element < 2 || element * commas != size) return false;
  in->run = pack ? sim_run_mov_pack : sim_run_mov_unpack;
  in->bytes = (uint8_t)element;
  const int n = ins_vector(ps, ins, 1, list, element, 4, unpack);
  in->n = (uint8_t)n;
  return n == commas && (pack ? ins_result(ps, ins, 0, ins->args[0], size)
                              : ins_source(ps, ins, 0, ins->args[1], size));
}

static bool decode(Parser *ps, Ins *ins) {
  const Word name = ins->mods[0];
  if (word_is(name, "setp") || word_is(name, "set")) return decode_setp(ps, ins);
  if (word_is(name, "cvt")) return decode_cvt(ps, ins);
  if (word_is(name, "cvta")) return decode_cvta(ps, ins);
  if (word_is(name, "mov")) return decode_mov(ps, ins);
  const SimInstr blank = *ins->in;
  if (decode_table(ps, ins)) return true;
  *ins->in = blank;
  if (ptx_decode_memory(ps, ins)) return true;
  *ins->in = blank;
  return ptx_decode_warp(ps, ins);
}

static void split(Ins *ins, Word opcode, Word operands) {
  ins->opcode = opcode;
  const char *at = opcode.at, *end = at + opcode.n;
  while (at < end && ins->n_mods < PTX_MODS) {
    const char *dot = memchr(at, '.', (size_t)(end - at));
    if (dot == NULL) dot = end;
    ins->mods[ins->n_mods++] = (Word){at, (int)(dot - at)};
    at = dot + 1;
  }
  int depth = 0;
  const char *from = operands.at;
  for (const char *p = operands.at; p <= operands.at + operands.n; p++) {
    const bool last = p == operands.at + operands.n;
    if (!last && strchr("[{(", *p) != NULL) depth++;
    if (!last && strchr("]})", *p) != NULL) depth--;
    if ((last || (*p == ',' && depth == 0)) && ins->n_args < PTX_ARGS) {
      const Word arg = word_trim((Word){from, (int)(p - from)});
      if (arg.n > 0 || !last) ins->args[ins->n_args++] = arg;
      from = p + 1;
    }
  }
}

void ptx_instruction(Parser *ps, Word guard, bool guard_not, Word opcode, Word operands) {
  Ins ins = {.in = ptx_push_instr(ps)};
  const int64_t pc = ps->instrs.n - 1;
  SimInstr *in = ins.in;
  char text[300];
  int n = snprintf(text, sizeof text, "%s%s%.*s%s%.*s %.*s", guard.n > 0 ? "@" : "",
                   guard_not ? "!" : "", guard.n, guard.n > 0 ? guard.at : "",
                   guard.n > 0 ? " " : "", opcode.n, opcode.at, operands.n, operands.at);
  if (n > (int)sizeof text - 1) n = (int)sizeof text - 1;
  for (int k = 0; k < n; k++)
    if (isspace((unsigned char)text[k])) text[k] = ' ';
  in->text = strdup(text);
  if (guard.n > 0) {
    Symbol s;
    if (!ptx_find(ps, guard, &s) || s.kind != SYMBOL_REGISTER || s.size != 1)
      ptx_fail(ps, "PTX: guard of \"%s\"", in->text);
    in->guard = (int32_t)s.value;
    in->guard_not = guard_not;
  }
  split(&ins, opcode, operands);
  if (word_is(ins.mods[0], "call")) {
    ptx_call(ps, in, operands);
    return;
  }
  const SimInstr blank = *in;
  if (!decode(ps, &ins)) {
    const int32_t keep = blank.guard;
    *in = blank;
    in->guard = keep;
    in->run = sim_run_unknown;
    ptx_add_unknown(ps, opcode);
    if (getenv("VMA_SIM_UNKNOWN") != NULL)
      fprintf(stderr, "%s: %s\n", ps->kernel->title, ps->instrs.at[pc].text);
  }
}
