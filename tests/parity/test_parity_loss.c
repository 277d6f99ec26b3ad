// Cross entropy and log-probabilities against the reference.
#include "parity.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};
static const int64_t shapes[][3] = {{0, 5, 0},    {1, 1, 0},    {3, 7, 1},    {5, 16, 3},
                                    {4, 257, 2},  {2, 5000, 1}, {3, 4099, 0}, {2, 2047, 0},
                                    {1, 2049, 0}, {1, 4095, 3}, {3, 4097, 0}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct Form {
  float smoothing;
  bool grad;
} Form;

static void call_cross_entropy(Backend *be, const Tensor *t, const void *user) {
  const Form *form = user;
  CrossEntropyArgs args = {.inv_count = t[3], .smoothing = form->smoothing, .grad = form->grad};
  be->cross_entropy(be, t[0], t[1], t[2], &args);
}

static void call_log_probs(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->log_probs(be, t[0], t[1], t[2], t[3]);
}

static void test_cross_entropy(void) {
  static const Form forms[] = {{0, false}, {0, true}, {0.1f, false}, {0.1f, true}};
  for (int k = 0; k < 4; k++) {
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = call_cross_entropy, .user = &forms[k]};
        snprintf(c.name, sizeof c.name, "cross_entropy form %d %s %lldx%lld", k,
                 dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
        parity_add(&c, "loss", PARITY_OUT, DT_F32, 1, d[0], 0, 1);
        parity_add(&c, "logits", forms[k].grad ? PARITY_ACC : PARITY_IN, floats[f], d[0], d[1],
                   d[2], s % 2 ? 3 : 40);
        if (d[0] > 2) parity_set(c.tensors[1].t, 2, d[1] / 2, INFINITY); // which has no label
        int targets = parity_add_i32(&c, "targets", NULL, d[0], d[1]);
        if (d[0] > 0) parity_i32(&c, targets)[0] = (int32_t)d[1] - 1; // the edges
        if (d[0] > 1) parity_i32(&c, targets)[1] = 0;
        if (d[0] > 2) parity_i32(&c, targets)[2] = -1;
        int inv_count = parity_add(&c, "inv_count", PARITY_IN, DT_F32, 1, 1, 0, 1);
        parity_set(c.tensors[inv_count].t, 0, 0, 1.0 / 77);
        parity_run(&c);
      }
    }
  }
}

static void test_log_probs(void) {
  for (int f = 0; f < 2; f++) {
    for (int s = 0; s < N_SHAPES; s++) {
      for (int ties = 0; ties < 2; ties++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = call_log_probs};
        snprintf(c.name, sizeof c.name, "log_probs %s %lldx%lld%s", dtype_info(floats[f])->name,
                 (long long)d[0], (long long)d[1], ties ? " with ties" : "");
        parity_add(&c, "log_probs", PARITY_OUT, DT_F32, 1, d[0], 0, 1);
        parity_add(&c, "best", PARITY_OUT, DT_I32, 1, d[0], 0, 1);
        int logits = parity_add(&c, "logits", PARITY_IN, floats[f], d[0], d[1], d[2], 3);
        for (int64_t r = 0; ties && r < d[0]; r++) {
          for (int64_t v = 0; v < d[1]; v++)
            parity_set(c.tensors[logits].t, r, v, (double)((v * 7 + r) % 5));
        }
        int targets = parity_add_i32(&c, "targets", NULL, d[0], d[1]);
        if (d[0] > 2) parity_i32(&c, targets)[2] = -1;
        parity_run(&c);
      }
    }
  }
}

int main(void) {
  RUN(test_cross_entropy);
  RUN(test_log_probs);
  return test_done();
}
