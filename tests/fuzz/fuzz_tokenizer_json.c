// tokenizer.json, and behind a NUL tokenizer_config.json.
#include "fuzz.h"
#include "tiny_tokenizer.h"
#include "tmp_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Tokenizer *tokenizer;
  const uint8_t *end = size == 0 ? NULL : memchr(data, 0, size);
  size_t first = end == NULL ? size : (size_t)(end - data);
  tmp_put("tokenizer.json", data, (int64_t)first);
  if (end == NULL) {
    tmp_remove("tokenizer_config.json");
  } else {
    tmp_put("tokenizer_config.json", end + 1, (int64_t)(size - first - 1));
  }
  if (tokenizer_open(&tokenizer, tmp_path("."), &err) != STATUS_OK) return 0;
  use_tokenizer(tokenizer);
  tokenizer_close(tokenizer);
  return 0;
}
