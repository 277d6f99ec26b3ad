// Strings with ids, found by id and by content: the pieces of a vocabulary. Ids may come in any
// order and leave holes; strings are bytes of any kind, also empty ones.
#ifndef VMA_STRING_TABLE_H
#define VMA_STRING_TABLE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct StringTable {
  char *pool; // all strings, one after the other
  int64_t pool_size, pool_capacity;
  int64_t *start;     // [n] in the pool
  int32_t *size;      // [n], -1: no string has this id
  int64_t n;          // 1 + the largest id
  int64_t capacity;   // of start and size
  int32_t *slots;     // [slot_count] ids by hash, -1: free
  int64_t slot_count; // a power of two
  int64_t used;       // strings
  int32_t longest;    // bytes
} StringTable;

// A zero-initialised StringTable is empty. Memory that cannot be had ends the process (CHECK):
// callers bound ids and sizes by the size of the file that they come from.

typedef enum StringAdded { STRING_ADDED, STRING_ID_TAKEN, STRING_DUPLICATE } StringAdded;

// Adds a copy. Nothing is changed when the id or the string is there already.
StringAdded string_table_add(StringTable *table, int32_t id, const char *bytes, int32_t size);

// The id of the string or -1.
int32_t string_table_find(const StringTable *table, const char *bytes, int64_t size);

// Whether the id has a string, and it (not NUL-terminated).
static inline bool string_table_has(const StringTable *table, int64_t id) {
  return id >= 0 && id < table->n && table->size[id] >= 0;
}

static inline const char *string_table_get(const StringTable *table, int64_t id) {
  return table->pool + table->start[id];
}

void string_table_free(StringTable *table);

#endif
