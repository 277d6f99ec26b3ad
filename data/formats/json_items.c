#include "json_items.h"

#include "expanded_file.h"
#include "json_scan.h"
#include "mapped_file.h"
#include "quote.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct JsonItems {
  char *path;
  ExpandedFile file;
  JsonScan scan;
  bool list;
  bool finished;
  json_t *value;
  int64_t index;    // of the next item
  int64_t line;     // of line_pos
  int64_t line_pos; // newlines before it are counted in `line`
};

// The fault that the key before `pos` is its object's second of that name. No value precedes it, so
// the last quote before pos closes it.
static Status duplicate_key(const JsonScan *scan, int64_t begin, int64_t pos, Error *err) {
  const uint8_t *text = scan->text;
  int64_t close = pos - 1;
  while (close > begin && text[close] != '"') close--;
  int64_t open = close;
  bool inside = close > begin;
  while (inside) {
    do open--;
    while (open > begin && text[open] != '"');
    int64_t slashes = 0;
    while (open - slashes > begin && text[open - slashes - 1] == '\\') slashes++;
    inside = open > begin && slashes % 2 == 1; // an escaped quote: go on
  }
  return json_scan_error(scan, open, err, "the key %s stands twice in this object",
                         quote_bytes(text + open + 1, close > open ? close - open - 1 : 0).text);
}

// Parses text[begin, end) of the scan, already checked by it, as one value. What the check lets
// pass and jansson refuses is a duplicate key.
static Status parse_value(const JsonScan *scan, int64_t begin, int64_t end, json_t **value,
                          Error *err) {
  json_error_t fault;
  *value = json_loadb((const char *)scan->text + begin, (size_t)(end - begin),
                      JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
  if (*value != NULL) return STATUS_OK;
  if (json_error_code(&fault) == json_error_out_of_memory) {
    return error_set(err, STATUS_MEMORY, "%s: no memory for an item of %lld bytes", scan->path,
                     (long long)(end - begin));
  }
  int64_t pos = begin + fault.position;
  if (pos > end) pos = end;
  if (json_error_code(&fault) == json_error_duplicate_key) {
    return duplicate_key(scan, begin, pos, err); // jansson stands behind the key
  }
  return json_scan_error(scan, pos, err, "%s", quote_text(fault.text).text);
}

Status json_document_parse(json_t **root, const char *path, const void *text, int64_t size,
                           Error *err) {
  Status status = STATUS_OK;
  *root = NULL;
  JsonScan scan = json_scan_make(path, text, size);
  json_scan_peek(&scan);
  int64_t begin = scan.pos;
  TRY(json_scan_skip(&scan, err));
  int64_t end = scan.pos;
  TRY(json_scan_end(&scan, err));
  TRY(parse_value(&scan, begin, end, root, err));
done:
  return status;
}

Status json_document_load(json_t **root, const char *path, int64_t limit, Error *err) {
  Status status = STATUS_OK;
  char *text = NULL;
  int64_t size;
  *root = NULL;
  TRY(file_read_all(&text, &size, path, limit, err));
  TRY(json_document_parse(root, path, text, size, err));
done:
  free(text);
  return status;
}

Status json_items_open(JsonItems **result, const char *path, Error *err) {
  Status status = STATUS_OK;
  *result = NULL;
  JsonItems *items = calloc(1, sizeof *items);
  if (items == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  items->path = strdup(path);
  if (items->path == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  TRY(expanded_file_open(&items->file, path, err));
  const uint8_t *text = items->file.data;
  int64_t size = items->file.size;
  items->line = 1;
  items->scan = json_scan_make(items->path, text, size);
  JsonKind kind = json_scan_peek(&items->scan);
  int64_t left = size - items->scan.pos;
  if (kind == JSON_KIND_ARRAY) {
    items->list = true;
    TRY(json_scan_array(&items->scan, err));
  } else if (kind == JSON_KIND_END) {
    TRY(error_set(err, STATUS_DATA,
                  "%s: expected a JSON list or one JSON object a line, found an empty file", path));
  } else if (kind != JSON_KIND_OBJECT) {
    const uint8_t *start = text + items->scan.pos;
    TRY(json_scan_error(&items->scan, items->scan.pos, err,
                        "expected a JSON list ('[') or one JSON object a line ('{'), found %s",
                        quote_bytes(start, left < 16 ? left : 16).text));
  }
done:
  if (status == STATUS_OK) {
    *result = items;
  } else {
    json_items_close(items);
  }
  return status;
}

void json_items_close(JsonItems *items) {
  if (items == NULL) return;
  json_decref(items->value);
  expanded_file_close(&items->file);
  free(items->path);
  free(items);
}

// The number of the line that holds `pos`, which never goes back.
static int64_t line_at(JsonItems *items, int64_t pos) {
  while (items->line_pos < pos) {
    const uint8_t *newline =
        memchr(items->scan.text + items->line_pos, '\n', (size_t)(pos - items->line_pos));
    if (newline == NULL) break;
    items->line++;
    items->line_pos = newline - items->scan.text + 1;
  }
  return items->line;
}

static void add_hint(Error *err, const char *hint) {
  if (err == NULL) return;
  size_t used = strlen(err->message);
  snprintf(err->message + used, sizeof err->message - used, " (%s)", hint);
}

// A scan of one line's range has lost the lines before it: errors are placed by the whole text.
static Status next_line_value(JsonItems *items, int64_t *begin, int64_t *end, bool *more,
                              Error *err) {
  Status status = STATUS_OK;
  JsonScan *scan = &items->scan;
  if (json_scan_peek(scan) == JSON_KIND_END) {
    *more = false;
    return STATUS_OK;
  }
  *more = true;
  *begin = scan->pos;
  int64_t left = scan->size - *begin;
  const uint8_t *newline = memchr(scan->text + *begin, '\n', (size_t)left);
  JsonScan line = *scan;
  line.whole = "line";
  if (newline != NULL) line.size = newline - scan->text;
  status = json_scan_skip(&line, err);
  if (status != STATUS_OK) {
    // The usual way to get here is one object spread over lines.
    if (items->index == 0 && newline != NULL && line.pos >= line.size) {
      add_hint(err, "a file that does not begin with '[' is read as one JSON object a line");
    }
    return status;
  }
  *end = line.pos;
  if (json_scan_peek(&line) != JSON_KIND_END) {
    return json_scan_error(&line, line.pos, err,
                           "expected the end of the line after the item, found %s",
                           quote_bytes(line.text + line.pos, 1).text);
  }
  scan->pos = line.pos;
  return status;
}

static Status next_list_value(JsonItems *items, int64_t *begin, int64_t *end, bool *more,
                              Error *err) {
  Status status = STATUS_OK;
  JsonScan *scan = &items->scan;
  TRY(json_scan_element(scan, more, err));
  if (!*more) {
    status = json_scan_end(scan, err);
    if (status != STATUS_OK) add_hint(err, "the list was closed by ']' before");
    return status;
  }
  *begin = scan->pos; // json_scan_element has stepped over white space
  TRY(json_scan_skip(scan, err));
  *end = scan->pos;
done:
  return status;
}

Status json_items_next(JsonItems *items, JsonItem *item, Error *err) {
  Status status = STATUS_OK;
  json_decref(items->value);
  items->value = NULL;
  *item = (JsonItem){.index = items->index};
  int64_t begin = 0, end = 0;
  bool more = false;
  if (items->finished) return STATUS_OK;
  expanded_file_release(&items->file, items->scan.pos);
  if (items->list) {
    TRY(next_list_value(items, &begin, &end, &more, err));
  } else {
    TRY(next_line_value(items, &begin, &end, &more, err));
  }
  if (!more) {
    items->finished = true;
    return expanded_file_check(&items->file, err);
  }
  TRY(parse_value(&items->scan, begin, end, &items->value, err));
  item->value = items->value;
  item->line = line_at(items, begin);
  item->text = (const char *)items->scan.text + begin;
  item->size = end - begin;
  items->index++;
done:
  return status;
}

Status json_items_error(const JsonItems *items, const JsonItem *item, Error *err, const char *fmt,
                        ...) {
  char message[800];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  return error_set(err, STATUS_DATA, "%s:%lld: item %lld: %s", items->path, (long long)item->line,
                   (long long)item->index, message);
}

const char *json_items_path(const JsonItems *items) {
  return items->path;
}

const void *json_items_file(const JsonItems *items, int64_t *bytes) {
  *bytes = items->file.file.size;
  return items->file.file.data;
}

void json_items_progress(const JsonItems *items, int64_t *done, int64_t *total) {
  *done = items->scan.pos;
  *total = items->scan.size;
}
