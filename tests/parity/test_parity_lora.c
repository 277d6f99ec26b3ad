// Low-rank adapters against the reference: ranks around the tiles, dropout, rows of other adapters.
#include "parity.h"
#include "test.h"

static const DType floats[] = {DT_F32, DT_BF16};

typedef struct Shape {
  int64_t rows, in, out, rank, pad;
  float p;
  bool select;
  bool dx, da, db;
} Shape;

static const Shape shapes[] = {
    {0, 8, 8, 2, 0, 0, false, true, true, true},
    {1, 1, 1, 1, 0, 0, false, true, true, true},
    {7, 33, 17, 3, 1, 0.05f, false, true, true, true},
    {33, 65, 40, 8, 2, 0, true, true, true, true},
    {385, 31, 66, 8, 3, 0.5f, true, true, true, true},
    {20, 300, 129, 16, 0, 0.1f, false, true, false, true},
    {70, 64, 32, 5, 1, 0.1f, true, false, true, false},
    {19, 576, 192, 8, 0, 0.05f, false, true, true, true},
    {9, 70, 31, 64, 1, 0.3f, true, true, true, true},
    {65, 34, 67, 17, 0, 0.3f, true, true, true, true},
    {3, 21, 30, 130, 2, 0, false, true, true, true},
    {1100, 21, 10, 4, 0, 0.2f, true, true, true, true},
    // One column more than a multiple of 4, and of the tiles, on each side; and two.
    {65, 33, 65, 17, 1, 0.1f, true, true, true, true},
    {33, 65, 33, 65, 0, 0, false, true, true, true},
    {66, 37, 69, 5, 0, 0.1f, true, true, true, true},
    {33, 66, 34, 18, 2, 0, false, true, true, true},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static Dropout dropout_of(const Shape *s, const Tensor *t, int at) {
  return (Dropout){.p = s->p,
                   .seed = 42,
                   .tensor_id = 9,
                   .step = t[at],
                   .sequences = t[at + 1],
                   .positions = t[at + 2]};
}

static RowSelect select_of(const Shape *s, Tensor adapters) {
  return (RowSelect){.adapters = s->select ? adapters : TENSOR_NONE, .id = 1};
}

static void call_down(Backend *be, const Tensor *t, const void *user) {
  Dropout d = dropout_of(user, t, 3);
  be->lora_down(be, t[0], t[1], t[2], select_of(user, t[6]), &d);
}

static void call_up(Backend *be, const Tensor *t, const void *user) {
  be->lora_up_acc(be, t[0], t[1], t[2], 1.75f, select_of(user, t[3]));
}

// dx da db dt | dy t x a b | step sequences positions adapters
static void call_back(Backend *be, const Tensor *t, const void *user) {
  const Shape *s = user;
  Dropout d = dropout_of(s, t, 9);
  be->lora_back_acc(be, s->dx ? t[0] : TENSOR_NONE, s->da ? t[1] : TENSOR_NONE,
                    s->db ? t[2] : TENSOR_NONE, t[3], t[4], t[5], t[6], t[7], t[8], 1.75f,
                    select_of(s, t[12]), &d);
}

static void add_rows_info(ParityCase *c, const Shape *s) {
  parity_add_i32(c, "step", (int32_t[]){3}, 1, 0);
  parity_add_i32(c, "sequences", NULL, s->rows, 100);
  parity_add_i32(c, "positions", NULL, s->rows, 512);
  parity_add_i32(c, "adapters", NULL, s->rows, 3);
}

static float value(Tensor t, int64_t r, int64_t c) {
  return (float)parity_get(t, r, c);
}

// The sums in f32, one product after the other. `factors` are what dropout and selection make of x.
static float *factors_of(const Shape *s, Tensor x, const Tensor *info, Tensor adapters) {
  // Dropout of ones, by the reference: a tensor of zeros that dropout(1) is added to.
  Tensor ones = parity_tensor(DT_F32, x.rows, x.cols, 0),
         out = parity_tensor(DT_F32, x.rows, x.cols, 0);
  for (int64_t r = 0; r < x.rows; r++) {
    bool on = !s->select || ((const int32_t *)adapters.data)[r] == 1;
    for (int64_t c = 0; c < x.cols; c++) {
      parity_set(ones, r, c, on ? 1 : 0);
      parity_set(out, r, c, 0);
    }
  }
  Dropout d = dropout_of(s, info, 0);
  parity_reference()->dropout_acc(parity_reference(), out, ones, &d);
  return out.data;
}

static void naive_down(const Tensor *t, const void *user) {
  const float *factors = factors_of(user, t[1], t + 3, t[6]);
  for (int64_t r = 0; r < t[0].rows; r++) {
    for (int64_t j = 0; j < t[0].cols; j++) {
      float sum = 0;
      for (int64_t k = 0; k < t[1].cols; k++)
        sum += value(t[1], r, k) * factors[r * t[1].cols + k] * value(t[2], j, k);
      parity_set(t[0], r, j, (double)sum);
    }
  }
}

static void naive_up(const Tensor *t, const void *user) {
  const Shape *s = user;
  for (int64_t r = 0; r < t[0].rows; r++) {
    if (s->select && ((const int32_t *)t[3].data)[r] != 1) continue;
    for (int64_t n = 0; n < t[0].cols; n++) {
      float sum = 0;
      for (int64_t j = 0; j < s->rank; j++) sum += value(t[1], r, j) * value(t[2], n, j);
      parity_set(t[0], r, n, (double)(value(t[0], r, n) + 1.75f * sum));
    }
  }
}

static void naive_back(const Tensor *t, const void *user) {
  const Shape *s = user;
  const float *factors = factors_of(s, t[6], t + 9, t[12]);
  for (int64_t r = 0; r < s->rows; r++) {
    bool on = !s->select || ((const int32_t *)t[12].data)[r] == 1;
    for (int64_t j = 0; j < s->rank; j++) {
      float sum = 0;
      for (int64_t n = 0; on && n < s->out; n++) sum += value(t[4], r, n) * value(t[8], n, j);
      parity_set(t[3], r, j, (double)(1.75f * sum));
    }
    for (int64_t k = 0; s->dx && on && k < s->in; k++) {
      float sum = 0;
      for (int64_t j = 0; j < s->rank; j++) sum += value(t[3], r, j) * value(t[7], j, k);
      parity_set(t[0], r, k, (double)(value(t[0], r, k) + factors[r * s->in + k] * sum));
    }
  }
  for (int64_t j = 0; j < s->rank; j++) {
    for (int64_t k = 0; s->da && k < s->in; k++) {
      float sum = 0;
      for (int64_t r = 0; r < s->rows; r++)
        sum += value(t[3], r, j) * factors[r * s->in + k] * value(t[6], r, k);
      parity_set(t[1], j, k, (double)(value(t[1], j, k) + sum));
    }
    for (int64_t n = 0; s->db && n < s->out; n++) {
      float sum = 0;
      for (int64_t r = 0; r < s->rows; r++) {
        bool on = !s->select || ((const int32_t *)t[12].data)[r] == 1;
        if (on) sum += value(t[4], r, n) * value(t[5], r, j);
      }
      parity_set(t[2], n, j, (double)(value(t[2], n, j) + 1.75f * sum));
    }
  }
}

static void test_down(void) {
  for (int f = 0; f < 2; f++) {
    for (int i = 0; i < N_SHAPES; i++) {
      const Shape *s = &shapes[i];
      ParityCase c = {.call = call_down, .naive = naive_down, .user = s};
      snprintf(c.name, sizeof c.name, "lora_down %s shape %d", dtype_info(floats[f])->name, i);
      parity_add(&c, "t", PARITY_OUT, DT_F32, s->rows, s->rank, s->pad, 1);
      parity_add(&c, "x", PARITY_IN, floats[f], s->rows, s->in, s->pad + 1, 1);
      parity_add(&c, "a", PARITY_IN, DT_F32, s->rank, s->in, s->pad, 1);
      add_rows_info(&c, s);
      parity_run(&c);
    }
  }
}

static void test_up(void) {
  for (int f = 0; f < 2; f++) {
    for (int i = 0; i < N_SHAPES; i++) {
      const Shape *s = &shapes[i];
      ParityCase c = {.call = call_up, .naive = naive_up, .user = s};
      snprintf(c.name, sizeof c.name, "lora_up_acc %s shape %d", dtype_info(floats[f])->name, i);
      parity_add(&c, "y", PARITY_ACC, floats[f], s->rows, s->out, s->pad, 1);
      parity_add(&c, "t", PARITY_IN, DT_F32, s->rows, s->rank, s->pad, 1);
      parity_add(&c, "b", PARITY_IN, DT_F32, s->out, s->rank, s->pad, 1);
      parity_add_i32(&c, "adapters", NULL, s->rows, 3);
      parity_run(&c);
    }
  }
}

static void test_back(void) {
  for (int f = 0; f < 2; f++) {
    for (int i = 0; i < N_SHAPES; i++) {
      const Shape *s = &shapes[i];
      ParityCase c = {.call = call_back, .naive = naive_back, .user = s};
      snprintf(c.name, sizeof c.name, "lora_back_acc %s shape %d", dtype_info(floats[f])->name, i);
      parity_add(&c, "dx", PARITY_ACC, floats[f], s->rows, s->in, s->pad, 1);
      parity_add(&c, "da", PARITY_ACC, DT_F32, s->rank, s->in, s->pad, 1);
      parity_add(&c, "db", PARITY_ACC, DT_F32, s->out, s->rank, s->pad, 1);
      parity_add(&c, "dt", PARITY_OUT, DT_F32, s->rows, s->rank, s->pad, 1);
      parity_add(&c, "dy", PARITY_IN, floats[f], s->rows, s->out, s->pad + 1, 1);
      int t = parity_add(&c, "t", PARITY_IN, DT_F32, s->rows, s->rank, 0, 1);
      parity_add(&c, "x", PARITY_IN, floats[f], s->rows, s->in, s->pad, 1);
      parity_add(&c, "a", PARITY_IN, DT_F32, s->rank, s->in, s->pad, 1);
      parity_add(&c, "b", PARITY_IN, DT_F32, s->out, s->rank, s->pad, 1);
      add_rows_info(&c, s);
      for (int64_t r = 0; s->select && r < s->rows; r++) { // as lora_down leaves it
        if (parity_i32(&c, 12)[r] == 1) continue;
        for (int64_t j = 0; j < s->rank; j++) parity_set(c.tensors[t].t, r, j, 0);
      }
      parity_run(&c);
    }
  }
}

// A batch of several adapters: one call each, of its own rank, on the same y and dx. t and dt of
// rows of another adapter must be zeros, and rows of none stay as they are.
static void call_several(Backend *be, const Tensor *t, const void *user) {
  const Shape *s = user;
  Dropout d = dropout_of(s, t, 12);
  for (int i = 0; i < 2; i++) {
    RowSelect select = {.adapters = t[15], .id = i};
    Tensor a = t[4 + 4 * i], b = t[5 + 4 * i], low = t[6 + 4 * i], dlow = t[7 + 4 * i];
    be->lora_down(be, low, t[3], a, select, &d);
    be->lora_up_acc(be, t[0], low, b, 0.5f, select);
    be->lora_back_acc(be, t[1], TENSOR_NONE, TENSOR_NONE, dlow, t[2], low, t[3], a, b, 0.5f, select,
                      &d);
  }
}

static void test_several(void) {
  static const Shape shape = {37, 45, 38, 3, 0, 0.1f, true, true, false, false};
  for (int f = 0; f < 2; f++) {
    const Shape *s = &shape;
    ParityCase c = {.call = call_several, .user = s};
    snprintf(c.name, sizeof c.name, "several adapters %s", dtype_info(floats[f])->name);
    parity_add(&c, "y", PARITY_ACC, floats[f], s->rows, s->out, 0, 1);
    parity_add(&c, "dx", PARITY_ACC, floats[f], s->rows, s->in, 0, 1);
    parity_add(&c, "dy", PARITY_IN, floats[f], s->rows, s->out, 0, 1);
    parity_add(&c, "x", PARITY_IN, floats[f], s->rows, s->in, 0, 1);
    for (int i = 0; i < 2; i++) {
      int64_t rank = i == 0 ? s->rank : 8;
      parity_add(&c, i == 0 ? "a 0" : "a 1", PARITY_IN, DT_F32, rank, s->in, 0, 1);
      parity_add(&c, i == 0 ? "b 0" : "b 1", PARITY_IN, DT_F32, s->out, rank, 0, 1);
      parity_add(&c, i == 0 ? "t 0" : "t 1", PARITY_OUT, DT_F32, s->rows, rank, 0, 1);
      parity_add(&c, i == 0 ? "dt 0" : "dt 1", PARITY_OUT, DT_F32, s->rows, rank, 0, 1);
    }
    add_rows_info(&c, s); // adapters 0, 1 and 2, of which there is none
    parity_run(&c);
  }
}

// ---- whole numbers: every sum is exact, so that the mask of dropout must be the CPU's bit for bit
// --

static void whole_numbers(ParityCase *c) {
  for (int i = 0; i < c->n; i++) {
    Tensor t = c->tensors[i].t;
    if (c->tensors[i].role == PARITY_OUT || !dtype_info(t.dtype)->is_float) continue;
    for (int64_t r = 0; r < t.rows; r++) {
      for (int64_t k = 0; k < t.cols; k++)
        parity_set(t, r, k, (double)((r * 5 + k * 3 + i) % 5 - 2));
    }
  }
}

static void test_mask(void) {
  static const Shape some[] = {{37, 70, 33, 5, 0, 0.5f, true, true, true, true},
                               {66, 33, 20, 17, 1, 0.75f, false, true, true, true},
                               {5, 9, 9, 1, 0, 0.5f, false, true, true, true}};
  for (int i = 0; i < 3; i++) {
    const Shape *s = &some[i];
    ParityCase down = {.call = call_down, .user = s, .exact = true};
    snprintf(down.name, sizeof down.name, "lora_down of whole numbers, shape %d", i);
    parity_add(&down, "t", PARITY_OUT, DT_F32, s->rows, s->rank, s->pad, 1);
    parity_add(&down, "x", PARITY_IN, DT_F32, s->rows, s->in, s->pad + 1, 1);
    parity_add(&down, "a", PARITY_IN, DT_F32, s->rank, s->in, s->pad, 1);
    add_rows_info(&down, s);
    whole_numbers(&down);
    parity_run(&down);
    ParityCase back = {.call = call_back, .user = s, .exact = true};
    snprintf(back.name, sizeof back.name, "lora_back_acc of whole numbers, shape %d", i);
    parity_add(&back, "dx", PARITY_ACC, DT_F32, s->rows, s->in, s->pad, 1);
    parity_add(&back, "da", PARITY_ACC, DT_F32, s->rank, s->in, s->pad, 1);
    parity_add(&back, "db", PARITY_ACC, DT_F32, s->out, s->rank, s->pad, 1);
    parity_add(&back, "dt", PARITY_OUT, DT_F32, s->rows, s->rank, s->pad, 1);
    parity_add(&back, "dy", PARITY_IN, DT_F32, s->rows, s->out, s->pad + 1, 1);
    int t = parity_add(&back, "t", PARITY_IN, DT_F32, s->rows, s->rank, 0, 1);
    parity_add(&back, "x", PARITY_IN, DT_F32, s->rows, s->in, s->pad, 1);
    parity_add(&back, "a", PARITY_IN, DT_F32, s->rank, s->in, s->pad, 1);
    parity_add(&back, "b", PARITY_IN, DT_F32, s->out, s->rank, s->pad, 1);
    add_rows_info(&back, s);
    whole_numbers(&back);
    for (int64_t r = 0; s->select && r < s->rows; r++) { // as lora_down leaves it
      for (int64_t j = 0; parity_i32(&back, 12)[r] != 1 && j < s->rank; j++)
        parity_set(back.tensors[t].t, r, j, 0);
    }
    parity_run(&back);
  }
}

int main(void) {
  RUN(test_down);
  RUN(test_up);
  RUN(test_back);
  RUN(test_several);
  RUN(test_mask);
  return test_done();
}
