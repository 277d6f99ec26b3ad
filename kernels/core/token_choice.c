#include "token_choice.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

void token_penalise(float *scores, int64_t vocab, float penalty, const int32_t *context,
                    int64_t n_context, uint8_t *seen) {
  if (penalty == 1) return;
  memset(seen, 0, (size_t)vocab);
  for (int64_t i = 0; i < n_context; i++) {
    int32_t id = context[i];
    if (id < 0 || id >= vocab || seen[id]) continue;
    seen[id] = 1;
    scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
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
static bool before(TokenCandidate a, TokenCandidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// ---- a heap whose first is before all others: few of many are wanted, in order ----

static void sift_down(TokenCandidate *heap, int64_t n, int64_t at) {
  TokenCandidate moved = heap[at];
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

static void make_heap(TokenCandidate *heap, int64_t n) {
  for (int64_t i = n / 2 - 1; i >= 0; i--) sift_down(heap, n, i);
}

// Takes the first of a heap of n and puts it behind the n - 1 that stay: taking all sorts them from
// the end on.
static TokenCandidate take_first(TokenCandidate *heap, int64_t n) {
  TokenCandidate first = heap[0];
  heap[0] = heap[n - 1];
  heap[n - 1] = first;
  sift_down(heap, n - 1, 0);
  return first;
}

// ---- the draw ----

// Relative to the largest, so that neither a low temperature nor a large logit overflows.
static double weight(const TokenRules *rules, float logit, float most) {
  return exp((double)(logit - most) / (double)rules->temperature);
}

// The kept candidates lie at the end of the list, the first one last: [n - result, n).
// *total: their weights' sum.
static int64_t keep_best(TokenCandidate *c, int64_t n, const TokenRules *rules, float most,
                         double *total) {
  int64_t k = rules->top_k;
  bool limited = k > 0 && k < n;
  make_heap(c, n);
  double all = 0;
  int64_t taken = 0;
  if (limited) { // the k largest, and what ties with the k-th
    while (taken < n && (taken < k || c[0].logit == c[n - taken].logit)) {
      all += weight(rules, take_first(c, n - taken).logit, most);
      taken++;
    }
  } else {
    for (int64_t i = 0; i < n; i++) all += weight(rules, c[i].logit, most);
  }
  *total = all;
  if (rules->top_p >= 1) return taken;
  // The smallest set of the largest that reaches p of what top-k has left.
  double reached = 0, goal = (double)rules->top_p * all;
  int64_t kept = 0;
  while (kept < (limited ? taken : n) && (kept == 0 || reached < goal)) {
    if (kept == taken) {
      take_first(c, n - taken);
      taken++;
    }
    kept++;
    reached += weight(rules, c[n - kept].logit, most);
  }
  *total = reached;
  return kept;
}

int32_t token_pick(const float *logits, int64_t n, const TokenRules *rules, Rng *rng,
                   TokenCandidate *c) {
  int32_t best = argmax(logits, n);
  if (rules->temperature <= 0) return best;
  for (int64_t i = 0; i < n; i++) c[i] = (TokenCandidate){logits[i], (int32_t)i};
  float most = logits[best];
  int64_t kept = n;
  double total = 0;
  if ((rules->top_k > 0 && rules->top_k < n) || rules->top_p < 1) {
    kept = keep_best(c, n, rules, most, &total);
  } else {
    for (int64_t i = 0; i < n; i++) total += weight(rules, c[i].logit, most);
  }
  double at = rng_uniform(rng) * total, sum = 0;
  for (int64_t i = 1; i <= kept; i++) {
    sum += weight(rules, c[n - i].logit, most);
    if (at < sum) return c[n - i].id;
  }
  return c[n - kept].id; // the sum fell short by rounding
}

// ---- beams ----

void log_softmax(float *logits, int64_t n) {
  float most = logits[0];
  for (int64_t i = 1; i < n; i++) most = logits[i] > most ? logits[i] : most;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += exp((double)(logits[i] - most));
  float log_sum = (float)log(sum);
  for (int64_t i = 0; i < n; i++) logits[i] = logits[i] - most - log_sum;
}

// Keeps the list sorted: larger sum first, what came first on ties.
static void offer(TokenBranch *list, int *n, int keep, TokenBranch branch) {
  if (isnan(branch.sum) || (*n == keep && branch.sum <= list[*n - 1].sum)) return;
  int at = *n < keep ? (*n)++ : keep - 1;
  for (; at > 0 && list[at - 1].sum < branch.sum; at--) list[at] = list[at - 1];
  list[at] = branch;
}

int token_branches(TokenBranch *list, int keep, const float *const *log_probs, const float *sums,
                   int beams, int64_t vocab) {
  int n = 0;
  for (int32_t beam = 0; beam < beams; beam++) {
    for (int64_t id = 0; id < vocab; id++) {
      float sum = log_probs[beam][id] + sums[beam];
      offer(list, &n, keep, (TokenBranch){sum, beam, (int32_t)id});
    }
  }
  return n;
}
