// Cross entropy and log-probabilities: a row of logits (V = 49152: 96 KiB in bf16) is read once
// from memory for its largest value and the sum of exponentials, and again from cache for the
// gradient.
#include "check.h"
#include "op_check.h"
#include "simd_install.h"
#include "simd_math.h"
#include "simd_rowio.h"

#include <math.h>
#include <string.h>

static void need_targets(const char *op, Tensor targets, int64_t limit) {
  const int32_t *target = targets.data;
  for (int64_t l = 0; l < targets.cols; l++) {
    CHECK(target[l] >= -1 && target[l] < limit, "%s: targets[%lld] is %d; expected -1 <= it < %lld",
          op, (long long)l, target[l], (long long)limit);
  }
}

SIMD_INLINE float largest_of(const void *x, DType F, int64_t n) {
  vf top = vf_set(-INFINITY);
  SIMD_FOR(c, m, n) {
    vf v = row_load(x, F, c, m);
    if (m < VW) { // the lanes beyond the row must not win
      float part[VW];
      vf_store(part, vf_set(-INFINITY));
      vf_store_part(part, v, m);
      v = vf_load(part);
    }
    top = vf_max(top, v);
  }
  return vf_largest(top);
}

// log of the sum of exponentials, as the largest value and the rest: their sum would lose what
// logits near 100 leave of an f32. Sums of 16 vectors go to double: V may be 100,000 and more.
typedef struct LogSum {
  float top, rest; // rest = log(sum of e^(x - top)) >= 0
} LogSum;

SIMD_INLINE LogSum log_sum_exp(const void *x, DType F, int64_t n) {
  float top = largest_of(x, F, n);
  double total = 0;
  enum { PART = 16 * VW };
  for (int64_t c0 = 0; c0 < n; c0 += PART) {
    int64_t part = n - c0 < PART ? n - c0 : PART;
    vf sum = (vf){0};
    SIMD_FOR(c, m, part) {
      vf p = vf_exp(row_load(x, F, c0 + c, m) - top);
      if (m < VW) p = vf_load_part((float *)&p, m);
      sum += p;
    }
    total += (double)vf_sum(sum);
  }
  return (LogSum){top, (float)log(total)};
}

SIMD_INLINE double mean_of(const void *x, DType F, int64_t n) {
  double total = 0;
  SIMD_FOR(c, m, n) total += (double)vf_sum(row_load(x, F, c, m));
  return total / (double)n;
}

SIMD_INLINE float loss_row(void *x, DType F, int64_t n, int64_t target,
                           const CrossEntropyArgs *args) {
  float e = args->smoothing, at_target;
  LogSum lse = log_sum_exp(x, F, n);
  rowio_load(&at_target, tensor_make(x, F, 1, n), 0, target, 1);
  float nll = lse.top - at_target + lse.rest, loss = (1 - e) * nll;
  if (e > 0) loss += (float)((double)e * ((double)lse.top - mean_of(x, F, n) + (double)lse.rest));
  if (!args->grad) return loss;
  float inv_count = *(const float *)args->inv_count.data, floor = e / (float)n;
  SIMD_FOR(c, m, n) {
    vf p = vf_exp(row_load(x, F, c, m) - lse.top - lse.rest);
    row_store(x, F, c, inv_count * (p - floor), m);
  }
  // 1 - p of a sure prediction cancels: e^(x - lse) - 1 by expm1.
  float at = inv_count * (expm1f(-nll) + e - floor);
  rowio_store(tensor_make(x, F, 1, n), 0, target, &at, 1);
  return loss;
}

static void cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                          const CrossEntropyArgs *args) {
  if (!cpu_fast(logits) || (args->grad && args->inv_count.dtype != DT_F32)) {
    cpu_of(be)->ref.cross_entropy(be, loss, logits, targets, args);
    return;
  }
  op_check_cross_entropy(be, loss, logits, targets, args);
  need_targets("cross_entropy", targets, logits.cols);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 8 * tensor_count(logits)))
  for (int64_t l = 0; l < logits.rows; l++) {
    int64_t target = ((const int32_t *)targets.data)[l];
    void *row = row_at(logits, l);
    float *out = (float *)loss.data + l;
    if (target < 0) {
      *out = 0;
      if (args->grad) memset(row, 0, (size_t)dtype_bytes(logits.dtype, logits.cols));
      continue;
    }
    SIMD_BY_F(logits.dtype, F, *out = loss_row(row, F, logits.cols, target, args));
  }
}

// The lowest index of the largest value.
SIMD_INLINE int64_t best_of(const void *x, DType F, int64_t n) {
  float top = largest_of(x, F, n);
  SIMD_FOR(c, m, n) {
    vi equal = row_load(x, F, c, m) == top;
    for (int64_t i = 0; i < m; i++) {
      if (equal[i]) return c + i;
    }
  }
  return 0; // only NaNs
}

static void log_probs(Backend *be, Tensor out, Tensor best, Tensor logits, Tensor targets) {
  if (!cpu_fast(logits)) {
    cpu_of(be)->ref.log_probs(be, out, best, logits, targets);
    return;
  }
  op_check_log_probs(be, out, best, logits, targets);
  need_targets("log_probs", targets, logits.cols);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, 4 * tensor_count(logits)))
  for (int64_t l = 0; l < logits.rows; l++) {
    const void *row = row_at(logits, l);
    LogSum lse;
    float x = 0;
    int64_t top;
    SIMD_BY_F(logits.dtype, F,
              (lse = log_sum_exp(row, F, logits.cols), top = best_of(row, F, logits.cols)));
    int32_t target = ((const int32_t *)targets.data)[l];
    if (target >= 0) rowio_load(&x, logits, l, target, 1);
    ((float *)out.data)[l] = target >= 0 ? x - lse.top - lse.rest : 0;
    ((int32_t *)best.data)[l] = (int32_t)top;
  }
}

void SIMD(simd_install_loss)(Backend *be) {
  be->cross_entropy = cross_entropy;
  be->log_probs = log_probs;
}
