// labels: weights
// SmolLM2 with its GGUF weights against transformers, f32, through the code of vma-infer --score:
// six texts have the ids of the `tokenizers` package, and every token's log-probability is that of
// transformers to 1e-3 (tests/golden/smollm2/logprobs.safetensors).
#include "check.h"
#include "golden.h"
#include "score.h"
#include "test.h"

#include <math.h>

enum { TEXTS = 6 };
#define TOLERANCE 1e-3 // of what is promised; f32 rounding on both sides is about a tenth of it

static Safetensors golden;
static Engine engine;

static void texts_have_the_ids_of_tokenizers(void) {
  for (int i = 0; i < TEXTS; i++) {
    int64_t bytes, n;
    const char *text = golden_u8(&golden, &bytes, "text%d.text", i);
    const int32_t *ids = golden_i32(&golden, &n, "text%d.ids", i);
    TokenIds got = {0};
    tokenizer_encode(engine.tokenizer, text, bytes, SPECIAL_AS_TEXT, &got);
    EXPECT(got.n == n && memcmp(got.ids, ids, (size_t)n * sizeof *ids) == 0,
           "text %d: %lld ids, reference %lld", i, (long long)got.n, (long long)n);
    token_ids_free(&got);
  }
}

static void write_input(const char *path) {
  FILE *file = fopen(path, "w");
  CHECK(file != NULL, "cannot write %s", path);
  for (int i = 0; i < TEXTS; i++) {
    int64_t n;
    const int32_t *ids = golden_i32(&golden, &n, "text%d.ids", i);
    for (int64_t t = 0; t < n; t++) fprintf(file, "%s%d", t == 0 ? "{\"ids\": [" : ", ", ids[t]);
    fprintf(file, "]}\n");
  }
  CHECK(fclose(file) == 0, "cannot write %s", path);
}

// Compares one line of the output with text i; returns the largest distance.
static double compare_line(const char *line, int i) {
  int64_t n, compared = 0;
  const float *expected = golden_f32(&golden, &n, "text%d.logprobs", i);
  const char *start = "[null", *at = strstr(line, start);
  EXPECT(at != NULL, "text %d: no logprobs in %.60s", i, line);
  double worst = 0;
  if (at == NULL) return INFINITY;
  for (at += strlen(start); *at == ','; compared++) {
    char *end;
    double got = strtod(at + 1, &end), want = compared < n ? (double)expected[compared] : NAN;
    EXPECT(fabs(got - want) <= TOLERANCE, "text %d, token %lld: %.6f, transformers %.6f", i,
           (long long)compared + 1, got, want);
    if (!(fabs(got - want) <= worst)) worst = fabs(got - want);
    at = end;
  }
  EXPECT(compared == n, "text %d: %lld log-probabilities of %lld", i, (long long)compared,
         (long long)n);
  return worst;
}

static void log_probabilities_are_those_of_transformers(void) {
  char input[300], output[300];
  snprintf(input, sizeof input, "%s/in.jsonl", test_tmp_dir());
  snprintf(output, sizeof output, "%s/out.jsonl", test_tmp_dir());
  write_input(input);
  Error err;
  ScoreStats stats;
  ScoreOptions options = {.input = input, .output = output, .batch_tokens = SCORE_BATCH_TOKENS};
  test_must(score_file(&engine, &options, &stats, &err), &err);

  FILE *file = fopen(output, "r");
  CHECK(file != NULL, "cannot read %s", output);
  char *line = NULL;
  size_t capacity = 0;
  double worst = 0;
  int lines = 0;
  for (; getline(&line, &capacity, file) > 0; lines++) {
    double d = lines < TEXTS ? compare_line(line, lines) : INFINITY;
    if (!(d <= worst)) worst = d;
  }
  EXPECT(lines == TEXTS, "%d lines", lines);
  free(line);
  fclose(file);
  printf("SmolLM2, f32, GEMM %s: log-probabilities of %lld tokens, max |d| %.1e (at most %g)\n",
         engine.be->gemm_path, (long long)stats.tokens, worst, TOLERANCE);
}

int main(void) {
  const char *model = test_small_model();
  if (model == NULL) TEST_SKIP("no small model");
  golden_open(&golden, "smollm2/logprobs.safetensors");
  Error err;
  test_must(engine_open(&engine, &(EngineOptions){.model = model, .dtype = DT_F32}, &err), &err);
  test_must(engine_need_tokenizer(&engine, &err), &err);
  RUN(texts_have_the_ids_of_tokenizers);
  RUN(log_probabilities_are_those_of_transformers);
  engine_close(&engine);
  safetensors_close(&golden);
  return test_done();
}
