// Ops on single elements.
//
// A thread owns one element; a warp reads and writes whole 128-byte lines. No shared memory. Bytes
// are those of the operands, once each; flops do not count beside them. Sums are taken in f32 and
// rounded once, at the store.
#include "cuda_math.cuh"
#include "cuda_probe.h"

// budget: fill_kernel registers=16 shared=0
template <typename T>
static __global__ void fill_kernel(Rows<T> y, T value, int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i < rows * cols) *y.at(i / cols, i % cols) = value;
}

// budget: add_kernel registers=16 shared=0
template <typename F>
static __global__ void add_kernel(Rows<F> y, Rows<F> a, Rows<F> b, int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  store_f32(y.at(r, c), load_f32(a.at(r, c)) + load_f32(b.at(r, c)));
}

// y = a x, or y += a x.
// budget: scale_kernel registers=16 shared=0
template <typename F, bool ACC>
static __global__ void scale_kernel(Rows<F> y, Rows<F> x, const float *a, int64_t rows,
                                    int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float value = *a * load_f32(x.at(r, c));
  store_f32(y.at(r, c), ACC ? load_f32(y.at(r, c)) + value : value);
}

// budget: dropout_kernel registers=24 shared=0
template <typename F>
static __global__ void dropout_kernel(Rows<F> y, Rows<F> x, DropoutMask d, int64_t rows,
                                      int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float factor = dropout_factor(d, r, c);
  float kept = factor != 0.0f ? load_f32(x.at(r, c)) * factor : 0.0f;
  store_f32(y.at(r, c), load_f32(y.at(r, c)) + kept);
}

// budget: act_kernel registers=24 shared=0
template <typename F>
static __global__ void act_kernel(Rows<F> y, Rows<F> x, Activation kind, int64_t rows,
                                  int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float slope;
  store_f32(y.at(r, c), activation(kind, load_f32(x.at(r, c)), &slope));
}

// budget: act_back_kernel registers=24 shared=0
template <typename F>
static __global__ void act_back_kernel(Rows<F> dx, Rows<F> dy, Rows<F> x, Activation kind,
                                       int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float slope;
  activation(kind, load_f32(x.at(r, c)), &slope);
  store_f32(dx.at(r, c), load_f32(dx.at(r, c)) + load_f32(dy.at(r, c)) * slope);
}

// budget: glu_kernel registers=24 shared=0
template <typename F>
static __global__ void glu_kernel(Rows<F> y, Rows<F> gu, Activation kind, int64_t rows,
                                  int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float slope, value = activation(kind, load_f32(gu.at(r, c)), &slope);
  store_f32(y.at(r, c), value * load_f32(gu.at(r, cols + c)));
}

// budget: glu_back_kernel registers=32 shared=0
template <typename F>
static __global__ void glu_back_kernel(Rows<F> dgu, Rows<F> dy, Rows<F> gu, Activation kind,
                                       int64_t rows, int64_t cols) {
  int64_t i = global_thread();
  if (i >= rows * cols) return;
  int64_t r = i / cols, c = i % cols;
  float u = load_f32(gu.at(r, cols + c)), d = load_f32(dy.at(r, c));
  float slope, value = activation(kind, load_f32(gu.at(r, c)), &slope);
  store_f32(dgu.at(r, c), load_f32(dgu.at(r, c)) + d * u * slope);
  store_f32(dgu.at(r, cols + c), load_f32(dgu.at(r, cols + c)) + d * value);
}

// ---- the ops ----

template <typename T> static void launch_fill(CudaBackend *cuda, Tensor y, T value) {
  CUDA_LAUNCH(cuda, fill_kernel<T>, blocks_for(tensor_count(y)), BLOCK, 0, rows_of<T>(y), value,
              y.rows, y.cols);
}

static void cuda_fill(Backend *be, Tensor y, double value) {
  CudaBackend *cuda = cuda_of(be);
  op_check_fill(be, y);
  CUDA_OP(cuda, "fill", CUDA_WRITE(y));
  if (tensor_count(y) == 0) return;
  switch (y.dtype) {
  case DT_F32:
    launch_fill<float>(cuda, y, (float)value);
    return;
  case DT_BF16:
    launch_fill<__nv_bfloat16>(cuda, y, __float2bfloat16_rn((float)value));
    return;
  case DT_F16:
    launch_fill<__half>(cuda, y, __float2half_rn((float)value));
    return;
  case DT_F64:
    launch_fill<double>(cuda, y, value);
    return;
  case DT_I32:
    launch_fill<int32_t>(cuda, y, (int32_t)value);
    return;
  default:
    CHECK(false, "fill of %s", dtype_info(y.dtype)->name);
  }
}

static void cuda_add(Backend *be, Tensor y, Tensor a, Tensor b) {
  CudaBackend *cuda = cuda_of(be);
  op_check_add(be, y, a, b);
  CUDA_OP(cuda, "add", CUDA_WRITE(y), CUDA_READ(a), CUDA_READ(b));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "add",
         CUDA_LAUNCH(cuda, add_kernel<F>, blocks_for(tensor_count(y)), BLOCK, 0, rows_of<F>(y),
                     rows_of<F>(a), rows_of<F>(b), y.rows, y.cols));
}

template <bool ACC> static void launch_scale(CudaBackend *cuda, Tensor y, Tensor x, Tensor a) {
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "scale",
         CUDA_LAUNCH(cuda, (scale_kernel<F, ACC>), blocks_for(tensor_count(y)), BLOCK, 0,
                     rows_of<F>(y), rows_of<F>(x), (const float *)a.data, y.rows, y.cols));
}

static void cuda_scale(Backend *be, Tensor y, Tensor x, Tensor a) {
  CudaBackend *cuda = cuda_of(be);
  op_check_scale(be, "scale", y, x, a);
  CUDA_OP(cuda, "scale", CUDA_WRITE(y), CUDA_READ(x), CUDA_READ(a));
  launch_scale<false>(cuda, y, x, a);
}

static void cuda_scale_acc(Backend *be, Tensor y, Tensor x, Tensor a) {
  CudaBackend *cuda = cuda_of(be);
  op_check_scale(be, "scale_acc", y, x, a);
  CUDA_OP(cuda, "scale_acc", CUDA_UPDATE(y), CUDA_READ(x), CUDA_READ(a));
  launch_scale<true>(cuda, y, x, a);
}

static void cuda_dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout) {
  CudaBackend *cuda = cuda_of(be);
  op_check_dropout_acc(be, y, x, dropout);
  CUDA_OP(cuda, "dropout_acc", CUDA_UPDATE(y), CUDA_READ(x), CUDA_READ_DROPOUT(dropout));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "dropout_acc",
         CUDA_LAUNCH(cuda, dropout_kernel<F>, blocks_for(tensor_count(y)), BLOCK, 0, rows_of<F>(y),
                     rows_of<F>(x), dropout_mask_of(dropout), y.rows, y.cols));
}

static void cuda_act(Backend *be, Tensor y, Tensor x, Activation kind) {
  CudaBackend *cuda = cuda_of(be);
  op_check_act(be, y, x, kind);
  CUDA_OP(cuda, "act", CUDA_WRITE(y), CUDA_READ(x));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "act",
         CUDA_LAUNCH(cuda, act_kernel<F>, blocks_for(tensor_count(y)), BLOCK, 0, rows_of<F>(y),
                     rows_of<F>(x), kind, y.rows, y.cols));
}

static void cuda_act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind) {
  CudaBackend *cuda = cuda_of(be);
  op_check_act_back_acc(be, dx, dy, x, kind);
  CUDA_OP(cuda, "act_back_acc", CUDA_UPDATE(dx), CUDA_READ(dy), CUDA_READ(x));
  if (tensor_count(dx) == 0) return;
  CUDA_F(dx.dtype, "act_back_acc",
         CUDA_LAUNCH(cuda, act_back_kernel<F>, blocks_for(tensor_count(dx)), BLOCK, 0,
                     rows_of<F>(dx), rows_of<F>(dy), rows_of<F>(x), kind, dx.rows, dx.cols));
}

static void cuda_glu(Backend *be, Tensor y, Tensor gu, Activation kind) {
  CudaBackend *cuda = cuda_of(be);
  op_check_glu(be, y, gu, kind);
  CUDA_OP(cuda, "glu", CUDA_WRITE(y), CUDA_READ(gu));
  if (tensor_count(y) == 0) return;
  CUDA_F(y.dtype, "glu",
         CUDA_LAUNCH(cuda, glu_kernel<F>, blocks_for(tensor_count(y)), BLOCK, 0, rows_of<F>(y),
                     rows_of<F>(gu), kind, y.rows, y.cols));
}

static void cuda_glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind) {
  CudaBackend *cuda = cuda_of(be);
  op_check_glu_back_acc(be, dgu, dy, gu, kind);
  CUDA_OP(cuda, "glu_back_acc", CUDA_UPDATE(dgu), CUDA_READ(dy), CUDA_READ(gu));
  if (tensor_count(dy) == 0) return;
  CUDA_F(dy.dtype, "glu_back_acc",
         CUDA_LAUNCH(cuda, glu_back_kernel<F>, blocks_for(tensor_count(dy)), BLOCK, 0,
                     rows_of<F>(dgu), rows_of<F>(dy), rows_of<F>(gu), kind, dy.rows, dy.cols));
}

extern "C" const void *cuda_some_kernel(void) {
  return (const void *)add_kernel<float>;
}

extern "C" void cuda_elementwise_install(Backend *be) {
  be->fill = cuda_fill;
  be->add = cuda_add;
  be->scale = cuda_scale;
  be->scale_acc = cuda_scale_acc;
  be->dropout_acc = cuda_dropout_acc;
  be->act = cuda_act;
  be->act_back_acc = cuda_act_back_acc;
  be->glu = cuda_glu;
  be->glu_back_acc = cuda_glu_back_acc;
}
