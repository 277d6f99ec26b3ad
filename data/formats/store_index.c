// A model in several safetensors files: model.safetensors.index.json says which tensor is in which.
#include "json_scan.h"
#include "mapped_file.h"
#include "quote.h"
#include "tensor_store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_BYTES_MAX = 64 << 20 }; // a model of 500,000 tensors has 50 MB

typedef struct Placing {
  char *name, *file;
  int64_t place; // the name's byte in the index, for messages
} Placing;

typedef struct Index {
  const char *path;
  JsonScan scan;
  Placing *items; // by file, then by name
  int64_t n, capacity;
  Error *err;
} Index;

static Status no_memory(const Index *index) {
  return error_set(index->err, STATUS_MEMORY, "%s: no memory", index->path);
}

static Status copy_string(const Index *index, const JsonString *string, char **copy) {
  int64_t length;
  *copy = json_string_copy(string, &length);
  if (*copy == NULL) return no_memory(index);
  if ((int64_t)strlen(*copy) == length) return STATUS_OK;
  return json_scan_error(&index->scan, string->raw - index->scan.text, index->err,
                         "a string with a NUL inside");
}

// A shard is a file of the model's own folder: an index cannot point anywhere else.
static bool is_file_name(const char *name) {
  size_t length = strlen(name);
  return length > 12 && length < 256 && strcmp(name + length - 12, ".safetensors") == 0 &&
         strpbrk(name, "/\\") == NULL && name[0] != '.';
}

static Status read_map(Index *index) {
  Status status = STATUS_OK;
  JsonScan *scan = &index->scan;
  TRY(json_scan_object(scan, index->err));
  for (;;) {
    bool more;
    JsonString key, value;
    TRY(json_scan_member(scan, &key, &more, index->err));
    if (!more) break;
    TRY(json_scan_string(scan, &value, index->err));
    if (index->n == index->capacity) {
      int64_t larger = index->capacity == 0 ? 256 : 2 * index->capacity;
      Placing *moved = realloc(index->items, (size_t)larger * sizeof *moved);
      if (moved == NULL) return no_memory(index);
      index->items = moved;
      index->capacity = larger;
    }
    Placing *item = &index->items[index->n];
    *item = (Placing){.place = key.raw - scan->text};
    index->n++;
    TRY(copy_string(index, &key, &item->name));
    TRY(copy_string(index, &value, &item->file));
    if (!is_file_name(item->file)) {
      return json_scan_error(scan, value.raw - scan->text, index->err,
                             "expected the name of a .safetensors file in this folder, found %s",
                             quote_text(item->file).text);
    }
  }
done:
  return status;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const Placing *)a)->name, ((const Placing *)b)->name);
}

static int by_file(const void *a, const void *b) {
  int order = strcmp(((const Placing *)a)->file, ((const Placing *)b)->file);
  return order != 0 ? order : by_name(a, b);
}

static Status read_index(Index *index, const char *text, int64_t size) {
  Status status = STATUS_OK;
  index->scan = json_scan_make(index->path, text, size);
  JsonScan *scan = &index->scan;
  bool seen = false;
  TRY(json_scan_object(scan, index->err));
  for (;;) {
    bool more;
    JsonString key;
    TRY(json_scan_member(scan, &key, &more, index->err));
    if (!more) break;
    if (!json_string_is(&key, "weight_map")) {
      TRY(json_scan_skip(scan, index->err));
      continue;
    }
    if (seen) {
      return json_scan_error(scan, key.raw - scan->text, index->err, "'weight_map' stands twice");
    }
    seen = true;
    TRY(read_map(index));
  }
  TRY(json_scan_end(scan, index->err));
  if (index->n == 0) {
    return error_set(index->err, STATUS_DATA, "%s: %s", index->path,
                     seen ? "'weight_map' names no tensors" : "there is no 'weight_map'");
  }
  qsort(index->items, (size_t)index->n, sizeof *index->items, by_name);
  for (int64_t i = 1; i < index->n; i++) {
    const Placing *a = &index->items[i - 1], *b = &index->items[i];
    if (by_name(a, b) != 0) continue;
    return json_scan_error(scan, a->place > b->place ? a->place : b->place, index->err,
                           "tensor %s stands twice", quote_text(a->name).text);
  }
  qsort(index->items, (size_t)index->n, sizeof *index->items, by_file);
done:
  return status;
}

// The index's placings [first, end) and the tensors of their file are the same names.
static Status compare_shard(const Index *index, int64_t first, int64_t end, const StoreShard *shard,
                            Error *err) {
  int64_t at = 0;
  for (int64_t i = first; i < end || at < shard->st.n_tensors;) {
    const char *found = at < shard->st.n_tensors ? shard->st.tensors[at].name : NULL;
    const char *expected = i < end ? index->items[i].name : NULL;
    int order = found == NULL ? -1 : (expected == NULL ? 1 : strcmp(expected, found));
    if (order < 0) {
      return json_scan_error(&index->scan, index->items[i].place, err,
                             "tensor %s is not in %s, where this index puts it",
                             quote_text(expected).text, quote_text(index->items[i].file).text);
    }
    if (order > 0) {
      return error_set(err, STATUS_DATA, "%s: holds tensor %s, which %s does not put there",
                       shard->path, quote_text(found).text, index->path);
    }
    i++;
    at++;
  }
  return STATUS_OK;
}

static Status open_shards(TensorStore *store, const Index *index, Error *err) {
  Status status = STATUS_OK;
  char *path = NULL;
  int64_t n = 1;
  for (int64_t i = 1; i < index->n; i++) {
    n += strcmp(index->items[i - 1].file, index->items[i].file) != 0;
  }
  store->shards = calloc((size_t)n, sizeof *store->shards);
  if (store->shards == NULL) return no_memory(index);
  for (int64_t first = 0, end; first < index->n; first = end) {
    const char *file = index->items[first].file;
    for (end = first; end < index->n && strcmp(index->items[end].file, file) == 0;) end++;
    free(path);
    if (asprintf(&path, "%s/%s", store->folder, file) < 0) {
      path = NULL;
      TRY(no_memory(index));
    }
    if (!file_exists(path)) {
      TRY(error_set(err, STATUS_NO_INPUT,
                    "%s: missing, although %s names it: get all of the model's files", path,
                    index->path));
    }
    StoreShard *shard = &store->shards[store->n_shards++];
    TRY(store_open_shard(store, shard, path, err));
    TRY(compare_shard(index, first, end, shard, err));
  }
done:
  free(path);
  return status;
}

Status store_open_index(TensorStore *store, const char *index_path, Error *err) {
  Status status = STATUS_OK;
  Index index = {.path = index_path, .err = err};
  char *text = NULL;
  int64_t size;
  TRY(file_read_all(&text, &size, index_path, INDEX_BYTES_MAX, err));
  TRY(read_index(&index, text, size));
  TRY(open_shards(store, &index, err));
done:
  for (int64_t i = 0; i < index.n; i++) {
    free(index.items[i].name);
    free(index.items[i].file);
  }
  free(index.items);
  free(text);
  return status;
}
