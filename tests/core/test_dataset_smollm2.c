// labels: weights
// Instruction data by SmolLM2's own vocabulary: ids and label starts hash to what the reference
// makes of them (tests/golden/dataset). The public data is checked too where it is there.
#include "dataset_digest.h"
#include "test.h"

static void test_sample_data(void) {
  const char *path = "data/samples/biomed_qa.json";
  dataset_digest_check("smollm2", path, test_small_model(), path);
}

static void test_public_data(void) {
  static const char *const names[] = {"instruct/medical_meadow_small.json",
                                      "instruct/medquad.jsonl.gz"};
  if (test_shared_data() == NULL) {
    printf("shared/data is absent: its instruction data was not checked\n");
    return;
  }
  for (int i = 0; i < 2; i++) {
    char data[4096];
    snprintf(data, sizeof data, "%s/%s", test_shared_data(), names[i]);
    dataset_digest_check("smollm2", names[i], test_small_model(), data);
  }
}

int main(void) {
  if (test_small_model() == NULL) TEST_SKIP("no small model (tools/check.sh fetches it)");
  RUN(test_sample_data);
  RUN(test_public_data);
  return test_done();
}
