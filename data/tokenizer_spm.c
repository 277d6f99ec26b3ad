// SentencePiece BPE with byte fallback. Source: sentencepiece's bpe_model.cc.
#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the merge rule looks at: two neighbours merge when the text that they cover is a piece.
typedef struct SpmRules {
  const Tokenizer *tokenizer;
  const char *text;
  int32_t forbidden; // a piece that is being taken apart, else -1
} SpmRules;

static bool merge_rule(const void *context, const Symbol *left, const Symbol *right, uint32_t *rank,
                       int32_t *id) {
  const SpmRules *rules = context;
  int64_t size = (int64_t)left->size + right->size;
  int32_t found = string_table_find(&rules->tokenizer->pieces, rules->text + left->start, size);
  if (found < 0 || found == rules->forbidden) return false;
  PieceType type = rules->tokenizer->type[found];
  if (type != PIECE_NORMAL && type != PIECE_USER && type != PIECE_UNUSED) return false;
  *rank = rules->tokenizer->rank[found];
  *id = found;
  return true;
}

// A symbol that is no piece: its bytes, or one unknown for a run of such symbols.
static void emit_unknown(EncodeWork *work, const char *text, int64_t size, bool after_unknown) {
  const Tokenizer *tokenizer = work->tokenizer;
  if (tokenizer->byte_fallback) {
    for (int64_t i = 0; i < size; i++) {
      token_ids_push(work->out, tokenizer->byte_id[(uint8_t)text[i]]);
    }
  } else if (!after_unknown) {
    token_ids_push(work->out, tokenizer->unk);
  }
}

static void encode(EncodeWork *work, const char *text, int64_t bytes, int32_t forbidden);

// Ids of the merged row. A piece of the type UNUSED may be a step on the way to a longer one but
// does not come out: it is taken apart again into the two that it was made of.
static void emit(EncodeWork *work, const char *text) {
  int64_t unused = 0;
  bool after_unknown = false;
  MergeQueue *queue = &work->queue;
  for (uint32_t i = 0; i != MERGE_NONE; i = queue->symbols[i].next) {
    const Symbol *symbol = &queue->symbols[i];
    unused += symbol->id >= 0 && work->tokenizer->type[symbol->id] == PIECE_UNUSED;
  }
  // The queue is used again for the taking apart: then the row is worked on as a copy.
  Symbol *copy = NULL;
  const Symbol *symbols = queue->symbols;
  if (unused > 0) {
    copy = malloc((size_t)queue->n * sizeof(Symbol));
    CHECK(copy != NULL, "no memory for %lld symbols", (long long)queue->n);
    memcpy(copy, symbols, (size_t)queue->n * sizeof(Symbol));
    symbols = copy;
  }
  for (uint32_t i = 0; i != MERGE_NONE; i = symbols[i].next) {
    Symbol symbol = symbols[i];
    if (symbol.id < 0) {
      emit_unknown(work, text + symbol.start, symbol.size, after_unknown);
    } else if (work->tokenizer->type[symbol.id] == PIECE_UNUSED) {
      encode(work, text + symbol.start, symbol.size, symbol.id);
    } else {
      token_ids_push(work->out, symbol.id);
    }
    after_unknown = symbol.id < 0;
  }
  free(copy);
}

static void encode(EncodeWork *work, const char *text, int64_t bytes, int32_t forbidden) {
  const Tokenizer *tokenizer = work->tokenizer;
  merge_queue_clear(&work->queue);
  int64_t size;
  for (int64_t i = 0; i < bytes; i += size) {
    const AddedToken *user = added_tokens_match(&tokenizer->frozen, text + i, bytes - i);
    size = user != NULL ? user->size : utf8_length(text[i]);
    int32_t id = string_table_find(&tokenizer->pieces, text + i, size);
    if (id >= 0) {
      PieceType type = tokenizer->type[id];
      if (id == forbidden || (type != PIECE_NORMAL && type != PIECE_USER && type != PIECE_UNUSED)) {
        id = -1;
      }
    }
    merge_queue_add(&work->queue, id, i, size, user != NULL);
  }
  SpmRules rules = {tokenizer, text, forbidden};
  merge_queue_run(&work->queue, merge_rule, &rules);
  emit(work, text);
}

void spm_encode_word(EncodeWork *work, const char *word, int64_t bytes) {
  const Tokenizer *tokenizer = work->tokenizer;
  int32_t id = string_table_find(&tokenizer->pieces, word, bytes);
  if (id >= 0 && whole_is_known(tokenizer, id)) {
    token_ids_push(work->out, id);
    return;
  }
  int64_t before = work->out->n;
  encode(work, word, bytes, -1);
  if (id >= 0) {
    bool one = work->out->n == before + 1 && work->out->ids[before] == id;
    whole_remember(tokenizer, id, one);
  }
}

// The order of the scores, equal scores sharing a place.
typedef struct ScoreKey {
  float score;
  int32_t id;
} ScoreKey;

static int compare(const void *left, const void *right) {
  const ScoreKey *a = left, *b = right;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

static void rank_scores(Tokenizer *tokenizer, const float *scores) {
  int64_t n = tokenizer->pieces.n;
  ScoreKey *keys = malloc((size_t)(n > 0 ? n : 1) * sizeof(ScoreKey));
  tokenizer->rank = calloc((size_t)(n > 0 ? n : 1), sizeof(uint32_t));
  CHECK(keys != NULL && tokenizer->rank != NULL, "no memory for %lld scores", (long long)n);
  for (int64_t i = 0; i < n; i++) keys[i] = (ScoreKey){scores[i], (int32_t)i};
  qsort(keys, (size_t)n, sizeof(ScoreKey), compare);
  uint32_t rank = 0;
  for (int64_t i = 0; i < n; i++) {
    if (i > 0 && keys[i].score != keys[i - 1].score) rank++;
    tokenizer->rank[keys[i].id] = rank;
  }
  free(keys);
}

Status spm_finish(Tokenizer *tokenizer, const float *scores, const char *path, Error *err) {
  int found = 0;
  memset(tokenizer->byte_id, 0xFF, sizeof tokenizer->byte_id);
  const StringTable *pieces = &tokenizer->pieces;
  tokenizer->unk = -1;
  for (int64_t id = 0; id < pieces->n; id++) {
    const char *piece = string_table_get(pieces, id);
    if (!(scores[id] <= 3.4e38f && scores[id] >= -3.4e38f)) {
      return error_set(err, STATUS_DATA, "%s: piece %lld: the score is not finite", path,
                       (long long)id);
    }
    if (tokenizer->type[id] == PIECE_UNKNOWN) {
      if (tokenizer->unk >= 0) {
        return error_set(err, STATUS_DATA, "%s: pieces %d and %lld are both of the type unknown",
                         path, tokenizer->unk, (long long)id);
      }
      tokenizer->unk = (int32_t)id;
    }
    if (tokenizer->type[id] == PIECE_BYTE) {
      int byte = piece_byte(piece, pieces->size[id]);
      if (byte < 0) {
        return error_set(err, STATUS_DATA, "%s: piece %lld: expected a byte like <0x0A>, found %s",
                         path, (long long)id, quote_bytes(piece, pieces->size[id]).text);
      }
      tokenizer->byte_id[byte] = (int32_t)id;
      found++;
    }
  }
  if (tokenizer->unk < 0) {
    return error_set(err, STATUS_DATA, "%s: no piece is of the type unknown", path);
  }
  if (found != 0 && found != 256) {
    return error_set(err, STATUS_DATA, "%s: expected 256 byte pieces (or none), found %d", path,
                     found);
  }
  tokenizer->byte_fallback = found == 256;
  rank_scores(tokenizer, scores);
  return STATUS_OK;
}

void spm_set_text(Tokenizer *tokenizer, bool dummy_prefix) {
  if (dummy_prefix) text_ops_add(&tokenizer->normalizer, TEXT_PREPEND, NULL, SPM_SPACE);
  text_ops_add(&tokenizer->normalizer, TEXT_REPLACE, " ", SPM_SPACE);
  tokenizer->bytes_decoding = BYTES_EACH;
  tokenizer->leading = dummy_prefix ? LEADING_OF_PIECE : LEADING_KEPT;
  if (tokenizer->unk_text == NULL) tokenizer->unk_text = strdup(" \xE2\x81\x87 ");
  CHECK(tokenizer->unk_text != NULL, "no memory for a piece");
  snprintf(tokenizer->kind, sizeof tokenizer->kind, "sentencepiece");
}
