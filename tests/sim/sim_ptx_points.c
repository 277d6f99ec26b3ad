// What mutation may drop: barriers, warp syncs, waits of asynchronous copies, and the guards that
// keep loads and stores in bounds. Such a guard is a predicate that an ordering compare of integers
// has a part in; it is dropped where it is used: a branch over loads or stores is not taken, a
// guarded load or store is made by all.
#include <string.h>

#include "sim_code.h"

static bool touches_memory(const SimInstr *i) {
  return (i->run == sim_run_load || i->run == sim_run_store || i->run == sim_run_atomic ||
          i->run == sim_run_cp_async || i->run == sim_run_ldmatrix || i->run == sim_run_stmatrix) &&
         (i->space == SIM_IN_GLOBAL || i->space == SIM_IN_SHARED || i->space == SIM_IN_GENERIC);
}

static bool is_setp(const SimInstr *i) {
  return i->text != NULL && strstr(i->text, "setp.") != NULL && i->size[0] == 1;
}

static bool on_predicates(const SimInstr *i) {
  return i->size[0] == 1 && i->size[1] == 1 && i->guard < 0 && i->run != sim_run_vote;
}

// Whether the predicate at `offset`, as it is before `pc`, comes from an ordering compare.
static bool ordered(const SimKernel *k, int64_t pc, int32_t offset, int depth) {
  for (int64_t at = pc - 1; at >= 0 && depth < 6; at--) {
    const SimInstr *i = &k->instrs[at];
    const bool first = i->size[0] == 1 && i->o[0] == offset;
    if (is_setp(i)) {
      if (!first && !(i->size[1] == 1 && i->o[1] == offset)) continue;
      const bool integer = i->kind == SIM_KIND_INT;
      const bool orders = integer && i->mode != SIM_EQ && i->mode != SIM_NE;
      return orders || (i->combine != SIM_C_NONE && ordered(k, at, i->o[4], depth + 1));
    }
    if (!first || !on_predicates(i)) continue;
    for (int n = 1; n < 3; n++)
      if (i->size[n] == 1 && ordered(k, at, i->o[n], depth + 1)) return true;
    return false;
  }
  return false;
}

static bool is_bounds(const SimKernel *k, int64_t pc) {
  const SimInstr *i = &k->instrs[pc];
  if (i->guard < 0) return false;
  bool any = touches_memory(i);
  if (i->run == sim_run_branch && i->target > pc)
    for (int64_t at = pc + 1; at < i->target && !any; at++) any = touches_memory(&k->instrs[at]);
  return any && ordered(k, pc, i->guard, 0);
}

int64_t sim_kernel_points(const SimKernel *k, SimPoint *points, int64_t room) {
  int64_t n = 0;
  for (int64_t pc = 0; pc < k->n_instrs; pc++) {
    const SimInstr *i = &k->instrs[pc];
    SimPointKind kind;
    if (i->run == sim_run_barrier)
      kind = SIM_POINT_BARRIER;
    else if (i->run == sim_run_warp_sync)
      kind = SIM_POINT_WARP_SYNC;
    else if (i->run == sim_run_cp_wait)
      kind = SIM_POINT_ASYNC_WAIT;
    else if (is_bounds(k, pc))
      kind = SIM_POINT_BOUNDS;
    else
      continue;
    if (n < room) points[n] = (SimPoint){kind, pc, k->lines[pc], sim_kernel_text(k, pc)};
    n++;
  }
  return n;
}
