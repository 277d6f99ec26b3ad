#include "sampler.h"

#include "check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const SamplerOptions SAMPLER_GREEDY = {
    .temperature = 0, .top_k = 0, .top_p = 1, .repetition_penalty = 1};

typedef struct Candidate {
  float logit;
  int32_t id;
} Candidate;

void sampler_init(Sampler *sampler, const SamplerOptions *options, int64_t vocab) {
  *sampler = (Sampler){.options = *options, .vocab = vocab, .rng = {.key = options->seed}};
  sampler->candidates = malloc((size_t)vocab * sizeof(Candidate));
  sampler->seen = malloc((size_t)vocab);
  CHECK(sampler->candidates != NULL && sampler->seen != NULL, "no memory for %lld candidates",
        (long long)vocab);
}

void sampler_free(Sampler *sampler) {
  free(sampler->candidates);
  free(sampler->seen);
  *sampler = (Sampler){0};
}

void sampler_penalise(Sampler *s, float *logits, const int32_t *context, int64_t n) {
  float p = s->options.repetition_penalty;
  if (p == 1) return;
  memset(s->seen, 0, (size_t)s->vocab);
  for (int64_t i = 0; i < n; i++) {
    int32_t id = context[i];
    if (id < 0 || id >= s->vocab || s->seen[id]) continue;
    s->seen[id] = 1;
    logits[id] = logits[id] < 0 ? logits[id] * p : logits[id] / p;
  }
}

static int32_t argmax(const float *logits, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return (int32_t)best;
}

// Larger logit first; lower id first on ties, so that the order is one.
static bool before(Candidate a, Candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// ---- a heap whose first is before all others: few of many are wanted, in order ----

static void sift_down(Candidate *heap, int64_t n, int64_t at) {
  Candidate moved = heap[at];
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

static void make_heap(Candidate *heap, int64_t n) {
  for (int64_t i = n / 2 - 1; i >= 0; i--) sift_down(heap, n, i);
}

// Takes the first of a heap of n and puts it behind the n - 1 that stay: taking all sorts them from
// the end on.
static Candidate take_first(Candidate *heap, int64_t n) {
  Candidate first = heap[0];
  heap[0] = heap[n - 1];
  heap[n - 1] = first;
  sift_down(heap, n - 1, 0);
  return first;
}

// ---- the draw ----

// Relative to the largest, so that neither a low temperature nor a large logit overflows.
static double weight(const Sampler *s, float logit, float most) {
  return exp((double)(logit - most) / (double)s->options.temperature);
}

// The kept candidates lie at the end of the list, the first one last: [vocab - result, vocab).
// *total: their weights' sum.
static int64_t keep_best(Sampler *s, float most, double *total) {
  Candidate *c = s->candidates;
  int64_t n = s->vocab, k = s->options.top_k;
  bool limited = k > 0 && k < n;
  make_heap(c, n);
  double all = 0;
  int64_t taken = 0;
  if (limited) { // the k largest, and what ties with the k-th
    while (taken < n && (taken < k || c[0].logit == c[n - taken].logit)) {
      all += weight(s, take_first(c, n - taken).logit, most);
      taken++;
    }
  } else {
    for (int64_t i = 0; i < n; i++) all += weight(s, c[i].logit, most);
  }
  *total = all;
  if (s->options.top_p >= 1) return taken;
  // The smallest set of the largest that reaches p of what top-k has left.
  double reached = 0, goal = (double)s->options.top_p * all;
  int64_t kept = 0;
  while (kept < (limited ? taken : n) && (kept == 0 || reached < goal)) {
    if (kept == taken) {
      take_first(c, n - taken);
      taken++;
    }
    kept++;
    reached += weight(s, c[n - kept].logit, most);
  }
  *total = reached;
  return kept;
}

int32_t sampler_pick(Sampler *s, float *logits, const int32_t *context, int64_t n_context) {
  sampler_penalise(s, logits, context, n_context);
  int32_t best = argmax(logits, s->vocab);
  if (s->options.temperature <= 0) return best;
  Candidate *c = s->candidates;
  for (int64_t i = 0; i < s->vocab; i++) c[i] = (Candidate){logits[i], (int32_t)i};
  float most = logits[best];
  int64_t n = s->vocab, kept = n;
  double total = 0;
  if ((s->options.top_k > 0 && s->options.top_k < n) || s->options.top_p < 1) {
    kept = keep_best(s, most, &total);
  } else {
    for (int64_t i = 0; i < n; i++) total += weight(s, c[i].logit, most);
  }
  double at = rng_uniform(&s->rng) * total, sum = 0;
  for (int64_t i = 1; i <= kept; i++) {
    sum += weight(s, c[n - i].logit, most);
    if (at < sum) return c[n - i].id;
  }
  return c[n - 1].id; // the sum fell short by rounding
}
