// Choosing tokens from logits: what a host's sampler, its beam search and the ops `sample` and
// `beam_step` do alike.
//
// A draw follows transformers' generate: repetition penalty (Keskar et al. 2019), temperature,
// top-k, top-p, softmax, one uniform number. All of it is f32, but the weights and their sums,
// which are f64.
#ifndef VMA_TOKEN_CHOICE_H
#define VMA_TOKEN_CHOICE_H

#include "rng.h"

typedef struct TokenRules {
  float temperature; // 0: the largest logit, lowest id on ties; nothing is drawn
  int64_t top_k;     // 0: off; else the k largest (and what ties with the k-th)
  float top_p;       // 1: off; else the smallest set of largest probabilities that reaches p
} TokenRules;

typedef struct TokenCandidate {
  float logit;
  int32_t id;
} TokenCandidate;

// s -> s < 0 ? s * penalty : s / penalty, once for every id in the context; ids that are no index
// of scores [vocab] are passed over. seen: [vocab] of scratch. A penalty of 1 does nothing.
void token_penalise(float *scores, int64_t vocab, float penalty, const int32_t *context,
                    int64_t n_context, uint8_t *seen);

// The next id. The logits hold no NaN and no +inf. candidates: [vocab] of scratch.
int32_t token_pick(const float *logits, int64_t vocab, const TokenRules *rules, Rng *rng,
                   TokenCandidate *candidates);

// logits -> log softmax, in place: logit - largest - log(sum), the sum in f64.
void log_softmax(float *logits, int64_t n);

// One of the likeliest ways on of several running texts.
typedef struct TokenBranch {
  float sum; // log probabilities of the text and of the id
  int32_t beam, id;
} TokenBranch;

// The `keep` largest of sums[beam] + log_probs[beam][id], in order; the lowest beam and id win
// ties, NaN comes nowhere. Returns how many there are.
int token_branches(TokenBranch *list, int keep, const float *const *log_probs, const float *sums,
                   int beams, int64_t vocab);

#endif
