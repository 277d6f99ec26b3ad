// The GGUF reader, every getter on keys that models have, every tensor's bytes.
#include "check.h"
#include "fuzz.h"
#include "gguf.h"

#include <stdlib.h>

static volatile uint64_t sink;

static void read_key(const Gguf *gguf, const char *key) {
  Error err;
  int64_t number = 0, count = 0;
  double real = 0;
  bool flag = false;
  GgufString string = {0}, *strings = NULL;
  float *floats = NULL;
  int32_t *ints = NULL;
  gguf_get_int(gguf, key, GGUF_OPTIONAL, -5, INT64_MAX, &number, &err);
  gguf_get_float(gguf, key, GGUF_REQUIRED, &real, &err);
  gguf_get_bool(gguf, key, GGUF_OPTIONAL, &flag, &err);
  if (gguf_get_string(gguf, key, GGUF_OPTIONAL, &string, &err) == STATUS_OK && string.size > 0) {
    sink += (uint8_t)string.data[string.size - 1];
  }
  if (gguf_get_strings(gguf, key, GGUF_OPTIONAL, &strings, &count, &err) == STATUS_OK) {
    for (int64_t i = 0; strings != NULL && i < count; i++) {
      if (strings[i].size > 0) sink += (uint8_t)strings[i].data[strings[i].size - 1];
    }
  }
  gguf_get_floats(gguf, key, GGUF_OPTIONAL, &floats, &count, &err);
  gguf_get_ints(gguf, key, GGUF_OPTIONAL, &ints, &count, &err);
  free(strings);
  free(floats);
  free(ints);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const keys[] = {
      "general.architecture",        "general.alignment",         "llama.block_count",
      "llama.rope.freq_base",        "tokenizer.ggml.tokens",     "tokenizer.ggml.scores",
      "tokenizer.ggml.token_type",   "tokenizer.ggml.merges",     "tokenizer.ggml.add_bos_token",
      "tokenizer.ggml.bos_token_id", "llama.attention.head_count"};
  Error err;
  Gguf *gguf;
  if (gguf_open_memory(&gguf, "fuzz.gguf", data, (int64_t)size, &err) != STATUS_OK) return 0;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) read_key(gguf, keys[i]);
  for (int64_t i = 0; i < gguf_tensor_count(gguf); i++) {
    const GgufTensor *t = gguf_tensor_at(gguf, i);
    CHECK(gguf_tensor_find(gguf, t->name) == t, "%s", t->name);
    CHECK(t->offset >= 0 && t->bytes > 0 && t->offset + t->bytes <= (int64_t)size, "%s", t->name);
    sink += gguf_data(gguf)[t->offset] + gguf_data(gguf)[t->offset + t->bytes - 1];
  }
  gguf_close(gguf);
  return 0;
}
