// What each access may do. Order between accesses of a block comes from barriers and __syncwarp
// alone, kept as a clock for each warp (vector clocks), so that what is reported does not depend on
// the schedule. Blocks of a launch are never ordered.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_check.h"

static uint32_t launch_number; // counts launches that are checked, from 1

void sim_check_launch_begin(SimLaunch *launch) {
  (void)launch;
  launch_number++;
}

void sim_check_launch_end(SimLaunch *launch) {
  (void)launch;
}

void sim_check_block_begin(SimBlock *block) {
  const SimLaunch *launch = block->launch;
  Shadow *s = calloc(1, sizeof *s);
  s->shared = calloc((size_t)(launch->shared_bytes / CHECK_GRAIN + 8), sizeof *s->shared);
  s->local = calloc((size_t)(launch->kernel->local_bytes * block->n_warps * 32 + 1), 1);
  for (int n = 0; n < block->n_warps; n++) s->count[n] = s->sync[n] = 1;
  block->shadow = s;
}

void sim_check_block_end(SimBlock *block) {
  Shadow *s = block->shadow;
  check_async_end(block);
  for (int n = 0; n < block->n_warps; n++) free(s->lanes[n]);
  free(s->copies);
  free(s->shared);
  free(s->local);
  free(s);
  block->shadow = NULL;
}

// What the lanes of `mask` did until now, and what each of them knew, is known to all of them.
static void lanes_meet(Lanes *lanes, uint32_t mask, uint32_t sync) {
  uint32_t all[32] = {0};
  for (int l = 0; l < 32; l++) {
    if (!(mask >> l & 1)) continue;
    lanes->known[l][l] = sync;
    for (int m = 0; m < 32; m++)
      if (lanes->known[l][m] > all[m]) all[m] = lanes->known[l][m];
  }
  for (int l = 0; l < 32; l++)
    if (mask >> l & 1) memcpy(lanes->known[l], all, sizeof all);
}

// Everything before is known to all that take part; what comes after is new.
void sim_check_barrier(SimBlock *block, int id, const uint32_t *masks) {
  (void)id;
  Shadow *s = block->shadow;
  uint32_t all[CHECK_WARPS] = {0};
  for (int n = 0; n < block->n_warps; n++) {
    if (masks[n] == 0) continue;
    s->known[n][n] = s->count[n];
    for (int v = 0; v < block->n_warps; v++)
      if (s->known[n][v] > all[v]) all[v] = s->known[n][v];
  }
  for (int n = 0; n < block->n_warps; n++) {
    if (masks[n] == 0) continue;
    memcpy(s->known[n], all, sizeof all);
    if (s->lanes[n] != NULL) lanes_meet(s->lanes[n], masks[n], s->sync[n]);
    s->count[n]++;
    s->sync[n]++;
  }
}

void sim_check_warp_sync(SimBlock *block, int warp, uint32_t mask) {
  Shadow *s = block->shadow;
  const int left = block->n_threads - 32 * warp;
  const uint32_t existing = left >= 32 ? UINT32_MAX : (1u << left) - 1;
  if (s->lanes[warp] == NULL && (existing & ~mask) != 0) {
    s->lanes[warp] = calloc(1, sizeof *s->lanes[warp]);
    lanes_meet(s->lanes[warp], existing, s->sync[warp] - 1);
  }
  if (s->lanes[warp] != NULL) lanes_meet(s->lanes[warp], mask, s->sync[warp]);
  s->sync[warp]++;
}

Mark check_mark(const SimBlock *block, int thread, uint8_t kind, int64_t pc) {
  const Shadow *s = block->shadow;
  return (Mark){.block = (uint32_t)block->index,
                .thread = (uint16_t)thread,
                .kind = kind,
                .count = s->count[thread / 32],
                .sync = s->sync[thread / 32],
                .pc = (int32_t)pc};
}

// Whether `now` comes after `then`, both of this block.
static bool after(const Shadow *s, const Mark *now, const Mark *then) {
  if (then->thread == now->thread) return true;
  const int w = now->thread / 32, v = then->thread / 32;
  if (w == v && s->lanes[w] != NULL)
    return s->lanes[w]->known[now->thread % 32][then->thread % 32] >= then->sync;
  if (w == v && then->sync < now->sync) return true;
  return s->known[w][v] >= then->count;
}

static void conflict(SimBlock *block, const Mark *now, const Mark *then, bool writes, bool wrote,
                     const char *where) {
  const SimKernel *k = block->launch->kernel;
  const bool blocks = then->block != now->block;
  const bool warp = !blocks && now->thread / 32 == then->thread / 32;
  const SimFault fault = blocks    ? SIM_RACE_BLOCKS
                         : warp    ? SIM_WARP_SYNC
                         : !writes ? SIM_RACE_RAW
                         : wrote   ? SIM_RACE_WAW
                                   : SIM_RACE_WAR;
  const SimLine line = sim_line(k, then->pc);
  char other[40] = "";
  if (blocks) snprintf(other, sizeof other, " of block %u", then->block);
  sim_report(fault, k, sim_line(k, now->pc),
             "%s: %s by thread %d of block %u after %s by thread %d%s at %s:%d", where,
             writes ? "write" : "read", now->thread, now->block, wrote ? "write" : "read",
             then->thread, other, line.file, line.line);
}

static bool clash(const Shadow *s, const Mark *now, const Mark *then) {
  if (then->kind == 0) return false;
  if (then->kind == 2 && now->kind == 2) return false;
  if (then->kind == 3 && now->kind == 3) return false; // neighbouring bytes
  return then->block != now->block || !after(s, now, then);
}

void check_cells(SimBlock *block, Cell *cells, int64_t first, int64_t n, Mark mark, bool writes,
                 const char *where) {
  const Shadow *s = block->shadow;
  for (int64_t k = first; k < first + n; k++) {
    Cell *c = &cells[k];
    if (c->launch != launch_number) {
      const bool written = c->written, in_flight = c->in_flight;
      *c = (Cell){.launch = launch_number, .written = written, .in_flight = in_flight};
    }
    if (clash(s, &mark, &c->write)) conflict(block, &mark, &c->write, writes, true, where);
    if (writes && c->sources > 0)
      sim_report(SIM_ASYNC_IN_FLIGHT, block->launch->kernel,
                 sim_line(block->launch->kernel, mark.pc),
                 "%s: write by thread %d of block %u to what a cp.async reads that has not been "
                 "waited for",
                 where, mark.thread, mark.block);
    if (!writes) {
      if (c->read.kind == 0 || c->read.thread == mark.thread ||
          (c->read.block == mark.block && after(s, &mark, &c->read)))
        c->read = mark;
      else
        c->other = mark;
      continue;
    }
    if (clash(s, &mark, &c->read))
      conflict(block, &mark, &c->read, true, false, where);
    else if (clash(s, &mark, &c->other))
      conflict(block, &mark, &c->other, true, false, where);
    c->write = mark;
    c->read.kind = c->other.kind = 0;
    c->written = true;
  }
}

// ---- the spaces ----

static bool aligned(SimBlock *block, const SimAccess *a, int l) {
  if (a->address[l] % (uint64_t)a->bytes == 0) return true;
  const SimKernel *k = block->launch->kernel;
  sim_report(SIM_MISALIGNED, k, sim_line(k, a->pc),
             "%d bytes by thread %d of block %lld at an address that is %llu beyond a multiple",
             a->bytes, 32 * a->warp + l, (long long)block->index,
             (unsigned long long)(a->address[l] % (uint64_t)a->bytes));
  return false;
}

static uint8_t mark_kind(const SimAccess *a) {
  return a->kind == SIM_ATOMIC ? 2 : a->bytes == 1 ? 3 : 1;
}

static bool check_shared(SimBlock *block, const SimAccess *a, int l) {
  Shadow *s = block->shadow;
  const SimKernel *k = block->launch->kernel;
  const uint64_t at = a->address[l];
  const int thread = 32 * a->warp + l;
  if (at + (uint64_t)a->bytes > (uint64_t)block->launch->shared_bytes) {
    sim_report(SIM_OUT_OF_BOUNDS, k, sim_line(k, a->pc),
               "shared memory: thread %d of block %lld at offset %llu, %d bytes of %lld", thread,
               (long long)block->index, (unsigned long long)at, a->bytes,
               (long long)block->launch->shared_bytes);
    return false;
  }
  if (!aligned(block, a, l)) return false;
  const int64_t first = (int64_t)at / CHECK_GRAIN;
  const int64_t n = ((int64_t)at + a->bytes - 1) / CHECK_GRAIN - first + 1;
  const bool writes = a->kind == SIM_WRITE || a->kind == SIM_ATOMIC;
  for (int64_t c = first; c < first + n; c++) {
    if (s->shared[c].in_flight) {
      sim_report(SIM_ASYNC_IN_FLIGHT, k, sim_line(k, a->pc),
                 "thread %d of block %lld %s shared memory at offset %llu that a cp.async has not "
                 "been waited for",
                 thread, (long long)block->index, writes ? "writes" : "reads",
                 (unsigned long long)at);
      break;
    }
    if (a->kind != SIM_WRITE && !s->shared[c].written) {
      sim_report(
          SIM_UNINITIALISED, k, sim_line(k, a->pc),
          "shared memory: thread %d of block %lld reads offset %llu, which nothing was written to",
          thread, (long long)block->index, (unsigned long long)at);
      break;
    }
  }
  check_cells(block, s->shared, first, n, check_mark(block, thread, mark_kind(a), a->pc), writes,
              "shared memory");
  return true;
}

static bool check_local(SimBlock *block, const SimAccess *a, int l) {
  Shadow *s = block->shadow;
  const SimKernel *k = block->launch->kernel;
  const uint64_t at = a->address[l], bytes = (uint64_t)k->local_bytes;
  if (at + (uint64_t)a->bytes > bytes) {
    sim_report(SIM_OUT_OF_BOUNDS, k, sim_line(k, a->pc),
               "local memory: offset %llu, %d bytes of %llu", (unsigned long long)at, a->bytes,
               (unsigned long long)bytes);
    return false;
  }
  uint8_t *written = s->local + (uint64_t)(32 * a->warp + l) * bytes + at;
  if (a->kind == SIM_WRITE || a->kind == SIM_ATOMIC) {
    memset(written, 1, (size_t)a->bytes);
  } else if (memchr(written, 0, (size_t)a->bytes) != NULL) {
    sim_report(SIM_UNINITIALISED, k, sim_line(k, a->pc),
               "local memory: thread %d reads offset %llu, which it has not written",
               32 * a->warp + l, (unsigned long long)at);
  }
  return true;
}

const SimRange *check_declared(const SimOp *op, uint64_t at, int64_t bytes, bool reads, bool writes,
                               int *guess) {
  for (int k = 0; k < op->n; k++) {
    const int r = (k + *guess) % op->n;
    const SimRange *range = &op->ranges[r];
    const uint64_t from = (uint64_t)(uintptr_t)range->from;
    if (at < from || (reads && !range->reads) || (writes && !range->writes)) continue;
    const int64_t offset = (int64_t)(at - from);
    // Dense rows are one piece: an access may go over a row's end.
    const int64_t row = range->stride == range->row ? range->rows * range->row : range->row;
    const int64_t stride = range->stride == range->row ? row : range->stride;
    const int64_t rows = range->stride == range->row ? 1 : range->rows;
    if (stride <= 0 || offset / stride >= rows || offset % stride + bytes > row) continue;
    *guess = r;
    return range;
  }
  return NULL;
}

void check_name_place(const SimMemory *m, uint64_t at, char *text, size_t size) {
  const SimTensorName *t = sim_tensor_at(m, (const void *)(uintptr_t)at);
  if (t == NULL)
    snprintf(text, size, "allocation of %lld bytes, byte %lld", (long long)m->bytes,
             (long long)(at - (uint64_t)(uintptr_t)m->data));
  else
    snprintf(text, size, "tensor %s%s of %lld bytes, byte %lld", t->name,
             t->live ? "" : " (released)", (long long)t->bytes,
             (long long)(at - (uint64_t)(uintptr_t)t->from));
}

static void make_cells(SimMemory *m) {
  if (m->cells == NULL) m->cells = calloc((size_t)(m->bytes / CHECK_GRAIN + 2), sizeof(Cell));
}

Cell *check_global_cells(const void *address) {
  SimMemory *m = sim_memory_find(address);
  if (m == NULL) return NULL;
  make_cells(m);
  return (Cell *)m->cells + ((const uint8_t *)address - m->data) / CHECK_GRAIN;
}

static bool check_global(SimBlock *block, const SimAccess *a, int l, SimMemory **last, int *guess) {
  const SimKernel *k = block->launch->kernel;
  const uint64_t at = a->address[l];
  const int thread = 32 * a->warp + l;
  const bool reads = a->kind != SIM_WRITE, writes = a->kind == SIM_WRITE || a->kind == SIM_ATOMIC;
  SimMemory *m = *last;
  char place[200];
  if (m == NULL || at < (uint64_t)(uintptr_t)m->data ||
      at >= (uint64_t)(uintptr_t)m->data + (uint64_t)m->bytes)
    m = *last = sim_memory_find((const void *)(uintptr_t)at);
  const char *verb = writes ? "writes" : "reads";
  const int64_t byte = m != NULL ? (int64_t)(at - (uint64_t)(uintptr_t)m->data) : 0;
  if (m == NULL || byte + a->bytes > m->bytes) {
    sim_report(m != NULL ? SIM_OUT_OF_BOUNDS : sim_memory_stray((const void *)(uintptr_t)at), k,
               sim_line(k, a->pc),
               "thread %d of block %lld %s %d bytes at %p, which is in no allocation", thread,
               (long long)block->index, verb, a->bytes, (void *)(uintptr_t)at);
    return false;
  }
  if (!aligned(block, a, l)) return false;
  if (block->launch->op == NULL && sim_touched != NULL)
    sim_touched(m, (const void *)(uintptr_t)at, a->bytes, reads, writes);
  const SimOp *op = block->launch->op;
  if (op == NULL || op->n == 0 || check_declared(op, at, a->bytes, reads, writes, guess) == NULL) {
    const SimTensorName *t = sim_tensor_at(m, (const void *)(uintptr_t)at);
    const int64_t inside = t != NULL ? (int64_t)(at - (uint64_t)(uintptr_t)t->from) : 0;
    check_name_place(m, at, place, sizeof place);
    SimFault fault = SIM_FAULTS;
    if (t != NULL && inside + a->bytes > t->bytes)
      fault = SIM_OUT_OF_BOUNDS;
    else if (t != NULL && !t->live)
      fault = SIM_RELEASED;
    else if (op != NULL)
      fault = SIM_UNDECLARED;
    if (fault != SIM_FAULTS) {
      sim_report(fault, k, sim_line(k, a->pc), "thread %d of block %lld %s %d bytes of %s%s%s",
                 thread, (long long)block->index, verb, a->bytes, place,
                 fault == SIM_UNDECLARED ? ", which is not declared by op " : "",
                 fault == SIM_UNDECLARED ? op->name : "");
      return false;
    }
  }
  if (m->written != NULL) {
    if (reads && memchr(m->written + byte, 0, (size_t)a->bytes) != NULL) {
      check_name_place(m, at, place, sizeof place);
      sim_report(SIM_UNINITIALISED, k, sim_line(k, a->pc),
                 "thread %d of block %lld reads %d bytes of %s, which nothing was written to",
                 thread, (long long)block->index, a->bytes, place);
    }
    if (writes) memset(m->written + byte, 1, (size_t)a->bytes);
  }
  make_cells(m);
  const int64_t first = byte / CHECK_GRAIN, n = (byte + a->bytes - 1) / CHECK_GRAIN - first + 1;
  check_cells(block, m->cells, first, n, check_mark(block, thread, mark_kind(a), a->pc), writes,
              "global memory");
  return true;
}

uint32_t sim_check_access(SimBlock *block, const SimAccess *a) {
  uint32_t ok = 0;
  SimMemory *last = NULL;
  int guess = 0;
  if (a->space == SIM_SHARED) check_count_shared(a->mask, a->bytes, a->address);
  if (a->space == SIM_GLOBAL) check_count_global(a);
  for (int l = 0; l < 32; l++) {
    if (!(a->mask >> l & 1)) continue;
    const bool allowed = a->space == SIM_SHARED  ? check_shared(block, a, l)
                         : a->space == SIM_LOCAL ? check_local(block, a, l)
                                                 : check_global(block, a, l, &last, &guess);
    ok |= (uint32_t)allowed << l;
  }
  return ok;
}
