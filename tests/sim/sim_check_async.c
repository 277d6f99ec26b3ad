// cp.async: the destination is poisoned and in flight until the issuing thread's wait, when the
// data lands as a write of that thread; so a missing __syncthreads behind the wait is a race too.
// The source is read at any time from the copy to its wait: who writes to it then is reported, and
// who writes later must come after the wait.
#include <stdlib.h>
#include <string.h>

#include "sim_check.h"

void sim_check_async_copy(SimBlock *block, int warp, uint32_t mask, int bytes,
                          const int *source_bytes, const uint64_t *shared_offset,
                          const uint64_t *global_address, int64_t pc) {
  Shadow *s = block->shadow;
  const SimKernel *k = block->launch->kernel;
  uint32_t reading = 0, ok = 0;
  for (int l = 0; l < 32; l++) reading |= (uint32_t)((mask >> l & 1) && source_bytes[l] > 0) << l;
  check_count_shared(mask, bytes, shared_offset);
  // Lanes that read less than the whole are rare: each size is an access of its own.
  for (int size = 1; size <= bytes; size++) {
    uint32_t part = 0;
    for (int l = 0; l < 32; l++)
      part |= (uint32_t)((reading >> l & 1) && source_bytes[l] == size) << l;
    if (part == 0) continue;
    const bool odd = (size & (size - 1)) != 0;
    const SimAccess access = {SIM_GLOBAL,     SIM_ASYNC_READ, warp, part,
                              odd ? 1 : size, global_address, pc};
    ok |= sim_check_access(block, &access);
  }
  for (int l = 0; l < 32; l++) {
    if (!(mask >> l & 1)) continue;
    const uint64_t at = shared_offset[l];
    const int thread = 32 * warp + l;
    if (at + (uint64_t)bytes > (uint64_t)block->launch->shared_bytes || at % (uint64_t)bytes != 0) {
      sim_report(at % (uint64_t)bytes != 0 ? SIM_MISALIGNED : SIM_OUT_OF_BOUNDS, k, sim_line(k, pc),
                 "cp.async: thread %d of block %lld to shared offset %llu, %d bytes of %lld",
                 thread, (long long)block->index, (unsigned long long)at, bytes,
                 (long long)block->launch->shared_bytes);
      continue;
    }
    const int64_t first = (int64_t)at / CHECK_GRAIN, n = bytes / CHECK_GRAIN;
    check_cells(block, s->shared, first, n, check_mark(block, thread, 1, pc), true,
                "shared memory (cp.async)");
    for (int64_t c = first; c < first + n; c++) s->shared[c].in_flight = true;
    memset(block->shared + at, 0xff, (size_t)bytes);
    if (s->n_copies == s->room) {
      s->room = s->room * 2 + 256;
      s->copies = realloc(s->copies, (size_t)s->room * sizeof *s->copies);
    }
    Copy *copy = &s->copies[s->n_copies++];
    *copy = (Copy){.thread = (uint16_t)thread,
                   .bytes = (uint8_t)bytes,
                   .group = -1,
                   .offset = (uint32_t)at,
                   .pc = pc};
    if (!(ok >> l & 1)) continue;
    const uint8_t *from = (const uint8_t *)(uintptr_t)global_address[l];
    memcpy(copy->data, from, (size_t)source_bytes[l]);
    copy->source = check_global_cells(from);
    copy->source_cells = (source_bytes[l] + CHECK_GRAIN - 1) / CHECK_GRAIN;
    for (int c = 0; c < copy->source_cells; c++) copy->source[c].sources++;
  }
}

void sim_check_async_commit(SimBlock *block, int warp, uint32_t mask) {
  Shadow *s = block->shadow;
  for (int64_t k = 0; k < s->n_copies; k++) {
    Copy *copy = &s->copies[k];
    if (copy->thread / 32 == warp && (mask >> copy->thread % 32 & 1) && copy->group < 0)
      copy->group = s->groups[copy->thread];
  }
  for (int l = 0; l < 32; l++)
    if (mask >> l & 1) s->groups[32 * warp + l]++;
}

static void release_source(const Copy *copy) {
  for (int c = 0; c < copy->source_cells; c++) copy->source[c].sources--;
}

// Shared memory may be another block's by the time that such a copy lands.
static void report_left(SimBlock *block, const Copy *copy, int64_t n) {
  const SimKernel *k = block->launch->kernel;
  sim_report(SIM_ASYNC_IN_FLIGHT, k, sim_line(k, copy->pc),
             "cp.async: block %lld ends with %lld copies under way, the first of thread %d to "
             "shared offset %u",
             (long long)block->index, (long long)n, copy->thread, copy->offset);
}

void check_async_end(SimBlock *block) {
  const Shadow *s = block->shadow;
  if (s->n_copies > 0) report_left(block, &s->copies[0], s->n_copies);
  for (int64_t k = 0; k < s->n_copies; k++) release_source(&s->copies[k]);
}

void sim_check_async_wait(SimBlock *block, int warp, uint32_t mask, int pending, int64_t pc) {
  (void)pc;
  Shadow *s = block->shadow;
  int64_t kept = 0;
  for (int64_t k = 0; k < s->n_copies; k++) {
    Copy *copy = &s->copies[k];
    const bool mine = copy->thread / 32 == warp && (mask >> copy->thread % 32 & 1);
    if (!mine || copy->group < 0 || copy->group >= s->groups[copy->thread] - pending) {
      s->copies[kept++] = *copy;
      continue;
    }
    memcpy(block->shared + copy->offset, copy->data, copy->bytes);
    release_source(copy);
    check_cells(block, copy->source, 0, copy->source_cells,
                check_mark(block, copy->thread, 1, copy->pc), false, "global memory (cp.async)");
    const int64_t first = copy->offset / CHECK_GRAIN;
    for (int64_t c = first; c < first + copy->bytes / CHECK_GRAIN; c++) {
      s->shared[c].in_flight = false;
      s->shared[c].written = true;
      s->shared[c].write = check_mark(block, copy->thread, 1, copy->pc);
    }
  }
  s->n_copies = kept;
}
