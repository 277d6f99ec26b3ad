// Reference: sums, the clip factor and AdamW.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>

static void sum_acc(Backend *be, Tensor out, Tensor x) {
  op_check_sum_acc(be, out, x);
  double sum = 0;
  for (int64_t r = 0; r < x.rows; r++) {
    for (int64_t c = 0; c < x.cols; c++) sum += ref_get(x, r, c);
  }
  ref_set(out, 0, 0, ref_get(out, 0, 0) + sum);
}

static void sum_squares(Backend *be, Tensor out, Tensor x) {
  op_check_sum_squares(be, out, x);
  double sum = 0;
  for (int64_t r = 0; r < x.rows; r++) {
    for (int64_t c = 0; c < x.cols; c++) sum += ref_get(x, r, c) * ref_get(x, r, c);
  }
  ref_set(out, 0, 0, sum);
}

static void clip_factor(Backend *be, Tensor clip, Tensor sums, Tensor guard, float max_norm) {
  op_check_clip_factor(be, clip, sums, guard);
  double sum = 0;
  for (int64_t i = 0; i < sums.cols; i++) sum += ref_get(sums, 0, i);
  double norm = sqrt(sum);
  if (tensor_given(guard) && !isfinite(ref_get(guard, 0, 0))) norm = NAN;
  ref_set(clip, 0, 0, max_norm > 0 ? fmin(1, (double)max_norm / (norm + 1e-6)) : 1);
  ref_set(clip, 0, 1, norm);
}

// Row-less access: the tensors of adamw are dense but may differ in how they are folded.
static Tensor flat(Tensor t) {
  t.stride = t.cols = tensor_count(t);
  t.rows = 1;
  return t;
}

static void adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                  const AdamArgs *args) {
  op_check_adamw(be, w, master, m, v, g, args);
  double clip = ref_get(args->clip, 0, 0), norm = ref_get(args->clip, 0, 1);
  if (!isfinite(norm)) return;
  double lr = ref_get(args->lr, 0, 0), t = ref_i32(args->step, 0, 0);
  double b1 = (double)args->beta1, b2 = (double)args->beta2;
  double bias1 = 1 - pow(b1, t), bias2 = 1 - pow(b2, t);
  Tensor from = flat(tensor_given(master) ? master : w);
  Tensor fw = flat(w), fm = flat(m), fv = flat(v), fg = flat(g);
  for (int64_t i = 0; i < fw.cols; i++) {
    double grad = clip * ref_get(fg, 0, i), p = ref_get(from, 0, i);
    double first = b1 * ref_get(fm, 0, i) + (1 - b1) * grad;
    double second = b2 * ref_get(fv, 0, i) + (1 - b2) * grad * grad;
    p *= 1 - lr * (double)args->decay;
    p -= lr / bias1 * first / (sqrt(second) / sqrt(bias2) + (double)args->eps);
    ref_set(fm, 0, i, first);
    ref_set(fv, 0, i, second);
    ref_set(from, 0, i, p);
    // A bf16 weight is its f32 master rounded, so that both say the same after a resume.
    if (tensor_given(master)) ref_set(fw, 0, i, ref_get(from, 0, i));
  }
}

void ref_install_optim(Backend *be) {
  be->sum_acc = sum_acc;
  be->sum_squares = sum_squares;
  be->clip_factor = clip_factor;
  be->adamw = adamw;
}
