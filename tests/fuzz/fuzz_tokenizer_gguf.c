// The vocabulary of a GGUF file.
#include "fuzz.h"
#include "tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Gguf *gguf;
  Tokenizer *tokenizer;
  if (gguf_open_memory(&gguf, "fuzz.gguf", data, (int64_t)size, &err) != STATUS_OK) return 0;
  Status status = tokenizer_from_gguf(&tokenizer, gguf, &err);
  gguf_close(gguf);
  if (status != STATUS_OK) return 0;
  use_tokenizer(tokenizer);
  tokenizer_close(tokenizer);
  return 0;
}
