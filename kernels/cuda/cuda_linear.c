// Linear layers: a plain product through cuBLASLt; a quantised weight is expanded to the
// activations' dtype just before. The few rows of a decode step go to kernels that multiply the
// weight as it lies (cuda_matvec.cu): those would read and write far more than the weight itself.
#include "cuda_gemm.h"
#include "cuda_scratch.h"

static Tensor expand(CudaBackend *cuda, Tensor w, DType dtype, char **scratch) {
  Tensor expanded = cuda_expanded(w, dtype, *scratch);
  if (cuda_is_quantised(w.dtype)) {
    cuda_convert(cuda, expanded, w);
    *scratch += cuda_scratch_weight(w, dtype);
  }
  return expanded;
}

static char *scratch_of(CudaBackend *cuda, int64_t bytes) {
  return bytes > 0 ? cuda_scratch(cuda, bytes) : NULL;
}

static void cuda_linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  CudaBackend *cuda = cuda_of(be);
  op_check_linear(be, y, x, w, bias);
  CUDA_OP(cuda, "linear", {y, acc, true}, CUDA_READ(x), CUDA_READ(w), CUDA_READ(bias));
  if (tensor_count(y) == 0) return;
  if (x.rows <= CUDA_MATVEC_ROWS) {
    cuda_matvec(cuda, y, x, w, bias, acc);
    return;
  }
  char *scratch = scratch_of(cuda, cuda_scratch_linear(y, x, w, bias));
  Tensor weight = expand(cuda, w, x.dtype, &scratch);
  cuda_gemm(cuda, y, x, false, weight, true, bias, acc, scratch);
}

static void cuda_linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  CudaBackend *cuda = cuda_of(be);
  op_check_linear_back_x_acc(be, dx, dy, w);
  CUDA_OP(cuda, "linear_back_x_acc", CUDA_UPDATE(dx), CUDA_READ(dy), CUDA_READ(w));
  if (tensor_count(dx) == 0) return;
  char *scratch = scratch_of(cuda, cuda_scratch_linear_back_x(dx, dy, w));
  Tensor weight = expand(cuda, w, dy.dtype, &scratch);
  cuda_gemm(cuda, dx, dy, false, weight, false, TENSOR_NONE, true, scratch);
}

static void cuda_linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  CudaBackend *cuda = cuda_of(be);
  op_check_linear_back_w_acc(be, dw, db, dy, x);
  CUDA_OP(cuda, "linear_back_w_acc", CUDA_UPDATE(dw), CUDA_UPDATE(db), CUDA_READ(dy), CUDA_READ(x));
  if (dy.rows == 0) return;
  char *scratch = scratch_of(cuda, cuda_scratch_linear_back_w(dw, db, dy, x));
  if (tensor_given(dw)) cuda_gemm(cuda, dw, dy, true, x, false, TENSOR_NONE, true, scratch);
  if (tensor_given(db)) cuda_column_sum_acc(cuda, db, dy, scratch);
}

void cuda_linear_install(Backend *be) {
  be->linear = cuda_linear;
  be->linear_back_x_acc = cuda_linear_back_x_acc;
  be->linear_back_w_acc = cuda_linear_back_w_acc;
}
