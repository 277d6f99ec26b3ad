// labels: quick
// The public instruction data by LLaMA's vocabulary: ids and label starts hash to what
// sentencepiece makes of them (tests/golden/dataset).
#include "dataset_digest.h"
#include "test.h"

static void check(const char *name) {
  char vocabulary[4096], data[4096];
  snprintf(vocabulary, sizeof vocabulary, "%s/tokenizers/llama-spm.gguf", test_shared_data());
  snprintf(data, sizeof data, "%s/%s", test_shared_data(), name);
  dataset_digest_check("llama", name, vocabulary, data);
}

static void test_list(void) {
  check("instruct/medical_meadow_small.json");
}

static void test_compressed_lines(void) {
  check("instruct/medquad.jsonl.gz");
}

int main(void) {
  if (test_shared_data() == NULL) TEST_SKIP("shared/data is absent: no LLaMA vocabulary");
  RUN(test_list);
  RUN(test_compressed_lines);
  return test_done();
}
