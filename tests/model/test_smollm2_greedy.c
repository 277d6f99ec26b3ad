// labels: weights
// SmolLM2 with its GGUF weights, f32: ten prompts go on for 64 tokens exactly as transformers'
// greedy search goes on (tests/golden/smollm2/greedy.safetensors), and the prompts' ids are those
// of the `tokenizers` package. The golden file also has, for each token, how far the best logit
// lies above the second: nowhere less than 0.005, fifty times what f32 rounding moves. And all ten
// at a time, with 4 beams each, as transformers' beam search (beams.safetensors).
#include "check.h"
#include "engine.h"
#include "generator.h"
#include "golden.h"
#include "test.h"

#include <math.h>

enum { PROMPTS = 10, NEW = 64, CACHE = 256, CHUNK = 64, BEAMS = 4, SLOTS = 10, NEW_BEAMS = 48 };

static Engine engine;
static Safetensors golden, beams;
static Decoder decoder;

static void prompts_have_the_ids_of_tokenizers(void) {
  for (int i = 0; i < PROMPTS; i++) {
    int64_t bytes, n;
    const char *text = golden_u8(&golden, &bytes, "prompt%d.text", i);
    const int32_t *ids = golden_i32(&golden, &n, "prompt%d.ids", i);
    TokenIds got = {0};
    tokenizer_encode(engine.tokenizer, text, bytes, SPECIAL_PARSED, &got);
    EXPECT(got.n == n && memcmp(got.ids, ids, (size_t)n * sizeof *ids) == 0,
           "prompt %d: %lld ids, reference %lld", i, (long long)got.n, (long long)n);
    token_ids_free(&got);
  }
}

static void greedy_text_is_that_of_transformers(void) {
  int same = 0;
  for (int i = 0; i < PROMPTS && same == i; i++) { // the first that differs is enough
    int64_t n, n_new;
    const int32_t *ids = golden_i32(&golden, &n, "prompt%d.ids", i);
    const int32_t *expected = golden_i32(&golden, &n_new, "prompt%d.new", i);
    const float *gap = golden_f32(&golden, NULL, "prompt%d.gap", i);
    CHECK(n_new == NEW, "the golden file has %lld tokens", (long long)n_new);
    GenerateOptions options = {.sampler = SAMPLER_GREEDY,
                               .max_new_tokens = NEW,
                               .context = engine.model.config.max_positions};
    Generation got;
    Error err;
    test_must(generate(&got, &decoder, engine.tokenizer, ids, n, &options, (TextSink){0}, &err),
              &err);
    int64_t t = 0;
    while (t < got.n && t < NEW && got.ids[t] == expected[t]) t++;
    EXPECT(t == NEW && got.n == NEW,
           "prompt %d: token %lld of the continuation differs (the reference's best two logits lie "
           "%.4f apart there)",
           i, (long long)t, t < NEW ? (double)gap[t] : 0.0);
    same += t == NEW;
    generation_free(&got);
  }
  printf("SmolLM2, f32, GEMM %s: %d of %d prompts, %d tokens each, as transformers\n",
         engine.be->gemm_path, same, PROMPTS, NEW);
}

static void beam_search_is_that_of_transformers(void) {
  static const int32_t eos[] = {2};
  GenerateOptions options = {.sampler = SAMPLER_GREEDY,
                             .beam = {.beams = BEAMS, .length_penalty = 1},
                             .max_new_tokens = NEW_BEAMS,
                             .context = engine.model.config.max_positions,
                             .stop_ids = eos,
                             .n_stop_ids = 1};
  GeneratorSize size = {
      .slots = SLOTS, .beams = BEAMS, .max_tokens = CACHE, .max_new = NEW_BEAMS, .n_stop_ids = 1};
  Generator generator;
  Generation got[PROMPTS];
  Error err;
  generator_init(&generator, &decoder, engine.tokenizer, size);
  for (int i = 0; i < PROMPTS; i++) {
    GenerateRequest request = {.options = &options};
    request.prompt = golden_i32(&beams, &request.n_prompt, "prompt%d.ids", i);
    test_must(generator_add(&generator, &request, &got[i], &err), &err);
  }
  while (generator.n_used > 0) test_must(generator_step(&generator, &err), &err);
  generator_free(&generator);
  for (int i = 0; i < PROMPTS; i++) {
    int64_t n;
    const int32_t *expected = golden_i32(&beams, &n, "prompt%d.new", i);
    float score = golden_f32(&beams, NULL, "prompt%d.score", i)[0];
    EXPECT(got[i].n == n && memcmp(got[i].ids, expected, (size_t)n * sizeof *expected) == 0,
           "prompt %d: other tokens", i);
    EXPECT(fabsf(got[i].score - score) < 1e-4f, "prompt %d: score %f, not %f", i,
           (double)got[i].score, (double)score);
    generation_free(&got[i]);
  }
}

int main(void) {
  const char *model = test_small_model();
  if (model == NULL) TEST_SKIP("no small model");
  golden_open(&golden, "smollm2/greedy.safetensors");
  golden_open(&beams, "smollm2/beams.safetensors");
  const DecoderSize size = {.max_len = CACHE, .chunk = CHUNK, .seqs = SLOTS * BEAMS};
  Error err;
  test_must(engine_open(&engine, &(EngineOptions){.model = model, .dtype = DT_F32}, &err), &err);
  test_must(engine_need_tokenizer(&engine, &err), &err);
  test_must(engine_load(&engine, decoder_rehearse, &size, &err), &err);
  decoder_init(&decoder, &engine.ctx, &engine.model, &engine.memory.cache, size);
  RUN(prompts_have_the_ids_of_tokenizers);
  RUN(greedy_text_is_that_of_transformers);
  RUN(beam_search_is_that_of_transformers);
  decoder_free(&decoder);
  engine_close(&engine);
  safetensors_close(&golden);
  safetensors_close(&beams);
  return test_done();
}
