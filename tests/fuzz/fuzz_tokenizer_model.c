// tokenizer.model, sentencepiece's protobuf.
#include "fuzz.h"
#include "tiny_tokenizer.h"
#include "tmp_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Tokenizer *tokenizer;
  tmp_put("tokenizer.model", data, (int64_t)size);
  if (tokenizer_open(&tokenizer, tmp_path("tokenizer.model"), &err) != STATUS_OK) return 0;
  use_tokenizer(tokenizer);
  tokenizer_close(tokenizer);
  return 0;
}
