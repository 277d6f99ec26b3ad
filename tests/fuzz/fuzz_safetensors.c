// The safetensors reader: what it accepts is within the file, dense and unique.
#include "check.h"
#include "fuzz.h"
#include "safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Safetensors st;
  if (safetensors_open_memory(&st, "fuzz.safetensors", data, (int64_t)size, &err) != STATUS_OK) {
    return 0;
  }
  int64_t sum = 0;
  for (int64_t i = 0; i < st.n_tensors; i++) {
    const SafeTensor *t = &st.tensors[i];
    CHECK(i == 0 || strcmp(st.tensors[i - 1].name, t->name) < 0, "%s", t->name);
    CHECK(safetensors_find(&st, t->name) == t, "%s", t->name);
    CHECK(t->offset >= 8 && t->bytes >= 0 && t->offset + t->bytes <= (int64_t)size, "%s", t->name);
    sum += t->bytes;
  }
  CHECK(sum <= (int64_t)size - 8, "%lld", (long long)sum);
  for (int64_t i = 0; i < st.n_metadata; i++) {
    CHECK(safetensors_metadata(&st, st.metadata[i].key) == st.metadata[i].value, "%lld",
          (long long)i);
  }
  safetensors_close(&st);
  return 0;
}
