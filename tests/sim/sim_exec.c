// Runs a launch: blocks in a seeded order, their warps taking turns, the lanes of a warp that stand
// at different places as groups of which the one with the lowest pc runs (so that they meet again
// where branches join). A warp that waits is left; where all wait and no barrier is complete, that
// is reported and the launch ends.
#include <stdio.h>

#include "sim_exec.h"

enum { MOST_INSTRS = 100 * 1000 * 1000 }; // of a block: more is an endless loop

static uint64_t draw(SimExec *exec) { // xorshift64*
  uint64_t x = exec->random;
  x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
  exec->random = x;
  return x * 0x2545f4914f6cdd1d >> 16;
}

void sim_end(SimExec *exec) {
  exec->ended = true;
  for (int n = 0; n < exec->block.n_warps; n++) {
    exec->warps[n].budget = 0;
    exec->warps[n].next = SIM_PICK;
  }
}

// ---- groups of lanes ----

static void add_group(SimWarp *w, int64_t pc, uint32_t mask, SimWait wait, int barrier) {
  if (mask != 0) w->groups[w->n_groups++] = (SimGroup){(int32_t)pc, mask, wait, barrier};
}

// Makes the runnable lanes with the lowest pc the active ones, together with those that wait there.
static void pick(SimWarp *w) {
  add_group(w, w->pc, w->active, SIM_RUNS, 0);
  w->active = 0;
  w->next = SIM_PICK;
  int32_t low = INT32_MAX;
  for (int k = 0; k < w->n_groups; k++)
    if (w->groups[k].wait == SIM_RUNS && w->groups[k].pc < low) low = w->groups[k].pc;
  if (low == INT32_MAX) return;
  int kept = 0;
  int32_t next = INT32_MAX;
  for (int k = 0; k < w->n_groups; k++) {
    const SimGroup *g = &w->groups[k];
    if (g->wait != SIM_AT_BARRIER && g->pc == low) {
      w->active |= g->mask;
      continue;
    }
    if (g->wait == SIM_RUNS || (g->wait == SIM_AT_SYNC && g->pc > low))
      next = g->pc < next ? g->pc : next;
    w->groups[kept++] = *g;
  }
  w->n_groups = kept;
  w->pc = low;
  w->next = next;
}

// The lanes that carry out the instruction leave those that run.
static void park(SimWarp *w, int64_t pc, SimWait wait, int barrier) {
  add_group(w, pc, w->lanes, wait, barrier);
  w->active &= ~w->lanes;
  w->next = SIM_PICK;
}

bool sim_wait_for(SimWarp *w, uint32_t member) {
  if ((member & w->existing & ~w->lanes) == 0) return false;
  park(w, sim_pc(w), SIM_AT_SYNC, 0);
  w->again = true;
  return true;
}

static bool runnable(const SimWarp *w) {
  if (w->active != 0) return true;
  for (int k = 0; k < w->n_groups; k++)
    if (w->groups[k].wait == SIM_RUNS) return true;
  return false;
}

// ---- control flow ----

void sim_run_nop(SimWarp *w, const SimInstr *i) {
  (void)w, (void)i;
}

void sim_run_branch(SimWarp *w, const SimInstr *i) {
  if (w->lanes == w->active) {
    // Going back, lanes may come to where others wait that they had passed.
    if (w->n_groups > 0 && i->target < w->pc) w->next = SIM_PICK;
    w->pc = i->target;
    return;
  }
  add_group(w, i->target, w->lanes, SIM_RUNS, 0);
  w->active &= ~w->lanes;
  w->next = SIM_PICK;
}

void sim_run_branch_indexed(SimWarp *w, const SimInstr *i) {
  const SimTargets *list = &w->exec->code->lists[i->imm];
  const uint32_t *index = SIM_REG(uint32_t, 1);
  uint32_t left = w->lanes;
  w->active &= ~w->lanes;
  w->next = SIM_PICK;
  for (int t = 0; t < list->n && left != 0; t++) {
    uint32_t mask = 0;
    SIM_EACH(left, l) mask |= (uint32_t)(index[l] == (uint32_t)t) << l;
    left &= ~mask;
    add_group(w, list->target[t], mask, SIM_RUNS, 0);
  }
  if (left == 0) return;
  sim_report(SIM_UNSUPPORTED, w->exec->kernel, sim_line(w->exec->kernel, sim_pc(w)),
             "brx.idx with an index beyond its list");
  sim_end(w->exec);
}

void sim_run_exit(SimWarp *w, const SimInstr *i) {
  (void)i;
  w->live &= ~w->lanes;
  w->active &= ~w->lanes;
  w->next = SIM_PICK;
}

void sim_run_trap(SimWarp *w, const SimInstr *i) {
  sim_report(SIM_UNSUPPORTED, w->exec->kernel, sim_line(w->exec->kernel, sim_pc(w)),
             "the kernel ended itself: %s", i->text != NULL ? i->text : "trap");
  sim_end(w->exec);
}

void sim_run_unknown(SimWarp *w, const SimInstr *i) {
  sim_report(SIM_UNSUPPORTED, w->exec->kernel, sim_line(w->exec->kernel, sim_pc(w)),
             "instruction that the simulator lacks: %s", i->text);
  sim_end(w->exec);
}

// ---- synchronisation ----

// Lanes of the warp that wait at any bar.warp.sync count: the compiler may have copied it.
void sim_run_warp_sync(SimWarp *w, const SimInstr *i) {
  SimExec *exec = w->exec;
  const uint32_t member = SIM_REG(uint32_t, 3)[__builtin_ctz(w->lanes)];
  uint32_t here = w->lanes;
  for (int k = 0; k < w->n_groups; k++) {
    const SimGroup *g = &w->groups[k];
    if (g->wait == SIM_AT_SYNC && exec->kernel->instrs[g->pc].run == sim_run_warp_sync)
      here |= g->mask;
  }
  if ((member & w->existing & ~here) != 0) {
    park(w, sim_pc(w), SIM_AT_SYNC, 0);
    w->again = true;
    return;
  }
  for (int k = 0; k < w->n_groups; k++) {
    SimGroup *g = &w->groups[k];
    if (g->wait == SIM_AT_SYNC && exec->kernel->instrs[g->pc].run == sim_run_warp_sync) {
      g->wait = SIM_RUNS;
      g->pc++;
      w->next = SIM_PICK;
    }
  }
  if (exec->launch->checks) sim_check_warp_sync(&exec->block, w->index, member & w->existing);
}

static void release(SimExec *exec, int id) {
  SimNamedBarrier *b = &exec->barriers[id];
  if (exec->launch->checks) sim_check_barrier(&exec->block, id, b->masks);
  uint32_t count = 0, all = 1, any = 0;
  for (int n = 0; n < exec->block.n_warps; n++) {
    const uint32_t set = b->predicate[n] & b->masks[n];
    count += (uint32_t)__builtin_popcount(set);
    if (set != b->masks[n]) all = 0;
    if (set != 0) any = 1;
  }
  for (int n = 0; n < exec->block.n_warps; n++) {
    SimWarp *w = &exec->warps[n];
    for (int k = 0; k < w->n_groups; k++) {
      SimGroup *g = &w->groups[k];
      if (g->wait != SIM_AT_BARRIER || g->barrier != id) continue;
      g->wait = SIM_RUNS;
      w->next = SIM_PICK;
      const SimInstr *i = &exec->kernel->instrs[g->pc - 1];
      const uint32_t keep = w->lanes;
      w->lanes = g->mask;
      if (i->mode == SIM_BAR_POPC) {
        uint32_t *d = SIM_REG(uint32_t, 0);
        SIM_LANES(d, count);
      } else if (i->mode == SIM_BAR_AND || i->mode == SIM_BAR_OR) {
        const uint32_t r = i->mode == SIM_BAR_AND ? all : any;
        sim_set_mask(w, i->o[0], r ? UINT32_MAX : 0);
      }
      w->lanes = keep;
    }
  }
  memset(b, 0, sizeof *b);
}

void sim_run_barrier(SimWarp *w, const SimInstr *i) {
  SimExec *exec = w->exec;
  const int first = __builtin_ctz(w->lanes);
  const uint32_t id = SIM_REG(uint32_t, 1)[first];
  if (id >= SIM_BARRIERS) {
    sim_report(SIM_LAUNCH_LIMITS, exec->kernel, sim_line(exec->kernel, sim_pc(w)),
               "barrier %u: there are 0 to 15", id);
    sim_end(exec);
    return;
  }
  if (i->sign && sim_wait_for(w, w->existing)) return; // .aligned: the warp comes whole
  SimNamedBarrier *b = &exec->barriers[id];
  const int expected = i->size[2] != 0 ? (int)SIM_REG(uint32_t, 2)[first] : exec->block.n_threads;
  const bool whole = w->lanes == w->existing;
  if (b->arrived > 0 && b->expected != expected) {
    sim_report(SIM_DIVERGENT_BARRIER, exec->kernel, sim_line(exec->kernel, sim_pc(w)),
               "barrier %u: %d threads expected here, %d at %s:%d", id, expected, b->expected,
               sim_line(exec->kernel, b->pc).file, sim_line(exec->kernel, b->pc).line);
    sim_end(exec);
    return;
  }
  b->expected = expected;
  b->pc = sim_pc(w);
  b->masks[w->index] |= w->lanes;
  // A count of threads is one of whole warps.
  b->arrived += i->size[2] != 0 && whole ? 32 : __builtin_popcount(w->lanes);
  if (i->mode >= SIM_BAR_AND) {
    const uint32_t p = sim_mask(w, i, 3) ^ (i->negate ? UINT32_MAX : 0);
    b->predicate[w->index] = (b->predicate[w->index] & ~w->lanes) | (p & w->lanes);
  }
  if (i->mode != SIM_BAR_ARRIVE) park(w, w->pc, SIM_AT_BARRIER, (int)id);
  if (b->arrived >= expected) release(exec, (int)id);
}

// ---- a warp's turn ----

// The lanes that carry out an instruction that is dropped: a load or store whose guard is dropped
// is made by all.
static uint32_t without(const SimWarp *w, const SimInstr *i) {
  return i->guard < 0 || i->run == sim_run_branch ? 0 : w->active;
}

static void run_warp(SimWarp *w) {
  SimExec *exec = w->exec;
  const SimInstr *code = exec->kernel->instrs;
  const int64_t dropped = exec->kernel->dropped;
  uint8_t *matters = exec->kernel->matters;
  int64_t threads = 0, instrs = 0;
  while (w->budget > 0) {
    if (w->pc >= w->next) {
      pick(w);
      if (w->active == 0) break;
    }
    const SimInstr *i = &code[w->pc];
    uint32_t lanes = w->active;
    if (i->guard >= 0) {
      uint32_t p;
      memcpy(&p, w->regs + i->guard, sizeof p);
      lanes &= i->guard_not ? ~p : p;
    }
    if (matters != NULL) matters[w->pc] |= lanes != without(w, i);
    if (w->pc == dropped) lanes = without(w, i);
    w->pc++;
    w->budget--;
    instrs++;
    threads += __builtin_popcount(lanes);
    exec->counts[i->kind]++;
    if (lanes == 0) continue;
    w->lanes = lanes;
    i->run(w, i);
    if (!w->again) continue;
    w->again = false; // it is counted when it is carried out
    instrs--;
    threads -= __builtin_popcount(lanes);
    exec->counts[i->kind]--;
  }
  exec->warp_instrs += instrs;
  exec->thread_instrs += threads;
  exec->left -= instrs;
}

// ---- a block ----

static void fill(SimWarp *w, SimSpecial special, uint32_t value) {
  uint32_t *d = (uint32_t *)(void *)(w->regs + (int)special * SIM_SPECIAL_BYTES);
  for (int l = 0; l < 32; l++) d[l] = value;
}

static void fill_specials(SimWarp *w, const SimLaunch *launch, int64_t index) {
  uint32_t *s = (uint32_t *)(void *)w->regs;
  const SimDim b = launch->block, g = launch->grid;
  for (uint32_t l = 0; l < 32; l++) {
    const uint32_t t = (uint32_t)w->index * 32 + l;
    s[SIM_S_TID_X * 32 + l] = t % b.x;
    s[SIM_S_TID_Y * 32 + l] = t / b.x % b.y;
    s[SIM_S_TID_Z * 32 + l] = t / b.x / b.y;
    s[SIM_S_LANEID * 32 + l] = l;
    s[SIM_S_LANEMASK_EQ * 32 + l] = 1u << l;
    s[SIM_S_LANEMASK_LT * 32 + l] = (1u << l) - 1;
    s[SIM_S_LANEMASK_LE * 32 + l] = (2u << l) - 1;
    s[SIM_S_LANEMASK_GE * 32 + l] = ~((1u << l) - 1);
    s[SIM_S_LANEMASK_GT * 32 + l] = ~((2u << l) - 1);
  }
  fill(w, SIM_S_NTID_X, b.x);
  fill(w, SIM_S_NTID_Y, b.y);
  fill(w, SIM_S_NTID_Z, b.z);
  fill(w, SIM_S_NCTAID_X, g.x);
  fill(w, SIM_S_NCTAID_Y, g.y);
  fill(w, SIM_S_NCTAID_Z, g.z);
  fill(w, SIM_S_CTAID_X, (uint32_t)(index % g.x));
  fill(w, SIM_S_CTAID_Y, (uint32_t)(index / g.x % g.y));
  fill(w, SIM_S_CTAID_Z, (uint32_t)(index / g.x / g.y));
  fill(w, SIM_S_WARPID, (uint32_t)w->index);
  fill(w, SIM_S_NWARPID, (uint32_t)w->exec->block.n_warps);
  const uint32_t sms =
      launch->device != NULL && launch->device->sms > 0 ? (uint32_t)launch->device->sms : 1;
  fill(w, SIM_S_SMID, (uint32_t)(index % sms));
  fill(w, SIM_S_NSMID, sms);
  fill(w, SIM_S_DYNAMIC_SMEM, (uint32_t)launch->dynamic_shared);
  fill(w, SIM_S_TOTAL_SMEM, (uint32_t)launch->shared_bytes);
  fill(w, SIM_S_CLOCK, 0);
  fill(w, SIM_S_CLOCK_HI, 0);
  fill(w, SIM_S_GRIDID, (uint32_t)launch->number);
}

static void begin_block(SimExec *exec, int64_t index) {
  const SimLaunch *launch = exec->launch;
  exec->block.index = index;
  memset(exec->block.shared, 0xff, (size_t)launch->shared_bytes);
  memset(exec->barriers, 0, sizeof exec->barriers);
  exec->left = MOST_INSTRS;
  const int64_t local = exec->kernel->local_bytes * 32;
  if (local > 0) memset(exec->local, 0xff, (size_t)(local * exec->block.n_warps));
  for (int n = 0; n < exec->block.n_warps; n++) {
    SimWarp *w = &exec->warps[n];
    const int left = exec->block.n_threads - 32 * n;
    *w = (SimWarp){.regs = exec->registers + n * exec->code->image_bytes,
                   .local = exec->local + n * local,
                   .exec = exec,
                   .next = INT32_MAX,
                   .index = n,
                   .existing = left >= 32 ? UINT32_MAX : (1u << left) - 1};
    w->active = w->live = w->existing;
    memcpy(w->regs, exec->code->image, (size_t)exec->code->image_bytes);
    fill_specials(w, launch, index);
  }
}

// Nothing of the block can run: who waits where, and for whom.
static void report_deadlock(SimExec *exec) {
  const SimKernel *kernel = exec->kernel;
  int waiting = 0, exited = 0;
  int64_t pc = -1;
  int who = -1, gone = -1;
  for (int n = 0; n < exec->block.n_warps; n++) {
    const SimWarp *w = &exec->warps[n];
    const uint32_t left = w->existing & ~w->live;
    exited += __builtin_popcount(left);
    if (left != 0 && gone < 0) gone = 32 * n + __builtin_ctz(left);
    for (int k = 0; k < w->n_groups; k++) {
      const SimGroup *g = &w->groups[k];
      waiting += __builtin_popcount(g->mask);
      const int64_t at = g->wait == SIM_AT_BARRIER ? g->pc - 1 : g->pc;
      if (pc < 0 || (g->wait == SIM_AT_SYNC && kernel->instrs[pc].run == sim_run_barrier)) {
        pc = at;
        who = 32 * n + __builtin_ctz(g->mask);
      }
    }
  }
  char other[160] = "";
  for (int n = 0; n < exec->block.n_warps && other[0] == 0; n++) {
    const SimWarp *w = &exec->warps[n];
    for (int k = 0; k < w->n_groups; k++) {
      const SimGroup *g = &w->groups[k];
      const int64_t at = g->wait == SIM_AT_BARRIER ? g->pc - 1 : g->pc;
      if (at == pc) continue;
      snprintf(other, sizeof other, ", thread %d waits at %s:%d", 32 * n + __builtin_ctz(g->mask),
               sim_line(kernel, at).file, sim_line(kernel, at).line);
      break;
    }
  }
  if (gone >= 0 && other[0] == 0)
    snprintf(other, sizeof other, ", thread %d has left the kernel", gone);
  sim_report(
      SIM_DIVERGENT_BARRIER, kernel, sim_line(kernel, pc),
      "block %lld: thread %d waits for threads that never come (%d of %d wait, %d have left%s): %s",
      (long long)exec->block.index, who, waiting, exec->block.n_threads, exited, other,
      sim_kernel_text(kernel, pc));
}

// How warps take turns is drawn for each block: to the next wait in order, or after a number of
// instructions.
static void run_block(SimExec *exec) {
  const uint64_t style = draw(exec) % 4;
  const int n_warps = exec->block.n_warps;
  int at = (int)(draw(exec) % (uint64_t)n_warps);
  while (!exec->ended) {
    int found = -1;
    if (style != 0) at = (int)(draw(exec) % (uint64_t)n_warps);
    const int step = style == 1 ? n_warps - 1 : 1;
    for (int k = 0; k < n_warps && found < 0; k++) {
      const int n = (at + k * step) % n_warps;
      if (runnable(&exec->warps[n])) found = n;
    }
    if (found < 0) break;
    SimWarp *w = &exec->warps[found];
    w->budget = style <= 1 ? INT64_MAX / 2 : 1 + (int64_t)(draw(exec) % (style == 2 ? 16 : 400));
    if (w->budget > exec->left) w->budget = exec->left;
    if (exec->left <= 0) {
      sim_report(SIM_UNSUPPORTED, exec->kernel, sim_line(exec->kernel, w->pc),
                 "block %lld ran %d warp instructions without an end", (long long)exec->block.index,
                 MOST_INSTRS);
      sim_end(exec);
      break;
    }
    run_warp(w);
    at = found;
  }
  if (exec->ended) return;
  for (int n = 0; n < n_warps; n++) {
    if (exec->warps[n].live == 0) continue;
    report_deadlock(exec);
    sim_end(exec);
    return;
  }
}

static void add_counters(const SimExec *exec, int64_t blocks) {
  SimCounters *c = sim_counters_now();
  if (c == NULL) return;
  const int64_t *n = exec->counts;
  c->launches++;
  c->blocks += blocks;
  c->warp_instrs += exec->warp_instrs;
  c->thread_instrs += exec->thread_instrs;
  c->mma += n[SIM_KIND_MMA];
  c->float_ops += n[SIM_KIND_FLOAT];
  c->int_ops += n[SIM_KIND_INT];
  c->special += n[SIM_KIND_SPECIAL];
  c->branches += n[SIM_KIND_BRANCH];
  c->barriers += n[SIM_KIND_BARRIER];
  c->shuffles += n[SIM_KIND_SHUFFLE];
  c->atomics += n[SIM_KIND_ATOMIC];
  c->shared_instrs += n[SIM_KIND_SHARED];
  c->global_instrs += n[SIM_KIND_GLOBAL];
  c->local_instrs += n[SIM_KIND_LOCAL];
}

bool sim_exec_launch(SimLaunch *launch) {
  const SimKernel *kernel = launch->kernel;
  const SimDim b = launch->block, g = launch->grid;
  const int64_t threads = (int64_t)b.x * b.y * b.z, blocks = (int64_t)g.x * g.y * g.z;
  if (threads < 1 || threads > 32 * SIM_MAX_WARPS || blocks < 1) {
    sim_report(SIM_LAUNCH_LIMITS, kernel, (SimLine){0}, "%lld blocks of %lld threads",
               (long long)blocks, (long long)threads);
    return false;
  }
  SimExec *exec = calloc(1, sizeof *exec);
  const int n_warps = (int)((threads + 31) / 32);
  exec->launch = launch;
  exec->kernel = kernel;
  exec->code = kernel->code;
  exec->random = launch->seed * 0x9e3779b97f4a7c15 + 0x1234567;
  if (exec->random == 0) exec->random = 1;
  exec->registers = aligned_alloc(64, (size_t)(kernel->code->image_bytes * n_warps));
  exec->local = aligned_alloc(64, (size_t)(kernel->local_bytes * 32 * n_warps + 64));
  exec->warps = calloc((size_t)n_warps, sizeof *exec->warps);
  exec->block =
      (SimBlock){.launch = launch, .n_threads = (int)threads, .n_warps = n_warps, .exec = exec};
  exec->block.shared = aligned_alloc(64, (size_t)(launch->shared_bytes + 127) / 64 * 64);
  int32_t *order = malloc((size_t)blocks * sizeof *order);
  for (int64_t k = 0; k < blocks; k++) {
    const int64_t j = (int64_t)(draw(exec) % (uint64_t)(k + 1));
    order[k] = order[j];
    order[j] = (int32_t)k;
  }
  if (launch->checks) sim_check_launch_begin(launch);
  for (int64_t k = 0; k < blocks && !exec->ended; k++) {
    begin_block(exec, order[k]);
    if (launch->checks) sim_check_block_begin(&exec->block);
    run_block(exec);
    if (launch->checks) sim_check_block_end(&exec->block);
  }
  add_counters(exec, blocks);
  if (launch->checks) sim_check_launch_end(launch);
  const bool whole = !exec->ended;
  free(order);
  free(exec->block.shared);
  free(exec->warps);
  free(exec->local);
  free(exec->registers);
  free(exec);
  return whole;
}
