#include "greedy.h"

#include "test.h"

#include <math.h>
#include <stdio.h>

int32_t greedy_pick(const float *logits, int64_t vocab) {
  int32_t best = 0;
  for (int64_t i = 1; i < vocab; i++) {
    if (logits[i] > logits[best]) best = (int32_t)i;
  }
  return best;
}

static double second(const float *logits, int64_t vocab, int32_t best) {
  double found = -INFINITY;
  for (int64_t i = 0; i < vocab; i++) {
    if (i != best) found = fmax(found, (double)logits[i]);
  }
  return found;
}

void greedy_compare(Greedy *g, int32_t id, const float *reference, const float *exact) {
  int32_t best = greedy_pick(reference, g->vocab);
  double apart = (double)reference[best] - second(reference, g->vocab, best), moved = 0;
  if (g->tokens == 0 || apart < g->least_margin) g->least_margin = apart;
  g->tokens++;
  if (id == best) return;
  g->others++;
  EXPECT(id >= 0 && id < g->vocab, "token %lld: id %d", (long long)g->tokens, id);
  if (id < 0 || id >= g->vocab) return;
  for (int64_t i = 0; i < g->vocab; i++)
    moved = fmax(moved, fabs((double)reference[i] - (double)exact[i]));
  double margin = (double)reference[best] - (double)reference[id];
  EXPECT(!g->exact && margin <= 2 * moved,
         "token %lld: %d, the reference's is %d by %.4g; rounding moves its logits by %.4g",
         (long long)g->tokens, id, best, margin, moved);
}

void greedy_expect(const Greedy *g, int64_t tokens, const char *what) {
  EXPECT(g->tokens == tokens && g->others * 10 <= tokens, "%s: %lld tokens, %lld others", what,
         (long long)g->tokens, (long long)g->others);
  printf("  %s: %lld of %lld tokens are the same; the best two lie %.3g apart at least\n", what,
         (long long)(g->tokens - g->others), (long long)g->tokens, g->least_margin);
}
