// Sums in f64, the clip factor and AdamW. Sums: pieces of PIECE elements of a row, each in 16 lanes
// of double, added in order. AdamW reads w, m, v, g and writes w, m, v once: 28 bytes a parameter
// in f32.
#include "op_check.h"
#include "simd_install.h"
#include "simd_rowio.h"

#include <math.h>

enum { PIECE = 4096 };

static double piece_sum(const float *x, int64_t n, bool squares) {
  enum { LANES = 16 };
  double lanes[LANES] = {0};
  for (int64_t i = 0; i + LANES <= n; i += LANES) {
    for (int l = 0; l < LANES; l++) {
      double v = (double)x[i + l];
      lanes[l] += squares ? v * v : v;
    }
  }
  for (int64_t i = n / LANES * LANES; i < n; i++)
    lanes[i % LANES] += squares ? (double)x[i] * (double)x[i] : (double)x[i];
  for (int half = LANES / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

static double sum_of(Backend *be, Tensor x, bool squares) {
  int64_t per_row = (x.cols + PIECE - 1) / PIECE, n = x.rows * per_row;
  double *sums = (double *)cpu_scratch(be, SCRATCH_SUMS, 2 * n);
  if (cpu_noting(be)) return 0;
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(x)))
  for (int64_t i = 0; i < n; i++) {
    float values[PIECE];
    int64_t c = i % per_row * PIECE, count = x.cols - c < PIECE ? x.cols - c : PIECE;
    rowio_load(values, x, i / per_row, c, count);
    sums[i] = piece_sum(values, count, squares);
  }
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += sums[i];
  return total;
}

static void sum_acc(Backend *be, Tensor out, Tensor x) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.sum_acc(be, out, x);
    return;
  }
  op_check_sum_acc(be, out, x);
  double sum = sum_of(be, x, false);
  if (!cpu_noting(be)) *(double *)out.data += sum;
}

static void sum_squares(Backend *be, Tensor out, Tensor x) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.sum_squares(be, out, x);
    return;
  }
  op_check_sum_squares(be, out, x);
  double sum = sum_of(be, x, true);
  if (!cpu_noting(be)) *(double *)out.data = sum;
}

typedef struct Adam {
  void *w;
  float *p, *m, *v; // p: the master, or w itself
  const void *g;
  DType w_dtype, g_dtype;
  float clip, beta1, beta2, keep, rate, root, eps, first_share, second_share;
} Adam;

SIMD_INLINE void adam_range(const Adam *a, DType G, int64_t from, int64_t n) {
  SIMD_FOR(i, lanes, n) {
    int64_t at = from + i;
    vf g = row_load(a->g, G, at, lanes) * a->clip;
    vf m = vf_fma(g, vf_set(a->first_share), a->beta1 * row_load(a->m, DT_F32, at, lanes));
    vf v = vf_fma(g * g, vf_set(a->second_share), a->beta2 * row_load(a->v, DT_F32, at, lanes));
    vf p = row_load(a->p, DT_F32, at, lanes) * a->keep;
    p -= a->rate * m / (vf_sqrt(v) * a->root + a->eps);
    row_store(a->m, DT_F32, at, m, lanes);
    row_store(a->v, DT_F32, at, v, lanes);
    row_store(a->p, DT_F32, at, p, lanes);
    // A bf16 weight is its f32 master rounded.
    if (a->w_dtype == DT_BF16) row_store(a->w, DT_BF16, at, p, lanes);
    if (a->w_dtype == DT_F32 && a->w != a->p) row_store(a->w, DT_F32, at, p, lanes);
  }
}

static void adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                  const AdamArgs *args) {
  if (!cpu_fast(w) || args->clip.dtype != DT_F32 || args->lr.dtype != DT_F32) {
    cpu_of(be)->ref.adamw(be, w, master, m, v, g, args);
    return;
  }
  op_check_adamw(be, w, master, m, v, g, args);
  const float *clip = args->clip.data;
  if (!isfinite(clip[1])) return;
  double lr = (double)*(const float *)args->lr.data, t = *(const int32_t *)args->step.data;
  double b1 = (double)args->beta1, b2 = (double)args->beta2;
  Adam a = {.w = w.data,
            .p = tensor_given(master) ? master.data : w.data,
            .m = m.data,
            .v = v.data,
            .g = g.data,
            .w_dtype = w.dtype,
            .g_dtype = g.dtype,
            .clip = clip[0],
            .beta1 = args->beta1,
            .beta2 = args->beta2,
            .first_share = (float)(1 - b1),
            .second_share = (float)(1 - b2),
            .keep = (float)(1 - lr * (double)args->decay),
            .rate = (float)(lr / (1 - pow(b1, t))),
            .root = (float)(1 / sqrt(1 - pow(b2, t))),
            .eps = args->eps};
  int64_t count = tensor_count(w);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, count))
  for (int64_t from = 0; from < count; from += PIECE) {
    int64_t n = count - from < PIECE ? count - from : PIECE;
    SIMD_BY_F(a.g_dtype, G, adam_range(&a, G, from, n));
  }
}

void SIMD(simd_install_optim)(Backend *be) {
  be->sum_acc = sum_acc;
  be->sum_squares = sum_squares;
  be->adamw = adamw; // clip_factor is a handful of numbers: the reference's
}
