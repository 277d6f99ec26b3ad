// Texts through a sound byte-level tokenizer: decoding what was encoded gives well-formed text that
// encodes and decodes to itself.
#include "check.h"
#include "fuzz.h"
#include "tiny_tokenizer.h"

#include <stdlib.h>
#include <string.h>

static char *there_and_back(const Tokenizer *tokenizer, const void *text, int64_t bytes,
                            int64_t *length) {
  TokenIds list = {0};
  tokenizer_encode(tokenizer, text, bytes, SPECIAL_AS_TEXT, &list);
  char *back = tokenizer_decode(tokenizer, list.ids, list.n, false, length);
  token_ids_free(&list);
  return back;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Tokenizer *tokenizer;
  Error err;
  if (tokenizer == NULL) {
    Gguf *gguf;
    Bytes b = tiny_tokenizer_file();
    CHECK(gguf_open_memory(&gguf, "tiny.gguf", b.data, b.size, &err) == STATUS_OK &&
              tokenizer_from_gguf(&tokenizer, gguf, &err) == STATUS_OK,
          "%s", err.message);
    gguf_close(gguf);
    bytes_free(&b);
  }
  int64_t once, twice;
  char *a = there_and_back(tokenizer, data, (int64_t)size, &once);
  char *b = there_and_back(tokenizer, a, once, &twice);
  CHECK(once == twice && memcmp(a, b, (size_t)once) == 0, "%lld %lld", (long long)once,
        (long long)twice);
  free(a);
  free(b);
  use_tokenizer_on(tokenizer, data, (int64_t)size);
  return 0;
}
