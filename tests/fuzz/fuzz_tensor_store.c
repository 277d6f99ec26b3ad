// A weights file (GGUF or safetensors), or, when it begins with '{', the index of two fixed shards.
#include "check.h"
#include "fuzz.h"
#include "safetensors.h"
#include "tensor_store.h"
#include "tmp_file.h"

#include <stdlib.h>

static void put_shards(void) {
  static bool there;
  static const float values[4] = {1, 2, 3, 4};
  const SafetensorsItem items[] = {{"a", DT_F32, 2, {2, 2}, values}, {"b", DT_F32, 1, {4}, values}};
  Error err;
  if (there) return;
  tmp_folder("shards");
  CHECK(safetensors_write(tmp_path("shards/1.safetensors"), &items[0], 1, NULL, 0, &err) ==
                STATUS_OK &&
            safetensors_write(tmp_path("shards/2.safetensors"), &items[1], 1, NULL, 0, &err) ==
                STATUS_OK,
        "%s", err.message);
  there = true;
}

static void read_all(TensorStore *store) {
  Error err;
  char hex[65];
  store_hash(store, hex, &err);
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    CHECK(store_find(store, t->name) == t, "%s", t->name);
    if (t->rows > 1 << 16 || t->cols > 1 << 16) continue; // an empty [2^40, 0]
    if (t->rows * t->cols > 1 << 20) continue;
    float *values = malloc((size_t)(t->rows * t->cols + 1) * sizeof *values);
    if (values == NULL) continue;
    store_read_rows(store, t, 0, t->rows, DT_F32, values, t->cols, &err);
    store_read_rows(store, t, t->rows / 2, t->rows - t->rows / 2, DT_BF16, values, t->cols, &err);
    store_release_pages(store, t);
    free(values);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  TensorStore *store;
  bool index = size > 0 && data[0] == '{';
  if (index) put_shards();
  tmp_put(index ? "shards/model.safetensors.index.json" : "weights", data, (int64_t)size);
  if (store_open(&store, tmp_path(index ? "shards" : "weights"), &err) != STATUS_OK) return 0;
  read_all(store);
  store_close(store);
  return 0;
}
