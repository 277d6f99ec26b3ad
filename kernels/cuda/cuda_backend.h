// What the files of the CUDA backend share: its state behind the public op table, launching a
// kernel, scratch memory, and what each op declares that it touches.
//
// Host code here is C (or the C part of CUDA C): state lives in CudaBackend, never in static
// variables. All kernels go to `stream`, in order; `copies` only brings host data in. Nothing but
// copy_out, sync and read_end waits for the device, and they do it through cuda_wait, which counts.
#ifndef VMA_CUDA_BACKEND_H
#define VMA_CUDA_BACKEND_H

#include <cublasLt.h> // before the linkage block: it brings C++ overloads along
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "backend.h"
#include "check.h"
#include "cuda_scratch.h"
#include "op_check.h"

typedef struct CudaGemm CudaGemm; // chosen algorithms by shape: cuda_gemm.c
typedef struct CudaRing CudaRing; // pinned staging of small copies: cuda_copy.c

typedef struct CudaBackend {
  Backend be; // first: a Backend* of this backend is a CudaBackend*
  int device;
  char title[256];     // the device's name
  int major, minor;    // compute capability
  int sms;             // streaming multiprocessors; never decides a bit of a result
  int shared_max;      // bytes of shared memory that a block may opt in to
  cudaStream_t stream; // every kernel
  cudaStream_t copies; // host to device, ahead of the kernels
  cublasLtHandle_t lt;
  void *workspace; // of cuBLASLt, CUDA_WORKSPACE bytes
  void *scratch;   // partial sums and expanded operands of one op; nothing lives past the op
  int64_t scratch_bytes;
  bool reserved; // scratch is as planned: needing more is our mistake
  CudaGemm *gemm;
  CudaRing *ring;
  int64_t waits; // host waits so far
} CudaBackend;

static inline CudaBackend *cuda_of(Backend *be) {
  return (CudaBackend *)be;
}

// ---- errors: the device's class; the process ends with the call, its place and what to do ----
void cuda_check(cudaError_t error, const char *call, const char *file, int line);
#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__)
void cuda_check_lt(cublasStatus_t lt, const char *call, const char *file, int line);
#define CUDA_CHECK_LT(call) cuda_check_lt((call), #call, __FILE__, __LINE__)

// After a launch: names the kernel and the launch shape.
void cuda_check_launch(const char *kernel, int64_t blocks, int64_t threads, int64_t shared,
                       const char *file, int line);

// kernel<<<grid, block, shared, stream>>>(...) on the backend's stream. In .cu files only. More
// than 48 KiB of shared memory: cuda_allow_shared once, when the backend opens.
#define CUDA_LAUNCH(cuda, kernel, grid, block, shared, ...)                                        \
  do {                                                                                             \
    dim3 launch_grid(grid), launch_block(block);                                                   \
    kernel<<<launch_grid, launch_block, (shared), (cuda)->stream>>>(__VA_ARGS__);                  \
    cuda_check_launch(#kernel, (int64_t)launch_grid.x *launch_grid.y *launch_grid.z,               \
                      (int64_t)launch_block.x *launch_block.y *launch_block.z, (shared), __FILE__, \
                      __LINE__);                                                                   \
  } while (0)

// Lets a kernel take that much dynamic shared memory; `kernel` is the kernel's symbol.
void cuda_allow_shared(CudaBackend *cuda, const void *kernel, int64_t bytes);

// ---- scratch ----
// At least that many bytes, 256-byte aligned, of garbage; the op's own until its last launch. One
// piece per op call: cut it yourself. How much an op takes must be computed by a function of
// cuda_scratch.h, so that the plan (which has no device) says the same.
void *cuda_scratch(CudaBackend *cuda, int64_t bytes);

// ---- what an op touches ----
// First thing in every op after its op_check: names the op, and says which tensors its kernels may
// read and write. On a device it costs a branch; the simulated device reports any other access.
// Absent tensors may be listed.
typedef struct CudaTouch {
  Tensor t;
  bool reads, writes;
} CudaTouch;

void cuda_op_begin(CudaBackend *cuda, const char *op, const CudaTouch *touches, int n);

#define CUDA_READ(t)                                                                               \
  { (t), true, false }
#define CUDA_WRITE(t)                                                                              \
  { (t), false, true }
#define CUDA_UPDATE(t)                                                                             \
  { (t), true, true }
#define CUDA_OP(cuda, op, ...)                                                                     \
  do {                                                                                             \
    const CudaTouch op_touches[] = {__VA_ARGS__};                                                  \
    cuda_op_begin((cuda), (op), op_touches, (int)(sizeof op_touches / sizeof *op_touches));        \
  } while (0)

// The same for the tensors inside RowSelect and Dropout (a `p` of 0 reads none).
#define CUDA_READ_DROPOUT(d)                                                                       \
  CUDA_READ((d) != NULL && (d)->p > 0 ? (d)->step : TENSOR_NONE),                                  \
      CUDA_READ((d) != NULL && (d)->p > 0 ? (d)->sequences : TENSOR_NONE),                         \
      CUDA_READ((d) != NULL && (d)->p > 0 ? (d)->positions : TENSOR_NONE)

// ---- the ops, by file ----
void cuda_memory_install(Backend *be);      // cuda_memory.c
void cuda_copy_install(Backend *be);        // cuda_copy.c
void cuda_linear_install(Backend *be);      // cuda_linear.c over cuda_gemm.c
void cuda_elementwise_install(Backend *be); // cuda_elementwise.cu
void cuda_cast_install(Backend *be);        // cuda_cast.cu: casts, dequantisation
void cuda_rows_install(Backend *be);        // cuda_rows.cu
void cuda_norm_install(Backend *be);        // cuda_norm.cu
void cuda_rope_install(Backend *be);        // cuda_rope.cu
void cuda_attention_install(Backend *be);   // cuda_attention.cu, cuda_attention_back.cu
void cuda_lora_install(Backend *be);        // cuda_lora.cu
void cuda_loss_install(Backend *be);        // cuda_loss.cu
void cuda_optim_install(Backend *be);       // cuda_optim.cu
void cuda_sample_install(Backend *be);      // cuda_sample.cu

// ---- parts with a life of their own ----
Status cuda_ring_open(CudaBackend *cuda, Error *err);
void cuda_ring_close(CudaBackend *cuda);
Status cuda_gemm_open(CudaBackend *cuda, Error *err);
void cuda_gemm_close(CudaBackend *cuda);
void cuda_attention_open(CudaBackend *cuda); // shared memory beyond 48 KiB for its kernels

// ---- pieces that several ops use ----

// y = x converted, whole tensors, dense or strided; a quantised x is expanded. On the stream, no
// op_begin of its own. cuda_cast.cu
void cuda_convert(CudaBackend *cuda, Tensor y, Tensor x);

// y = x w^T + bias, or += when acc, of at most CUDA_MATVEC_ROWS rows. As cuda_convert.
// cuda_matvec.cu
void cuda_matvec(CudaBackend *cuda, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc);

// out[c] (+)= sum of rows of x[:,c], in an order that only the shape decides: two steps, partials
// in `partials` (f32, cuda_scratch_column_sum bytes). out f32 or F [1,C], or
// rows that C / rows columns of x fill one after the other. cuda_norm.cu
void cuda_column_sum_acc(CudaBackend *cuda, Tensor out, Tensor x, void *partials);

#ifdef __cplusplus
}
#endif
#endif
