// The linear map and its gradients against the reference: the own GEMM in every instruction set,
// and the library's.
#include "linear_cases.h"
#include "parity.h"
#include "quant.h"
#include "test.h"

static const char *const own = "own";

static void test_linear(void) {
  // Around the tiles (14 x 32, 6 x 16, 4 x 8), the blocks of 112 rows and 384 steps, and the few
  // rows of decode, with little work and with enough for several threads.
  static const LinearShape shapes[] = {
      {0, 5, 7, 0},    {1, 1, 1, 0},      {1, 33, 65, 1},  {2, 7, 64, 2},   {3, 31, 33, 3},
      {5, 16, 129, 0}, {8, 47, 100, 1},   {9, 31, 33, 1},  {13, 33, 17, 2}, {113, 65, 385, 3},
      {29, 97, 31, 0}, {15, 130, 770, 1}, {7, 260, 130, 1}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    for (int f = 0; f < 2; f++) {
      DType type = f ? DT_BF16 : DT_F32;
      linear_run(own, LINEAR_FORWARD, &shapes[s], type, type, type, LINEAR_PLAIN);
      linear_run(own, LINEAR_FORWARD, &shapes[s], type, type, type, LINEAR_ACC);
      linear_run(own, LINEAR_FORWARD, &shapes[s], type, type, DT_F32, LINEAR_BIAS);
      linear_run(own, LINEAR_FORWARD, &shapes[s], type, type, type, LINEAR_BIAS | LINEAR_ACC);
    }
  }
}

static void test_back(void) {
  static const LinearShape shapes[] = {{0, 5, 7, 0},      {1, 1, 1, 0},
                                       {1, 33, 65, 1},    {9, 31, 33, 1},
                                       {13, 33, 17, 2},   {2, 7, 64, 2},
                                       {113, 65, 385, 3}, {29, 390, 31, 0},
                                       {300, 97, 31, 1}}; // the last: a bias for threads
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    for (int f = 0; f < 2; f++) {
      DType type = f ? DT_BF16 : DT_F32;
      linear_run(own, LINEAR_BACK_X, &shapes[s], type, type, type, 0);
      linear_run(own, LINEAR_BACK_W, &shapes[s], type, type, DT_F32, LINEAR_BIAS);
      linear_run(own, LINEAR_BACK_W, &shapes[s], type, type, type, 0);
    }
  }
}

static void test_quantised(void) {
  static const DType weights[] = {DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q4_K, DT_Q6_K};
  static const LinearShape shapes[] = {
      {1, 5, 32, 0}, {4, 33, 96, 2}, {17, 35, 416, 1}, {3, 261, 96, 0}};
  for (int w = 0; w < 5; w++) {
    for (int s = 0; s < 4; s++) {
      LinearShape shape = shapes[s];
      int64_t block = dtype_info(weights[w])->block_elements;
      if (block > QUANT_BLOCK) shape.in = block * (1 + s % 3);
      for (int f = 0; f < 2; f++) {
        DType type = f ? DT_BF16 : DT_F32;
        linear_run(own, LINEAR_FORWARD, &shape, type, weights[w], type, LINEAR_BIAS);
        linear_run(own, LINEAR_BACK_X, &shape, type, weights[w], type, 0);
      }
    }
  }
}

// The few rows of a decode step, around their limit, by each kind of weight: rows that are aligned
// and that are not, in part and all, of less and more elements than a warp takes at a time.
static void test_few_rows(void) {
  static const DType weights[] = {DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q4_K, DT_Q6_K};
  static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 9, 15, 16, 17};
  static const int64_t shapes[][3] = {{9, 7, 0},    {3, 776, LINEAR_DENSE}, {8, 257, 1},
                                      {9, 1093, 2}, {3, 1030, 1},           {2, 1320, LINEAR_DENSE},
                                      {5, 0, 0}}; // out, in, pad
  for (int r = 0; r < 10; r++) {
    for (int w = 0; w < 6; w++) {
      for (int s = 0; s < (rows[r] > LINEAR_FEW ? 6 : 7); s++) {
        int64_t block = dtype_info(weights[w])->block_elements;
        int64_t in = (shapes[s][1] + block - 1) / block * block;
        LinearShape shape = {rows[r], shapes[s][0], in, shapes[s][2]};
        int flags = (r + w + s) % 4; // with and without a bias, added to and not
        DType y = (r + s) % 2 ? DT_F32 : DT_BF16, plain = w == 0 ? DT_F32 : weights[w];
        linear_run(own, LINEAR_FORWARD, &shape, DT_BF16, weights[w], y, flags);
        linear_run(own, LINEAR_FORWARD, &shape, DT_F32, plain, DT_F32, flags);
      }
    }
  }
}

// A sum that takes two ranges of the packed panel, and columns that take two.
static void test_ranges(void) {
  static const LinearShape deep = {9, 3, 4100, 0}, wide = {10, 4099, 9, 1},
                           huge = {9, 1100, 4100, 0};
  for (int f = 0; f < 2; f++) {
    DType type = f ? DT_BF16 : DT_F32;
    linear_run(own, LINEAR_FORWARD, &deep, type, type, type, LINEAR_ACC);
    linear_run(own, LINEAR_FORWARD, &deep, type, type, type, LINEAR_BIAS);
    linear_run(own, LINEAR_BACK_X, &wide, type, type, type, 0);
  }
  linear_run(own, LINEAR_FORWARD, &huge, DT_BF16, DT_BF16, DT_BF16, LINEAR_PLAIN);
}

static void call_linear(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->linear(be, t[0], t[1], t[2], TENSOR_NONE, false);
}

// A sum whose first part bf16 cannot hold (257): also where a product is cut along its depth, only
// the whole is rounded.
static void test_cut_sums(void) {
  enum { ROWS = 17, OUT = 3, IN = 24 };
  ParityCase c = {.call = call_linear, .exact = true, .gemm = own};
  snprintf(c.name, sizeof c.name, "linear whose parts are no numbers of bf16");
  parity_add(&c, "y", PARITY_OUT, DT_BF16, ROWS, OUT, 0, 1);
  int x = parity_add(&c, "x", PARITY_IN, DT_BF16, ROWS, IN, 0, 0),
      w = parity_add(&c, "w", PARITY_IN, DT_BF16, OUT, IN, 0, 0);
  for (int64_t r = 0; r < ROWS; r++) {
    parity_set(c.tensors[x].t, r, 0, 256);
    parity_set(c.tensors[x].t, r, 1, 1);
    parity_set(c.tensors[x].t, r, IN / 2, -256);
  }
  for (int64_t n = 0; n < OUT; n++) {
    for (int64_t k = 0; k < IN; k++) parity_set(c.tensors[w].t, n, k, 1);
  }
  parity_run(&c);
}

// A bias that is a part of something: it begins at no more than 16 bytes.
static void call_inner_bias(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  int64_t from = 16 / dtype_bytes(t[3].dtype, 1);
  be->linear(be, t[0], t[1], t[2], tensor_cols(t[3], from, t[0].cols), false);
}

static void test_inner_bias(void) {
  enum { ROWS = 17, OUT = 16, IN = 24 };
  for (int f = 0; f < 2; f++) {
    DType type = f ? DT_BF16 : DT_F32;
    ParityCase c = {.call = call_inner_bias, .gemm = own};
    snprintf(c.name, sizeof c.name, "linear in %s with a bias within a row",
             dtype_info(type)->name);
    parity_add(&c, "y", PARITY_OUT, type, ROWS, OUT, 0, 1);
    parity_add(&c, "x", PARITY_IN, type, ROWS, IN, 0, 1);
    parity_add(&c, "w", PARITY_IN, type, OUT, IN, 0, 1);
    parity_add(&c, "biases", PARITY_IN, type, 1, 3 * OUT, 0, 1);
    parity_run(&c);
  }
}

int main(void) {
  RUN(test_linear);
  RUN(test_back);
  RUN(test_quantised);
  RUN(test_few_rows);
  RUN(test_cut_sums);
  RUN(test_inner_bias);
  if (!parity_on_cuda()) RUN(test_ranges); // of the CPU's packed panel
  return test_done();
}
