// The CPU backend's life and memory.
#include "cpu_reference.h"

#include <stdlib.h>
#include <string.h>

static void cpu_close(Backend *be) {
  free(be);
}

static Status cpu_mem_alloc(Backend *be, int64_t bytes, void **out, Error *err) {
  (void)be;
  *out = aligned_alloc(256, (size_t)(bytes + 255) / 256 * 256);
  if (*out == NULL) return error_set(err, STATUS_MEMORY, "no memory");
  memset(*out, 0, (size_t)bytes);
  return STATUS_OK;
}

static void cpu_mem_free(Backend *be, void *memory, int64_t bytes) {
  (void)be;
  (void)bytes;
  free(memory);
}

static void cpu_copy_in(Backend *be, Tensor dst, const void *src) {
  (void)be;
  int64_t row = dtype_bytes(dst.dtype, dst.cols);
  for (int64_t r = 0; r < dst.rows; r++)
    memcpy(tensor_rows(dst, r, 1).data, (const char *)src + r * row, (size_t)row);
}

static void cpu_copy_out(Backend *be, void *dst, Tensor src) {
  (void)be;
  int64_t row = dtype_bytes(src.dtype, src.cols);
  for (int64_t r = 0; r < src.rows; r++)
    memcpy((char *)dst + r * row, tensor_rows(src, r, 1).data, (size_t)row);
}

static void cpu_sync(Backend *be) {
  (void)be;
}

Status backend_cpu_open(Backend **out, const CpuOptions *options, Error *err) {
  (void)options;
  Backend *be = calloc(1, sizeof *be);
  if (be == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CPU backend");
  be->name = "cpu-reference";
  be->gemm_path = "reference";
  be->close = cpu_close;
  be->mem_alloc = cpu_mem_alloc;
  be->mem_free = cpu_mem_free;
  be->copy_in = cpu_copy_in;
  be->copy_out = cpu_copy_out;
  be->sync = cpu_sync;
  cpu_reference_install(be);
  *out = be;
  return STATUS_OK;
}
