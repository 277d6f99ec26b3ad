// y = x converted, any dtypes: a thread owns one element. Quantised blocks are expanded element by
// element, exactly as the CPU does it. No shared memory; few flops; bytes: the operands once each.
#include "cuda_quant.cuh"

__device__ __forceinline__ void store_f32(double *p, float x) {
  *p = x;
}

// budget: cast_kernel registers=24 shared=0
template <typename T>
static __global__ void cast_kernel(Rows<T> y, const uint8_t *x, int64_t stride, int dtype,
                                   int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i < rows * cols)
    store_f32(y.at(i / cols, i % cols), value_at(dtype, x, stride, i / cols, i % cols));
}

static __device__ inline void put_double(float *p, double x) {
  *p = (float)x;
}
static __device__ inline void put_double(__nv_bfloat16 *p, double x) {
  *p = __double2bfloat16(x);
}
static __device__ inline void put_double(__half *p, double x) {
  *p = __double2half(x);
}
static __device__ inline void put_double(double *p, double x) {
  *p = x;
}

// From f64 there is one rounding, not one to f32 before it.
// budget: cast_double_kernel registers=16 shared=0
template <typename T>
static __global__ void cast_double_kernel(Rows<T> y, Rows<double> x, int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i < rows * cols) put_double(y.at(i / cols, i % cols), *x.at(i / cols, i % cols));
}

template <typename T> static void convert_to(CudaBackend *cuda, Tensor y, Tensor x) {
  unsigned blocks = blocks_for(tensor_count(y));
  if (x.dtype == DT_F64) {
    CUDA_LAUNCH(cuda, cast_double_kernel<T>, blocks, BLOCK, 0, rows_of<T>(y), rows_of<double>(x),
                y.rows, y.cols);
  } else {
    CUDA_LAUNCH(cuda, cast_kernel<T>, blocks, BLOCK, 0, rows_of<T>(y), (const uint8_t *)x.data,
                dtype_bytes(x.dtype, x.stride), (int)x.dtype, y.rows, y.cols);
  }
}

extern "C" void cuda_convert(CudaBackend *cuda, Tensor y, Tensor x) {
  if (tensor_count(y) == 0) return;
  switch (y.dtype) {
  case DT_F32:
    convert_to<float>(cuda, y, x);
    return;
  case DT_BF16:
    convert_to<__nv_bfloat16>(cuda, y, x);
    return;
  case DT_F16:
    convert_to<__half>(cuda, y, x);
    return;
  case DT_F64:
    convert_to<double>(cuda, y, x);
    return;
  default:
    CHECK(false, "cast to %s", dtype_info(y.dtype)->name);
  }
}

static void cuda_cast(Backend *be, Tensor y, Tensor x) {
  CudaBackend *cuda = cuda_of(be);
  op_check_cast(be, y, x);
  CUDA_OP(cuda, "cast", CUDA_WRITE(y), CUDA_READ(x));
  cuda_convert(cuda, y, x);
}

extern "C" void cuda_cast_install(Backend *be) {
  be->cast = cuda_cast;
}
