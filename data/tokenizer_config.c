// tokenizer_config.json and config.json beside a tokenizer: BOS, EOS, and tokens that only they
// know.
#include "tokenizer_config.h"

#include "mapped_file.h"
#include "quote.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 64 << 20 };

static Status load(json_t **root, const char *path, Error *err) {
  char *text = NULL;
  int64_t size;
  json_error_t fault;
  Status status = file_read_all(&text, &size, path, CONFIG_BYTES_MAX, err);
  if (status != STATUS_OK) return status;
  *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &fault);
  free(text);
  if (*root == NULL) {
    return error_set(err, STATUS_DATA, "%s:%d:%d: %s", path, fault.line, fault.column, fault.text);
  }
  if (json_is_object(*root)) return STATUS_OK;
  json_decref(*root);
  *root = NULL;
  return error_set(err, STATUS_DATA, "%s: expected a JSON object", path);
}

static Status wrong(const char *path, const char *key, const char *expected, Error *err) {
  return error_set(err, STATUS_DATA, "%s: '%s': expected %s", path, key, expected);
}

// "bos_token": a string or an object with "content"; null and "" say nothing.
static Status read_token(int32_t *id, const Tokenizer *tokenizer, const json_t *root,
                         const char *key, const char *path, Error *err) {
  const json_t *value = json_object_get(root, key);
  if (value == NULL || json_is_null(value)) return STATUS_OK;
  if (json_is_object(value)) value = json_object_get(value, "content");
  const char *text = json_string_value(value);
  if (text == NULL) return wrong(path, key, "a string or an object with 'content'", err);
  if (text[0] == 0) return STATUS_OK;
  int32_t found = tokenizer_find(tokenizer, text);
  if (found < 0) {
    return error_set(err, STATUS_DATA, "%s: '%s': %s is not in the vocabulary", path, key,
                     quote_text(text).text);
  }
  *id = found;
  return STATUS_OK;
}

static Status read_flag(bool *flag, const json_t *root, const char *key, const char *path,
                        Error *err) {
  const json_t *value = json_object_get(root, key);
  if (value == NULL || json_is_null(value)) return STATUS_OK;
  if (!json_is_boolean(value)) return wrong(path, key, "true or false", err);
  *flag = json_is_true(value);
  return STATUS_OK;
}

// One entry of added_tokens_decoder. What the vocabulary has already only becomes special.
static Status add_token(Tokenizer *tokenizer, const char *key, const json_t *entry,
                        const char *path, Error *err) {
  char *end;
  long long id = strtoll(key, &end, 10);
  const char *text = json_string_value(json_object_get(entry, "content"));
  if (end == key || *end != 0 || text == NULL || text[0] == 0) {
    return wrong(path, "added_tokens_decoder", "ids with 'content'", err);
  }
  bool special = json_is_true(json_object_get(entry, "special"));
  int32_t found = tokenizer_find(tokenizer, text);
  if (found >= 0 && found != id) {
    return error_set(err, STATUS_DATA,
                     "%s: added_tokens_decoder: %s has id %d in the vocabulary, not %lld", path,
                     quote_text(text).text, found, id);
  }
  if (found < 0) {
    if (id > tokenizer->pieces.n + 65536) {
      return error_set(err, STATUS_DATA, "%s: added_tokens_decoder: id %lld is out of range", path,
                       id);
    }
    Status status = tokenizer_add_piece(tokenizer, id, text, (int64_t)strlen(text),
                                        special ? PIECE_CONTROL : PIECE_USER, path, err);
    if (status != STATUS_OK) return status;
  } else if (!special || tokenizer->type[found] == PIECE_UNKNOWN) {
    return STATUS_OK;
  } else {
    tokenizer->type[found] = PIECE_CONTROL;
  }
  added_tokens_add(&tokenizer->added, text, (int64_t)strlen(text),
                   (AddedToken){.id = (int32_t)id,
                                .special = special,
                                .lstrip = json_is_true(json_object_get(entry, "lstrip")),
                                .rstrip = json_is_true(json_object_get(entry, "rstrip"))});
  return STATUS_OK;
}

static Status add_tokens(Tokenizer *tokenizer, json_t *root, const char *path, Error *err) {
  json_t *tokens = json_object_get(root, "added_tokens_decoder");
  if (tokens == NULL || json_is_null(tokens)) return STATUS_OK;
  if (!json_is_object(tokens)) return wrong(path, "added_tokens_decoder", "an object", err);
  const char *key;
  json_t *entry;
  json_object_foreach(tokens, key, entry) {
    Status status = add_token(tokenizer, key, entry, path, err);
    if (status != STATUS_OK) return status;
  }
  return STATUS_OK;
}

Status tokenizer_config_apply(Tokenizer *tokenizer, const char *path, bool all_tokens_known,
                              Error *err) {
  Status status = STATUS_OK;
  json_t *root = NULL;
  TRY(load(&root, path, err));
  if (!all_tokens_known) TRY(add_tokens(tokenizer, root, path, err));
  TRY(read_token(&tokenizer->bos, tokenizer, root, "bos_token", path, err));
  TRY(read_token(&tokenizer->eos, tokenizer, root, "eos_token", path, err));
  const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
  if (class != NULL && strncmp(class, "LlamaTokenizer", 14) == 0) tokenizer->adds_bos = true;
  TRY(read_flag(&tokenizer->adds_bos, root, "add_bos_token", path, err));
  TRY(read_flag(&tokenizer->adds_eos, root, "add_eos_token", path, err));
done:
  json_decref(root);
  return status;
}

// An id, the first of a list of ids, or null.
static Status read_id(int32_t *id, const Tokenizer *tokenizer, const json_t *root, const char *key,
                      const char *path, Error *err) {
  const json_t *value = json_object_get(root, key);
  if (json_is_array(value)) value = json_array_get(value, 0);
  if (value == NULL || json_is_null(value)) return STATUS_OK;
  if (!json_is_integer(value)) return wrong(path, key, "an id or a list of ids", err);
  json_int_t found = json_integer_value(value);
  // A config may speak of a token that this tokenizer does not have (-1: none).
  if (*id < 0 && found >= 0 && found < tokenizer->pieces.n) *id = (int32_t)found;
  return STATUS_OK;
}

Status tokenizer_config_apply_model(Tokenizer *tokenizer, const char *path, Error *err) {
  Status status = STATUS_OK;
  json_t *root = NULL;
  TRY(load(&root, path, err));
  TRY(read_id(&tokenizer->bos, tokenizer, root, "bos_token_id", path, err));
  TRY(read_id(&tokenizer->eos, tokenizer, root, "eos_token_id", path, err));
done:
  json_decref(root);
  return status;
}
