// Choosing the next token from logits on the host, with the memory that it takes; token_choice.h
// says how.
#ifndef VMA_SAMPLER_H
#define VMA_SAMPLER_H

#include "token_choice.h"

typedef struct SamplerOptions {
  float temperature;        // 0: greedy, and top-k, top-p, seed have no effect
  int64_t top_k;            // 0: off; else the k largest (and what ties with the k-th)
  float top_p;              // 1: off; else the smallest set of largest probabilities that reaches p
  float repetition_penalty; // 1: off (Keskar et al. 2019): s < 0 ? s * p : s / p for every id in
                            // the context
  uint64_t seed;
} SamplerOptions;

extern const SamplerOptions SAMPLER_GREEDY;

typedef struct Sampler {
  SamplerOptions options;
  Rng rng;
  int64_t vocab;
  TokenCandidate *candidates; // [vocab]
  uint8_t *seen;              // [vocab]
} Sampler;

void sampler_init(Sampler *sampler, const SamplerOptions *options, int64_t vocab);
void sampler_free(Sampler *sampler);

// The repetition penalty alone, on logits or log probabilities [vocab].
void sampler_penalise(Sampler *sampler, float *scores, const int32_t *context, int64_t n_context);

// The next id; logits [vocab] are changed. context: all ids so far, prompt included.
int32_t sampler_pick(Sampler *sampler, float *logits, const int32_t *context, int64_t n_context);

#endif
