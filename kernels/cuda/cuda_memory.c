// The CUDA backend's memory: one cudaMalloc an arena, one block of scratch for all ops.
#include "cuda_backend.h"
#include "cuda_hooks.h"

#include <stdio.h>
#include <stdlib.h>

static Status cuda_mem_alloc(Backend *be, int64_t bytes, void **out, Error *err) {
  (void)be;
  cudaError_t error = cudaMalloc(out, bytes > 0 ? (size_t)bytes : 1);
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError(); // it is told here
  size_t left = 0, all = 0;
  (void)cudaMemGetInfo(&left, &all);
  return error_set(err, STATUS_MEMORY,
                   "no memory for %.1f MiB on the device: %.1f of its %.1f MiB are free (%s)",
                   (double)bytes / (1 << 20), (double)left / (1 << 20), (double)all / (1 << 20),
                   cudaGetErrorString(error));
}

static void cuda_mem_info(Backend *be, int64_t *free_bytes, int64_t *all) {
  size_t left = 0, whole = 0;
  (void)be;
  CUDA_CHECK(cudaMemGetInfo(&left, &whole));
  *free_bytes = (int64_t)left;
  *all = (int64_t)whole;
}

// cudaFree waits for the device, so nothing that is queued loses its memory.
static void cuda_mem_free(Backend *be, void *memory, int64_t bytes) {
  (void)bytes;
  if (memory == NULL) return;
  be->sync(be);
  CUDA_CHECK(cudaFree(memory));
}

void *cuda_scratch(CudaBackend *cuda, int64_t bytes) {
  if (bytes > cuda->scratch_bytes) {
    CHECK(!cuda->reserved, "%lld bytes of scratch, %lld are planned", (long long)bytes,
          (long long)cuda->scratch_bytes);
    Error err;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    cuda_mem_free(&cuda->be, cuda->scratch, cuda->scratch_bytes);
    cuda->scratch = NULL;
    CHECK(cuda_mem_alloc(&cuda->be, bytes, &cuda->scratch, &err) == STATUS_OK, "%s", err.message);
    cuda->be.counts.scratch += bytes - cuda->scratch_bytes;
    cuda->scratch_bytes = bytes;
  }
  if (vma_sim_scratch != NULL) vma_sim_scratch(cuda->scratch, bytes);
  return cuda->scratch;
}

// Where the shadow has noted nothing, nothing is planned: what was taken is given back, and ops
// take what they need, as at the beginning. So a test sees what one op asks for.
static Status cuda_reserve(Backend *be, Error *err) {
  CudaBackend *cuda = cuda_of(be);
  int64_t bytes = be->shadow->counts.scratch;
  cuda->reserved = bytes > 0;
  if (cuda->reserved && bytes <= cuda->scratch_bytes) return STATUS_OK;
  cuda_mem_free(be, cuda->scratch, cuda->scratch_bytes);
  cuda->scratch = NULL;
  be->counts.scratch -= cuda->scratch_bytes;
  cuda->scratch_bytes = 0;
  if (!cuda->reserved) return STATUS_OK;
  Status status = cuda_mem_alloc(be, bytes, &cuda->scratch, err);
  if (status != STATUS_OK) {
    error_prefix(err, "scratch");
    return status;
  }
  cuda->scratch_bytes = bytes;
  be->counts.scratch += bytes;
  return STATUS_OK;
}

// ---- what the simulated device is told ----

static void tell_tensor(void *user, const Arena *arena, const char *name, void *address,
                        int64_t bytes, bool born) {
  (void)user;
  vma_sim_tensor(arena->name, name, address, bytes, born);
}

enum { TOUCHES_MAX = 32 };

void cuda_op_begin(CudaBackend *cuda, const char *op, const CudaTouch *touches, int n) {
  (void)cuda;
  if (vma_sim_op == NULL) return;
  SimTouch ranges[TOUCHES_MAX];
  int used = 0;
  CHECK(n <= TOUCHES_MAX, "%s touches %d tensors", op, n);
  for (int i = 0; i < n; i++) {
    Tensor t = touches[i].t;
    if (!tensor_given(t) || tensor_count(t) == 0) continue;
    ranges[used++] = (SimTouch){.address = t.data,
                                .rows = t.rows,
                                .row = dtype_bytes(t.dtype, t.cols),
                                .stride = dtype_bytes(t.dtype, t.stride),
                                .reads = touches[i].reads,
                                .writes = touches[i].writes};
  }
  vma_sim_op(op, ranges, used);
}

void cuda_memory_install(Backend *be) {
  be->mem_alloc = cuda_mem_alloc;
  be->mem_free = cuda_mem_free;
  be->mem_info = cuda_mem_info;
  be->reserve = cuda_reserve;
  if (vma_sim_tensor != NULL) be->arena_hook = tell_tensor;
}
