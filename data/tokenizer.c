#include "tokenizer.h"

#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"
#include "utf8.h"
#include "word_memo.h"

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

void tokenizer_close(Tokenizer *tokenizer) {
  if (tokenizer == NULL) return;
  string_table_free(&tokenizer->pieces);
  string_table_free(&tokenizer->bytes);
  string_table_free(&tokenizer->read_as);
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

Status tokenizer_add_piece(Tokenizer *tokenizer, int64_t id, const char *bytes, int64_t size,
                           PieceType type, const char *path, Error *err) {
  if (id < 0 || id > INT32_MAX - 1 || size > INT32_MAX) {
    return error_set(err, STATUS_DATA, "%s: piece %s has id %lld, which is out of range", path,
                     quote_bytes(bytes, size).text, (long long)id);
  }
  if (!utf8_is_well_formed(bytes, size)) {
    return error_set(err, STATUS_DATA, "%s: piece %lld is not UTF-8: %s", path, (long long)id,
                     quote_bytes(bytes, size).text);
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
  if (tokenizer->whole != NULL) return;
  tokenizer->adds_bos = tokenizer->adds_bos && tokenizer->bos >= 0;
  tokenizer->adds_eos = tokenizer->adds_eos && tokenizer->eos >= 0;
  added_tokens_ready(&tokenizer->added);
  added_tokens_ready(&tokenizer->added_late);
  added_tokens_ready(&tokenizer->frozen);
  tokenizer->serial = word_memo_serial();
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

static void encode_word(EncodeWork *work, const char *word, int64_t bytes) {
  const Tokenizer *tokenizer = work->tokenizer;
  TokenIds *out = work->out;
  if (word_memo_find(tokenizer->serial, word, bytes, out)) return;
  int64_t before = out->n;
  if (tokenizer->family == FAMILY_SPM) {
    spm_encode_word(work, word, bytes);
  } else {
    bpe_encode_word(work, word, bytes);
  }
  if (out->n > before)
    word_memo_keep(tokenizer->serial, word, bytes, out->ids + before, out->n - before);
}

static void emit_byte_word(void *context, const char *word, int64_t bytes) {
  encode_word(context, word, bytes);
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
    encode_word(work, text + begin, end - begin);
    begin = end;
  }
}

// A stretch of normalised text without added tokens.
static void encode_normal(EncodeWork *work, const char *text, int64_t bytes, TextPlace place) {
  const Tokenizer *tokenizer = work->tokenizer;
  if (bytes == 0) return;
  if (tokenizer->family == FAMILY_BYTE_BPE) {
    pretokenize(&tokenizer->pre, text, bytes, emit_byte_word, work);
  } else if (tokenizer->prefix.n == 0) {
    encode_spaced(work, text, bytes);
  } else {
    Text changed = text_ops_apply(&tokenizer->prefix, text, bytes, place);
    encode_spaced(work, changed.data, changed.size);
    free(changed.data);
  }
}

typedef void (*EncodeStretch)(EncodeWork *work, const char *text, int64_t bytes, TextPlace place,
                              SpecialText special);

// Cuts the added tokens out and gives what is between them to `stretch`.
static void cut_added(EncodeWork *work, const AddedTokens *added, const char *text, int64_t bytes,
                      TextPlace place, SpecialText special, EncodeStretch stretch) {
  int64_t at = 0, begin, end;
  const AddedToken *token;
  while ((token = added_tokens_next(added, text, at, bytes, special == SPECIAL_PARSED, &begin,
                                    &end)) != NULL) {
    if (begin > at) stretch(work, text + at, begin - at, at == 0 ? place : TEXT_BEHIND, special);
    token_ids_push(work->out, token->id);
    at = end;
  }
  if (at < bytes) stretch(work, text + at, bytes - at, at == 0 ? place : TEXT_BEHIND, special);
}

static void encode_late(EncodeWork *work, const char *text, int64_t bytes, TextPlace place,
                        SpecialText special) {
  (void)special;
  encode_normal(work, text, bytes, place);
}

static void encode_raw(EncodeWork *work, const char *text, int64_t bytes, TextPlace place,
                       SpecialText special) {
  const Tokenizer *tokenizer = work->tokenizer;
  Text changed = {0};
  if (tokenizer->normalizer.n > 0) {
    changed = text_ops_apply(&tokenizer->normalizer, text, bytes, place);
    text = changed.data;
    bytes = changed.size;
  }
  cut_added(work, &tokenizer->added_late, text, bytes, place, special, encode_late);
  free(changed.data);
}

static void encode(const Tokenizer *tokenizer, const char *text, int64_t bytes, TextPlace place,
                   SpecialText special, TokenIds *out) {
  CHECK(bytes >= 0 && (text != NULL || bytes == 0), "a text of %lld bytes", (long long)bytes);
  EncodeWork work = {.tokenizer = tokenizer, .out = out};
  char *repaired = utf8_repair(text, bytes, &bytes);
  cut_added(&work, &tokenizer->added, repaired != NULL ? repaired : text, bytes, place, special,
            encode_raw);
  free(repaired);
  merge_queue_free(&work.queue);
}

void tokenizer_encode(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                      SpecialText special, TokenIds *out) {
  encode(tokenizer, text, bytes, TEXT_BEGINS, special, out);
}

void tokenizer_encode_part(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                           TextPlace place, TokenIds *out) {
  encode(tokenizer, text, bytes, place, SPECIAL_AS_TEXT, out);
}

// The same of one table.
static int32_t next_special(const AddedTokens *added, const char *text, int64_t bytes,
                            int64_t *begin, int64_t *end) {
  int64_t from = 0, at, behind;
  const AddedToken *token;
  while ((token = added_tokens_next(added, text, from, bytes, true, &at, &behind)) != NULL) {
    if (token->special) {
      *begin = at;
      *end = behind;
      return token->id;
    }
    from = behind;
  }
  return -1;
}

int32_t tokenizer_next_special(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                               int64_t *begin, int64_t *end) {
  int64_t late_begin = bytes, late_end = bytes;
  *begin = *end = bytes;
  int32_t id = next_special(&tokenizer->added, text, bytes, begin, end);
  int32_t late = next_special(&tokenizer->added_late, text, bytes, &late_begin, &late_end);
  if (late < 0 || *begin <= late_begin) return id;
  *begin = late_begin;
  *end = late_end;
  return late;
}
