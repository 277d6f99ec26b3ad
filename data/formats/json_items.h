// Files of many JSON items, one item in memory at a time, and single JSON documents as a whole.
//
// A list file is "[ item, item, ... ]"; a JSONL file has one item a line, blank lines aside. Which
// of the two it is shows in the first character that is not white space: '[' or '{'. A byte order
// mark is accepted. A file compressed with gzip is expanded first (expanded_file.h).
//
// Items are checked strictly (json_scan.h) and may have no duplicate keys. "\u0000" is legal JSON:
// take json_string_length with json_string_value.
#ifndef VMA_JSON_ITEMS_H
#define VMA_JSON_ITEMS_H

#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct JsonItems JsonItems;

typedef struct JsonItem {
  json_t *value;    // any kind; owned by the iterator, alive until the next json_items_next or
                    // json_items_close (json_incref to keep it). NULL: there are no more items
  int64_t index;    // from 0
  int64_t line;     // where it begins, from 1
  const char *text; // [size], as it stands in the file; alive as `value`
  int64_t size;
} JsonItem;

// STATUS_NO_INPUT, STATUS_IO or STATUS_DATA (neither a list nor JSONL).
Status json_items_open(JsonItems **items, const char *path, Error *err);

// The next item, or item->value == NULL at the end. An error is final.
Status json_items_next(JsonItems *items, JsonItem *item, Error *err);

// May be given NULL.
void json_items_close(JsonItems *items);

// "path:line: item INDEX: message" for a fault that the caller finds in an item, STATUS_DATA.
Status json_items_error(const JsonItems *items, const JsonItem *item, Error *err, const char *fmt,
                        ...) __attribute__((format(printf, 4, 5)));

const char *json_items_path(const JsonItems *items);

// The file's own bytes (of a compressed one the compressed), alive until json_items_close.
const void *json_items_file(const JsonItems *items, int64_t *bytes);

// How far the reading is: bytes consumed and bytes in all.
void json_items_progress(const JsonItems *items, int64_t *done, int64_t *total);

// A whole document as a tree, checked as items are; to be released with json_decref. `path` is for
// messages.
Status json_document_parse(json_t **root, const char *path, const void *text, int64_t size,
                           Error *err);

// The same from a file of at most `limit` bytes.
Status json_document_load(json_t **root, const char *path, int64_t limit, Error *err);

#endif
