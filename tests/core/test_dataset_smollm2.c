// labels: weights
// The sample data by SmolLM2's own vocabulary: ids and label starts hash to what the reference
// makes of it (tests/golden/dataset).
#include "dataset.h"
#include "json_items.h"
#include "sha256.h"
#include "test.h"

static void add_i32(Sha256 *sha, int32_t value) {
  uint32_t v = (uint32_t)value;
  uint8_t bytes[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  sha256_add(sha, bytes, 4);
}

static void test_sample_data(void) {
  Error err = {0};
  json_t *root = NULL;
  Tokenizer *tokenizer = NULL;
  Dataset d = {0};
  DatasetOptions options = {.template_kind = TEMPLATE_CHATML, .cutoff_len = 512};
  EXPECT(json_document_load(&root, "tests/golden/dataset/expected.json", 1 << 22, &err) ==
             STATUS_OK,
         "%s", err.message);
  EXPECT(tokenizer_open(&tokenizer, test_small_model(), &err) == STATUS_OK, "%s", err.message);
  if (root == NULL || tokenizer == NULL) return;
  EXPECT(dataset_load(&d, "data/samples/biomed_qa.json", tokenizer, &options, &err) == STATUS_OK,
         "%s", err.message);
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  char hex[SHA256_HEX];
  sha256_init(&sha);
  for (int64_t i = 0; i < d.n; i++) {
    add_i32(&sha, d.examples[i].label_start);
    for (int32_t k = 0; k < d.examples[i].n; k++) add_i32(&sha, d.ids[d.examples[i].first + k]);
  }
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
  const json_t *expected = json_object_get(root, "smollm2");
  EXPECT(d.stats.tokens == json_integer_value(json_object_get(expected, "tokens")), "%lld",
         (long long)d.stats.tokens);
  EXPECT(d.stats.label_tokens == json_integer_value(json_object_get(expected, "label_tokens")),
         "%lld", (long long)d.stats.label_tokens);
  EXPECT(strcmp(hex, json_string_value(json_object_get(expected, "sha256"))) == 0, "%s", hex);
  printf("%lld tokens, %lld labels; length %d to %d, median %d\n", (long long)d.stats.tokens,
         (long long)d.stats.label_tokens, d.stats.shortest, d.stats.longest, d.stats.median);
  dataset_free(&d);
  tokenizer_close(tokenizer);
  json_decref(root);
}

int main(void) {
  if (test_small_model() == NULL) TEST_SKIP("no small model (tools/check.sh fetches it)");
  RUN(test_sample_data);
  return test_done();
}
