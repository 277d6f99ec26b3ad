// The CPU backend's life and memory: arenas by mmap, scratch that grows or is taken at once.
#include "check.h"
#include "cpu_backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, SCRATCH_ALIGN = 4096 };

// The old content is lost.
static bool take_scratch(CpuBackend *cpu, CpuScratch purpose, int64_t bytes) {
  free(cpu->scratch[purpose]);
  if (purpose == SCRATCH_ROPE) cpu->rope_positions = 0;
  cpu->scratch[purpose] = aligned_alloc(SCRATCH_ALIGN, (size_t)bytes);
  return cpu->scratch[purpose] != NULL;
}

float *cpu_scratch(Backend *be, CpuScratch purpose, int64_t n) {
  CpuBackend *cpu = cpu_of(be);
  int64_t bytes = (n > 0 ? n : 1) * (int64_t)sizeof(float);
  if (bytes > cpu->scratch_bytes[purpose]) {
    bytes = (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    bool taken = cpu->noting || take_scratch(cpu, purpose, bytes);
    CHECK(taken, "no memory for %lld bytes of scratch", (long long)bytes);
    be->counts.scratch += bytes - cpu->scratch_bytes[purpose];
    cpu->scratch_bytes[purpose] = bytes;
  }
  return cpu->scratch[purpose];
}

static Status cpu_reserve(Backend *be, Error *err) {
  CpuBackend *cpu = cpu_of(be);
  if (be->shadow == NULL) return STATUS_OK;
  const CpuBackend *shadow = cpu_of(be->shadow);
  for (int i = 0; i < SCRATCH_COUNT; i++) {
    int64_t bytes = shadow->scratch_bytes[i];
    if (bytes <= cpu->scratch_bytes[i]) continue;
    if (!take_scratch(cpu, (CpuScratch)i, bytes)) {
      return error_set(err, STATUS_MEMORY, "no memory for %lld bytes of scratch", (long long)bytes);
    }
    be->counts.scratch += bytes - cpu->scratch_bytes[i];
    cpu->scratch_bytes[i] = bytes;
  }
  cpu_library_warm(cpu);
  return STATUS_OK;
}

static void cpu_close(Backend *be) {
  CpuBackend *cpu = cpu_of(be);
  cpu_library_close(cpu);
  for (int i = 0; i < SCRATCH_COUNT; i++) free(cpu->scratch[i]);
  cpu_shadow_close(cpu);
  read_tickets_free(&cpu->tickets);
  free(cpu);
}

// Anonymous pages: zero, page-aligned, and resident only once they are touched, so an arena may be
// planned generously. In huge pages where the kernel has them: a step touches hundreds of MiB, and
// a TLB entry for each 4 KiB of it costs more than the page's rounding.
static Status cpu_mem_alloc(Backend *be, int64_t bytes, void **out, Error *err) {
  (void)be;
  size_t size = bytes > 0 ? (size_t)bytes : 1;
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return error_set(err, STATUS_MEMORY, "no memory for an arena of %lld bytes: %s",
                     (long long)bytes, strerror(errno));
  }
  if (bytes >= HUGE_PAGE) (void)madvise(memory, size, MADV_HUGEPAGE);
  *out = memory;
  return STATUS_OK;
}

static void cpu_mem_free(Backend *be, void *memory, int64_t bytes) {
  (void)be;
  if (memory != NULL) munmap(memory, bytes > 0 ? (size_t)bytes : 1);
}

static void cpu_copy_in(Backend *be, Tensor dst, const void *src) {
  (void)be;
  int64_t row = dtype_bytes(dst.dtype, dst.cols);
  for (int64_t r = 0; r < dst.rows; r++) {
    memcpy(tensor_rows(dst, r, 1).data, (const char *)src + r * row, (size_t)row);
  }
}

static void cpu_copy_out(Backend *be, void *dst, Tensor src) {
  (void)be;
  int64_t row = dtype_bytes(src.dtype, src.cols);
  for (int64_t r = 0; r < src.rows; r++) {
    memcpy((char *)dst + r * row, tensor_rows(src, r, 1).data, (size_t)row);
  }
}

static void cpu_sync(Backend *be) {
  (void)be;
}

static int64_t cpu_read_begin(Backend *be, Tensor src) {
  return read_tickets_begin(&cpu_of(be)->tickets, be, src);
}

static void cpu_read_end(Backend *be, void *dst, int64_t ticket) {
  read_tickets_end(&cpu_of(be)->tickets, dst, ticket);
}

void cpu_memory_install(Backend *be) {
  be->close = cpu_close;
  be->mem_alloc = cpu_mem_alloc;
  be->mem_free = cpu_mem_free;
  be->copy_in = cpu_copy_in;
  be->copy_out = cpu_copy_out;
  be->sync = cpu_sync;
  be->read_begin = cpu_read_begin;
  be->read_end = cpu_read_end;
  be->reserve = cpu_reserve;
}
