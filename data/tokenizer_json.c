// tokenizer.json of the tokenizers package, with a BPE model. The vocabulary and the merges, which
// are many, are scanned; the rest is small and read as trees.
#include "tokenizer_json.h"

#include "check.h"
#include "json_scan.h"
#include "quote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART_BYTES_MAX = 32 << 20 };

// Where the parts begin. A scan is a value: going on from a copy reads the part again.
typedef struct JsonParts {
  JsonScan added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model;
  JsonScan vocab, merges; // of the model
  bool has_added_tokens, has_normalizer, has_pre_tokenizer, has_post_processor, has_decoder;
  bool has_model, has_vocab, has_merges;
} JsonParts;

typedef struct JsonPartName {
  const char *name;
  size_t scan, has; // offsets in JsonParts
} JsonPartName;

#define PART(name)                                                                                 \
  { #name, offsetof(JsonParts, name), offsetof(JsonParts, has_##name) }

static const JsonPartName top_parts[] = {PART(added_tokens),  PART(normalizer),
                                         PART(pre_tokenizer), PART(post_processor),
                                         PART(decoder),       PART(model)};
static const JsonPartName model_parts[] = {PART(vocab), PART(merges)};

// A value that is one of the parts is noted; the scan stays in front of it.
static Status note_part(JsonParts *parts, const JsonPartName *names, int n, const JsonString *key,
                        const JsonScan *scan, bool *known, Error *err) {
  *known = false;
  for (int i = 0; i < n; i++) {
    if (!json_string_is(key, names[i].name)) continue;
    bool *has = (bool *)((char *)parts + names[i].has);
    if (*has) {
      return json_scan_error(scan, scan->pos, err, "'%s' is there twice", names[i].name);
    }
    *has = true;
    *(JsonScan *)(void *)((char *)parts + names[i].scan) = *scan;
    *known = true;
  }
  return STATUS_OK;
}

static Status find_parts(JsonParts *parts, JsonScan *scan, Error *err) {
  Status status = STATUS_OK;
  JsonString key;
  bool more, known;
  TRY(json_scan_object(scan, err));
  for (;;) {
    TRY(json_scan_member(scan, &key, &more, err));
    if (!more) break;
    TRY(note_part(parts, top_parts, 6, &key, scan, &known, err));
    TRY(json_scan_skip(scan, err));
  }
  TRY(json_scan_end(scan, err));
  if (!parts->has_model) {
    TRY(error_set(err, STATUS_DATA, "%s: no 'model': this is no tokenizer.json", scan->path));
  }
done:
  return status;
}

// The part as a tree (NULL when it is absent), to be released by json_decref.
static Status load_part(json_t **tree, const JsonScan *begin, bool has, const char *name,
                        Error *err) {
  Status status = STATUS_OK;
  json_error_t fault;
  *tree = NULL;
  if (!has) return STATUS_OK;
  JsonScan scan = *begin;
  json_scan_peek(&scan);
  int64_t from = scan.pos;
  TRY(json_scan_skip(&scan, err));
  int64_t size = scan.pos - from;
  if (size > PART_BYTES_MAX) {
    TRY(json_scan_error(begin, from, err, "'%s' is longer than %d bytes", name, PART_BYTES_MAX));
  }
  *tree = json_loadb((const char *)begin->text + from, (size_t)size,
                     JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
  if (*tree == NULL) {
    TRY(json_scan_error(begin, from + fault.position, err, "'%s': %s", name, fault.text));
  }
done:
  return status;
}

// What the model says besides vocabulary and merges.
typedef struct ModelFlags {
  char *type, *unk, *prefix, *suffix; // NULL: absent or null
  bool fuse_unk, byte_fallback, ignore_merges;
} ModelFlags;

static void flags_free(ModelFlags *flags) {
  free(flags->type);
  free(flags->unk);
  free(flags->prefix);
  free(flags->suffix);
}

static Status read_name(char **name, JsonScan *scan, Error *err) {
  JsonString string;
  if (json_scan_peek(scan) == JSON_KIND_NULL) return json_scan_skip(scan, err);
  Status status = json_scan_string(scan, &string, err);
  if (status != STATUS_OK) return status;
  free(*name);
  *name = json_string_copy(&string, NULL);
  CHECK(*name != NULL, "no memory for a name of %lld bytes", (long long)string.size);
  return STATUS_OK;
}

static Status read_flag(bool *flag, JsonScan *scan, Error *err) {
  if (json_scan_peek(scan) == JSON_KIND_NULL) return json_scan_skip(scan, err);
  return json_scan_bool(scan, flag, err);
}

static Status read_dropout(JsonScan *scan, Error *err) {
  double dropout = 0;
  JsonScan begin = *scan;
  if (json_scan_peek(scan) == JSON_KIND_NULL) return json_scan_skip(scan, err);
  Status status = json_scan_number(scan, &dropout, err);
  if (status != STATUS_OK || dropout == 0) return status;
  return json_scan_error(&begin, begin.pos, err, "model: dropout is not supported");
}

static Status read_model(JsonParts *parts, ModelFlags *flags, Error *err) {
  Status status = STATUS_OK;
  JsonScan scan = parts->model;
  JsonString key;
  bool more, known;
  TRY(json_scan_object(&scan, err));
  for (;;) {
    TRY(json_scan_member(&scan, &key, &more, err));
    if (!more) break;
    TRY(note_part(parts, model_parts, 2, &key, &scan, &known, err));
    if (json_string_is(&key, "type")) {
      TRY(read_name(&flags->type, &scan, err));
    } else if (json_string_is(&key, "unk_token")) {
      TRY(read_name(&flags->unk, &scan, err));
    } else if (json_string_is(&key, "continuing_subword_prefix")) {
      TRY(read_name(&flags->prefix, &scan, err));
    } else if (json_string_is(&key, "end_of_word_suffix")) {
      TRY(read_name(&flags->suffix, &scan, err));
    } else if (json_string_is(&key, "fuse_unk")) {
      TRY(read_flag(&flags->fuse_unk, &scan, err));
    } else if (json_string_is(&key, "byte_fallback")) {
      TRY(read_flag(&flags->byte_fallback, &scan, err));
    } else if (json_string_is(&key, "ignore_merges")) {
      TRY(read_flag(&flags->ignore_merges, &scan, err));
    } else if (json_string_is(&key, "dropout")) {
      TRY(read_dropout(&scan, err));
    } else {
      TRY(json_scan_skip(&scan, err));
    }
  }
  if (flags->type != NULL && strcmp(flags->type, "BPE") != 0) {
    TRY(json_scan_error(&parts->model, parts->model.pos, err,
                        "the model type %s is not supported (BPE is)",
                        quote_text(flags->type).text));
  }
  if ((flags->prefix != NULL && flags->prefix[0] != 0) ||
      (flags->suffix != NULL && flags->suffix[0] != 0)) {
    TRY(json_scan_error(&parts->model, parts->model.pos, err,
                        "model: continuing_subword_prefix and end_of_word_suffix are not "
                        "supported"));
  }
  if (!parts->has_vocab || !parts->has_merges) {
    TRY(json_scan_error(&parts->model, parts->model.pos, err, "model: no '%s'",
                        parts->has_vocab ? "merges" : "vocab"));
  }
done:
  return status;
}

// Room for a decoded string, used again.
typedef struct Scratch {
  char *data;
  int64_t capacity;
} Scratch;

// The string's bytes: in the text itself when nothing is escaped.
static const char *bytes_of(Scratch *scratch, const JsonString *string, int64_t *size) {
  *size = string->size;
  if (!string->escaped) return (const char *)string->raw;
  if (string->size + 1 > scratch->capacity) {
    scratch->capacity = 2 * string->size + 64;
    scratch->data = realloc(scratch->data, (size_t)scratch->capacity);
    CHECK(scratch->data != NULL, "no memory for a string of %lld bytes", (long long)string->size);
  }
  *size = json_string_decode(string, scratch->data);
  return scratch->data;
}

// Ids that leave larger holes than this many bytes of file could fill are wrong, and would only
// take memory.
static int64_t largest_id(const JsonScan *scan) {
  int64_t largest = scan->size + 65536;
  return largest < INT32_MAX - 1 ? largest : INT32_MAX - 1;
}

static Status read_vocab(Tokenizer *tokenizer, JsonScan scan, Error *err) {
  Status status = STATUS_OK;
  Scratch scratch = {0};
  JsonString key;
  int64_t id, size;
  bool more;
  TRY(json_scan_object(&scan, err));
  for (;;) {
    TRY(json_scan_member(&scan, &key, &more, err));
    if (!more) break;
    TRY(json_scan_int(&scan, 0, largest_id(&scan), &id, err));
    const char *piece = bytes_of(&scratch, &key, &size);
    TRY(tokenizer_add_piece(tokenizer, id, piece, size, PIECE_NORMAL, scan.path, err));
  }
done:
  free(scratch.data);
  return status;
}

// "left right" or ["left", "right"].
static Status read_merge(Tokenizer *tokenizer, JsonScan *scan, int64_t rank, Scratch *left,
                         Scratch *right, Error *err) {
  Status status = STATUS_OK;
  JsonString string;
  int64_t size, right_size;
  bool more;
  if (json_scan_peek(scan) == JSON_KIND_STRING) {
    int64_t at = scan->pos;
    TRY(json_scan_string(scan, &string, err));
    const char *text = bytes_of(left, &string, &size);
    const char *space = memchr(text, ' ', (size_t)size);
    right_size = space == NULL ? 0 : size - (space - text) - 1;
    if (space == NULL || memchr(space + 1, ' ', (size_t)right_size) != NULL) {
      TRY(json_scan_error(scan, at, err, "expected two pieces and a space, found %s",
                          quote_bytes(text, size).text));
    }
    TRY(bpe_add_merge(tokenizer, text, space - text, space + 1, right_size, rank, scan->path, err));
    return STATUS_OK;
  }
  const char *pieces[2];
  int64_t sizes[2];
  Scratch *scratch[2] = {left, right};
  int64_t at = scan->pos;
  TRY(json_scan_array(scan, err));
  for (int i = 0; i < 3; i++) {
    TRY(json_scan_element(scan, &more, err));
    if (more != (i < 2)) TRY(json_scan_error(scan, at, err, "expected a pair of strings"));
    if (i == 2) break;
    TRY(json_scan_string(scan, &string, err));
    pieces[i] = bytes_of(scratch[i], &string, &sizes[i]);
  }
  TRY(bpe_add_merge(tokenizer, pieces[0], sizes[0], pieces[1], sizes[1], rank, scan->path, err));
done:
  return status;
}

static Status read_merges(Tokenizer *tokenizer, JsonScan scan, Error *err) {
  Status status = STATUS_OK;
  Scratch left = {0}, right = {0};
  bool more;
  TRY(json_scan_array(&scan, err));
  for (int64_t rank = 0;; rank++) {
    TRY(json_scan_element(&scan, &more, err));
    if (!more) break;
    TRY(read_merge(tokenizer, &scan, rank, &left, &right, err));
  }
done:
  free(left.data);
  free(right.data);
  return status;
}

static Status added_fault(const char *path, size_t i, const char *what, Error *err) {
  return error_set(err, STATUS_DATA, "%s: added_tokens, item %zu: %s", path, i, what);
}

// One added token: in the vocabulary already, under the same id, or new.
static Status add_token(Tokenizer *tokenizer, const json_t *item, size_t i, int64_t max_id,
                        const char *path, Error *err) {
  Status status = STATUS_OK;
  const char *text = json_string_value(json_object_get(item, "content"));
  const json_t *id_value = json_object_get(item, "id");
  const json_t *normalized_value = json_object_get(item, "normalized");
  json_int_t id = json_integer_value(id_value);
  if (text == NULL || text[0] == 0 || !json_is_integer(id_value)) {
    TRY(added_fault(path, i, "expected an 'id' and a 'content' that is not empty", err));
  }
  if (id < 0 || id > max_id) TRY(added_fault(path, i, "the id is out of range", err));
  if (json_is_true(json_object_get(item, "single_word"))) {
    TRY(added_fault(path, i, "single_word is not supported", err));
  }
  int64_t size = (int64_t)strlen(text);
  bool special = json_is_true(json_object_get(item, "special"));
  bool normalized = normalized_value == NULL ? !special : json_is_true(normalized_value);
  int32_t found = string_table_find(&tokenizer->pieces, text, size);
  if (found < 0) {
    TRY(tokenizer_add_piece(tokenizer, id, text, size, special ? PIECE_CONTROL : PIECE_USER, path,
                            err));
  } else if (found != id) {
    TRY(error_set(err, STATUS_DATA,
                  "%s: added_tokens, item %zu: %s has id %d in the vocabulary, "
                  "not %lld",
                  path, i, quote_text(text).text, found, (long long)id));
  } else if (special) {
    tokenizer->type[id] = PIECE_CONTROL;
  }
  AddedToken token = {.id = (int32_t)id,
                      .special = special,
                      .lstrip = json_is_true(json_object_get(item, "lstrip")),
                      .rstrip = json_is_true(json_object_get(item, "rstrip"))};
  if (normalized && tokenizer->normalizer.n > 0) {
    // It is looked for in normalised text, and so is its own text.
    Text changed = text_ops_apply(&tokenizer->normalizer, text, size, true);
    if (changed.size > 0) {
      added_tokens_add(&tokenizer->added_late, changed.data, changed.size, token);
      string_table_add(&tokenizer->read_as, token.id, changed.data, (int32_t)changed.size);
    }
    free(changed.data);
  } else {
    added_tokens_add(normalized ? &tokenizer->added_late : &tokenizer->added, text, size, token);
  }
done:
  return status;
}

static Status read_added_tokens(Tokenizer *tokenizer, const json_t *list, int64_t max_id,
                                const char *path, Error *err) {
  size_t i;
  json_t *item;
  if (list == NULL || json_is_null(list)) return STATUS_OK;
  if (!json_is_array(list)) {
    return error_set(err, STATUS_DATA, "%s: added_tokens: expected a list", path);
  }
  json_array_foreach(list, i, item) {
    Status status = add_token(tokenizer, item, i, max_id, path, err);
    if (status != STATUS_OK) return status;
  }
  return STATUS_OK;
}

static Status set_unk(Tokenizer *tokenizer, const ModelFlags *flags, const char *path, Error *err) {
  tokenizer->fuse_unk = flags->fuse_unk;
  tokenizer->byte_fallback = flags->byte_fallback;
  tokenizer->ignore_merges = flags->ignore_merges;
  if (flags->unk == NULL) return STATUS_OK;
  tokenizer->unk = tokenizer_find(tokenizer, flags->unk);
  if (tokenizer->unk >= 0) return STATUS_OK;
  return error_set(err, STATUS_DATA, "%s: model: unk_token %s is not in the vocabulary", path,
                   quote_text(flags->unk).text);
}

// The parts in the order in which they need each other.
static Status build(Tokenizer *tokenizer, const JsonParts *parts, const ModelFlags *flags,
                    const json_t *pre, const char *path, Error *err) {
  Status status = STATUS_OK;
  json_t *normalizer = NULL, *decoder = NULL, *post = NULL, *added = NULL;
  TRY(load_part(&normalizer, &parts->normalizer, parts->has_normalizer, "normalizer", err));
  TRY(load_part(&decoder, &parts->decoder, parts->has_decoder, "decoder", err));
  TRY(load_part(&post, &parts->post_processor, parts->has_post_processor, "post_processor", err));
  TRY(load_part(&added, &parts->added_tokens, parts->has_added_tokens, "added_tokens", err));
  TRY(json_read_normalizer(tokenizer, normalizer, path, err));
  TRY(json_read_pre_tokenizer(tokenizer, pre, path, err));
  TRY(json_read_decoder(tokenizer, decoder, path, err));
  TRY(read_vocab(tokenizer, parts->vocab, err));
  TRY(read_merges(tokenizer, parts->merges, err));
  TRY(set_unk(tokenizer, flags, path, err));
  TRY(bpe_finish(tokenizer, path, err));
  TRY(read_added_tokens(tokenizer, added, largest_id(&parts->model), path, err));
  TRY(json_read_post_processor(tokenizer, post, path, err));
done:
  json_decref(normalizer);
  json_decref(decoder);
  json_decref(post);
  json_decref(added);
  return status;
}

Status tokenizer_from_json(Tokenizer **tokenizer, const char *path, const void *data, int64_t size,
                           Error *err) {
  Status status = STATUS_OK;
  JsonParts parts = {0};
  ModelFlags flags = {0};
  json_t *pre = NULL;
  Tokenizer *made = NULL;
  JsonScan scan = json_scan_make(path, data, size);
  *tokenizer = NULL;
  TRY(find_parts(&parts, &scan, err));
  TRY(read_model(&parts, &flags, err));
  TRY(load_part(&pre, &parts.pre_tokenizer, parts.has_pre_tokenizer, "pre_tokenizer", err));
  bool byte_level = json_has_byte_level(pre);
  made = tokenizer_new(byte_level ? FAMILY_BYTE_BPE : FAMILY_CHAR_BPE);
  snprintf(made->kind, sizeof made->kind, "%s (tokenizer.json)",
           byte_level            ? "byte-level BPE"
           : flags.byte_fallback ? "BPE with byte fallback"
                                 : "BPE of characters");
  TRY(build(made, &parts, &flags, pre, path, err));
  *tokenizer = made;
  made = NULL;
done:
  tokenizer_close(made);
  json_decref(pre);
  flags_free(&flags);
  return status;
}
