// Ops on single elements: bytes decide (f32: 4 an element and operand, bf16: 2); only exp of the
// activations is worth arithmetic, about 15 instructions a vector.
#include "check.h"
#include "op_check.h"
#include "simd_dropout.h"
#include "simd_install.h"
#include "simd_math.h"
#include "simd_rowio.h"

#include <string.h>

static void fill(Backend *be, Tensor y, double value) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.fill(be, y, value);
    return;
  }
  op_check_fill(be, y);
  vf x = vf_set((float)value);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    SIMD_BY_F(y.dtype, F, SIMD_FOR(c, n, y.cols) row_store(row_at(y, r), F, c, x, n));
  }
}

static void cast(Backend *be, Tensor y, Tensor x) {
  if (x.dtype == DT_F64 || y.dtype == DT_F64) {
    cpu_of(be)->ref.cast(be, y, x);
    return;
  }
  op_check_cast(be, y, x);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) rowio_convert(y, r, x, r);
}

static void add(Backend *be, Tensor y, Tensor a, Tensor b) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.add(be, y, a, b);
    return;
  }
  op_check_add(be, y, a, b);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    void *out = row_at(y, r);
    const void *p = row_at(a, r), *q = row_at(b, r);
    SIMD_BY_F(y.dtype, F,
              SIMD_FOR(c, n, y.cols)
                  row_store(out, F, c, row_load(p, F, c, n) + row_load(q, F, c, n), n));
  }
}

// row y = a x, or += when acc
SIMD_INLINE void scale_row(void *y, const void *x, DType F, vf a, bool acc, int64_t cols) {
  SIMD_FOR(c, n, cols) {
    vf value = a * row_load(x, F, c, n);
    if (acc) value += row_load(y, F, c, n);
    row_store(y, F, c, value, n);
  }
}

static void scale_rows(Backend *be, Tensor y, Tensor x, Tensor a, bool acc) {
  vf factor = vf_set(*(const float *)a.data);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++)
    SIMD_BY_F(y.dtype, F, scale_row(row_at(y, r), row_at(x, r), F, factor, acc, y.cols));
}

static void scale(Backend *be, Tensor y, Tensor x, Tensor a) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.scale(be, y, x, a);
    return;
  }
  op_check_scale(be, "scale", y, x, a);
  scale_rows(be, y, x, a, false);
}

static void scale_acc(Backend *be, Tensor y, Tensor x, Tensor a) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.scale_acc(be, y, x, a);
    return;
  }
  op_check_scale(be, "scale_acc", y, x, a);
  scale_rows(be, y, x, a, true);
}

static void dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.dropout_acc(be, y, x, dropout);
    return;
  }
  if (dropout->p == 0) { // one launch all the same
    add(be, y, y, x);
    return;
  }
  op_check_dropout_acc(be, y, x, dropout);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    void *out = row_at(y, r);
    const void *in = row_at(x, r);
    DropoutRow mask = dropout_row(dropout, r);
    for (int64_t c0 = 0; c0 < y.cols; c0 += DROPOUT_PART) {
      float factors[DROPOUT_PART];
      int64_t part = y.cols - c0 < DROPOUT_PART ? y.cols - c0 : DROPOUT_PART;
      dropout_factors(factors, &mask, c0, part);
      SIMD_BY_F(
          y.dtype, F, SIMD_FOR(c, n, part) {
            vf sum = row_load(out, F, c0 + c, n) +
                     row_load(factors, DT_F32, c, n) * row_load(in, F, c0 + c, n);
            row_store(out, F, c0 + c, sum, n);
          });
    }
  }
}

// The body once for each activation, so that the kind is a constant inside.
#define BY_KIND(kind, K, call)                                                                     \
  do {                                                                                             \
    if ((kind) == ACT_SILU) {                                                                      \
      const Activation K = ACT_SILU;                                                               \
      call;                                                                                        \
    } else if ((kind) == ACT_GELU) {                                                               \
      const Activation K = ACT_GELU;                                                               \
      call;                                                                                        \
    } else if ((kind) == ACT_GELU_TANH) {                                                          \
      const Activation K = ACT_GELU_TANH;                                                          \
      call;                                                                                        \
    } else {                                                                                       \
      const Activation K = ACT_QUICK_GELU;                                                         \
      call;                                                                                        \
    }                                                                                              \
  } while (0)

// y = act(x) [* u]; u NULL: none
SIMD_INLINE void act_row(void *y, const void *x, const void *u, DType F, Activation kind,
                         int64_t cols) {
  SIMD_FOR(c, n, cols) {
    vf slope, value = vf_activation(kind, row_load(x, F, c, n), &slope);
    if (u != NULL) value *= row_load(u, F, c, n);
    row_store(y, F, c, value, n);
  }
}

static void act(Backend *be, Tensor y, Tensor x, Activation kind) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.act(be, y, x, kind);
    return;
  }
  op_check_act(be, y, x, kind);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 4 * tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    void *out = row_at(y, r);
    const void *in = row_at(x, r);
    SIMD_BY_F(y.dtype, F, BY_KIND(kind, K, act_row(out, in, NULL, F, K, y.cols)));
  }
}

static void glu(Backend *be, Tensor y, Tensor gu, Activation kind) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.glu(be, y, gu, kind);
    return;
  }
  op_check_glu(be, y, gu, kind);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 4 * tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    void *out = row_at(y, r);
    const char *g = row_at(gu, r), *u = g + dtype_bytes(gu.dtype, y.cols);
    SIMD_BY_F(y.dtype, F, BY_KIND(kind, K, act_row(out, g, u, F, K, y.cols)));
  }
}

SIMD_INLINE void act_back_row(void *dx, const void *dy, const void *x, DType F, Activation kind,
                              int64_t cols) {
  SIMD_FOR(c, n, cols) {
    vf slope;
    vf_activation(kind, row_load(x, F, c, n), &slope);
    row_store(dx, F, c, vf_fma(row_load(dy, F, c, n), slope, row_load(dx, F, c, n)), n);
  }
}

static void act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind) {
  if (!cpu_fast(dx)) {
    cpu_of(be)->ref.act_back_acc(be, dx, dy, x, kind);
    return;
  }
  op_check_act_back_acc(be, dx, dy, x, kind);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 4 * tensor_count(dx)))
  for (int64_t r = 0; r < dx.rows; r++) {
    void *out = row_at(dx, r);
    const void *d = row_at(dy, r), *in = row_at(x, r);
    SIMD_BY_F(dx.dtype, F, BY_KIND(kind, K, act_back_row(out, d, in, F, K, dx.cols)));
  }
}

SIMD_INLINE void glu_back_row(void *dg, void *du, const void *dy, const void *g, const void *u,
                              DType F, Activation kind, int64_t cols) {
  SIMD_FOR(c, n, cols) {
    vf slope, value = vf_activation(kind, row_load(g, F, c, n), &slope), d = row_load(dy, F, c, n);
    row_store(dg, F, c, vf_fma(d * row_load(u, F, c, n), slope, row_load(dg, F, c, n)), n);
    row_store(du, F, c, vf_fma(d, value, row_load(du, F, c, n)), n);
  }
}

static void glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind) {
  if (!cpu_fast(dgu)) {
    cpu_of(be)->ref.glu_back_acc(be, dgu, dy, gu, kind);
    return;
  }
  op_check_glu_back_acc(be, dgu, dy, gu, kind);
  int64_t half = dtype_bytes(gu.dtype, dy.cols);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 4 * tensor_count(dgu)))
  for (int64_t r = 0; r < dy.rows; r++) {
    char *out = row_at(dgu, r);
    const char *in = row_at(gu, r);
    const void *d = row_at(dy, r);
    SIMD_BY_F(dy.dtype, F,
              BY_KIND(kind, K, glu_back_row(out, out + half, d, in, in + half, F, K, dy.cols)));
  }
}

void SIMD(simd_install_elementwise)(Backend *be) {
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
