// Which reader a path is for.
#include "mapped_file.h"
#include "tokenizer_config.h"
#include "tokenizer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status open_gguf(Tokenizer **tokenizer, const char *path, Error *err) {
  Status status = STATUS_OK;
  Gguf *gguf = NULL;
  TRY(gguf_open(&gguf, path, err));
  TRY(tokenizer_from_gguf(tokenizer, gguf, err));
  TRY(file_check(gguf_file(gguf), err));
done:
  gguf_close(gguf);
  return status;
}

typedef enum FileKind { KIND_GGUF, KIND_JSON, KIND_MODEL } FileKind;

// By content: names lie. A protobuf of pieces begins with 0x0A, which JSON may have as a line break
// before its "{".
static FileKind kind_of(const MappedFile *file) {
  if (file->size >= 4 && memcmp(file->data, "GGUF", 4) == 0) return KIND_GGUF;
  int64_t i = 0;
  if (file->size >= 3 && memcmp(file->data, "\xEF\xBB\xBF", 3) == 0) i = 3;
  while (i < file->size && strchr(" \t\r\n", file->data[i]) != NULL && file->data[i] != 0) i++;
  return i < file->size && file->data[i] == '{' ? KIND_JSON : KIND_MODEL;
}

static Status open_file(Tokenizer **tokenizer, FileKind *kind, const char *path, Error *err) {
  Status status = STATUS_OK;
  MappedFile file = {0};
  TRY(file_map(&file, path, err));
  *kind = kind_of(&file);
  if (file.size == 0) TRY(error_set(err, STATUS_DATA, "%s: the file is empty", path));
  if (*kind == KIND_JSON) {
    TRY(tokenizer_from_json(tokenizer, path, file.data, file.size, err));
  } else if (*kind == KIND_MODEL) {
    TRY(tokenizer_from_model(tokenizer, path, file.data, file.size, err));
  }
  TRY(file_check(&file, err));
done:
  file_unmap(&file);
  if (status == STATUS_OK && *kind == KIND_GGUF) status = open_gguf(tokenizer, path, err);
  return status;
}

// folder/name if there is such a file, else NULL; to be freed by the caller.
static char *file_in(const char *folder, const char *name) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0) return NULL;
  if (file_exists(path)) return path;
  free(path);
  return NULL;
}

static Status open_folder(Tokenizer **tokenizer, const char *folder, Error *err) {
  Status status = STATUS_OK;
  FileKind kind = KIND_JSON;
  char *path = file_in(folder, "tokenizer.json");
  char *config = file_in(folder, "tokenizer_config.json");
  char *model = file_in(folder, "config.json");
  if (path == NULL) path = file_in(folder, "tokenizer.model");
  if (path == NULL) {
    TRY(error_set(err, STATUS_NO_INPUT,
                  "%s: expected a tokenizer.json or a tokenizer.model in this folder, found "
                  "neither",
                  folder));
  }
  TRY(open_file(tokenizer, &kind, path, err));
  if (config != NULL) TRY(tokenizer_config_apply(*tokenizer, config, kind != KIND_MODEL, err));
  if (model != NULL) TRY(tokenizer_config_apply_model(*tokenizer, model, err));
done:
  free(path);
  free(config);
  free(model);
  return status;
}

Status tokenizer_open(Tokenizer **tokenizer, const char *path, Error *err) {
  Status status = STATUS_OK;
  FileKind kind;
  *tokenizer = NULL;
  if (file_is_folder(path)) {
    TRY(open_folder(tokenizer, path, err));
  } else {
    TRY(open_file(tokenizer, &kind, path, err));
  }
  tokenizer_finish(*tokenizer);
done:
  if (status != STATUS_OK) {
    tokenizer_close(*tokenizer);
    *tokenizer = NULL;
  }
  return status;
}
