// RMSNorm and LayerNorm with the residual add before them. A row is read twice, the second time
// from cache: bytes of x, d, z and y decide. Gradients of w and b are sums over rows: partial sums
// of PIECE rows, added in order, whatever thread makes which.
#include "op_check.h"
#include "simd_install.h"
#include "simd_vec.h"

#include <math.h>
#include <string.h>

enum { PIECE = 64 };

typedef struct Norm {
  Tensor z, y, mean, rstd, x, d, w, b;
  float eps;
} Norm;

// z = x + d where there is a d; the sum of the row that is normed.
SIMD_INLINE float residual_row(const Norm *a, DType F, int64_t r) {
  const void *x = row_at(a->x, r);
  vf sum = (vf){0};
  if (tensor_given(a->d)) {
    void *z = row_at(a->z, r);
    const void *d = row_at(a->d, r);
    SIMD_FOR(c, n, a->x.cols) {
      row_store(z, F, c, row_load(x, F, c, n) + row_load(d, F, c, n), n);
      sum += row_load(z, F, c, n); // as rounded
    }
  } else {
    SIMD_FOR(c, n, a->x.cols) sum += row_load(x, F, c, n);
  }
  return vf_sum(sum);
}

SIMD_INLINE void norm_row(const Norm *a, DType F, int64_t r) {
  int64_t cols = a->x.cols;
  bool centred = tensor_given(a->mean);
  float total = residual_row(a, F, r);
  const void *z = tensor_given(a->d) ? row_at(a->z, r) : row_at(a->x, r);
  float mean = centred ? total / (float)cols : 0;
  vf squares = (vf){0};
  SIMD_FOR(c, n, cols) {
    vf v = row_load(z, F, c, n) - mean;
    if (n < VW && centred) v = vf_load_part((float *)&v, n); // the lanes beyond the row
    squares = vf_fma(v, v, squares);
  }
  float rstd = 1 / sqrtf(vf_sum(squares) / (float)cols + a->eps);
  if (centred) ((float *)a->mean.data)[r] = mean;
  ((float *)a->rstd.data)[r] = rstd;
  void *y = row_at(a->y, r);
  SIMD_FOR(c, n, cols) {
    vf v = (row_load(z, F, c, n) - mean) * rstd * row_load(a->w.data, F, c, n);
    if (tensor_given(a->b)) v += row_load(a->b.data, F, c, n);
    row_store(y, F, c, v, n);
  }
}

static void norm(Backend *be, const Norm *a) {
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(a->x)))
  for (int64_t r = 0; r < a->x.rows; r++) SIMD_BY_F(a->x.dtype, F, norm_row(a, F, r));
}

static void rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w,
                    float eps) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.rmsnorm(be, z, y, rstd, x, d, w, eps);
    return;
  }
  op_check_rmsnorm(be, z, y, rstd, x, d, w);
  norm(be, &(Norm){.z = z, .y = y, .rstd = rstd, .x = x, .d = d, .w = w, .eps = eps});
}

static void layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor d,
                      Tensor w, Tensor b, float eps) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.layernorm(be, z, y, mean, rstd, x, d, w, b, eps);
    return;
  }
  op_check_layernorm(be, z, y, mean, rstd, x, d, w, b);
  norm(be,
       &(Norm){
           .z = z, .y = y, .mean = mean, .rstd = rstd, .x = x, .d = d, .w = w, .b = b, .eps = eps});
}

// ---- backward ----

typedef struct NormBack {
  Tensor dx, dw, db, dy, z, mean, rstd, w;
} NormBack;

// n = (z - mean) rstd, dn = w dy:  dx += rstd (dn - [mean(dn)] - n mean(dn n)),  the bracket for
// LayerNorm only
SIMD_INLINE void back_row(const NormBack *a, DType F, int64_t r) {
  int64_t cols = a->dy.cols;
  bool centred = tensor_given(a->mean);
  float rstd = ((const float *)a->rstd.data)[r],
        mean = centred ? ((const float *)a->mean.data)[r] : 0;
  const void *z = row_at(a->z, r), *dy = row_at(a->dy, r);
  vf along = (vf){0}, centre = (vf){0};
  SIMD_FOR(c, n, cols) { // dn is zero beyond the row
    vf dn = row_load(a->w.data, F, c, n) * row_load(dy, F, c, n);
    along = vf_fma(dn, (row_load(z, F, c, n) - mean) * rstd, along);
    centre += dn;
  }
  float mean_along = vf_sum(along) / (float)cols,
        mean_dn = centred ? vf_sum(centre) / (float)cols : 0;
  void *dx = row_at(a->dx, r);
  SIMD_FOR(c, n, cols) {
    vf dn = row_load(a->w.data, F, c, n) * row_load(dy, F, c, n);
    vf x = (row_load(z, F, c, n) - mean) * rstd;
    row_store(dx, F, c, row_load(dx, F, c, n) + rstd * (dn - mean_dn - x * mean_along), n);
  }
}

// Partial sums of one piece of rows: dw in sums[0, cols), db after it.
SIMD_INLINE void piece_sums(const NormBack *a, DType F, float *sums, int64_t r0) {
  int64_t cols = a->dy.cols, r1 = r0 + PIECE < a->dy.rows ? r0 + PIECE : a->dy.rows;
  memset(sums, 0, (size_t)(2 * cols) * sizeof *sums);
  for (int64_t r = r0; r < r1; r++) {
    float rstd = ((const float *)a->rstd.data)[r];
    float mean = tensor_given(a->mean) ? ((const float *)a->mean.data)[r] : 0;
    const void *z = row_at(a->z, r), *dy = row_at(a->dy, r);
    SIMD_FOR(c, n, cols) {
      vf d = row_load(dy, F, c, n);
      row_store(sums, DT_F32, c,
                vf_fma(d, (row_load(z, F, c, n) - mean) * rstd, row_load(sums, DT_F32, c, n)), n);
      row_store(sums + cols, DT_F32, c, row_load(sums + cols, DT_F32, c, n) + d, n);
    }
  }
}

static void add_pieces(Tensor t, const float *sums, int64_t pieces, int64_t stride) {
  if (!tensor_given(t)) return;
  for (int64_t p = 1; p < pieces; p++) {
    float *first = (float *)sums;
    SIMD_FOR(c, n, t.cols) {
      row_store(first, DT_F32, c,
                row_load(first, DT_F32, c, n) + row_load(sums + p * stride, DT_F32, c, n), n);
    }
  }
  SIMD_BY_F(
      t.dtype, F, SIMD_FOR(c, n, t.cols) {
        row_store(t.data, F, c, row_load(t.data, F, c, n) + row_load(sums, DT_F32, c, n), n);
      });
}

static void norm_back(Backend *be, const NormBack *a) {
  int64_t cols = a->dy.cols, rows = a->dy.rows, pieces = (rows + PIECE - 1) / PIECE;
  if (rows == 0) return;
  if (tensor_given(a->dw) || tensor_given(a->db)) {
    float *sums = cpu_scratch(be, SCRATCH_SUMS, pieces * 2 * cols);
    if (cpu_noting(be)) return;
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, rows *cols))
    for (int64_t p = 0; p < pieces; p++) {
      SIMD_BY_F(a->dy.dtype, F, piece_sums(a, F, sums + p * 2 * cols, p * PIECE));
    }
    add_pieces(a->dw, sums, pieces, 2 * cols);
    add_pieces(a->db, sums + cols, pieces, 2 * cols);
  }
  if (!tensor_given(a->dx) || cpu_noting(be)) return;
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, rows *cols))
  for (int64_t r = 0; r < rows; r++) SIMD_BY_F(a->dy.dtype, F, back_row(a, F, r));
}

static void rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                             Tensor w) {
  if (!cpu_fast(dy)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
    return;
  }
  op_check_rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
  norm_back(be, &(NormBack){.dx = dx, .dw = dw, .dy = dy, .z = z, .rstd = rstd, .w = w});
}

static void layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                               Tensor mean, Tensor rstd, Tensor w) {
  if (!cpu_fast(dy)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
    return;
  }
  op_check_layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
  norm_back(
      be, &(NormBack){
              .dx = dx, .dw = dw, .db = db, .dy = dy, .z = z, .mean = mean, .rstd = rstd, .w = w});
}

void SIMD(simd_install_norm)(Backend *be) {
  be->rmsnorm = rmsnorm;
  be->rmsnorm_back_acc = rmsnorm_back_acc;
  be->layernorm = layernorm;
  be->layernorm_back_acc = layernorm_back_acc;
}
