// Errors of the device end the process: what was called or launched, where, and what CUDA says.
#include "cuda_backend.h"

#include <stdio.h>
#include <stdlib.h>

static void end(const char *what, cudaError_t error, const char *file, int line)
    __attribute__((noreturn));

static void end(const char *what, cudaError_t error, const char *file, int line) {
  fprintf(stderr, "%s:%d: %s: CUDA error %d, %s: %s\n", file, line, what, (int)error,
          cudaGetErrorName(error), cudaGetErrorString(error));
  exit(STATUS_FAILED);
}

void cuda_check(cudaError_t error, const char *call, const char *file, int line) {
  if (error != cudaSuccess) end(call, error, file, line);
}

void cuda_check_launch(const char *kernel, int64_t blocks, int64_t threads, int64_t shared,
                       const char *file, int line) {
  cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return;
  char what[300];
  snprintf(what, sizeof what, "%s <<<%lld blocks of %lld threads, %lld bytes shared>>>", kernel,
           (long long)blocks, (long long)threads, (long long)shared);
  end(what, error, file, line);
}

void cuda_check_lt(cublasStatus_t lt, const char *call, const char *file, int line) {
  if (lt == CUBLAS_STATUS_SUCCESS) return;
  fprintf(stderr, "%s:%d: %s: cuBLASLt error %d, %s\n", file, line, call, (int)lt,
          cublasLtGetStatusName(lt));
  exit(STATUS_FAILED);
}

void cuda_allow_shared(CudaBackend *cuda, const void *kernel, int64_t bytes) {
  CHECK(bytes <= cuda->shared_max, "%lld bytes of shared memory, the device has %d",
        (long long)bytes, cuda->shared_max);
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}
