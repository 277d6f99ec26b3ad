// labels: weights
// The vocabulary of the small real model: 100,000 generated strings against the reference.
#include "test.h"
#include "token_strings.h"

static const char *model;

static void smollm(void) {
  token_strings_check("smollm2", model, 1);
}

int main(void) {
  model = test_small_model();
  if (model == NULL) TEST_SKIP("the small real model is absent (tools/check.sh fetches it)");
  RUN(smollm);
  return test_done();
}
