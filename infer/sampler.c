#include "sampler.h"

#include "check.h"

#include <stdlib.h>

const SamplerOptions SAMPLER_GREEDY = {
    .temperature = 0, .top_k = 0, .top_p = 1, .repetition_penalty = 1};

void sampler_init(Sampler *sampler, const SamplerOptions *options, int64_t vocab) {
  *sampler = (Sampler){.options = *options, .vocab = vocab, .rng = {.key = options->seed}};
  sampler->candidates = malloc((size_t)vocab * sizeof *sampler->candidates);
  sampler->seen = malloc((size_t)vocab);
  CHECK(sampler->candidates != NULL && sampler->seen != NULL, "no memory for %lld candidates",
        (long long)vocab);
}

void sampler_free(Sampler *sampler) {
  free(sampler->candidates);
  free(sampler->seen);
  *sampler = (Sampler){0};
}

void sampler_penalise(Sampler *s, float *scores, const int32_t *context, int64_t n) {
  token_penalise(scores, s->vocab, s->options.repetition_penalty, context, n, s->seen);
}

int32_t sampler_pick(Sampler *s, float *logits, const int32_t *context, int64_t n_context) {
  const SamplerOptions *o = &s->options;
  sampler_penalise(s, logits, context, n_context);
  TokenRules rules = {.temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p};
  return token_pick(logits, s->vocab, &rules, &s->rng, s->candidates);
}
