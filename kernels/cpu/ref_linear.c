// Reference: the plain linear map and its gradients. A row of the weight is loaded at a time: it
// may be quantised, and an output head is too large to hold twice.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <stdlib.h>

static void linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  op_check_linear(be, y, x, w, bias);
  double *x_all = ref_load(x), *y_all = acc ? ref_load(y) : ref_scratch(y.rows * y.cols);
#pragma omp parallel
  {
    double *row = ref_scratch(w.cols);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < w.rows; n++) {
      ref_load_row(row, w, n);
      double b = tensor_given(bias) ? ref_get(bias, 0, n) : 0;
      for (int64_t r = 0; r < x.rows; r++) {
        const double *in = x_all + r * x.cols;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < x.cols; k++) sum += in[k] * row[k];
        y_all[r * y.cols + n] += sum + b;
      }
    }
    free(row);
  }
  ref_store(y, y_all);
  free(x_all);
  free(y_all);
}

static void linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  op_check_linear_back_x_acc(be, dx, dy, w);
  enum { ROWS = 64 }; // rows of dx that share one loading of w
#pragma omp parallel for schedule(static)
  for (int64_t r0 = 0; r0 < dx.rows; r0 += ROWS) {
    int64_t rows = dx.rows - r0 < ROWS ? dx.rows - r0 : ROWS;
    Tensor part = tensor_rows(dx, r0, rows);
    double *sums = ref_load(part), *row = ref_scratch(w.cols);
    for (int64_t n = 0; n < w.rows; n++) {
      ref_load_row(row, w, n);
      for (int64_t r = 0; r < rows; r++) {
        double g = ref_get(dy, r0 + r, n);
        for (int64_t k = 0; k < w.cols; k++) sums[r * w.cols + k] += g * row[k];
      }
    }
    ref_store(part, sums);
    free(sums);
    free(row);
  }
}

static void linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  op_check_linear_back_w_acc(be, dw, db, dy, x);
  double *x_all = tensor_given(dw) ? ref_load(x) : NULL;
#pragma omp parallel
  {
    double *row = ref_scratch(x.cols);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < dy.cols; n++) {
      if (tensor_given(dw)) {
        ref_load_row(row, dw, n);
        for (int64_t r = 0; r < x.rows; r++) {
          double g = ref_get(dy, r, n);
          for (int64_t k = 0; k < x.cols; k++) row[k] += g * x_all[r * x.cols + k];
        }
        ref_store_row(dw, n, row);
      }
      if (tensor_given(db)) {
        double sum = ref_get(db, 0, n);
        for (int64_t r = 0; r < x.rows; r++) sum += ref_get(dy, r, n);
        ref_set(db, 0, n, sum);
      }
    }
    free(row);
  }
  free(x_all);
}

void ref_install_linear(Backend *be) {
  be->linear = linear;
  be->linear_back_x_acc = linear_back_x_acc;
  be->linear_back_w_acc = linear_back_w_acc;
}
