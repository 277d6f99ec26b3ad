#include "sampler.h"

#include "check.h"

#include <math.h>
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

static void penalise(Sampler *s, float *logits, const int32_t *context, int64_t n) {
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
static int by_logit(const void *a, const void *b) {
  const Candidate *x = a, *y = b;
  if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
  return x->id < y->id ? -1 : 1;
}

// How many of the sorted candidates top-k leaves.
static int64_t keep_top_k(const Candidate *c, int64_t n, int64_t k) {
  if (k <= 0 || k >= n) return n;
  int64_t keep = k;
  while (keep < n && c[keep].logit == c[k - 1].logit) keep++;
  return keep;
}

int32_t sampler_pick(Sampler *s, float *logits, const int32_t *context, int64_t n_context) {
  penalise(s, logits, context, n_context);
  if (s->options.temperature <= 0) return argmax(logits, s->vocab);
  Candidate *c = s->candidates;
  for (int64_t i = 0; i < s->vocab; i++) {
    c[i] = (Candidate){logits[i] / s->options.temperature, (int32_t)i};
  }
  qsort(c, (size_t)s->vocab, sizeof *c, by_logit);
  int64_t n = keep_top_k(c, s->vocab, s->options.top_k);
  double total = 0, most = c[0].logit;
  for (int64_t i = 0; i < n; i++) total += exp(c[i].logit - most);
  if (s->options.top_p < 1) {
    double reached = 0, goal = s->options.top_p * total;
    int64_t keep = 0;
    while (keep < n && (keep == 0 || reached < goal)) reached += exp(c[keep++].logit - most);
    n = keep;
    total = reached;
  }
  double at = rng_uniform(&s->rng) * total, sum = 0;
  for (int64_t i = 0; i < n; i++) {
    sum += exp(c[i].logit - most);
    if (at < sum) return c[i].id;
  }
  return c[n - 1].id;
}
