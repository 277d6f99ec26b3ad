// Loads, stores, atomics, asynchronous copies and matrix loads. Each is cut by state space, asked
// of sim_check where the launch is checked, and made for the lanes that it allows; the others read
// zeros and write nothing. Without checks shared and local memory are still kept to their bounds.
#include <math.h>

#include "sim_exec.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

static void addresses(const SimWarp *w, const SimInstr *i, int k, s64 displacement, u64 out[32]) {
  if (i->size[k] == 8) {
    const u64 *a = SIM_REG(u64, k);
    for (int l = 0; l < 32; l++) out[l] = a[l] + (u64)displacement;
  } else {
    const u32 *a = SIM_REG(u32, k);
    for (int l = 0; l < 32; l++) out[l] = (u32)(a[l] + (u32)displacement);
  }
}

// The module's own variables: never anyone's tensor, so not asked of sim_check.
static bool in_variables(const SimModule *m, u64 address, int bytes) {
  for (int64_t k = 0; k < m->n_variables; k++) {
    const u64 from = (u64)(uintptr_t)m->variables[k].data;
    if (address >= from && address + (u64)bytes <= from + (u64)m->variables[k].bytes) return true;
  }
  return false;
}

static u32 keep_to_bounds(SimWarp *w, SimSpace space, u32 mask, int bytes, const u64 *address) {
  const SimExec *exec = w->exec;
  const u64 limit =
      space == SIM_SHARED ? (u64)exec->launch->shared_bytes : (u64)exec->kernel->local_bytes;
  u32 ok = 0;
  SIM_EACH(mask, l) ok |= (u32)(address[l] + (u64)bytes <= limit) << l;
  if (ok != mask) {
    const int l = __builtin_ctz(mask & ~ok);
    sim_report(SIM_OUT_OF_BOUNDS, exec->kernel, sim_line(exec->kernel, sim_pc(w)),
               "%s memory: thread %d of block %lld at offset %llu, %d bytes of %llu",
               space == SIM_SHARED ? "shared" : "local", 32 * w->index + l,
               (long long)exec->block.index, (unsigned long long)address[l], bytes,
               (unsigned long long)limit);
  }
  return ok;
}

static u32 permit(SimWarp *w, SimSpace space, SimAccessKind kind, u32 mask, int bytes,
                  const u64 *address) {
  SimExec *exec = w->exec;
  if (!exec->launch->checks)
    return space == SIM_GLOBAL ? mask : keep_to_bounds(w, space, mask, bytes, address);
  u32 own = 0;
  if (space == SIM_GLOBAL && exec->kernel->module->n_variables > 0) {
    SIM_EACH(mask, l) own |= (u32)in_variables(exec->kernel->module, address[l], bytes) << l;
    if (own == mask) return mask;
  }
  const SimAccess access = {space, kind, w->index, mask & ~own, bytes, address, sim_pc(w)};
  return own | sim_check_access(&exec->block, &access);
}

// Turns the addresses of one state space into host addresses; returns the lanes that may go on.
static u32 place_in(SimWarp *w, int space, SimAccessKind kind, u32 mask, int bytes,
                    const u64 *address, uint8_t *place[32]) {
  SimExec *exec = w->exec;
  uint8_t *base;
  int64_t stride = 0;
  u32 ok = mask;
  switch (space) {
  case SIM_IN_SHARED:
    ok = permit(w, SIM_SHARED, kind, mask, bytes, address);
    base = exec->block.shared;
    break;
  case SIM_IN_LOCAL:
    ok = permit(w, SIM_LOCAL, kind, mask, bytes, address);
    base = w->local;
    stride = exec->kernel->local_bytes;
    break;
  case SIM_IN_CALL:
    base = w->local + exec->kernel->local_bytes - exec->code->call_bytes;
    stride = exec->kernel->local_bytes;
    break;
  case SIM_IN_PARAM:
    base = (uint8_t *)(uintptr_t)exec->launch->params;
    ok = 0;
    SIM_EACH(mask, l)
    ok |= (u32)(address[l] + (u64)bytes <= (u64)exec->kernel->param_bytes) << l;
    break;
  case SIM_IN_CONST:
    base = NULL;
    ok = 0;
    SIM_EACH(mask, l) ok |= (u32)in_variables(exec->kernel->module, address[l], bytes) << l;
    if (ok != mask)
      sim_report(SIM_OUT_OF_BOUNDS, exec->kernel, sim_line(exec->kernel, sim_pc(w)),
                 "constant memory: outside of the module's variables");
    break;
  default:
    base = NULL;
    ok = permit(w, SIM_GLOBAL, kind, mask, bytes, address);
  }
  SIM_EACH(ok, l)
  place[l] = (uint8_t *)((uintptr_t)base + (uintptr_t)(address[l] + (u64)(stride * l)));
  return ok;
}

// Every lane's address by the space that it lies in: at most four.
static u32 place(SimWarp *w, const SimInstr *i, SimAccessKind kind, int bytes,
                 uint8_t *places[32]) {
  u64 address[32];
  addresses(w, i, 8, i->imm, address);
  if (i->space != SIM_IN_GENERIC)
    return place_in(w, i->space, kind, w->lanes, bytes, address, places);
  static const struct {
    u64 window;
    int space;
  } windows[] = {{SIM_WINDOW_SHARED, SIM_IN_SHARED},
                 {SIM_WINDOW_LOCAL, SIM_IN_LOCAL},
                 {SIM_WINDOW_PARAM, SIM_IN_PARAM}};
  u32 left = w->lanes, ok = 0;
  for (int k = 0; k < 3; k++) {
    u32 mask = 0;
    SIM_EACH(left, l) mask |= (u32)((address[l] & SIM_WINDOW_MASK) == windows[k].window) << l;
    if (mask == 0) continue;
    SIM_EACH(mask, l) address[l] &= ~SIM_WINDOW_MASK;
    ok |= place_in(w, windows[k].space, kind, mask, bytes, address, places);
    left &= ~mask;
  }
  if (left != 0) ok |= place_in(w, SIM_IN_GLOBAL, kind, left, bytes, address, places);
  return ok;
}

void sim_run_isspacep(SimWarp *w, const SimInstr *i) {
  const u64 *a = SIM_REG(u64, 1);
  u32 m = 0;
  for (int l = 0; l < 32; l++) {
    const u64 window = a[l] & SIM_WINDOW_MASK;
    const int space = window == SIM_WINDOW_SHARED  ? SIM_IN_SHARED
                      : window == SIM_WINDOW_LOCAL ? SIM_IN_LOCAL
                      : window == SIM_WINDOW_PARAM ? SIM_IN_PARAM
                                                   : SIM_IN_GLOBAL;
    m |= (u32)(space == i->space) << l;
  }
  sim_set_mask(w, i->o[0], m);
}

// ---- ld, st ----

static inline u64 load_one(const uint8_t *from, int bytes, bool sign) {
  uint8_t b;
  u16 h;
  u32 s;
  u64 d;
  switch (bytes) {
  case 1:
    return b = *from, sign ? (u64)(s64)(int8_t)b : b;
  case 2:
    return memcpy(&h, from, 2), sign ? (u64)(s64)(int16_t)h : h;
  case 4:
    return memcpy(&s, from, 4), sign ? (u64)(s64)(s32)s : s;
  default:
    return memcpy(&d, from, 8), d;
  }
}

static void load_element(SimWarp *w, const SimInstr *i, int k, u32 ok, uint8_t *const places[32]) {
  const int at = k * i->bytes;
  if (i->bytes == 4 && i->size[k] == 4) {
    u32 *d = SIM_REG(u32, k);
    SIM_EACH(ok, l) memcpy(&d[l], places[l] + at, 4);
  } else if (i->bytes == 8 && i->size[k] == 8) {
    u64 *d = SIM_REG(u64, k);
    SIM_EACH(ok, l) memcpy(&d[l], places[l] + at, 8);
  } else if (i->size[k] == 2) {
    u16 *d = SIM_REG(u16, k);
    SIM_EACH(ok, l) d[l] = (u16)load_one(places[l] + at, i->bytes, i->sign);
  } else if (i->size[k] == 4) {
    u32 *d = SIM_REG(u32, k);
    SIM_EACH(ok, l) d[l] = (u32)load_one(places[l] + at, i->bytes, i->sign);
  } else if (i->size[k] == 8) {
    u64 *d = SIM_REG(u64, k);
    SIM_EACH(ok, l) d[l] = load_one(places[l] + at, i->bytes, i->sign);
  }
}

void sim_run_load(SimWarp *w, const SimInstr *i) {
  uint8_t *places[32];
  const u32 ok = place(w, i, SIM_READ, i->bytes * i->n, places);
  // The address may be overwritten by the data: everything is placed before.
  for (int k = 0; k < i->n; k++) load_element(w, i, k, ok, places);
  if (ok == w->lanes) return;
  static const u64 zeros[32];
  const u32 keep = w->lanes;
  w->lanes &= ~ok;
  for (int k = 0; k < i->n; k++) sim_write(w, i, k, zeros);
  w->lanes = keep;
}

void sim_run_store(SimWarp *w, const SimInstr *i) {
  uint8_t *places[32];
  const u32 ok = place(w, i, SIM_WRITE, i->bytes * i->n, places);
  for (int k = 0; k < i->n; k++) {
    const int at = k * i->bytes;
    const uint8_t *a = w->regs + i->o[k];
    const int size = i->size[k];
    if (i->bytes == 4)
      SIM_EACH(ok, l) memcpy(places[l] + at, a + l * (u32)size, 4);
    else if (i->bytes == 8)
      SIM_EACH(ok, l) memcpy(places[l] + at, a + l * (u32)size, 8);
    else if (i->bytes == 2)
      SIM_EACH(ok, l) memcpy(places[l] + at, a + l * (u32)size, 2);
    else
      SIM_EACH(ok, l) places[l][at] = a[l * (u32)size];
  }
}

// ---- atom, red ----

static u64 atomic_float(const SimInstr *i, u64 old, u64 b) {
  f32 x, y;
  f64 p, q;
  u32 bits = (u32)old;
  switch (i->type) {
  case SIM_T_F32:
    memcpy(&x, &bits, 4);
    bits = (u32)b;
    memcpy(&y, &bits, 4);
    x += y;
    memcpy(&bits, &x, 4);
    return bits;
  case SIM_T_F64:
    memcpy(&p, &old, 8);
    memcpy(&q, &b, 8);
    p += q;
    memcpy(&old, &p, 8);
    return old;
  case SIM_T_F16:
    return sim_f32_to_f16(sim_f16_to_f32((u16)old) + sim_f16_to_f32((u16)b));
  case SIM_T_BF16:
    return sim_f32_to_bf16(sim_bf16_to_f32((u16)old) + sim_bf16_to_f32((u16)b));
  case SIM_T_F16X2:
    return sim_f32_to_f16(sim_f16_to_f32((u16)old) + sim_f16_to_f32((u16)b)) |
           (u32)sim_f32_to_f16(sim_f16_to_f32((u16)(old >> 16)) + sim_f16_to_f32((u16)(b >> 16)))
               << 16;
  default:
    return sim_f32_to_bf16(sim_bf16_to_f32((u16)old) + sim_bf16_to_f32((u16)b)) |
           (u32)sim_f32_to_bf16(sim_bf16_to_f32((u16)(old >> 16)) + sim_bf16_to_f32((u16)(b >> 16)))
               << 16;
  }
}

static bool less(int type, u64 a, u64 b) {
  if (type == SIM_T_S32) return (s32)a < (s32)b;
  if (type == SIM_T_S64) return (s64)a < (s64)b;
  return a < b;
}

static u64 atomic(const SimInstr *i, u64 old, u64 b, u64 c) {
  switch (i->mode) {
  case SIM_A_ADD:
    return i->type >= SIM_T_F16 && i->type <= SIM_T_BF16X2 ? atomic_float(i, old, b) : old + b;
  case SIM_A_MIN:
    return less(i->type, b, old) ? b : old;
  case SIM_A_MAX:
    return less(i->type, old, b) ? b : old;
  case SIM_A_AND:
    return old & b;
  case SIM_A_OR:
    return old | b;
  case SIM_A_XOR:
    return old ^ b;
  case SIM_A_EXCH:
    return b;
  case SIM_A_CAS:
    return old == b ? c : old;
  case SIM_A_INC:
    return old >= b ? 0 : old + 1;
  default:
    return old == 0 || old > b ? b : old - 1;
  }
}

void sim_run_atomic(SimWarp *w, const SimInstr *i) {
  uint8_t *places[32];
  u64 b[32], c[32] = {0}, out[32] = {0};
  sim_read(w, i, 1, b);
  if (i->mode == SIM_A_CAS) sim_read(w, i, 2, c);
  const u32 ok = place(w, i, SIM_ATOMIC, i->bytes, places);
  SIM_EACH(ok, l) {
    const u64 old = load_one(places[l], i->bytes, false);
    const u64 new = atomic(i, old, b[l], c[l]);
    memcpy(places[l], &new, i->bytes);
    out[l] = old;
  }
  sim_write(w, i, 0, out);
}

// ---- cp.async ----

void sim_run_cp_async(SimWarp *w, const SimInstr *i) {
  SimExec *exec = w->exec;
  u64 to[32], from[32];
  addresses(w, i, 8, i->imm, to);
  addresses(w, i, 9, i->target, from);
  int source[32];
  for (int l = 0; l < 32; l++) {
    to[l] &= ~SIM_WINDOW_MASK;
    const u32 bytes = i->size[2] != 0 ? SIM_REG(u32, 2)[l] : i->bytes;
    source[l] = bytes < i->bytes ? (int)bytes : i->bytes;
  }
  if (exec->launch->checks) {
    sim_check_async_copy(&exec->block, w->index, w->lanes, i->bytes, source, to, from, sim_pc(w));
    return;
  }
  const u32 ok = keep_to_bounds(w, SIM_SHARED, w->lanes, i->bytes, to);
  SIM_EACH(ok, l) {
    uint8_t *d = exec->block.shared + to[l];
    if (source[l] > 0) memcpy(d, (const void *)(uintptr_t)from[l], (size_t)source[l]);
    memset(d + source[l], 0, (size_t)(i->bytes - source[l]));
  }
}

void sim_run_cp_commit(SimWarp *w, const SimInstr *i) {
  (void)i;
  if (w->exec->launch->checks) sim_check_async_commit(&w->exec->block, w->index, w->lanes);
}

// wait_all takes in what no commit has closed: it closes that first.
void sim_run_cp_wait(SimWarp *w, const SimInstr *i) {
  SimExec *exec = w->exec;
  if (!exec->launch->checks) return;
  if (i->mode) sim_check_async_commit(&exec->block, w->index, w->lanes);
  sim_check_async_wait(&exec->block, w->index, w->lanes, (int)i->imm, sim_pc(w));
}

// ---- ldmatrix, stmatrix, movmatrix ----

// Row r of matrix m is where lane 8m+r points: its place in *rows[8m+r], NULL where not allowed.
static bool matrix_rows(SimWarp *w, const SimInstr *i, SimAccessKind kind, uint8_t *rows[32]) {
  if (sim_wait_for(w, UINT32_MAX)) return false;
  u64 address[32];
  addresses(w, i, 8, i->imm, address);
  for (int l = 0; l < 32; l++) address[l] &= ~SIM_WINDOW_MASK;
  const u32 mask = i->n == 4 ? UINT32_MAX : (1u << (8 * i->n)) - 1;
  memset(rows, 0, 32 * sizeof *rows);
  place_in(w, SIM_IN_SHARED, kind, mask, 16, address, rows);
  return true;
}

void sim_run_ldmatrix(SimWarp *w, const SimInstr *i) {
  uint8_t *rows[32];
  if (!matrix_rows(w, i, SIM_READ, rows)) return;
  for (int m = 0; m < i->n; m++) {
    u16 matrix[8][8] = {{0}};
    for (int r = 0; r < 8; r++)
      if (rows[8 * m + r] != NULL) memcpy(matrix[r], rows[8 * m + r], 16);
    u32 *d = SIM_REG(u32, m);
    for (int l = 0; l < 32; l++) {
      const int r = l / 4, c = l % 4 * 2;
      d[l] = i->trans ? matrix[c][r] | (u32)matrix[c + 1][r] << 16
                      : matrix[r][c] | (u32)matrix[r][c + 1] << 16;
    }
  }
}

void sim_run_stmatrix(SimWarp *w, const SimInstr *i) {
  uint8_t *rows[32];
  if (!matrix_rows(w, i, SIM_WRITE, rows)) return;
  for (int m = 0; m < i->n; m++) {
    u16 matrix[8][8];
    const u32 *a = SIM_REG(u32, m);
    for (int l = 0; l < 32; l++) {
      const int r = l / 4, c = l % 4 * 2;
      if (i->trans) {
        matrix[c][r] = (u16)a[l];
        matrix[c + 1][r] = (u16)(a[l] >> 16);
      } else {
        matrix[r][c] = (u16)a[l];
        matrix[r][c + 1] = (u16)(a[l] >> 16);
      }
    }
    for (int r = 0; r < 8; r++)
      if (rows[8 * m + r] != NULL) memcpy(rows[8 * m + r], matrix[r], 16);
  }
}

void sim_run_movmatrix(SimWarp *w, const SimInstr *i) {
  if (sim_wait_for(w, UINT32_MAX)) return;
  u16 matrix[8][8];
  u32 *d = SIM_REG(u32, 0);
  const u32 *a = SIM_REG(u32, 1);
  for (int l = 0; l < 32; l++) {
    matrix[l / 4][l % 4 * 2] = (u16)a[l];
    matrix[l / 4][l % 4 * 2 + 1] = (u16)(a[l] >> 16);
  }
  for (int l = 0; l < 32; l++)
    d[l] = matrix[l % 4 * 2][l / 4] | (u32)matrix[l % 4 * 2 + 1][l / 4] << 16;
}
