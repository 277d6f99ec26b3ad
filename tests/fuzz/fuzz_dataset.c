// A data file of any form through a sound tokenizer; the first byte chooses the options.
#include "check.h"
#include "dataset.h"
#include "fuzz.h"
#include "tiny_tokenizer.h"
#include "tmp_file.h"

static const Tokenizer *get_tokenizer(void) {
  static Tokenizer *tokenizer;
  Error err;
  if (tokenizer != NULL) return tokenizer;
  Bytes b = tiny_tokenizer_file();
  tmp_put("tiny.gguf", b.data, b.size);
  bytes_free(&b);
  CHECK(tokenizer_open(&tokenizer, tmp_path("tiny.gguf"), &err) == STATUS_OK, "%s", err.message);
  return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Dataset dataset;
  if (size == 0) return 0;
  const DatasetOptions options = {.template =
                                      template_builtin((TemplateKind)(data[0] % TEMPLATE_COUNT)),
                                  .format = data[0] & 0x80 ? DATA_FORMAT_TEXT : DATA_FORMAT_AUTO,
                                  .cutoff_len = data[0] & 0x40 ? 40 : 400,
                                  .over_length = (OverLength)(data[0] / 8 % 3),
                                  .train_on_inputs = data[0] & 0x20};
  tmp_put("data.json", data + 1, (int64_t)size - 1);
  if (dataset_load(&dataset, tmp_path("data.json"), get_tokenizer(), &options, &err) != STATUS_OK) {
    return 0;
  }
  int64_t ids = 0;
  for (int64_t i = 0; i < dataset.n; i++) {
    const Example *e = &dataset.examples[i];
    int32_t labels = 0;
    for (int32_t k = 0; k < e->n; k++) labels += token_is_label(dataset.tokens[e->first + k]);
    CHECK(e->n >= 2 && e->n <= options.cutoff_len, "%lld", (long long)i);
    CHECK(labels == e->n_labels && labels >= 1, "%lld", (long long)i);
    CHECK(!token_is_label(dataset.tokens[e->first]), "%lld", (long long)i);
    CHECK(e->first == ids, "%lld", (long long)i);
    ids += e->n;
  }
  CHECK(dataset.n >= 1 && ids == dataset.n_tokens, "%lld", (long long)ids);
  DatasetSplit split;
  if (dataset_split(&split, &dataset, (ConfigShare){.count = 1}, 7, &err) == STATUS_OK) {
    CHECK(split.n_train + split.n_held_out == dataset.n, "%lld", (long long)split.n_train);
    dataset_split_free(&split);
  }
  dataset_free(&dataset);
  return 0;
}
