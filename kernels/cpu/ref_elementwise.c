// Reference: ops on single elements.
#include "check.h"
#include "cpu_reference.h"
#include "dropout_mask.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>
#include <stdlib.h>

static void fill(Backend *be, Tensor y, double value) {
  op_check_fill(be, y);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++) ref_set(y, r, c, value);
  }
}

static void cast(Backend *be, Tensor y, Tensor x) {
  op_check_cast(be, y, x);
  double *values = ref_load(x);
  ref_store(y, values);
  free(values);
}

static void add(Backend *be, Tensor y, Tensor a, Tensor b) {
  op_check_add(be, y, a, b);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++) ref_set(y, r, c, ref_get(a, r, c) + ref_get(b, r, c));
  }
}

static void scale(Backend *be, Tensor y, Tensor x, Tensor a) {
  op_check_scale(be, "scale", y, x, a);
  double factor = ref_get(a, 0, 0);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++) ref_set(y, r, c, factor * ref_get(x, r, c));
  }
}

static void scale_acc(Backend *be, Tensor y, Tensor x, Tensor a) {
  op_check_scale(be, "scale_acc", y, x, a);
  double factor = ref_get(a, 0, 0);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++)
      ref_set(y, r, c, ref_get(y, r, c) + factor * ref_get(x, r, c));
  }
}

void ref_dropout_row(double *factors, int64_t n, const Dropout *dropout, int64_t row) {
  if (dropout->p == 0) {
    for (int64_t c = 0; c < n; c++) factors[c] = 1;
    return;
  }
  uint64_t key = dropout_key(dropout->seed, ref_i32(dropout->step, 0, 0));
  uint32_t threshold = dropout_threshold(dropout->p);
  int32_t position = ref_i32(dropout->positions, row, 0),
          sequence = ref_i32(dropout->sequences, row, 0);
  for (int64_t c = 0; c < n; c++) {
    Philox words = dropout_words(key, dropout->tensor_id, position, sequence, c / 4);
    factors[c] = words.v[c % 4] >= threshold ? 1 / (1 - (double)dropout->p) : 0;
  }
}

static void dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout) {
  op_check_dropout_acc(be, y, x, dropout);
  double *factors = ref_scratch(y.cols);
  for (int64_t r = 0; r < y.rows; r++) {
    ref_dropout_row(factors, y.cols, dropout, r);
    for (int64_t c = 0; c < y.cols; c++) {
      ref_set(y, r, c, ref_get(y, r, c) + factors[c] * ref_get(x, r, c));
    }
  }
  free(factors);
}

static const double SQRT_1_2 = 0.70710678118654752440, SQRT_2_PI = 0.79788456080286535588,
                    INV_SQRT_2PI = 0.39894228040143267794;

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static double activation(Activation kind, double x) {
  switch (kind) {
  case ACT_SILU:
    return x * sigmoid(x);
  case ACT_GELU:
    return 0.5 * x * erfc(-x * SQRT_1_2); // erfc: no cancellation for large -x
  case ACT_GELU_TANH:
    return x * sigmoid(2 * SQRT_2_PI * (x + 0.044715 * x * x * x));
  case ACT_QUICK_GELU:
    return x * sigmoid(1.702 * x);
  }
  CHECK(false, "activation %d", (int)kind);
  return 0;
}

static double activation_slope(Activation kind, double x) {
  switch (kind) {
  case ACT_SILU: {
    double s = sigmoid(x);
    return s + x * s * (1 - s);
  }
  case ACT_GELU:
    return 0.5 * erfc(-x * SQRT_1_2) + x * INV_SQRT_2PI * exp(-0.5 * x * x);
  case ACT_GELU_TANH: { // 0.5 (1 + tanh u) = sigmoid(2 u)
    double s = sigmoid(2 * SQRT_2_PI * (x + 0.044715 * x * x * x));
    return s + x * s * (1 - s) * 2 * SQRT_2_PI * (1 + 3 * 0.044715 * x * x);
  }
  case ACT_QUICK_GELU: {
    double s = sigmoid(1.702 * x);
    return s + 1.702 * x * s * (1 - s);
  }
  }
  CHECK(false, "activation %d", (int)kind);
  return 0;
}

static void act(Backend *be, Tensor y, Tensor x, Activation kind) {
  op_check_act(be, y, x, kind);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++) ref_set(y, r, c, activation(kind, ref_get(x, r, c)));
  }
}

static void act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind) {
  op_check_act_back_acc(be, dx, dy, x, kind);
  for (int64_t r = 0; r < dx.rows; r++) {
    for (int64_t c = 0; c < dx.cols; c++) {
      double slope = activation_slope(kind, ref_get(x, r, c));
      ref_set(dx, r, c, ref_get(dx, r, c) + ref_get(dy, r, c) * slope);
    }
  }
}

static void glu(Backend *be, Tensor y, Tensor gu, Activation kind) {
  op_check_glu(be, y, gu, kind);
  for (int64_t r = 0; r < y.rows; r++) {
    for (int64_t c = 0; c < y.cols; c++) {
      ref_set(y, r, c, activation(kind, ref_get(gu, r, c)) * ref_get(gu, r, y.cols + c));
    }
  }
}

static void glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind) {
  op_check_glu_back_acc(be, dgu, dy, gu, kind);
  for (int64_t r = 0; r < dy.rows; r++) {
    for (int64_t c = 0; c < dy.cols; c++) {
      int64_t c2 = dy.cols + c;
      double g = ref_get(gu, r, c), u = ref_get(gu, r, c2), d = ref_get(dy, r, c);
      ref_set(dgu, r, c, ref_get(dgu, r, c) + d * u * activation_slope(kind, g));
      ref_set(dgu, r, c2, ref_get(dgu, r, c2) + d * activation(kind, g));
    }
  }
}

void ref_install_elementwise(Backend *be) {
  be->fill = fill;
  be->cast = cast;
  be->add = add;
  be->scale = scale;
  be->scale_acc = scale_acc;
  be->dropout_acc = dropout_acc;
  be->act = act;
  be->act_back_acc = act_back_acc;
  be->glu = glu;
  be->glu_back_acc = glu_back_acc;
}
