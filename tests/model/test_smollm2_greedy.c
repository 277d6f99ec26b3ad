// labels: weights
// SmolLM2 with its GGUF weights, f32: ten prompts go on for 64 tokens exactly as transformers'
// greedy search goes on (tests/golden/smollm2/greedy.safetensors), and the prompts' ids are those
// of the `tokenizers` package. The golden file also has, for each token, how far the best logit
// lies above the second: nowhere less than 0.005, fifty times what f32 rounding moves.
#include "check.h"
#include "engine.h"
#include "generate.h"
#include "golden.h"
#include "test.h"

enum { PROMPTS = 10, NEW = 64, CACHE = 256, CHUNK = 32 };

static Engine engine;
static Safetensors golden;
static Decoder decoder;

static void must(Status status, const Error *err) {
  CHECK(status == STATUS_OK, "%s", err->message);
}

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
    must(generate(&got, &decoder, engine.tokenizer, ids, n, &options, (TextSink){0}, &err), &err);
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

int main(void) {
  const char *model = test_small_model();
  if (model == NULL) TEST_SKIP("no small model");
  golden_open(&golden, "smollm2/greedy.safetensors");
  const DecoderSize size = {.max_len = CACHE, .chunk = CHUNK};
  Error err;
  must(engine_open(&engine, &(EngineOptions){.model = model, .dtype = DT_F32}, &err), &err);
  must(engine_need_tokenizer(&engine, &err), &err);
  must(engine_load(&engine, decoder_rehearse, &size, &err), &err);
  decoder_init(&decoder, &engine.ctx, &engine.model, &engine.memory.cache, size);
  RUN(prompts_have_the_ids_of_tokenizers);
  RUN(greedy_text_is_that_of_transformers);
  decoder_free(&decoder);
  engine_close(&engine);
  safetensors_close(&golden);
  return test_done();
}
