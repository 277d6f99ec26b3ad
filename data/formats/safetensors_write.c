// The writing half of safetensors.h.
#include "safetensors.h"

#include "check.h"
#include "quote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 4 << 20 }; // asked of a SafetensorsFill at once

typedef struct Source {
  const SafetensorsItem *items;
  SafetensorsFill fill;
  void *context;
  uint8_t *chunk; // NULL when no item is filled
} Source;

// The names of the dtypes in the file, in the reference library's order of alignment.
static const struct {
  DType dtype;
  const char *name;
} order[] = {{DT_U8, "U8"},   {DT_F16, "F16"}, {DT_BF16, "BF16"}, {DT_I32, "I32"},
             {DT_F32, "F32"}, {DT_F64, "F64"}, {DT_I64, "I64"}};

static int rank_of(DType dtype) {
  for (int i = 0; i < (int)(sizeof order / sizeof *order); i++) {
    if (order[i].dtype == dtype) return i;
  }
  CHECK(false, "safetensors have no %s", dtype_info(dtype)->name);
  return 0;
}

static int by_rank_and_name(const void *a, const void *b) {
  const SafetensorsItem *x = *(const SafetensorsItem *const *)a,
                        *y = *(const SafetensorsItem *const *)b;
  int rank = rank_of(y->dtype) - rank_of(x->dtype);
  return rank != 0 ? rank : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b) {
  return strcmp((*(const SafetensorsPair *const *)a)->key,
                (*(const SafetensorsPair *const *)b)->key);
}

// Text as a JSON string the way serde_json spells it.
static void put_json_string(FILE *out, const char *text) {
  static const char named[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
  fputc('"', out);
  for (const uint8_t *at = (const uint8_t *)text; *at != '\0'; at++) {
    const char *name = strchr(named, *at);
    if (name != NULL) {
      fprintf(out, "\\%c", letters[name - named]);
    } else if (*at < 0x20) {
      fprintf(out, "\\u%04x", *at);
    } else {
      fputc(*at, out);
    }
  }
  fputc('"', out);
}

static void check_utf8(const char *text) {
  const uint8_t *at = (const uint8_t *)text;
  int64_t left = (int64_t)strlen(text);
  while (left > 0) {
    int length = utf8_character_length(at, left);
    CHECK(length > 0, "%s is not UTF-8", quote_text(text).text);
    at += length;
    left -= length;
  }
}

static int64_t item_count(const SafetensorsItem *item) {
  int64_t count = 1;
  CHECK(item->ndim >= 0 && item->ndim <= SAFETENSORS_DIMS_MAX, "%s: %d dimensions", item->name,
        item->ndim);
  for (int d = 0; d < item->ndim; d++) {
    CHECK(item->shape[d] >= 0 && !__builtin_mul_overflow(count, item->shape[d], &count) &&
              count < INT64_MAX / 16,
          "%s: its shape", item->name);
  }
  return count;
}

static int64_t item_bytes(const SafetensorsItem *item) {
  return dtype_bytes(item->dtype, item_count(item));
}

// What a range of a filled item is made of: rows, or elements where there is one dimension.
static int64_t item_unit(const SafetensorsItem *item) {
  int64_t count = item_count(item);
  return item->ndim < 2 || count == 0 ? 1 : count / item->shape[0];
}

static void put_metadata(FILE *out, const SafetensorsPair *const *pairs, int64_t n) {
  fputs("{\"__metadata__\":{", out);
  for (int64_t i = 0; i < n; i++) {
    CHECK(i == 0 || strcmp(pairs[i - 1]->key, pairs[i]->key) != 0, "%s twice", pairs[i]->key);
    check_utf8(pairs[i]->key);
    check_utf8(pairs[i]->value);
    if (i > 0) fputc(',', out);
    put_json_string(out, pairs[i]->key);
    fputc(':', out);
    put_json_string(out, pairs[i]->value);
  }
  fputc('}', out);
}

static void put_items(FILE *out, const SafetensorsItem *const *items, int64_t n) {
  int64_t end = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t begin = end;
    end += item_bytes(items[i]);
    check_utf8(items[i]->name);
    fputc(',', out);
    put_json_string(out, items[i]->name);
    fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", order[rank_of(items[i]->dtype)].name);
    for (int d = 0; d < items[i]->ndim; d++) {
      fprintf(out, "%s%lld", d > 0 ? "," : "", (long long)items[i]->shape[d]);
    }
    fprintf(out, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)end);
  }
  fputc('}', out);
}

// Memory for the ranges of the items without data.
static Status make_chunk(Source *source, int64_t n_items, const char *path, Error *err) {
  int64_t most = 0;
  for (int64_t i = 0; i < n_items; i++) {
    const SafetensorsItem *item = &source->items[i];
    int64_t bytes = item_bytes(item), row = dtype_bytes(item->dtype, item_unit(item));
    if (item->data != NULL || bytes == 0) continue;
    CHECK(source->fill != NULL, "%s: no data", item->name);
    if (bytes > CHUNK_BYTES) bytes = row > CHUNK_BYTES ? row : CHUNK_BYTES;
    if (bytes > most) most = bytes;
  }
  if (most == 0) return STATUS_OK;
  source->chunk = malloc((size_t)most);
  if (source->chunk == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  return STATUS_OK;
}

static Status put_item(FileWriter *out, const SafetensorsItem *item, const Source *source,
                       Error *err) {
  Status status = STATUS_OK;
  if (item->data != NULL) return file_writer_put(out, item->data, item_bytes(item), err);
  int64_t count = item_count(item), unit = item_unit(item);
  int64_t units = CHUNK_BYTES / dtype_bytes(item->dtype, unit);
  int64_t step = (units > 0 ? units : 1) * unit;
  for (int64_t first = 0; first < count; first += step) {
    int64_t n = count - first < step ? count - first : step;
    TRY(source->fill(source->context, item - source->items, first, n, source->chunk, err));
    TRY(file_writer_put(out, source->chunk, dtype_bytes(item->dtype, n), err));
  }
done:
  return status;
}

static Status write_sorted(const char *path, const SafetensorsItem *const *items, int64_t n_items,
                           const SafetensorsPair *const *pairs, int64_t n_pairs,
                           const Source *source, Error *err) {
  Status status = STATUS_OK;
  FileWriter writer = {0};
  char *header = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&header, &length);
  if (out == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  put_metadata(out, pairs, n_pairs);
  put_items(out, items, n_items);
  while (ftell(out) % 8 != 0) fputc(' ', out);
  if (fclose(out) != 0) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  uint64_t size = length;
  TRY(file_writer_open(&writer, path, err));
  TRY(file_writer_put(&writer, &size, sizeof size, err));
  TRY(file_writer_put(&writer, header, (int64_t)length, err));
  for (int64_t i = 0; i < n_items; i++) TRY(put_item(&writer, items[i], source, err));
  TRY(file_writer_commit(&writer, err));
done:
  file_writer_abort(&writer);
  free(header);
  return status;
}

Status safetensors_write_stream(const char *path, const SafetensorsItem *items, int64_t n_items,
                                const SafetensorsPair *metadata, int64_t n_metadata,
                                SafetensorsFill fill, void *context, Error *err) {
  Status status = STATUS_OK;
  static const SafetensorsPair format = {"format", "pt"};
  Source source = {.items = items, .fill = fill, .context = context};
  const SafetensorsItem **sorted = malloc(((size_t)n_items + 1) * sizeof *sorted);
  const SafetensorsPair **pairs = malloc(((size_t)n_metadata + 1) * sizeof *pairs);
  if (sorted == NULL || pairs == NULL) {
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  }
  for (int64_t i = 0; i < n_items; i++) sorted[i] = &items[i];
  for (int64_t i = 0; i < n_metadata; i++) pairs[i] = &metadata[i];
  pairs[n_metadata] = &format;
  qsort(sorted, (size_t)n_items, sizeof *sorted, by_rank_and_name);
  qsort(pairs, (size_t)n_metadata + 1, sizeof *pairs, by_key);
  for (int64_t i = 1; i < n_items; i++) {
    CHECK(by_rank_and_name(&sorted[i - 1], &sorted[i]) != 0, "%s twice", sorted[i]->name);
  }
  TRY(make_chunk(&source, n_items, path, err));
  TRY(write_sorted(path, sorted, n_items, pairs, n_metadata + 1, &source, err));
done:
  free(source.chunk);
  free(sorted);
  free(pairs);
  return status;
}

Status safetensors_write(const char *path, const SafetensorsItem *items, int64_t n_items,
                         const SafetensorsPair *metadata, int64_t n_metadata, Error *err) {
  return safetensors_write_stream(path, items, n_items, metadata, n_metadata, NULL, NULL, err);
}
