// BPE with ranked merges, over byte symbols (GPT-2 and its kin) or over characters with byte
// fallback (LLaMA as a fast tokenizer). Source: the BPE model of the tokenizers package, 0.23.
#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t merge_slot(const MergeTable *table, int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
  int64_t mask = table->count - 1;
  for (int64_t i = (int64_t)(h >> 32) & mask;; i = (i + 1) & mask) {
    const MergeEntry *entry = &table->entries[i];
    if (entry->left < 0 || (entry->left == left && entry->right == right)) return i;
  }
}

static void grow_merges(MergeTable *table) {
  MergeTable old = *table;
  table->count = old.count == 0 ? 1024 : 2 * old.count;
  table->entries = malloc((size_t)table->count * sizeof(MergeEntry));
  CHECK(table->entries != NULL, "no memory for %lld merges", (long long)table->count);
  for (int64_t i = 0; i < table->count; i++) table->entries[i].left = -1;
  for (int64_t i = 0; i < old.count; i++) {
    const MergeEntry *entry = &old.entries[i];
    if (entry->left >= 0) table->entries[merge_slot(table, entry->left, entry->right)] = *entry;
  }
  free(old.entries);
}

void merge_table_set(MergeTable *table, int32_t left, int32_t right, uint32_t rank, int32_t id) {
  if (2 * (table->used + 1) > table->count) grow_merges(table);
  MergeEntry *entry = &table->entries[merge_slot(table, left, right)];
  if (entry->left < 0) table->used++;
  *entry = (MergeEntry){left, right, rank, id};
}

const MergeEntry *merge_table_find(const MergeTable *table, int32_t left, int32_t right) {
  if (table->used == 0) return NULL;
  const MergeEntry *entry = &table->entries[merge_slot(table, left, right)];
  return entry->left < 0 ? NULL : entry;
}

static bool merge_rule(const void *rules, const Symbol *left, const Symbol *right, uint32_t *rank,
                       int32_t *id) {
  const MergeEntry *entry = merge_table_find(rules, left->id, right->id);
  if (entry == NULL) return false;
  *rank = entry->rank;
  *id = entry->id;
  return true;
}

// Unknown characters wait until something known comes, so that a run of them can give one token.
typedef struct Unknown {
  int64_t start, size; // size 0: none waits
} Unknown;

static void unknown_flush(EncodeWork *work, Unknown *unknown) {
  if (unknown->size > 0) {
    merge_queue_add(&work->queue, work->tokenizer->unk, unknown->start, unknown->size, false);
  }
  unknown->size = 0;
}

static void unknown_add(EncodeWork *work, Unknown *unknown, int64_t start, int64_t size) {
  if (work->tokenizer->unk < 0) return; // dropped: its neighbours meet
  if (!work->tokenizer->fuse_unk) unknown_flush(work, unknown);
  if (unknown->size == 0) unknown->start = start;
  unknown->size += size;
}

static void make_byte_symbols(EncodeWork *work, const char *word, int64_t bytes) {
  Unknown unknown = {0};
  for (int64_t i = 0; i < bytes; i++) {
    int32_t id = work->tokenizer->byte_id[(uint8_t)word[i]];
    if (id < 0) {
      unknown_add(work, &unknown, i, 1);
      continue;
    }
    unknown_flush(work, &unknown);
    merge_queue_add(&work->queue, id, i, 1, false);
  }
  unknown_flush(work, &unknown);
}

static void make_character_symbols(EncodeWork *work, const char *word, int64_t bytes) {
  const Tokenizer *tokenizer = work->tokenizer;
  Unknown unknown = {0};
  int length;
  for (int64_t i = 0; i < bytes; i += length) {
    length = utf8_length(word[i]);
    int32_t id = string_table_find(&tokenizer->pieces, word + i, length);
    if (id >= 0) {
      unknown_flush(work, &unknown);
      merge_queue_add(&work->queue, id, i, length, false);
      continue;
    }
    bool as_bytes = tokenizer->byte_fallback;
    for (int k = 0; k < length && as_bytes; k++) {
      as_bytes = tokenizer->byte_id[(uint8_t)word[i + k]] >= 0;
    }
    if (!as_bytes) {
      unknown_add(work, &unknown, i, length);
      continue;
    }
    for (int k = 0; k < length; k++) {
      merge_queue_add(&work->queue, tokenizer->byte_id[(uint8_t)word[i + k]], i + k, 1, false);
    }
  }
  unknown_flush(work, &unknown);
}

void bpe_encode_word(EncodeWork *work, const char *word, int64_t bytes) {
  const Tokenizer *tokenizer = work->tokenizer;
  bool byte_level = tokenizer->family == FAMILY_BYTE_BPE;
  int32_t id = string_table_find(byte_level ? &tokenizer->bytes : &tokenizer->pieces, word, bytes);
  bool ready = id >= 0 && tokenizer->ignore_merges && tokenizer->type[id] != PIECE_CONTROL;
  if (ready || (id >= 0 && whole_is_known(tokenizer, id))) {
    token_ids_push(work->out, id);
    return;
  }
  MergeQueue *queue = &work->queue;
  merge_queue_clear(queue);
  if (byte_level) {
    make_byte_symbols(work, word, bytes);
  } else {
    make_character_symbols(work, word, bytes);
  }
  if (queue->n == 0) return;
  merge_queue_run(queue, merge_rule, &tokenizer->merges);
  for (uint32_t i = 0; i != MERGE_NONE; i = queue->symbols[i].next) {
    token_ids_push(work->out, queue->symbols[i].id);
  }
  if (id >= 0) {
    const Symbol *first = &queue->symbols[0];
    whole_remember(tokenizer, id, first->next == MERGE_NONE && first->id == id);
  }
}

// GPT-2's bytes_to_unicode: the printable bytes of Latin-1 are themselves, the others get U+0100
// and on, in order.
static bool is_printable(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static uint32_t alphabet_character(int byte) {
  if (is_printable(byte)) return (uint32_t)byte;
  if (byte <= 32) return 0x100u + (uint32_t)byte;
  if (byte <= 160) return 0x100u + 33u + (uint32_t)(byte - 127);
  return 0x100u + 67u; // 173
}

static int alphabet_byte(uint32_t character) {
  if (character < 0x100) return is_printable((int)character) ? (int)character : -1;
  uint32_t k = character - 0x100;
  if (k <= 32) return (int)k;
  if (k < 67) return (int)(k - 33 + 127);
  return k == 67 ? 173 : -1;
}

int64_t byte_level_text(const char *bytes, int64_t size, char *text) {
  int64_t n = 0;
  for (int64_t i = 0; i < size; i++) {
    uint32_t c = alphabet_character((uint8_t)bytes[i]);
    if (c < 0x80) {
      text[n++] = (char)c;
    } else {
      text[n++] = (char)(0xC0 | c >> 6);
      text[n++] = (char)(0x80 | (c & 0x3F));
    }
  }
  return n;
}

int64_t byte_level_bytes(const char *text, int64_t size, char *bytes) {
  int64_t n = 0;
  int length;
  for (int64_t i = 0; i < size; i += length) {
    length = utf8_character_length((const uint8_t *)text + i, size - i);
    if (length == 0) return -1;
    int byte = alphabet_byte(utf8_read(text + i, &length));
    if (byte < 0) return -1;
    bytes[n++] = (char)byte;
  }
  return n;
}

Status bpe_add_merge(Tokenizer *tokenizer, const char *left, int64_t left_size, const char *right,
                     int64_t right_size, int64_t rank, const char *path, Error *err) {
  const StringTable *pieces = &tokenizer->pieces;
  int32_t a = string_table_find(pieces, left, left_size);
  int32_t b = string_table_find(pieces, right, right_size);
  if (a < 0 || b < 0) {
    Quote quote = a < 0 ? quote_bytes(left, left_size) : quote_bytes(right, right_size);
    return error_set(err, STATUS_DATA, "%s: merge %lld names %s, which is not in the vocabulary",
                     path, (long long)rank, quote.text);
  }
  int64_t size = left_size + right_size;
  char joined[4096];
  char *whole = size <= (int64_t)sizeof joined ? joined : malloc((size_t)size);
  CHECK(whole != NULL, "no memory for a piece of %lld bytes", (long long)size);
  memcpy(whole, left, (size_t)left_size);
  memcpy(whole + left_size, right, (size_t)right_size);
  int32_t id = string_table_find(pieces, whole, size);
  Quote quote = quote_bytes(whole, size);
  if (whole != joined) free(whole);
  if (id < 0) {
    return error_set(err, STATUS_DATA, "%s: merge %lld gives %s, which is not in the vocabulary",
                     path, (long long)rank, quote.text);
  }
  merge_table_set(&tokenizer->merges, a, b, (uint32_t)rank, id);
  return STATUS_OK;
}

// Byte-level: what each piece stands for, and the symbol of each byte.
static Status finish_bytes(Tokenizer *tokenizer, const char *path, Error *err) {
  const StringTable *pieces = &tokenizer->pieces;
  char *bytes = malloc((size_t)pieces->longest + 1);
  CHECK(bytes != NULL, "no memory for a piece of %d bytes", pieces->longest);
  for (int64_t id = 0; id < pieces->n; id++) {
    PieceType type = tokenizer->type[id];
    if (type == PIECE_NONE || type == PIECE_CONTROL || type == PIECE_USER) continue;
    int64_t n = byte_level_bytes(string_table_get(pieces, id), pieces->size[id], bytes);
    if (n > 0) string_table_add(&tokenizer->bytes, (int32_t)id, bytes, (int32_t)n);
  }
  free(bytes);
  int found = 0;
  for (int byte = 0; byte < 256; byte++) {
    char c = (char)byte;
    tokenizer->byte_id[byte] = string_table_find(&tokenizer->bytes, &c, 1);
    found += tokenizer->byte_id[byte] >= 0;
  }
  if (found > 0) return STATUS_OK;
  return error_set(err, STATUS_DATA,
                   "%s: no piece is a byte of the byte-level alphabet: this is no byte-level BPE",
                   path);
}

static Status finish_characters(Tokenizer *tokenizer, const char *path, Error *err) {
  char name[8];
  int found = 0;
  for (int byte = 0; byte < 256; byte++) {
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
    tokenizer->byte_id[byte] = string_table_find(&tokenizer->pieces, name, 6);
    found += tokenizer->byte_id[byte] >= 0;
  }
  if (tokenizer->byte_fallback && found == 0) {
    return error_set(err, STATUS_DATA, "%s: byte_fallback is true, but there is no piece '<0x00>'",
                     path);
  }
  return STATUS_OK;
}

Status bpe_finish(Tokenizer *tokenizer, const char *path, Error *err) {
  if (tokenizer->family == FAMILY_BYTE_BPE) return finish_bytes(tokenizer, path, err);
  return finish_characters(tokenizer, path, err);
}
