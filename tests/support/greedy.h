// Greedy text of one backend against another's: tokens that are chosen after the same prefix.
//
// With rounding between the two, a token may be another one only where the reference itself hardly
// prefers its own: by no more than twice what rounding moves its logits, measured there against the
// same model in f32 (design: tests).
#ifndef VMA_GREEDY_H
#define VMA_GREEDY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Greedy {
  int64_t vocab;
  bool exact; // no other token is let pass
  // What was found so far.
  int64_t tokens, others;
  double least_margin; // between the reference's best two, over all tokens
} Greedy;

// The largest logit's index, the lowest on ties.
int32_t greedy_pick(const float *logits, int64_t vocab);

// `id`, chosen after some prefix, against the logits [vocab] of the reference and of the exact
// model there. A failed expectation says by how much.
void greedy_compare(Greedy *greedy, int32_t id, const float *reference, const float *exact);

// At the end: that many tokens were compared, and nearly all are the same. Prints what was found.
void greedy_expect(const Greedy *greedy, int64_t tokens, const char *what);

#endif
