#include "tokenizer.h"

#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

void token_ids_push(TokenIds *list, int32_t id) {
  if (list->n == list->capacity) {
    list->capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
    list->ids = realloc(list->ids, (size_t)list->capacity * sizeof(int32_t));
    CHECK(list->ids != NULL, "no memory for %lld ids", (long long)list->capacity);
  }
  list->ids[list->n++] = id;
}

void token_ids_free(TokenIds *list) {
  free(list->ids);
  *list = (TokenIds){0};
}

Tokenizer *tokenizer_new(TokenizerFamily family) {
  Tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
  CHECK(tokenizer != NULL, "no memory for a tokenizer");
  tokenizer->family = family;
  tokenizer->bos = tokenizer->eos = tokenizer->unk = -1;
  return tokenizer;
}

static void text_ops_free(TextOps *ops) {
  for (int i = 0; i < ops->n; i++) {
    free(ops->items[i].from);
    free(ops->items[i].to);
  }
}

void tokenizer_close(Tokenizer *tokenizer) {
  if (tokenizer == NULL) return;
  string_table_free(&tokenizer->pieces);
  string_table_free(&tokenizer->bytes);
  added_tokens_free(&tokenizer->added);
  added_tokens_free(&tokenizer->added_late);
  added_tokens_free(&tokenizer->frozen);
  text_ops_free(&tokenizer->normalizer);
  text_ops_free(&tokenizer->prefix);
  free(tokenizer->merges.entries);
  free(tokenizer->type);
  free(tokenizer->rank);
  free(tokenizer->whole);
  free(tokenizer->unk_text);
  free(tokenizer);
}

void text_ops_add(TextOps *ops, TextOpKind kind, const char *from, const char *to) {
  CHECK(ops->n < TEXT_OPS_MAX, "more than %d changes of a text", TEXT_OPS_MAX);
  TextOp *op = &ops->items[ops->n++];
  *op = (TextOp){kind, from == NULL ? NULL : strdup(from), strdup(to)};
  CHECK(op->to != NULL && (from == NULL || op->from != NULL), "no memory for a change of a text");
}

Status tokenizer_add_piece(Tokenizer *tokenizer, int64_t id, const char *bytes, int64_t size,
                           PieceType type, const char *path, Error *err) {
  if (id < 0 || id > INT32_MAX - 1 || size > INT32_MAX) {
    return error_set(err, STATUS_DATA, "%s: piece %s has id %lld, which is out of range", path,
                     quote_bytes(bytes, size).text, (long long)id);
  }
  int64_t before = tokenizer->pieces.n;
  int64_t room = tokenizer->pieces.capacity;
  StringAdded added = string_table_add(&tokenizer->pieces, (int32_t)id, bytes, (int32_t)size);
  if (added == STRING_DUPLICATE) {
    int32_t other = string_table_find(&tokenizer->pieces, bytes, size);
    return error_set(err, STATUS_DATA, "%s: the piece %s is there twice, with ids %d and %lld",
                     path, quote_bytes(bytes, size).text, other, (long long)id);
  }
  if (added == STRING_ID_TAKEN) {
    const StringTable *pieces = &tokenizer->pieces;
    return error_set(err, STATUS_DATA, "%s: id %lld is that of two pieces, %s and %s", path,
                     (long long)id,
                     quote_bytes(string_table_get(pieces, id), pieces->size[id]).text,
                     quote_bytes(bytes, size).text);
  }
  if (tokenizer->pieces.capacity != room) {
    tokenizer->type = realloc(tokenizer->type, (size_t)tokenizer->pieces.capacity);
    CHECK(tokenizer->type != NULL, "no memory for %lld pieces", (long long)id);
  }
  for (; before < tokenizer->pieces.n; before++) tokenizer->type[before] = PIECE_NONE;
  tokenizer->type[id] = (uint8_t)type;
  return STATUS_OK;
}

// Whether the pieces leave no merge across a border between something else and U+2581: then words
// are merged each for itself, which is quicker and the same.
static bool words_are_separate(const Tokenizer *tokenizer) {
  const StringTable *pieces = &tokenizer->pieces;
  if (string_table_find(pieces, SPM_SPACE, SPM_SPACE_BYTES) < 0) return false;
  for (int64_t id = 0; id < pieces->n; id++) {
    PieceType type = tokenizer->type[id];
    if (type == PIECE_NONE || type == PIECE_CONTROL) continue;
    const char *piece = string_table_get(pieces, id);
    int64_t size = pieces->size[id];
    bool other = false; // seen something else
    for (int64_t i = 0; i < size; i++) {
      bool space =
          size - i >= SPM_SPACE_BYTES && memcmp(piece + i, SPM_SPACE, SPM_SPACE_BYTES) == 0;
      if (space && other) return false;
      if (space) {
        i += SPM_SPACE_BYTES - 1;
      } else {
        other = true;
      }
    }
  }
  return true;
}

void tokenizer_finish(Tokenizer *tokenizer) {
  added_tokens_ready(&tokenizer->added);
  added_tokens_ready(&tokenizer->added_late);
  added_tokens_ready(&tokenizer->frozen);
  int64_t n = tokenizer->pieces.n;
  tokenizer->whole = malloc((size_t)(n > 0 ? n : 1) * sizeof *tokenizer->whole);
  CHECK(tokenizer->whole != NULL, "no memory for %lld pieces", (long long)n);
  for (int64_t i = 0; i < n; i++) atomic_init(&tokenizer->whole[i], WHOLE_UNKNOWN);
  if (tokenizer->family != FAMILY_BYTE_BPE) tokenizer->split_words = words_are_separate(tokenizer);
}

int64_t tokenizer_vocab(const Tokenizer *tokenizer) {
  return tokenizer->pieces.n;
}

int32_t tokenizer_bos(const Tokenizer *tokenizer) {
  return tokenizer->bos;
}

int32_t tokenizer_eos(const Tokenizer *tokenizer) {
  return tokenizer->eos;
}

bool tokenizer_adds_bos(const Tokenizer *tokenizer) {
  return tokenizer->adds_bos;
}

bool tokenizer_adds_eos(const Tokenizer *tokenizer) {
  return tokenizer->adds_eos;
}

int32_t tokenizer_find(const Tokenizer *tokenizer, const char *piece) {
  return string_table_find(&tokenizer->pieces, piece, (int64_t)strlen(piece));
}

bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id) {
  return id >= 0 && id < tokenizer->pieces.n && tokenizer->type[id] == PIECE_CONTROL;
}

const char *tokenizer_kind(const Tokenizer *tokenizer) {
  return tokenizer->kind;
}

// A text that grows.
typedef struct Text {
  char *data;
  int64_t size, capacity;
} Text;

static void text_put(Text *text, const char *bytes, int64_t size) {
  if (text->data == NULL || size > text->capacity - text->size) {
    text->capacity = 2 * (text->size + size) + 64;
    text->data = realloc(text->data, (size_t)text->capacity);
    CHECK(text->data != NULL, "no memory for a text of %lld bytes", (long long)text->capacity);
  }
  if (size > 0) memcpy(text->data + text->size, bytes, (size_t)size);
  text->size += size;
}

static void replace(Text *out, const char *text, int64_t bytes, const char *from, const char *to) {
  int64_t from_size = (int64_t)strlen(from), to_size = (int64_t)strlen(to);
  for (int64_t i = 0; i < bytes;) {
    const char *next = memmem(text + i, (size_t)(bytes - i), from, (size_t)from_size);
    int64_t plain = next == NULL ? bytes - i : next - (text + i);
    text_put(out, text + i, plain);
    i += plain;
    if (next == NULL) break;
    text_put(out, to, to_size);
    i += from_size;
  }
}

// The text after all changes. `first`: it is where the whole text begins.
static Text apply(const TextOps *ops, const char *text, int64_t bytes, bool first) {
  Text now = {0};
  text_put(&now, text, bytes);
  for (int i = 0; i < ops->n; i++) {
    const TextOp *op = &ops->items[i];
    int64_t size = (int64_t)strlen(op->to);
    Text next = {0};
    if (op->kind == TEXT_REPLACE) {
      replace(&next, now.data, now.size, op->from, op->to);
    } else {
      bool has = now.size >= size && memcmp(now.data, op->to, (size_t)size) == 0;
      bool wanted =
          op->kind == TEXT_PREPEND || (!has && (op->kind == TEXT_PREPEND_UNLESS || first));
      if (now.size == 0 || !wanted) continue;
      text_put(&next, op->to, size);
      text_put(&next, now.data, now.size);
    }
    free(now.data);
    now = next;
  }
  return now;
}

static void emit_byte_word(void *context, const char *word, int64_t bytes) {
  bpe_encode_word(context, word, bytes);
}

// Cuts at U+2581 where the tokenizer does, or where a cut changes nothing.
static void encode_spaced(EncodeWork *work, const char *text, int64_t bytes) {
  const Tokenizer *tokenizer = work->tokenizer;
  int64_t begin = 0;
  while (begin < bytes) {
    int64_t end = bytes;
    if (tokenizer->split_spaces || tokenizer->split_words) {
      bool other = tokenizer->split_spaces;
      for (int64_t i = begin; i < bytes;) {
        bool space = bytes - i >= SPM_SPACE_BYTES && memcmp(text + i, SPM_SPACE, 3) == 0;
        if (space && other && i > begin) {
          end = i;
          break;
        }
        other = other || !space;
        i += utf8_length(text[i]);
      }
    }
    if (tokenizer->family == FAMILY_SPM) {
      spm_encode_word(work, text + begin, end - begin);
    } else {
      bpe_encode_word(work, text + begin, end - begin);
    }
    begin = end;
  }
}

// A stretch of normalised text without added tokens.
static void encode_normal(EncodeWork *work, const char *text, int64_t bytes, bool first) {
  const Tokenizer *tokenizer = work->tokenizer;
  if (bytes == 0) return;
  if (tokenizer->family == FAMILY_BYTE_BPE) {
    pretokenize(&tokenizer->pre, text, bytes, emit_byte_word, work);
  } else if (tokenizer->prefix.n == 0) {
    encode_spaced(work, text, bytes);
  } else {
    Text changed = apply(&tokenizer->prefix, text, bytes, first);
    encode_spaced(work, changed.data, changed.size);
    free(changed.data);
  }
}

typedef void (*EncodeStretch)(EncodeWork *work, const char *text, int64_t bytes, bool first,
                              SpecialText special);

// Cuts the added tokens out and gives what is between them to `stretch`.
static void cut_added(EncodeWork *work, const AddedTokens *added, const char *text, int64_t bytes,
                      bool first, SpecialText special, EncodeStretch stretch) {
  int64_t at = 0, begin, end;
  const AddedToken *token;
  while ((token = added_tokens_next(added, text, at, bytes, special == SPECIAL_PARSED, &begin,
                                    &end)) != NULL) {
    if (begin > at) stretch(work, text + at, begin - at, first && at == 0, special);
    token_ids_push(work->out, token->id);
    at = end;
  }
  if (at < bytes) stretch(work, text + at, bytes - at, first && at == 0, special);
}

static void encode_late(EncodeWork *work, const char *text, int64_t bytes, bool first,
                        SpecialText special) {
  (void)special;
  encode_normal(work, text, bytes, first);
}

static void encode_raw(EncodeWork *work, const char *text, int64_t bytes, bool first,
                       SpecialText special) {
  const Tokenizer *tokenizer = work->tokenizer;
  Text changed = {0};
  if (tokenizer->normalizer.n > 0) {
    changed = apply(&tokenizer->normalizer, text, bytes, first);
    text = changed.data;
    bytes = changed.size;
  }
  cut_added(work, &tokenizer->added_late, text, bytes, first, special, encode_late);
  free(changed.data);
}

void tokenizer_encode(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                      SpecialText special, TokenIds *out) {
  CHECK(bytes >= 0 && (text != NULL || bytes == 0), "a text of %lld bytes", (long long)bytes);
  EncodeWork work = {.tokenizer = tokenizer, .out = out};
  char *repaired = utf8_repair(text, bytes, &bytes);
  cut_added(&work, &tokenizer->added, repaired != NULL ? repaired : text, bytes, true, special,
            encode_raw);
  free(repaired);
  merge_queue_free(&work.queue);
}
