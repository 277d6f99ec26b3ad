// Which reader a path is for.
#include "mapped_file.h"
#include "quote.h"
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

static Status open_gguf(Tokenizer **tokenizer, const char *path, Error *err) {
  Status status = STATUS_OK;
  Gguf *gguf = NULL;
  TRY(gguf_open(&gguf, path, err));
  TRY(tokenizer_from_gguf(tokenizer, gguf, err));
  status = file_check(gguf_file(gguf), err);
  if (status != STATUS_OK) {
    tokenizer_close(*tokenizer);
    *tokenizer = NULL;
  }
done:
  gguf_close(gguf);
  return status;
}

Status tokenizer_open(Tokenizer **tokenizer, const char *path, Error *err) {
  *tokenizer = NULL;
  return open_gguf(tokenizer, path, err);
}
