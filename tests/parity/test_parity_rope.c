// The QKV split with its rotation against the reference.
#include "parity.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};

typedef struct Shape {
  int64_t rows, heads, kv_heads, width;
  bool turned, slots;
  int64_t positions; // drawn below this
} Shape;

static const Shape shapes[] = {
    {0, 2, 1, 8, true, false, 8},      {1, 1, 1, 8, true, false, 1},
    {7, 3, 3, 24, true, false, 300},   {33, 9, 3, 64, true, false, 5000},
    {5, 4, 2, 40, false, false, 10},   {6, 4, 1, 80, true, true, 2048},
    {37, 2, 2, 16, true, true, 70000}, {11, 3, 1, 128, true, true, 900},
    {2, 32, 8, 64, true, true, 900},
};

static RopeArgs args_of(const Shape *s, const Tensor *t) {
  return (RopeArgs){.n_heads = s->heads,
                    .n_kv_heads = s->kv_heads,
                    .head_dim = s->width,
                    .positions = t[4],
                    .inv_freq = s->turned ? t[5] : TENSOR_NONE,
                    .slots = s->slots ? t[6] : TENSOR_NONE};
}

static void call_split(Backend *be, const Tensor *t, const void *user) {
  RopeArgs args = args_of(user, t);
  be->rope_split(be, t[0], t[1], t[2], t[3], &args);
}

static void call_back(Backend *be, const Tensor *t, const void *user) {
  RopeArgs args = args_of(user, t);
  be->rope_split_back_acc(be, t[3], t[0], t[1], t[2], &args);
}

static void run(const Shape *s, DType f, bool back) {
  ParityRole part = back ? PARITY_IN : s->slots ? PARITY_ACC : PARITY_OUT;
  ParityCase c = {.call = back ? call_back : call_split, .user = s};
  snprintf(c.name, sizeof c.name, "rope_split%s %s R%lld H%lld K%lld D%lld%s",
           back ? "_back_acc" : "", dtype_info(f)->name, (long long)s->rows, (long long)s->heads,
           (long long)s->kv_heads, (long long)s->width, s->slots ? " slots" : "");
  int64_t cache = s->slots ? 2 * s->rows + 3 : s->rows;
  parity_add(&c, "q", back ? PARITY_IN : PARITY_OUT, f, s->rows, s->heads * s->width, 3, 1);
  parity_add(&c, "k", part, f, cache, s->kv_heads * s->width, 1, 1);
  parity_add(&c, "v", part, f, cache, s->kv_heads * s->width, 2, 1);
  parity_add(&c, "qkv", back ? PARITY_ACC : PARITY_IN, f, s->rows,
             (s->heads + 2 * s->kv_heads) * s->width, 5, 1);
  parity_add_i32(&c, "positions", NULL, s->rows, s->positions);
  int freq = parity_add(&c, "inv_freq", PARITY_IN, DT_F32, 1, s->width / 2, 0, 1);
  for (int64_t i = 0; i < s->width / 2; i++) {
    parity_set(c.tensors[freq].t, 0, i, pow(10000, -2.0 * (double)i / (double)s->width));
  }
  int slots = parity_add_i32(&c, "slots", NULL, s->rows, 1);
  for (int64_t r = 0; r < s->rows; r++)
    parity_i32(&c, slots)[r] = r % 4 == 3 ? -1 : (int32_t)(2 * s->rows - 2 * r + 1);
  parity_run(&c);
}

static void test_split(void) {
  for (int f = 0; f < 2; f++) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) run(&shapes[s], floats[f], false);
  }
}

static void test_back(void) {
  for (int f = 0; f < 2; f++) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      if (!shapes[s].slots) run(&shapes[s], floats[f], true);
    }
  }
}

int main(void) {
  RUN(test_split);
  RUN(test_back);
  return test_done();
}
