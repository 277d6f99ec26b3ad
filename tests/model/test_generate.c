// labels: quick
// Generation on a tiny model: greedy text equals a loop that computes everything anew for every
// token, and each way to end is taken where it should be.
#include "generate.h"
#include "test.h"
#include "tiny_engine.h"

#include <math.h>

enum { V = 131, CONTEXT = 128 };

static Engine engine;
static Decoder decoder;
static TokenIds prompt;

static GenerateOptions plain_options(int64_t max_new_tokens) {
  return (GenerateOptions){
      .sampler = SAMPLER_GREEDY, .max_new_tokens = max_new_tokens, .context = CONTEXT};
}

// What the model would go on with, by a forward of the whole text without a cache each time.
static void plain_greedy(const int32_t *begin, int64_t n_begin, int64_t n, int32_t *out) {
  Ctx *ctx = &engine.ctx;
  int32_t ids[CONTEXT], positions[CONTEXT];
  memcpy(ids, begin, (size_t)n_begin * sizeof *ids);
  for (int32_t i = 0; i < CONTEXT; i++) positions[i] = i;
  for (int64_t k = 0; k < n; k++) {
    ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
    int32_t len = (int32_t)(n_begin + k), last = len - 1, borders[2] = {0, len};
    Batch batch = {
        .tokens = {
            .n_seqs = 1, .n_rows = len, .cu_seqlens = borders, .positions = positions, .ids = ids}};
    DeviceBatch on_device;
    device_batch_make(ctx, &batch, NULL, &on_device);
    Value *trunk = llama_trunk(ctx, &engine.model, &on_device, NULL);
    Tensor row = ctx_tensor(ctx, KEEP, DT_I32, 1, 1, "row");
    ctx->be->copy_in(ctx->be, row, &last);
    float logits[V];
    ctx->be->copy_out(ctx->be, logits, llama_logits(ctx, &engine.model, trunk, row));
    int best = 0;
    for (int i = 1; i < V; i++) {
      if (logits[i] > logits[best]) best = i;
    }
    ids[len] = out[k] = best;
    arena_release(ctx->step, step);
    arena_release(ctx->host, host);
  }
}

static void set_up(void) {
  Error err = {0};
  DecoderSize size = {.max_len = CONTEXT, .chunk = CONTEXT};
  tiny_engine_open(&engine, "mha", NULL); // whose greedy text does not repeat itself
  Status status = engine_load(&engine, decoder_rehearse, &size, &err);
  if (status == STATUS_OK) status = engine_need_tokenizer(&engine, &err);
  if (status != STATUS_OK) {
    printf("%s\n", err.message);
    exit(1);
  }
  decoder_init(&decoder, &engine.ctx, &engine.model, &engine.memory.cache, size);
  const char *text = "The heart is";
  tokenizer_encode(engine.tokenizer, text, (int64_t)strlen(text), SPECIAL_AS_TEXT, &prompt);
}

static Generation run(const GenerateOptions *options, TextSink sink, Status expected) {
  Generation g;
  Error err = {0};
  Status status =
      generate(&g, &decoder, engine.tokenizer, prompt.ids, prompt.n, options, sink, &err);
  EXPECT(status == expected, "status %d: %s", status, err.message);
  return g;
}

static char streamed[4096];

static Status append(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  (void)err;
  size_t n = strlen(streamed);
  EXPECT(n + (size_t)bytes < sizeof streamed);
  memcpy(streamed + n, text, (size_t)bytes);
  streamed[n + (size_t)bytes] = 0;
  return STATUS_OK;
}

static void test_greedy_equals_full_recompute(void) {
  enum { N = 60 };
  int32_t expected[N];
  plain_greedy(prompt.ids, prompt.n, N, expected);
  GenerateOptions o = plain_options(N);
  streamed[0] = '\0';
  Generation g = run(&o, (TextSink){.put = append}, STATUS_OK);
  EXPECT(g.n == N && g.finish == FINISH_LENGTH && g.n_prompt == prompt.n);
  for (int64_t i = 0; i < g.n; i++)
    EXPECT(g.ids[i] == expected[i], "token %lld: %d, not %d", (long long)i, g.ids[i], expected[i]);
  int64_t bytes = 0;
  char *text = tokenizer_decode(engine.tokenizer, g.ids, g.n, true, &bytes);
  EXPECT(bytes == g.bytes && memcmp(text, g.text, (size_t)bytes) == 0, "'%s' and '%s'", text,
         g.text);
  EXPECT(strcmp(streamed, g.text) == 0, "streamed '%s'", streamed);
  int changes = 0;
  for (int64_t i = 1; i < g.n; i++) changes += g.ids[i] != g.ids[i - 1];
  EXPECT(changes > N / 2, "a text that could hide a fault: '%s'", g.text);
  free(text);
  Generation again = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(again.n == g.n && memcmp(again.ids, g.ids, (size_t)g.n * sizeof *g.ids) == 0);
  generation_free(&again);
  generation_free(&g);
}

static void test_stop_id(void) {
  GenerateOptions o = plain_options(40);
  Generation all = run(&o, (TextSink){0}, STATUS_OK);
  int32_t stop = all.ids[20];
  int64_t first = 0;
  while (all.ids[first] != stop) first++;
  o.stop_ids = &stop;
  o.n_stop_ids = 1;
  Generation g = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(g.finish == FINISH_EOS && g.n == first + 1 && g.ids[first] == stop, "%lld ids",
         (long long)g.n);
  char *text = tokenizer_decode(engine.tokenizer, g.ids, first, true, NULL);
  EXPECT(strcmp(text, g.text) == 0, "the stop id's text is left out: '%s'", g.text);
  free(text);
  generation_free(&g);
  generation_free(&all);
}

// Every stretch of the answer as a stop text: it ends right before the first place where the
// stretch stands.
static void test_stop_text(void) {
  GenerateOptions o = plain_options(30);
  Generation all = run(&o, (TextSink){0}, STATUS_OK);
  for (int64_t at = 0; at + 3 < all.bytes; at += 2) {
    for (int64_t n = 1; n <= 3; n += 2) {
      char stop[8] = "";
      memcpy(stop, all.text + at, (size_t)n);
      const char *stops[] = {"never there", stop};
      o.stops = stops;
      o.n_stops = 2;
      streamed[0] = '\0';
      Generation g = run(&o, (TextSink){.put = append}, STATUS_OK);
      int64_t first = strstr(all.text, stop) - all.text;
      EXPECT(g.finish == FINISH_STOP && g.bytes == first &&
                 memcmp(g.text, all.text, (size_t)first) == 0,
             "stop '%s': '%s' of '%s'", stop, g.text, all.text);
      EXPECT(strcmp(streamed, g.text) == 0, "streamed '%s'", streamed);
      EXPECT(g.n <= all.n && memcmp(g.ids, all.ids, (size_t)g.n * sizeof *g.ids) == 0);
      char *before = tokenizer_decode(engine.tokenizer, g.ids, g.n - 1, true, NULL);
      EXPECT(strstr(before, stop) == NULL, "stop '%s': it goes on after '%s'", stop, before);
      free(before);
      generation_free(&g);
    }
  }
  generation_free(&all);
}

static void test_context(void) {
  GenerateOptions o = plain_options(1000);
  Generation g = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(g.finish == FINISH_CONTEXT && g.n == CONTEXT - prompt.n, "%lld ids", (long long)g.n);
  generation_free(&g);
  o.context = prompt.n + 1;
  EXPECT(generate_cache_len(prompt.n, &o) == prompt.n);
  g = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(g.finish == FINISH_CONTEXT && g.n == 1);
  generation_free(&g);
  o.context = prompt.n;
  g = run(&o, (TextSink){0}, STATUS_USAGE);
  generation_free(&g);
  o = plain_options(1);
  g = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(g.finish == FINISH_LENGTH && g.n == 1);
  generation_free(&g);
}

static void test_seeds(void) {
  GenerateOptions o = plain_options(40);
  o.sampler.temperature = 1.5f;
  o.sampler.seed = 3;
  Generation a = run(&o, (TextSink){0}, STATUS_OK), b = run(&o, (TextSink){0}, STATUS_OK);
  o.sampler.seed = 4;
  Generation c = run(&o, (TextSink){0}, STATUS_OK);
  EXPECT(memcmp(a.ids, b.ids, 40 * sizeof *a.ids) == 0, "the same seed");
  EXPECT(memcmp(a.ids, c.ids, 40 * sizeof *a.ids) != 0, "another seed");
  generation_free(&a);
  generation_free(&b);
  generation_free(&c);
}

static int64_t budget;

static Status full(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  (void)text;
  budget -= bytes;
  return budget >= 0 ? STATUS_OK : error_set(err, STATUS_IO, "full");
}

static void test_sink_fails(void) {
  GenerateOptions o = plain_options(40);
  budget = 10;
  Generation g = run(&o, (TextSink){.put = full}, STATUS_IO);
  EXPECT(g.n > 0 && g.n < 40);
  generation_free(&g);
}

static void test_weights_that_are_not_finite(void) {
  float norm[48], broken[48];
  Tensor t = engine.model.norm->value.t;
  engine.be->copy_out(engine.be, norm, t);
  memcpy(broken, norm, sizeof norm);
  broken[5] = NAN;
  engine.be->copy_in(engine.be, t, broken);
  GenerateOptions o = plain_options(4);
  Generation g = run(&o, (TextSink){0}, STATUS_FAILED);
  EXPECT(g.n == 0);
  generation_free(&g);
  engine.be->copy_in(engine.be, t, norm);
}

// Tokens that the backend draws from logits that it keeps are those that the host draws.
static void test_draws_of_the_backend(void) {
  static const SamplerOptions samplers[] = {
      {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
      {.temperature = 0, .top_p = 1, .repetition_penalty = 1.5f},
      {.temperature = 0.9f, .top_p = 1, .repetition_penalty = 1, .seed = 5},
      {.temperature = 2, .top_k = 20, .top_p = 0.9f, .repetition_penalty = 1.2f, .seed = 6}};
  enum { N_SAMPLERS = sizeof samplers / sizeof *samplers, N = 30 };
  int32_t greedy[N];
  EXPECT(!decoder.draws, "the CPU's logits are the host's");
  for (int i = 0; i < N_SAMPLERS; i++) {
    GenerateOptions o = plain_options(N);
    o.sampler = samplers[i];
    Generation host = run(&o, (TextSink){0}, STATUS_OK);
    decoder.draws = true;
    Generation g = run(&o, (TextSink){0}, STATUS_OK);
    decoder.draws = false;
    EXPECT(g.n == N && host.n == N && memcmp(g.ids, host.ids, sizeof greedy) == 0, "sampler %d", i);
    if (i == 0) memcpy(greedy, g.ids, sizeof greedy);
    EXPECT(i == 0 || memcmp(g.ids, greedy, sizeof greedy) != 0, "sampler %d is greedy", i);
    generation_free(&g);
    generation_free(&host);
  }
}

int main(void) {
  set_up();
  RUN(test_greedy_equals_full_recompute);
  RUN(test_stop_id);
  RUN(test_stop_text);
  RUN(test_context);
  RUN(test_seeds);
  RUN(test_sink_fails);
  RUN(test_draws_of_the_backend);
  RUN(test_weights_that_are_not_finite);
  decoder.draws = true;
  RUN(test_weights_that_are_not_finite);
  decoder_free(&decoder);
  token_ids_free(&prompt);
  engine_close(&engine);
  return test_done();
}
