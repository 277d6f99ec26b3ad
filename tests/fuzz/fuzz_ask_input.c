// A file of questions (vma-infer --batch) through a sound tokenizer; the first byte chooses the
// options.
#include "ask_file.h"
#include "check.h"
#include "fuzz.h"
#include "tiny_tokenizer.h"
#include "tmp_file.h"

static const Engine *get_engine(void) {
  static Engine engine;
  Error err;
  if (engine.tokenizer != NULL) return &engine;
  Bytes b = tiny_tokenizer_file();
  tmp_put("tiny.gguf", b.data, b.size);
  bytes_free(&b);
  CHECK(tokenizer_open(&engine.tokenizer, tmp_path("tiny.gguf"), &err) == STATUS_OK, "%s",
        err.message);
  engine.model.config.vocab = tokenizer_vocab(engine.tokenizer);
  engine.model.config.max_positions = 400;
  engine.n_adapters = 2;
  engine.adapters[0] =
      (EngineAdapter){.name = "a", .template = template_builtin(TEMPLATE_ALPACA_SHORT)};
  engine.adapters[1] = (EngineAdapter){.folder = "b"};
  return &engine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  AskItems items;
  if (size == 0) return 0;
  const Engine *engine = get_engine();
  AskOptions options = {
      .input = tmp_path("ask.jsonl"),
      .template = (data[0] & 1) != 0
                      ? template_builtin((TemplateKind)((data[0] >> 1) % TEMPLATE_COUNT))
                      : NULL,
      .generate = {.max_new_tokens = 1 + data[0], .beam = {.beams = data[0] % 4}}};
  tmp_put("ask.jsonl", data + 1, (int64_t)size - 1);
  if (ask_items_read(&items, engine, &options, &err) == STATUS_OK) {
    int64_t ids = 0;
    for (int64_t i = 0; i < items.n; i++) {
      const AskItem *item = &items.items[i];
      CHECK(item->first == ids && item->n > 0 && item->id != NULL, "%lld", (long long)i);
      CHECK(generate_limit(item->n, &item->options) > 0, "%lld", (long long)i);
      CHECK(item->options.adapter >= -1 && item->options.adapter < engine->n_adapters, "%d",
            item->options.adapter);
      ids += item->n;
    }
    CHECK(ids == items.ids.n, "%lld", (long long)ids);
  }
  ask_items_free(&items);
  return 0;
}
