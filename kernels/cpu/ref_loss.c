// Reference: cross entropy and log-probabilities of rows of logits.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>
#include <stdlib.h>

// In [0, n), or -1 for a row without a label.
static int64_t target_of(const char *op, Tensor targets, int64_t l, int64_t n) {
  return ref_i32(targets, l, -1) == -1 ? -1 : ref_index(op, "targets", targets, l, n);
}

static double log_sum_exp(const double *x, int64_t n) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) top = fmax(top, x[i]);
  for (int64_t i = 0; i < n; i++) sum += exp(x[i] - top);
  return top + log(sum);
}

static void cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                          const CrossEntropyArgs *args) {
  op_check_cross_entropy(be, loss, logits, targets, args);
  double e = (double)args->smoothing, inv_count = args->grad ? ref_get(args->inv_count, 0, 0) : 0;
  int64_t n = logits.cols;
  double *row = ref_scratch(n);
  for (int64_t l = 0; l < logits.rows; l++) {
    int64_t target = target_of("cross_entropy", targets, l, n);
    if (target < 0) {
      ref_set(loss, 0, l, 0);
      for (int64_t v = 0; args->grad && v < n; v++) ref_set(logits, l, v, 0);
      continue;
    }
    ref_load_row(row, logits, l);
    double lse = log_sum_exp(row, n), mean = 0;
    for (int64_t v = 0; v < n; v++) mean += row[v];
    mean /= (double)n;
    // -log p_v = lse - logit_v
    ref_set(loss, 0, l, (1 - e) * (lse - row[target]) + e * (lse - mean));
    if (!args->grad) continue;
    for (int64_t v = 0; v < n; v++) {
      double g = exp(row[v] - lse) - e / (double)n - (v == target ? 1 - e : 0);
      ref_set(logits, l, v, inv_count * g);
    }
  }
  free(row);
}

static void log_probs(Backend *be, Tensor out, Tensor best, Tensor logits, Tensor targets) {
  op_check_log_probs(be, out, best, logits, targets);
  int64_t n = logits.cols;
  double *row = ref_scratch(n);
  for (int64_t l = 0; l < logits.rows; l++) {
    int64_t target = target_of("log_probs", targets, l, n), top = 0;
    ref_load_row(row, logits, l);
    for (int64_t v = 1; v < n; v++) {
      if (row[v] > row[top]) top = v;
    }
    ref_set(out, 0, l, target < 0 ? 0 : row[target] - log_sum_exp(row, n));
    ref_set(best, 0, l, (double)top);
  }
  free(row);
}

void ref_install_loss(Backend *be) {
  be->cross_entropy = cross_entropy;
  be->log_probs = log_probs;
}
