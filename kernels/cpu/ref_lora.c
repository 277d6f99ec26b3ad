// Reference: low-rank adapters.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <stdlib.h>

static bool selected(RowSelect select, int64_t r) {
  return !tensor_given(select.adapters) || ref_i32(select.adapters, r, 0) == select.id;
}

// dropout(x) of the selected rows; the others are zero.
static double *dropped(Tensor x, RowSelect select, const Dropout *dropout) {
  double *out = ref_load(x), *factors = ref_scratch(x.cols);
  for (int64_t r = 0; r < x.rows; r++) {
    ref_dropout_row(factors, x.cols, dropout, r);
    bool on = selected(select, r);
    for (int64_t c = 0; c < x.cols; c++) {
      double *v = &out[r * x.cols + c];
      *v = on ? *v * factors[c] : 0;
    }
  }
  free(factors);
  return out;
}

static void lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                      const Dropout *dropout) {
  op_check_lora_down(be, t, x, a, select, dropout);
  double *in = dropped(x, select, dropout), *a_all = ref_load(a);
  for (int64_t r = 0; r < t.rows; r++) {
    for (int64_t j = 0; j < t.cols; j++) {
      double sum = 0;
      for (int64_t k = 0; k < x.cols; k++) sum += in[r * x.cols + k] * a_all[j * x.cols + k];
      ref_set(t, r, j, sum);
    }
  }
  free(in);
  free(a_all);
}

static void lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, float scale, RowSelect select) {
  op_check_lora_up_acc(be, y, t, b, select);
  double *t_all = ref_load(t), *b_all = ref_load(b);
  for (int64_t r = 0; r < y.rows; r++) {
    if (!selected(select, r)) continue;
    for (int64_t n = 0; n < y.cols; n++) {
      double sum = 0;
      for (int64_t j = 0; j < t.cols; j++) sum += t_all[r * t.cols + j] * b_all[n * t.cols + j];
      ref_set(y, r, n, ref_get(y, r, n) + (double)scale * sum);
    }
  }
  free(t_all);
  free(b_all);
}

// out[i, j] += factor * sum over rows r of left[r, i] right[r, j]
static void outer_acc(Tensor out, const double *left, const double *right, int64_t rows,
                      double factor) {
  if (!tensor_given(out)) return;
  double *sums = ref_scratch(out.rows * out.cols);
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < out.rows; i++) {
      double g = left[r * out.rows + i];
      for (int64_t j = 0; j < out.cols; j++) {
        sums[i * out.cols + j] += g * right[r * out.cols + j];
      }
    }
  }
  for (int64_t i = 0; i < out.rows; i++) {
    for (int64_t j = 0; j < out.cols; j++) {
      ref_set(out, i, j, ref_get(out, i, j) + factor * sums[i * out.cols + j]);
    }
  }
  free(sums);
}

static void dx_acc(Tensor dx, const double *dt, Tensor a, RowSelect select,
                   const Dropout *dropout) {
  double *a_all = ref_load(a), *factors = ref_scratch(dx.cols), *sums = ref_scratch(dx.cols);
  for (int64_t r = 0; r < dx.rows; r++) {
    if (!selected(select, r)) continue;
    ref_dropout_row(factors, dx.cols, dropout, r);
    for (int64_t c = 0; c < dx.cols; c++) sums[c] = 0;
    for (int64_t j = 0; j < a.rows; j++) {
      for (int64_t c = 0; c < dx.cols; c++) {
        sums[c] += dt[r * a.rows + j] * a_all[j * a.cols + c];
      }
    }
    for (int64_t c = 0; c < dx.cols; c++) {
      ref_set(dx, r, c, ref_get(dx, r, c) + factors[c] * sums[c]);
    }
  }
  free(a_all);
  free(factors);
  free(sums);
}

static void lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                          Tensor t, Tensor x, Tensor a, Tensor b, float scale, RowSelect select,
                          const Dropout *dropout) {
  op_check_lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, select, dropout);
  Dropout none = {.p = 0};
  double *dy_on = dropped(dy, select, &none), *b_all = ref_load(b), *t_all = ref_load(t),
         *dt_all = ref_scratch(dt.rows * dt.cols);
  for (int64_t r = 0; r < dt.rows; r++) {
    for (int64_t n = 0; n < dy.cols; n++) {
      double g = (double)scale * dy_on[r * dy.cols + n];
      for (int64_t j = 0; j < dt.cols; j++) dt_all[r * dt.cols + j] += g * b_all[n * dt.cols + j];
    }
  }
  ref_store(dt, dt_all);
  outer_acc(db, dy_on, t_all, dy.rows, scale);
  if (tensor_given(da)) {
    double *in = dropped(x, select, dropout);
    outer_acc(da, dt_all, in, x.rows, 1);
    free(in);
  }
  if (tensor_given(dx)) dx_acc(dx, dt_all, a, select, dropout);
  free(dy_on);
  free(b_all);
  free(t_all);
  free(dt_all);
}

void ref_install_lora(Backend *be) {
  be->lora_down = lora_down;
  be->lora_up_acc = lora_up_acc;
  be->lora_back_acc = lora_back_acc;
}
