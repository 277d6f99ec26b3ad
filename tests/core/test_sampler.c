// labels: quick
// The sampler against typed expectations, and against a plain implementation that sorts all
// candidates and walks them (transformers' order of processors).
#include "sampler.h"
#include "test.h"

#include <math.h>
#include <stdbool.h>

static int32_t pick(SamplerOptions options, const float *logits, int64_t n, const int32_t *context,
                    int64_t n_context) {
  Sampler s;
  float copy[4096];
  memcpy(copy, logits, (size_t)n * sizeof *copy);
  sampler_init(&s, &options, n);
  int32_t id = sampler_pick(&s, copy, context, n_context);
  sampler_free(&s);
  return id;
}

static void test_greedy(void) {
  const float a[] = {0.5f, 2, -1, 2, 1};
  EXPECT(pick(SAMPLER_GREEDY, a, 5, NULL, 0) == 1, "the lowest id of a tie");
  const float one[] = {-3};
  EXPECT(pick(SAMPLER_GREEDY, one, 1, NULL, 0) == 0);
  SamplerOptions o = SAMPLER_GREEDY; // no effect without a temperature
  o.top_k = 1;
  o.top_p = 0.1f;
  o.seed = 9;
  EXPECT(pick(o, a, 5, NULL, 0) == 1);
}

static void test_repetition_penalty(void) {
  SamplerOptions o = SAMPLER_GREEDY;
  o.repetition_penalty = 2;
  const float a[] = {3, 4, -1, 2.5f}, b[] = {1.5f, 4, -1, 1};
  const int32_t twice[] = {1, 1}; // once each: 4 / 2, not 4 / 4
  EXPECT(pick(o, a, 4, twice, 2) == 0);
  EXPECT(pick(o, b, 4, twice, 2) == 1);
  const int32_t both[] = {1, 0}; // 1.5 and 2 against 2.5
  EXPECT(pick(o, a, 4, both, 2) == 3);
  const float negative[] = {-1, -1.5f, -4}; // a negative one is multiplied: -2
  const int32_t first[] = {0};
  EXPECT(pick(o, negative, 3, first, 1) == 1);
  const int32_t outside[] = {-1, 7}; // ids that are no rows of the logits
  EXPECT(pick(o, a, 4, outside, 2) == 1);
}

// The probability of each id by the plain way: divide, sort, cut, cut again, normalise.
typedef struct Plain {
  double p;
  float logit;
  int32_t id;
} Plain;

static int by_logit(const void *x, const void *y) {
  const Plain *a = x, *b = y;
  if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
  return a->id < b->id ? -1 : 1;
}

static void plain_probabilities(const SamplerOptions *o, const float *logits, int n, double *out) {
  Plain *list = calloc((size_t)n, sizeof *list);
  for (int i = 0; i < n; i++) list[i] = (Plain){.logit = logits[i], .id = i};
  qsort(list, (size_t)n, sizeof *list, by_logit);
  int keep = n;
  if (o->top_k > 0 && o->top_k < n) {
    keep = (int)o->top_k;
    while (keep < n && list[keep].logit == list[o->top_k - 1].logit) keep++;
  }
  double sum = 0, before = 0;
  for (int i = 0; i < keep; i++) {
    list[i].p = exp(((double)list[i].logit - list[0].logit) / o->temperature);
    sum += list[i].p;
  }
  int kept = 0;
  for (; kept < keep && (kept == 0 || o->top_p >= 1 || before < o->top_p * sum); kept++)
    before += list[kept].p;
  for (int i = 0; i < n; i++) out[list[i].id] = i < kept ? list[i].p / before : 0;
  free(list);
}

// Draws many times: what the plain way excludes never comes, and the frequencies of the rest are
// within 5 standard deviations.
static void check_frequencies(const SamplerOptions *options, const float *logits, int n,
                              const char *what) {
  enum { DRAWS = 20000 };
  double *p = calloc((size_t)n, sizeof *p);
  int *count = calloc((size_t)n, sizeof *count);
  float *copy = calloc((size_t)n, sizeof *copy);
  plain_probabilities(options, logits, n, p);
  Sampler s;
  sampler_init(&s, options, n);
  for (int d = 0; d < DRAWS; d++) {
    memcpy(copy, logits, (size_t)n * sizeof *copy);
    int32_t id = sampler_pick(&s, copy, NULL, 0);
    EXPECT(id >= 0 && id < n);
    if (id >= 0 && id < n) count[id]++;
  }
  for (int i = 0; i < n; i++) {
    double expected = p[i] * DRAWS, deviation = sqrt(expected * (1 - p[i]));
    EXPECT(fabs(count[i] - expected) <= 5 * deviation + 1e-9, "%s: id %d came %d times, not %.1f",
           what, i, count[i], expected);
  }
  sampler_free(&s);
  free(p);
  free(count);
  free(copy);
}

static void test_against_plain(void) {
  enum { N = 57 };
  float logits[N];
  Rng rng = {.key = 77};
  for (int i = 0; i < N; i++) logits[i] = (float)(2 * rng_normal(&rng));
  logits[11] = logits[40] = logits[3]; // ties
  const struct {
    float temperature;
    int64_t k;
    float p;
    const char *what;
  } cases[] = {
      {1, 0, 1, "plain"},           {0.5f, 0, 1, "cold"},      {3, 0, 1, "hot"},
      {1, 1, 1, "top-k 1"},         {1, 5, 1, "top-k 5"},      {1, N, 1, "top-k all"},
      {1, 1000, 1, "top-k more"},   {1, 0, 0.5f, "top-p 0.5"}, {1, 0, 0.999f, "top-p most"},
      {0.7f, 10, 0.6f, "top-k, p"}, {1, 0, 1e-6f, "top-p 0"},  {2, 20, 0.95f, "hot, cut"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    SamplerOptions o = {.temperature = cases[i].temperature,
                        .top_k = cases[i].k,
                        .top_p = cases[i].p,
                        .repetition_penalty = 1,
                        .seed = 5 + i};
    check_frequencies(&o, logits, N, cases[i].what);
  }
}

static void test_ties_at_the_edge(void) {
  // The second largest is there three times: top-k 2 keeps all of them.
  const float logits[] = {1, 5, 1, 0, 1};
  SamplerOptions o = {.temperature = 4, .top_k = 2, .top_p = 1, .repetition_penalty = 1};
  check_frequencies(&o, logits, 5, "tied top-k");
  // All alike: nothing is cut by top-k, and half of them by top-p 0.5 (the lowest ids).
  const float flat[] = {2, 2, 2, 2};
  o = (SamplerOptions){.temperature = 1, .top_k = 1, .top_p = 0.5f, .repetition_penalty = 1};
  check_frequencies(&o, flat, 4, "flat");
}

static void test_extremes(void) {
  SamplerOptions o = {.temperature = 1e-30f, .top_p = 1, .repetition_penalty = 1};
  const float a[] = {-3e38f, 1, 0.999f, 3e38f};
  EXPECT(pick(o, a, 4, NULL, 0) == 3, "a temperature near 0 is greedy");
  const float b[] = {-INFINITY, 0, -INFINITY};
  o.temperature = 1;
  EXPECT(pick(o, b, 3, NULL, 0) == 1);
}

// The same seed draws the same ids, another seed others.
static void test_seed(void) {
  enum { N = 100, DRAWS = 50 };
  float logits[N] = {0}, copy[N];
  int32_t ids[3][DRAWS];
  for (int run = 0; run < 3; run++) {
    SamplerOptions o = {.temperature = 1,
                        .top_k = 60,
                        .top_p = 0.9f,
                        .repetition_penalty = 1,
                        .seed = run < 2 ? 123 : 124};
    Sampler s;
    sampler_init(&s, &o, N);
    for (int d = 0; d < DRAWS; d++) {
      memcpy(copy, logits, sizeof copy);
      ids[run][d] = sampler_pick(&s, copy, NULL, 0);
    }
    sampler_free(&s);
  }
  EXPECT(memcmp(ids[0], ids[1], sizeof ids[0]) == 0);
  EXPECT(memcmp(ids[0], ids[2], sizeof ids[0]) != 0);
}

int main(void) {
  RUN(test_greedy);
  RUN(test_repetition_penalty);
  RUN(test_against_plain);
  RUN(test_ties_at_the_edge);
  RUN(test_extremes);
  RUN(test_seed);
  return test_done();
}
