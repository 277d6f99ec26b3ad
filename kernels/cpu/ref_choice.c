// Choosing tokens: rows of logits become f32 and go through token_choice.h, as on the host. Fast
// enough for every CPU backend: a row is read a few times.
#include "check.h"
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"
#include "token_choice.h"

#include <math.h>
#include <stdlib.h>

static void *scratch(int64_t n, size_t size) {
  void *p = malloc(n > 0 ? (size_t)n * size : 1);
  CHECK(p != NULL, "no memory for %lld elements to choose a token", (long long)n);
  return p;
}

static void load_f32(float *out, double *row, Tensor logits, int64_t r) {
  ref_load_row(row, logits, r);
  for (int64_t v = 0; v < logits.cols; v++) out[v] = (float)row[v];
}

static void penalise(float *scores, int64_t vocab, const SeenIds *seen, int64_t r, uint8_t *marks) {
  if (!tensor_given(seen->ids)) return;
  const int32_t *ids = (const int32_t *)seen->ids.data + r * seen->ids.stride;
  int64_t n = ref_i32(seen->lengths, r, 0);
  CHECK(n >= 0 && n <= seen->ids.cols, "seen: lengths[%lld] is %lld; expected 0 to %lld",
        (long long)r, (long long)n, (long long)seen->ids.cols);
  token_penalise(scores, vocab, (float)ref_get(seen->penalty, 0, r), ids, n, marks);
}

static bool can_choose(const float *logits, int64_t n) {
  for (int64_t v = 0; v < n; v++) {
    if (!(logits[v] < INFINITY)) return false;
  }
  return true;
}

static void append(const SeenIds *seen, int64_t r, int32_t id) {
  if (!tensor_given(seen->ids)) return;
  int32_t *length = (int32_t *)seen->lengths.data + r;
  if (*length < seen->ids.cols)
    ((int32_t *)seen->ids.data)[r * seen->ids.stride + (*length)++] = id;
}

static void sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args) {
  op_check_sample(be, ids, logits, args);
  int64_t vocab = logits.cols;
  double *row = scratch(vocab, sizeof *row);
  float *values = scratch(vocab, sizeof *values);
  uint8_t *marks = scratch(vocab, sizeof *marks);
  TokenCandidate *candidates = scratch(vocab, sizeof *candidates);
  for (int64_t r = 0; r < logits.rows; r++) {
    int32_t *id = (int32_t *)ids.data + r;
    load_f32(values, row, logits, r);
    *id = -1;
    if (!can_choose(values, vocab)) continue;
    penalise(values, vocab, &args->seen, r, marks);
    TokenRules rules = {.temperature = (float)ref_get(args->temperature, 0, r),
                        .top_k = ref_i32(args->top_k, r, 0),
                        .top_p = (float)ref_get(args->top_p, 0, r)};
    Rng rng = {.key = ((const uint64_t *)args->seeds.data)[r],
               .counter = ((const uint64_t *)args->draws.data)[r]};
    *id = token_pick(values, vocab, &rules, &rng, candidates);
    ((uint64_t *)args->draws.data)[r] = rng.counter;
    append(&args->seen, r, *id);
  }
  free(row);
  free(values);
  free(marks);
  free(candidates);
}

// Of one text; log_probs: [beams] rows of [vocab].
static void step_of(Tensor scores, Tensor parents, Tensor ids, int64_t t, const float **log_probs,
                    int64_t vocab, const BeamArgs *args) {
  TokenBranch *list = scratch(scores.cols, sizeof *list);
  float *sums = scratch(args->beams, sizeof *sums);
  for (int64_t i = 0; i < args->beams; i++) sums[i] = (float)ref_get(args->sums, t, i);
  int n = token_branches(list, (int)scores.cols, log_probs, sums, (int)args->beams, vocab);
  for (int64_t k = 0; k < scores.cols; k++) {
    bool there = k < n;
    ref_set(scores, t, k, there ? (double)list[k].sum : -INFINITY);
    ref_set(parents, t, k, there ? list[k].beam : -1);
    ref_set(ids, t, k, there ? list[k].id : -1);
  }
  free(list);
  free(sums);
}

static void beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                      const BeamArgs *args) {
  op_check_beam_step(be, scores, parents, ids, logits, args);
  int64_t vocab = logits.cols, beams = args->beams;
  double *row = scratch(vocab, sizeof *row);
  float *values = scratch(beams * vocab, sizeof *values);
  uint8_t *marks = scratch(vocab, sizeof *marks);
  const float **rows = scratch(beams, sizeof *rows);
  for (int64_t t = 0; t < scores.rows; t++) {
    for (int64_t i = 0; i < beams; i++) {
      int64_t at = t * beams + i;
      float *out = values + i * vocab;
      rows[i] = out;
      if (tensor_given(args->rows))
        load_f32(out, row, logits, ref_index("beam_step", "rows", args->rows, at, logits.rows));
      else
        load_f32(out, row, logits, at);
      log_softmax(out, vocab);
      penalise(out, vocab, &args->seen, at, marks);
    }
    step_of(scores, parents, ids, t, rows, vocab, args);
  }
  free(row);
  free(values);
  free(marks);
  free(rows);
}

void ref_install_choice(Backend *be) {
  be->sample = sample;
  be->beam_step = beam_step;
}
