// Sums, the clip factor and AdamW against the reference.
#include "parity.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};
static const int64_t shapes[][3] = {{0, 5, 0},    {1, 1, 0},    {3, 7, 1},     {17, 33, 2},
                                    {3, 8200, 3}, {64, 300, 0}, {1, 16383, 0}, {1, 16385, 0}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void call_sum(Backend *be, const Tensor *t, const void *user) {
  if (*(const bool *)user) {
    be->sum_squares(be, t[0], t[1]);
  } else {
    be->sum_acc(be, t[0], t[1]);
  }
}

static void test_sums(void) {
  for (int squares = 0; squares < 2; squares++) {
    bool user = squares;
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = call_sum, .user = &user};
        snprintf(c.name, sizeof c.name, "%s %s %lldx%lld", squares ? "sum_squares" : "sum_acc",
                 dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
        parity_add(&c, "out", squares ? PARITY_OUT : PARITY_ACC, DT_F64, 1, 1, 0, 1);
        parity_add(&c, "x", PARITY_IN, floats[f], d[0], d[1], d[2], 1);
        parity_run(&c);
      }
    }
  }
}

typedef struct ClipForm {
  float max_norm;
  bool guarded;
  double guard;
} ClipForm;

static void call_clip(Backend *be, const Tensor *t, const void *user) {
  const ClipForm *form = user;
  be->clip_factor(be, t[0], t[1], form->guarded ? t[2] : TENSOR_NONE, form->max_norm);
}

static void test_clip_factor(void) {
  static const ClipForm forms[] = {{0, false, 0}, {1, false, 0}, {1000, false, 0}, {1, true, 2.5}};
  for (int k = 0; k < 4; k++) {
    for (int64_t n = 0; n < 4; n++) {
      ParityCase c = {.call = call_clip, .user = &forms[k]};
      snprintf(c.name, sizeof c.name, "clip_factor of %lld sums to %g%s", (long long)n,
               (double)forms[k].max_norm, forms[k].guarded ? ", guarded" : "");
      parity_add(&c, "clip", PARITY_OUT, DT_F32, 1, 2, 0, 1);
      int sums = parity_add(&c, "sums", PARITY_IN, DT_F64, 1, n, 0, 1);
      for (int64_t i = 0; i < n; i++) parity_set(c.tensors[sums].t, 0, i, 3.5 + (double)i);
      int guard = parity_add(&c, "guard", PARITY_IN, DT_F64, 1, 1, 0, 1);
      parity_set(c.tensors[guard].t, 0, 0, forms[k].guard);
      parity_run(&c);
    }
  }
}

typedef struct AdamForm {
  DType w, g;
  bool master, finite;
} AdamForm;

static void call_adamw(Backend *be, const Tensor *t, const void *user) {
  const AdamForm *form = user;
  AdamArgs args = {.lr = t[5],
                   .step = t[6],
                   .clip = t[7],
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .eps = 1e-8f,
                   .decay = 0.01f};
  be->adamw(be, t[0], form->master ? t[1] : TENSOR_NONE, t[2], t[3], t[4], &args);
}

static void test_adamw(void) {
  static const AdamForm forms[] = {{DT_F32, DT_F32, false, true}, {DT_F32, DT_BF16, false, true},
                                   {DT_BF16, DT_F32, true, true}, {DT_BF16, DT_BF16, true, true},
                                   {DT_F32, DT_F32, true, true},  {DT_F32, DT_F32, false, false},
                                   {DT_F32, DT_BF16, true, true}};
  for (int k = 0; k < 7; k++) {
    for (int s = 0; s < N_SHAPES; s++) {
      const int64_t *d = shapes[s];
      int64_t n = d[0] * d[1];
      ParityCase c = {.call = call_adamw, .user = &forms[k]};
      snprintf(c.name, sizeof c.name, "adamw form %d %lldx%lld", k, (long long)d[0],
               (long long)d[1]);
      parity_add(&c, "w", PARITY_ACC, forms[k].w, d[0], d[1], 0, 1);
      parity_add(&c, "master", PARITY_ACC, DT_F32, 1, n, 0, 1);
      parity_add(&c, "m", PARITY_ACC, DT_F32, 1, n, 0, 0.1);
      int v = parity_add(&c, "v", PARITY_ACC, DT_F32, d[0], d[1], 0, 0.1);
      for (int64_t r = 0; r < d[0]; r++) {
        for (int64_t i = 0; i < d[1]; i++) {
          parity_set(c.tensors[v].t, r, i, fabs(parity_get(c.tensors[v].t, r, i)));
        }
      }
      parity_add(&c, "g", PARITY_IN, forms[k].g, 1, n, 0, 1);
      int lr = parity_add(&c, "lr", PARITY_IN, DT_F32, 1, 1, 0, 1);
      parity_set(c.tensors[lr].t, 0, 0, 1e-2);
      parity_add_i32(&c, "step", (int32_t[]){k + 1}, 1, 0);
      int clip = parity_add(&c, "clip", PARITY_IN, DT_F32, 1, 2, 0, 1);
      parity_set(c.tensors[clip].t, 0, 0, 0.37);
      parity_set(c.tensors[clip].t, 0, 1, forms[k].finite ? 2.7 : INFINITY);
      parity_run(&c);
    }
  }
}

// What a step does with a gradient or a loss that is not finite: nothing, on the device alone.
typedef struct StepForm {
  const char *what;
  double gradient, guard; // of one element; the loss
} StepForm;

// w m v sums clip | g lr step guard
static void call_step(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  AdamArgs args = {.lr = t[6],
                   .step = t[7],
                   .clip = t[4],
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .eps = 1e-8f,
                   .decay = 0.01f};
  be->sum_squares(be, t[3], t[5]);
  be->clip_factor(be, t[4], t[3], t[8], 1);
  be->adamw(be, t[0], TENSOR_NONE, t[1], t[2], t[5], &args);
  be->fill(be, t[3], 0); // they need not be numbers
  be->fill(be, t[4], 0);
}

static void test_step(void) {
  enum { N = 1500 };
  static const StepForm forms[] = {{"sound", 1, 2},
                                   {"a gradient that is NaN", NAN, 2},
                                   {"a gradient that is infinite", INFINITY, 2},
                                   {"a loss that is NaN", 1, NAN},
                                   {"a loss that is infinite", 1, -INFINITY}};
  for (int k = 0; k < 5; k++) {
    for (int f = 0; f < 2; f++) {
      ParityCase c = {.call = call_step};
      snprintf(c.name, sizeof c.name, "a step with %s, %s", forms[k].what,
               dtype_info(floats[f])->name);
      parity_add(&c, "w", PARITY_ACC, DT_F32, 1, N, 0, 1);
      parity_add(&c, "m", PARITY_ACC, DT_F32, 1, N, 0, 0.1);
      int v = parity_add(&c, "v", PARITY_ACC, DT_F32, 1, N, 0, 0.1);
      for (int64_t i = 0; i < N; i++)
        parity_set(c.tensors[v].t, 0, i, fabs(parity_get(c.tensors[v].t, 0, i)));
      parity_add(&c, "sums", PARITY_OUT, DT_F64, 1, 1, 0, 1);
      parity_add(&c, "clip", PARITY_OUT, DT_F32, 1, 2, 0, 1);
      int g = parity_add(&c, "g", PARITY_IN, floats[f], 1, N, 0, 1);
      parity_set(c.tensors[g].t, 0, N - 3, forms[k].gradient);
      int lr = parity_add(&c, "lr", PARITY_IN, DT_F32, 1, 1, 0, 1);
      parity_set(c.tensors[lr].t, 0, 0, 1e-2);
      parity_add_i32(&c, "step", (int32_t[]){7}, 1, 0);
      int guard = parity_add(&c, "guard", PARITY_IN, DT_F64, 1, 1, 0, 1);
      parity_set(c.tensors[guard].t, 0, 0, forms[k].guard);
      c.exact = k > 0; // not a bit of them changes
      parity_run(&c);
    }
  }
}

int main(void) {
  RUN(test_sums);
  RUN(test_clip_factor);
  RUN(test_adamw);
  RUN(test_step);
  return test_done();
}
