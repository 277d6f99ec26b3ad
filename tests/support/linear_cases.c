#include "linear_cases.h"

#include "bf16.h"
#include "quant.h"
#include "test.h"

typedef struct LinearUser {
  LinearOp op;
  int flags;
} LinearUser;

// forward: y, x, w, bias;  back_x: dx, dy, w;  back_w: dw, dy, x, db
static void call(Backend *be, const Tensor *t, const void *user) {
  const LinearUser *u = user;
  Tensor fourth = u->flags & LINEAR_BIAS ? t[3] : TENSOR_NONE;
  if (u->op == LINEAR_FORWARD) {
    be->linear(be, t[0], t[1], t[2], fourth, u->flags & LINEAR_ACC);
  } else if (u->op == LINEAR_BACK_X) {
    be->linear_back_x_acc(be, t[0], t[1], t[2]);
  } else {
    be->linear_back_w_acc(be, t[0], fourth, t[1], t[2]);
  }
}

static float weight(Tensor t, int64_t r, int64_t c, bool expanded_to_bf16) {
  if (dtype_info(t.dtype)->block_elements == 1) return (float)parity_get(t, r, c);
  float x[QUANT_BLOCK];
  const uint8_t *row = (const uint8_t *)t.data + dtype_bytes(t.dtype, r * t.stride);
  quant_expand(x, t.dtype, row, c / QUANT_BLOCK * QUANT_BLOCK);
  float value = x[c % QUANT_BLOCK];
  return expanded_to_bf16 ? bf16_to_f32(bf16_from_f32(value)) : value;
}

// The CUDA backend documents that it expands a weight to the activations' dtype, but for few rows.
static bool expands(Tensor x, int64_t few) {
  return parity_on_cuda() && x.dtype == DT_BF16 && x.rows > few;
}

static float value(Tensor t, int64_t r, int64_t c) {
  return (float)parity_get(t, r, c);
}

static void naive_forward(const Tensor *t, int flags) {
  bool rounded = expands(t[1], LINEAR_FEW);
  for (int64_t r = 0; r < t[0].rows; r++) {
    for (int64_t n = 0; n < t[0].cols; n++) {
      float sum = 0;
      for (int64_t k = 0; k < t[1].cols; k++)
        sum += value(t[1], r, k) * weight(t[2], n, k, rounded);
      if (flags & LINEAR_BIAS) sum += value(t[3], 0, n);
      if (flags & LINEAR_ACC) sum += value(t[0], r, n);
      parity_set(t[0], r, n, (double)sum);
    }
  }
}

static void naive_back_x(const Tensor *t) {
  bool rounded = expands(t[1], 0);
  for (int64_t r = 0; r < t[0].rows; r++) {
    for (int64_t k = 0; k < t[0].cols; k++) {
      float sum = 0;
      for (int64_t n = 0; n < t[1].cols; n++)
        sum += value(t[1], r, n) * weight(t[2], n, k, rounded);
      parity_set(t[0], r, k, (double)(sum + value(t[0], r, k)));
    }
  }
}

static void naive_back_w(const Tensor *t, int flags) {
  for (int64_t n = 0; n < t[0].rows; n++) {
    for (int64_t k = 0; k < t[0].cols; k++) {
      float sum = 0;
      for (int64_t r = 0; r < t[1].rows; r++) sum += value(t[1], r, n) * value(t[2], r, k);
      parity_set(t[0], n, k, (double)(sum + value(t[0], n, k)));
    }
    if (!(flags & LINEAR_BIAS)) continue;
    float sum = 0;
    for (int64_t r = 0; r < t[1].rows; r++) sum += value(t[1], r, n);
    parity_set(t[3], 0, n, (double)(sum + value(t[3], 0, n)));
  }
}

static void naive(const Tensor *t, const void *user) {
  const LinearUser *u = user;
  if (u->op == LINEAR_FORWARD) naive_forward(t, u->flags);
  if (u->op == LINEAR_BACK_X) naive_back_x(t);
  if (u->op == LINEAR_BACK_W) naive_back_w(t, u->flags);
}

void linear_run(const char *gemm, LinearOp op, const LinearShape *shape, DType f, DType w, DType y,
                int flags) {
  static const char *const names[] = {"linear", "linear_back_x_acc", "linear_back_w_acc"};
  int64_t rows = shape->rows, out = shape->out, in = shape->in;
  bool dense = shape->pad == LINEAR_DENSE;
  int64_t pad = dense ? 0 : shape->pad, pad1 = dense ? 0 : pad + 1, pad2 = dense ? 0 : pad + 2;
  bool quantised = dtype_info(w)->block_elements > 1;
  LinearUser user = {op, flags};
  ParityCase c = {.call = call, .naive = naive, .user = &user, .gemm = gemm};
  c.threads_change_bits = gemm[0] != 'o' || gemm[1] != 'w';
  snprintf(c.name, sizeof c.name, "%s %s %lldx%lldx%lld%s %s by %s to %s flags %d", gemm, names[op],
           (long long)rows, (long long)out, (long long)in, dense ? " dense" : "",
           dtype_info(f)->name, dtype_info(w)->name, dtype_info(y)->name, flags);
  int quant = -1;
  if (op == LINEAR_FORWARD) {
    parity_add(&c, "y", flags & LINEAR_ACC ? PARITY_ACC : PARITY_OUT, y, rows, out, pad, 1);
    parity_add(&c, "x", PARITY_IN, f, rows, in, pad1, 1);
    quant = parity_add(&c, "w", PARITY_IN, w, out, in,
                       quantised ? dtype_info(w)->block_elements * pad : pad2, 1);
    parity_add(&c, "bias", PARITY_IN, f, 1, out, 0, 1);
  } else if (op == LINEAR_BACK_X) {
    parity_add(&c, "dx", PARITY_ACC, f, rows, in, pad, 1);
    parity_add(&c, "dy", PARITY_IN, f, rows, out, pad1, 1);
    quant = parity_add(&c, "w", PARITY_IN, w, out, in,
                       quantised ? dtype_info(w)->block_elements * pad : pad2, 1);
  } else {
    parity_add(&c, "dw", PARITY_ACC, y, out, in, pad, 1);
    parity_add(&c, "dy", PARITY_IN, f, rows, out, pad1, 1);
    parity_add(&c, "x", PARITY_IN, f, rows, in, pad2, 1);
    parity_add(&c, "db", PARITY_ACC, y, 1, out, 0, 1);
  }
  if (quantised) parity_quantised(&c, quant);
  parity_run(&c);
}
