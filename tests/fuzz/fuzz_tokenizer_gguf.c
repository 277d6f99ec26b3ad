// The vocabulary of a GGUF file, also as the tokenizer.json that is made of it.
#include "fuzz.h"
#include "tiny_tokenizer.h"
#include "tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

// Vocabularies that such a file cannot express are refused or found out by comparing ids.
static void use_as_json(const Tokenizer *tokenizer) {
  Error err;
  Tokenizer *again;
  char *text = tokenizer_json_text(tokenizer);
  if (tokenizer_from_json(&again, "fuzz.json", text, (int64_t)strlen(text), &err) == STATUS_OK) {
    tokenizer_finish(again);
    use_tokenizer(again);
    tokenizer_close(again);
  }
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  Gguf *gguf;
  Tokenizer *tokenizer;
  if (gguf_open_memory(&gguf, "fuzz.gguf", data, (int64_t)size, &err) != STATUS_OK) return 0;
  Status status = tokenizer_from_gguf(&tokenizer, gguf, &err);
  gguf_close(gguf);
  if (status != STATUS_OK) return 0;
  use_tokenizer(tokenizer);
  use_as_json(tokenizer);
  tokenizer_close(tokenizer);
  return 0;
}
