#include "word_memo.h"

#include <stdatomic.h>
#include <string.h>

enum { SLOT_BITS = 13, SLOTS = 1 << SLOT_BITS };

// A cache line.
typedef struct Slot {
  uint32_t serial; // 0: free
  uint8_t size, n; // bytes, ids
  char word[WORD_MEMO_BYTES];
  int32_t ids[WORD_MEMO_IDS];
} Slot;

static _Thread_local Slot slots[SLOTS];

uint32_t word_memo_serial(void) {
  static atomic_uint last;
  return atomic_fetch_add(&last, 1) + 1;
}

static Slot *slot_of(uint32_t serial, const char *word, int64_t bytes) {
  uint64_t h = (uint64_t)serial << 8 | (uint64_t)bytes;
  for (int64_t i = 0; i < bytes; i += 8) {
    uint64_t part = 0;
    memcpy(&part, word + i, (size_t)(bytes - i < 8 ? bytes - i : 8));
    h = (h ^ part) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
  }
  return &slots[h * 0x9E3779B97F4A7C15u >> (64 - SLOT_BITS)];
}

bool word_memo_find(uint32_t serial, const char *word, int64_t bytes, TokenIds *out) {
  if (bytes > WORD_MEMO_BYTES) return false;
  const Slot *slot = slot_of(serial, word, bytes);
  if (slot->serial != serial || slot->size != bytes || memcmp(slot->word, word, (size_t)bytes) != 0)
    return false;
  for (int i = 0; i < slot->n; i++) token_ids_push(out, slot->ids[i]);
  return true;
}

void word_memo_keep(uint32_t serial, const char *word, int64_t bytes, const int32_t *ids,
                    int64_t n) {
  if (bytes > WORD_MEMO_BYTES || n > WORD_MEMO_IDS) return;
  Slot *slot = slot_of(serial, word, bytes);
  slot->serial = serial;
  slot->size = (uint8_t)bytes;
  slot->n = (uint8_t)n;
  memcpy(slot->word, word, (size_t)bytes);
  memcpy(slot->ids, ids, (size_t)n * sizeof *ids);
}
