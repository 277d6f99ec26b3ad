// labels: quick
// Beam search against transformers (tests/golden/tiny_llama/beams.safetensors): tokens and scores
// of searches on two tiny models, with every kind of early stopping, length penalties of either
// sign, ids that end a text, a repetition penalty. None of them hangs on the last bits: each gave
// the same tokens with its log probabilities moved by 5e-5.
#include "check.h"
#include "generator.h"
#include "golden.h"
#include "test.h"
#include "tiny_engine.h"

#include <math.h>

enum { V = 131, MAX_LEN = 100, CASES_MAX = 90 };

static Safetensors golden;

typedef struct Case {
  const int32_t *ids, *eos, *new;
  int64_t n, n_eos, n_new;
  const float *numbers;
  float score;
  char model[8];
} Case;

static Case case_of(int i) {
  Case c = {0};
  int64_t bytes;
  const char *model = golden_u8(&golden, &bytes, "case%d.model", i);
  snprintf(c.model, sizeof c.model, "%.*s", (int)bytes, model);
  c.ids = golden_i32(&golden, &c.n, "case%d.ids", i);
  c.eos = golden_i32(&golden, &c.n_eos, "case%d.eos", i);
  c.new = golden_i32(&golden, &c.n_new, "case%d.new", i);
  c.numbers = golden_f32(&golden, NULL, "case%d.numbers", i);
  c.score = golden_f32(&golden, NULL, "case%d.score", i)[0];
  return c;
}

static int count_cases(void) {
  char name[32];
  int n = 0;
  do snprintf(name, sizeof name, "case%d.ids", n++);
  while (safetensors_find(&golden, name) != NULL);
  return n - 1;
}

static GenerateOptions options_of(const Case *c) {
  SamplerOptions sampler = SAMPLER_GREEDY;
  sampler.repetition_penalty = c->numbers[4];
  return (GenerateOptions){.sampler = sampler,
                           .beam = {.beams = (int)c->numbers[0],
                                    .length_penalty = c->numbers[1],
                                    .early_stopping = (EarlyStopping)c->numbers[2]},
                           .max_new_tokens = (int64_t)c->numbers[3],
                           .context = MAX_LEN,
                           .stop_ids = c->eos,
                           .n_stop_ids = (int)c->n_eos,
                           .adapter = -1};
}

static void expect_golden(int i, const Case *c, const Generation *g) {
  bool same = g->n == c->n_new && memcmp(g->ids, c->new, (size_t)g->n * sizeof *g->ids) == 0;
  EXPECT(same,
         "case %d (%d beams, penalty %g, early stopping %d, %lld ids end it): %lld tokens, %lld", i,
         (int)c->numbers[0], (double)c->numbers[1], (int)c->numbers[2], (long long)c->n_eos,
         (long long)g->n, (long long)c->n_new);
  bool ended = false;
  for (int64_t e = 0; e < c->n_eos; e++) ended = ended || c->eos[e] == c->new[c->n_new - 1];
  EXPECT(fabsf(g->score - c->score) <= 2e-5f * (1 + fabsf(c->score)), "case %d: score %.6f, %.6f",
         i, (double)g->score, (double)c->score);
  EXPECT(g->finish == (ended ? FINISH_EOS : FINISH_LENGTH), "case %d: finish %s", i,
         finish_name(g->finish));
}

static void open_engine(Engine *e, const char *model, DecoderSize size, Decoder *decoder) {
  Error err = {0};
  tiny_engine_open(e, model, NULL);
  CHECK(engine_load(e, decoder_rehearse, &size, &err) == STATUS_OK, "%s", err.message);
  decoder_init(decoder, &e->ctx, &e->model, &e->memory.cache, size);
}

// One at a time, in a cache of exactly the pages that were counted for each: of the kinds of early
// stopping, which stand side by side, another one each time.
static void test_some_alone(void) {
  int n = count_cases();
  EXPECT(n >= 60, "%d cases", n);
  for (int i = 0; i < n; i += 4) {
    Case c = case_of(i);
    GenerateOptions o = options_of(&c);
    DecoderSize size = {.max_len = generate_cache_len(c.n, &o),
                        .chunk = 16,
                        .seqs = generate_seqs(&o),
                        .pages = generate_cache_pages(c.n, &o)};
    Engine e;
    Decoder d;
    Error err = {0};
    Generation g;
    open_engine(&e, c.model, size, &d);
    Status status = generate(&g, &d, e.tokenizer, c.ids, c.n, &o, (TextSink){0}, &err);
    EXPECT(status == STATUS_OK, "%s", err.message);
    expect_golden(i, &c, &g);
    generation_free(&g);
    decoder_free(&d);
    engine_close(&e);
  }
}

// All cases of a model with so many beams, through three slots.
static void run_together(const char *model, int beams, const Case *cases, int n) {
  enum { SLOTS = 3 };
  static Generation answers[CASES_MAX];
  static GenerateOptions options[CASES_MAX];
  Engine e;
  Decoder d;
  Generator generator;
  Error err = {0};
  DecoderSize size = {.max_len = MAX_LEN, .chunk = 40, .seqs = SLOTS * beams};
  open_engine(&e, model, size, &d);
  generator_init(
      &generator, &d, e.tokenizer,
      (GeneratorSize){
          .slots = SLOTS, .beams = beams, .max_tokens = MAX_LEN, .max_new = 40, .n_stop_ids = 12});
  int next = 0;
  while (next < n || generator.n_used > 0) {
    while (next < n && !generator_full(&generator)) {
      options[next] = options_of(&cases[next]);
      GenerateRequest r = {
          .prompt = cases[next].ids, .n_prompt = cases[next].n, .options = &options[next]};
      CHECK(generator_add(&generator, &r, &answers[next], &err) == STATUS_OK, "%s", err.message);
      next++;
    }
    CHECK(generator_step(&generator, &err) == STATUS_OK, "%s", err.message);
  }
  for (int i = 0; i < n; i++) {
    expect_golden(i, &cases[i], &answers[i]);
    generation_free(&answers[i]);
  }
  generator_free(&generator);
  decoder_free(&d);
  engine_close(&e);
}

static void test_together(void) {
  int n = count_cases(), groups = 0;
  bool taken[CASES_MAX] = {false};
  CHECK(n <= CASES_MAX, "%d cases", n);
  for (int i = 0; i < n; i++) {
    if (taken[i]) continue;
    Case first = case_of(i), alike[CASES_MAX];
    int n_alike = 0;
    for (int k = i; k < n; k++) {
      Case c = case_of(k);
      if (strcmp(c.model, first.model) != 0 || c.numbers[0] != first.numbers[0]) continue;
      taken[k] = true;
      alike[n_alike++] = c;
    }
    run_together(first.model, (int)first.numbers[0], alike, n_alike);
    groups++;
  }
  EXPECT(groups == 6, "%d groups", groups);
}

// A prompt that ends with its page, and one token: the beams' own pages are never used, and the
// best text is the greedy one.
static void test_one_token_after_a_full_page(void) {
  int32_t ids[64], best[2];
  for (int32_t i = 0; i < 64; i++) ids[i] = 3 + (i * 29) % 120;
  for (int beams = 1; beams <= 4; beams += 3) {
    Engine e;
    Decoder d;
    Generation g;
    Error err = {0};
    GenerateOptions o = {.sampler = SAMPLER_GREEDY,
                         .beam = {.beams = beams, .length_penalty = 1},
                         .max_new_tokens = 1,
                         .context = MAX_LEN,
                         .adapter = -1};
    DecoderSize size = {.max_len = generate_cache_len(64, &o),
                        .chunk = 64,
                        .seqs = beams,
                        .pages = generate_cache_pages(64, &o)};
    open_engine(&e, "mha", size, &d);
    EXPECT(generate(&g, &d, e.tokenizer, ids, 64, &o, (TextSink){0}, &err) == STATUS_OK);
    EXPECT(g.n == 1 && g.finish == FINISH_LENGTH);
    best[beams > 1] = g.ids[0];
    generation_free(&g);
    decoder_free(&d);
    engine_close(&e);
  }
  EXPECT(best[0] == best[1], "%d by beams, %d without", best[1], best[0]);
}

int main(void) {
  golden_open(&golden, "tiny_llama/beams.safetensors");
  RUN(test_some_alone);
  RUN(test_together);
  RUN(test_one_token_after_a_full_page);
  safetensors_close(&golden);
  return test_done();
}
