// An adapter folder: adapter_config.json, and behind a NUL adapter_model.safetensors.
#include "check.h"
#include "fuzz.h"
#include "peft_adapter.h"
#include "tmp_file.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  PeftAdapter adapter;
  const uint8_t *end = size == 0 ? NULL : memchr(data, 0, size);
  size_t first = end == NULL ? size : (size_t)(end - data);
  tmp_put("adapter_config.json", data, (int64_t)first);
  if (end == NULL) {
    tmp_remove("adapter_model.safetensors");
  } else {
    tmp_put("adapter_model.safetensors", end + 1, (int64_t)(size - first - 1));
  }
  if (peft_adapter_read(&adapter, tmp_path("."), &err) != STATUS_OK) return 0;
  CHECK(adapter.r >= 1 && adapter.n_pairs >= 1 && adapter.n_targets >= 1, "empty");
  for (int64_t i = 0; i < adapter.n_pairs; i++) {
    const PeftPair *pair = &adapter.pairs[i];
    CHECK(i == 0 || strcmp(adapter.pairs[i - 1].module, pair->module) < 0, "%s", pair->module);
    CHECK(pair->r >= 1 && isfinite(pair->a[pair->r * pair->in - 1]), "%s", pair->module);
    CHECK(isfinite(pair->b[pair->r * pair->out - 1]), "%s", pair->module);
  }
  peft_adapter_free(&adapter);
  return 0;
}
