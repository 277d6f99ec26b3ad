#include "string_table.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

// Eight bytes a step; the ends meet in a last multiplication. For pieces of a few bytes this is a
// handful of instructions.
static uint64_t hash_bytes(const char *bytes, int64_t size) {
  const uint64_t factor = 0x9E3779B97F4A7C15u;
  uint64_t h = (uint64_t)size * factor, word;
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    memcpy(&word, bytes + i, 8);
    h = (h ^ word) * factor;
    h ^= h >> 29;
  }
  word = 0;
  if (i < size) memcpy(&word, bytes + i, (size_t)(size - i));
  h = (h ^ word) * factor;
  h ^= h >> 32;
  return h * factor >> 16;
}

static void *grown(void *old, int64_t count, int64_t size) {
  void *grown = realloc(old, (size_t)count * (size_t)size);
  CHECK(grown != NULL, "no memory for %lld x %lld bytes", (long long)count, (long long)size);
  return grown;
}

// The slot that holds the string, or the free one where it belongs.
static int64_t slot_of(const StringTable *table, const char *bytes, int64_t size) {
  int64_t mask = table->slot_count - 1;
  for (int64_t i = (int64_t)hash_bytes(bytes, size) & mask;; i = (i + 1) & mask) {
    int32_t id = table->slots[i];
    if (id < 0) return i;
    if (table->size[id] == size &&
        (size == 0 || memcmp(table->pool + table->start[id], bytes, (size_t)size) == 0)) {
      return i;
    }
  }
}

static void grow_slots(StringTable *table) {
  int32_t *old = table->slots;
  int64_t count = table->slot_count;
  table->slot_count = count == 0 ? 1024 : 2 * count;
  table->slots = grown(NULL, table->slot_count, sizeof(int32_t));
  memset(table->slots, 0xFF, (size_t)table->slot_count * sizeof(int32_t));
  for (int64_t i = 0; i < count; i++) {
    int32_t id = old[i];
    if (id >= 0) table->slots[slot_of(table, string_table_get(table, id), table->size[id])] = id;
  }
  free(old);
}

StringAdded string_table_add(StringTable *table, int32_t id, const char *bytes, int32_t size) {
  CHECK(id >= 0 && size >= 0, "id %d, size %d", id, size);
  if (string_table_has(table, id)) return STRING_ID_TAKEN;
  if (2 * (table->used + 1) > table->slot_count) grow_slots(table);
  int64_t slot = slot_of(table, bytes, size);
  if (table->slots[slot] >= 0) return STRING_DUPLICATE;
  if (id >= table->capacity) {
    table->capacity = id < 512 ? 1024 : 2 * (int64_t)id;
    table->start = grown(table->start, table->capacity, sizeof(int64_t));
    table->size = grown(table->size, table->capacity, sizeof(int32_t));
  }
  for (; table->n <= id; table->n++) {
    table->start[table->n] = 0;
    table->size[table->n] = -1;
  }
  if (table->pool == NULL || size > table->pool_capacity - table->pool_size) {
    table->pool_capacity = 2 * (table->pool_capacity + size) + 4096;
    table->pool = grown(table->pool, table->pool_capacity, 1);
  }
  if (size > 0) memcpy(table->pool + table->pool_size, bytes, (size_t)size);
  table->start[id] = table->pool_size;
  table->size[id] = size;
  table->pool_size += size;
  table->slots[slot] = id;
  table->used++;
  if (size > table->longest) table->longest = size;
  return STRING_ADDED;
}

int32_t string_table_find(const StringTable *table, const char *bytes, int64_t size) {
  if (size > table->longest || table->used == 0) return -1;
  return table->slots[slot_of(table, bytes, size)];
}

void string_table_free(StringTable *table) {
  free(table->pool);
  free(table->start);
  free(table->size);
  free(table->slots);
  *table = (StringTable){0};
}
