// Reference: RMSNorm and LayerNorm with the residual add before them.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>
#include <stdlib.h>

// z = x + d, rounded to its dtype and stored when there is a d; the row that is normed.
static void residual_row(double *z_row, Tensor z, Tensor x, Tensor d, int64_t r) {
  ref_load_row(z_row, x, r);
  if (!tensor_given(d)) return;
  for (int64_t c = 0; c < x.cols; c++) z_row[c] += ref_get(d, r, c);
  ref_store_row(z, r, z_row);
  ref_load_row(z_row, z, r);
}

static double mean_of(const double *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return sum / (double)n;
}

// mean((x - centre)^2)
static double spread_of(const double *x, int64_t n, double centre) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (x[i] - centre) * (x[i] - centre);
  return sum / (double)n;
}

static void rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w,
                    float eps) {
  op_check_rmsnorm(be, z, y, rstd, x, d, w);
  double *row = ref_scratch(x.cols);
  for (int64_t r = 0; r < x.rows; r++) {
    residual_row(row, z, x, d, r);
    double s = 1 / sqrt(spread_of(row, x.cols, 0) + (double)eps);
    ref_set(rstd, 0, r, s);
    for (int64_t c = 0; c < x.cols; c++) ref_set(y, r, c, row[c] * s * ref_get(w, 0, c));
  }
  free(row);
}

static void layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor d,
                      Tensor w, Tensor b, float eps) {
  op_check_layernorm(be, z, y, mean, rstd, x, d, w, b);
  double *row = ref_scratch(x.cols);
  for (int64_t r = 0; r < x.rows; r++) {
    residual_row(row, z, x, d, r);
    double m = mean_of(row, x.cols), s = 1 / sqrt(spread_of(row, x.cols, m) + (double)eps);
    ref_set(mean, 0, r, m);
    ref_set(rstd, 0, r, s);
    for (int64_t c = 0; c < x.cols; c++) {
      ref_set(y, r, c, (row[c] - m) * s * ref_get(w, 0, c) + ref_get(b, 0, c));
    }
  }
  free(row);
}

// Adds n sums to a vector of any dtype.
static void add_to(Tensor t, const double *sums) {
  if (!tensor_given(t)) return;
  for (int64_t c = 0; c < t.cols; c++) ref_set(t, 0, c, ref_get(t, 0, c) + sums[c]);
}

// Both norms: n = (z - mean) rstd, dn = w dy;
//   dx += rstd (dn - [mean(dn)] - n mean(dn n)),  the bracket for LayerNorm only
static void norm_back(Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z, Tensor mean,
                      Tensor rstd, Tensor w) {
  int64_t cols = dy.cols;
  double *n = ref_scratch(cols), *dn = ref_scratch(cols), *product = ref_scratch(cols),
         *dw_sum = ref_scratch(cols), *db_sum = ref_scratch(cols);
  for (int64_t r = 0; r < dy.rows; r++) {
    double s = ref_get(rstd, 0, r), m = tensor_given(mean) ? ref_get(mean, 0, r) : 0;
    for (int64_t c = 0; c < cols; c++) {
      double g = ref_get(dy, r, c);
      n[c] = (ref_get(z, r, c) - m) * s;
      dn[c] = ref_get(w, 0, c) * g;
      product[c] = dn[c] * n[c];
      dw_sum[c] += g * n[c];
      db_sum[c] += g;
    }
    if (!tensor_given(dx)) continue;
    double along = mean_of(product, cols), centre = tensor_given(mean) ? mean_of(dn, cols) : 0;
    for (int64_t c = 0; c < cols; c++) {
      ref_set(dx, r, c, ref_get(dx, r, c) + s * (dn[c] - centre - n[c] * along));
    }
  }
  add_to(dw, dw_sum);
  add_to(db, db_sum);
  free(n);
  free(dn);
  free(product);
  free(dw_sum);
  free(db_sum);
}

static void rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                             Tensor w) {
  op_check_rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
  norm_back(dx, dw, TENSOR_NONE, dy, z, TENSOR_NONE, rstd, w);
}

static void layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                               Tensor mean, Tensor rstd, Tensor w) {
  op_check_layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
  norm_back(dx, dw, db, dy, z, mean, rstd, w);
}

void ref_install_norm(Backend *be) {
  be->rmsnorm = rmsnorm;
  be->rmsnorm_back_acc = rmsnorm_back_acc;
  be->layernorm = layernorm;
  be->layernorm_back_acc = layernorm_back_acc;
}
