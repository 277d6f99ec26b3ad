// fill, cast, add, scale, dropout, activations and gated units against the reference.
#include "parity.h"
#include "test.h"

static const DType floats[] = {DT_F32, DT_BF16};
static const int64_t shapes[][3] = { // rows, columns, pad
    {0, 5, 0},   {1, 1, 0},    {3, 7, 1},   {5, 16, 3}, {17, 33, 2},
    {2, 576, 0}, {37, 515, 5}, {3, 255, 0}, {2, 257, 1}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void call_fill(Backend *be, const Tensor *t, const void *user) {
  be->fill(be, t[0], *(const double *)user);
}

static void call_add(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->add(be, t[0], t[1], t[2]);
}

static void call_add_to_first(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->add(be, t[0], t[0], t[1]);
}

static void call_add_to_second(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->add(be, t[0], t[1], t[0]);
}

static void call_cast(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->cast(be, t[0], t[1]);
}

static void test_fill(void) {
  static const DType dtypes[] = {DT_F32, DT_BF16, DT_F16, DT_F64, DT_I32};
  static const double values[] = {-1.25, 1.0 / 3, 0.1, 1.0 / 3, -7};
  for (int k = 0; k < 5; k++) {
    for (int s = 0; s < N_SHAPES; s++) {
      const int64_t *d = shapes[s];
      ParityCase c = {.call = call_fill, .user = &values[k], .exact = true};
      snprintf(c.name, sizeof c.name, "fill %s %lldx%lld", dtype_info(dtypes[k])->name,
               (long long)d[0], (long long)d[1]);
      parity_add(&c, "y", PARITY_OUT, dtypes[k], d[0], d[1], d[2], 1);
      parity_run(&c);
    }
  }
}

static void test_add(void) {
  static void (*const calls[])(Backend *, const Tensor *,
                               const void *) = {call_add, call_add_to_first, call_add_to_second};
  for (int f = 0; f < 2; f++) {
    for (int s = 0; s < N_SHAPES; s++) {
      for (int k = 0; k < 3; k++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = calls[k], .exact = true};
        snprintf(c.name, sizeof c.name, "add %s %lldx%lld, form %d", dtype_info(floats[f])->name,
                 (long long)d[0], (long long)d[1], k);
        parity_add(&c, "y", k > 0 ? PARITY_ACC : PARITY_OUT, floats[f], d[0], d[1], d[2], 1);
        parity_add(&c, "a", PARITY_IN, floats[f], d[0], d[1], d[2] + 1, 1);
        if (k == 0) parity_add(&c, "b", PARITY_IN, floats[f], d[0], d[1], 0, 1);
        parity_run(&c);
      }
    }
  }
}

static void call_scale(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->scale(be, t[0], t[1], t[2]);
}

static void call_scale_in_place(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->scale(be, t[0], t[0], t[1]);
}

static void call_scale_acc(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->scale_acc(be, t[0], t[1], t[2]);
}

static void run_scale(const char *name, void (*call)(Backend *, const Tensor *, const void *),
                      ParityRole role, DType f, const int64_t *d) {
  ParityCase c = {.call = call};
  snprintf(c.name, sizeof c.name, "%s %s %lldx%lld", name, dtype_info(f)->name, (long long)d[0],
           (long long)d[1]);
  parity_add(&c, "y", role, f, d[0], d[1], d[2], 1);
  if (call != call_scale_in_place) parity_add(&c, "x", PARITY_IN, f, d[0], d[1], d[2] + 1, 1);
  parity_add(&c, "a", PARITY_IN, DT_F32, 1, 1, 0, 3);
  parity_run(&c);
}

static void test_scale(void) {
  for (int f = 0; f < 2; f++) {
    for (int s = 0; s < N_SHAPES; s++) {
      run_scale("scale", call_scale, PARITY_OUT, floats[f], shapes[s]);
      run_scale("scale in place", call_scale_in_place, PARITY_ACC, floats[f], shapes[s]);
      run_scale("scale_acc", call_scale_acc, PARITY_ACC, floats[f], shapes[s]);
    }
  }
}

static void test_cast(void) {
  static const DType from[] = {DT_F32,  DT_BF16, DT_F16,  DT_F64, DT_Q8_0,
                               DT_Q4_0, DT_Q4_1, DT_Q4_K, DT_Q6_K};
  static const DType to[] = {DT_F32, DT_BF16, DT_F16, DT_F64};
  for (int a = 0; a < 9; a++) {
    for (int b = 0; b < 4; b++) {
      for (int s = 0; s < 3; s++) {
        int64_t block = dtype_info(from[a])->block_elements;
        bool quantised = block > 1;
        int64_t rows = 1 + 9 * s,
                cols =
                    quantised ? (block > 32 ? block * (1 + s) : 32 * (1 + 8 * s * s)) : 7 + 450 * s,
                pad = quantised ? block * s : s;
        ParityCase c = {.call = call_cast, .exact = true};
        snprintf(c.name, sizeof c.name, "cast %s to %s %lldx%lld", dtype_info(from[a])->name,
                 dtype_info(to[b])->name, (long long)rows, (long long)cols);
        parity_add(&c, "y", PARITY_OUT, to[b], rows, cols, 3 * s, 1);
        int x = parity_add(&c, "x", PARITY_IN, from[a], rows, cols, pad, 3);
        if (quantised) parity_quantised(&c, x);
        parity_run(&c);
      }
    }
  }
}

static void call_dropout(Backend *be, const Tensor *t, const void *user) {
  Dropout d = {.p = *(const float *)user,
               .seed = 0x123456789abcdefu,
               .tensor_id = 77,
               .step = t[2],
               .sequences = t[3],
               .positions = t[4]};
  be->dropout_acc(be, t[0], t[1], &d);
}

static void test_dropout(void) {
  static const float rates[] = {0, 0.05f, 0.5f, 0.999f};
  for (int p = 0; p < 4; p++) {
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = call_dropout, .user = &rates[p]};
        snprintf(c.name, sizeof c.name, "dropout_acc %g %s %lldx%lld", (double)rates[p],
                 dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
        parity_add(&c, "y", PARITY_ACC, floats[f], d[0], d[1], d[2], 1);
        parity_add(&c, "x", PARITY_IN, floats[f], d[0], d[1], d[2] + 1, 1);
        parity_add_i32(&c, "step", (int32_t[]){12345}, 1, 0);
        parity_add_i32(&c, "sequences", NULL, d[0], 1 << 20);
        parity_add_i32(&c, "positions", NULL, d[0], 4096);
        parity_run(&c);
      }
    }
  }
}

static void call_act(Backend *be, const Tensor *t, const void *user) {
  be->act(be, t[0], t[1], *(const Activation *)user);
}

static void call_act_back(Backend *be, const Tensor *t, const void *user) {
  be->act_back_acc(be, t[0], t[1], t[2], *(const Activation *)user);
}

static void call_glu(Backend *be, const Tensor *t, const void *user) {
  be->glu(be, t[0], t[1], *(const Activation *)user);
}

static void call_glu_back(Backend *be, const Tensor *t, const void *user) {
  be->glu_back_acc(be, t[0], t[1], t[2], *(const Activation *)user);
}

static void run_activation(const Activation *kind, DType f, const int64_t *d, double scale) {
  char what[64];
  snprintf(what, sizeof what, "%d x%g %s %lldx%lld", (int)*kind, scale, dtype_info(f)->name,
           (long long)d[0], (long long)d[1]);
  ParityCase act = {.call = call_act, .user = kind},
             act_back = {.call = call_act_back, .user = kind},
             glu = {.call = call_glu, .user = kind},
             glu_back = {.call = call_glu_back, .user = kind};
  snprintf(act.name, sizeof act.name, "act %s", what);
  parity_add(&act, "y", PARITY_OUT, f, d[0], d[1], d[2], 1);
  parity_add(&act, "x", PARITY_IN, f, d[0], d[1], d[2] + 1, scale);
  parity_run(&act);
  snprintf(act_back.name, sizeof act_back.name, "act_back_acc %s", what);
  parity_add(&act_back, "dx", PARITY_ACC, f, d[0], d[1], d[2], 1);
  parity_add(&act_back, "dy", PARITY_IN, f, d[0], d[1], 0, 1);
  parity_add(&act_back, "x", PARITY_IN, f, d[0], d[1], d[2] + 1, scale);
  parity_run(&act_back);
  snprintf(glu.name, sizeof glu.name, "glu %s", what);
  parity_add(&glu, "y", PARITY_OUT, f, d[0], d[1], d[2], 1);
  parity_add(&glu, "gu", PARITY_IN, f, d[0], 2 * d[1], d[2] + 1, scale);
  parity_run(&glu);
  snprintf(glu_back.name, sizeof glu_back.name, "glu_back_acc %s", what);
  parity_add(&glu_back, "dgu", PARITY_ACC, f, d[0], 2 * d[1], d[2], 1);
  parity_add(&glu_back, "dy", PARITY_IN, f, d[0], d[1], 0, 1);
  parity_add(&glu_back, "gu", PARITY_IN, f, d[0], 2 * d[1], d[2] + 1, scale);
  parity_run(&glu_back);
}

static void test_activations(void) {
  static const Activation kinds[] = {ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_QUICK_GELU};
  for (int k = 0; k < 4; k++) {
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) run_activation(&kinds[k], floats[f], shapes[s], 2);
      run_activation(&kinds[k], floats[f], shapes[4], 60); // where exp under- and overflows
    }
  }
}

int main(void) {
  RUN(test_fill);
  RUN(test_add);
  RUN(test_scale);
  RUN(test_cast);
  RUN(test_dropout);
  RUN(test_activations);
  return test_done();
}
