// The linear map and its gradients through the library GEMM, in f32 and in bf16 arithmetic.
#include "linear_cases.h"
#include "test.h"

static void run_all(const char *gemm) {
  static const LinearShape shapes[] = {
      {0, 5, 7, 0}, {9, 31, 33, 1}, {16, 7, 64, 2}, {113, 65, 385, 3}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    for (int f = 0; f < 2; f++) {
      DType type = f ? DT_BF16 : DT_F32;
      linear_run(gemm, LINEAR_FORWARD, &shapes[s], type, type, type, LINEAR_PLAIN);
      linear_run(gemm, LINEAR_FORWARD, &shapes[s], type, type, type, LINEAR_BIAS | LINEAR_ACC);
      linear_run(gemm, LINEAR_FORWARD, &shapes[s], type, type, DT_F32, LINEAR_BIAS);
      linear_run(gemm, LINEAR_FORWARD, &shapes[s], type, type, DT_F32, LINEAR_ACC);
      linear_run(gemm, LINEAR_BACK_X, &shapes[s], type, type, type, 0);
      linear_run(gemm, LINEAR_BACK_W, &shapes[s], type, type, DT_F32, LINEAR_BIAS);
      linear_run(gemm, LINEAR_BACK_W, &shapes[s], type, type, type, 0);
    }
  }
  static const LinearShape quantised = {17, 35, 96, 1};
  for (int f = 0; f < 2; f++) {
    DType type = f ? DT_BF16 : DT_F32;
    linear_run(gemm, LINEAR_FORWARD, &quantised, type, DT_Q4_1, type, LINEAR_BIAS);
    linear_run(gemm, LINEAR_BACK_X, &quantised, type, DT_Q8_0, type, 0);
  }
}

static void test_f32(void) {
  run_all("onednn-f32");
}

static void test_bf16(void) {
  run_all("onednn-bf16");
}

int main(void) {
  RUN(test_f32);
  RUN(test_bf16);
  return test_done();
}
