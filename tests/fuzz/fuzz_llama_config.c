// config.json (and behind a NUL generation_config.json), or a GGUF file's metadata.
#include "check.h"
#include "fuzz.h"
#include "llama_config.h"
#include "tmp_file.h"

#include <string.h>

static void check_config(const LlamaConfig *c) {
  float inv_freq[LLAMA_HEAD_DIM_MAX / 2];
  CHECK(c->head_dim >= 8 && c->head_dim % 8 == 0 && c->head_dim <= LLAMA_HEAD_DIM_MAX, "%lld",
        (long long)c->head_dim);
  CHECK(c->kv_heads >= 1 && c->heads % c->kv_heads == 0 && c->layers >= 1, "heads");
  CHECK(c->n_eos >= 0 && c->n_eos <= LLAMA_EOS_MAX && c->vocab >= 1, "%d", c->n_eos);
  CHECK(c->rms_eps > 0 && c->rope_theta > 0 && c->pad_id < c->vocab && c->bos_id < c->vocab, "eps");
  llama_config_inv_freq(c, inv_freq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  LlamaConfig config;
  Gguf *gguf;
  if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
    if (gguf_open_memory(&gguf, "fuzz.gguf", data, (int64_t)size, &err) != STATUS_OK) return 0;
    if (llama_config_from_gguf(&config, gguf, &err) == STATUS_OK) check_config(&config);
    gguf_close(gguf);
    return 0;
  }
  const uint8_t *end = size == 0 ? NULL : memchr(data, 0, size);
  size_t first = end == NULL ? size : (size_t)(end - data);
  tmp_put("config.json", data, (int64_t)first);
  if (end == NULL) {
    tmp_remove("generation_config.json");
  } else {
    tmp_put("generation_config.json", end + 1, (int64_t)(size - first - 1));
  }
  if (llama_config_from_folder(&config, tmp_path("."), &err) == STATUS_OK) check_config(&config);
  return 0;
}
