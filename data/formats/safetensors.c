#include "safetensors.h"

#include "json_scan.h"
#include "quote.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 100000000 }; // the reference library's limit

typedef struct FileType {
  const char *name;
  int bits;
  DType dtype;
} FileType;

static const FileType file_types[] = {
    {"F32", 32, DT_F32},
    {"BF16", 16, DT_BF16},
    {"F16", 16, DT_F16},
    {"F64", 64, DT_F64},
    {"I64", 64, DT_I64},
    {"I32", 32, DT_I32},
    {"U8", 8, DT_U8},
    {"BOOL", 8, DT_COUNT},
    {"I8", 8, DT_COUNT},
    {"I16", 16, DT_COUNT},
    {"U16", 16, DT_COUNT},
    {"U32", 32, DT_COUNT},
    {"U64", 64, DT_COUNT},
    {"C64", 64, DT_COUNT},
    {"F8_E4M3", 8, DT_COUNT},
    {"F8_E5M2", 8, DT_COUNT},
    {"F8_E8M0", 8, DT_COUNT},
    {"F8_E4M3FNUZ", 8, DT_COUNT},
    {"F8_E5M2FNUZ", 8, DT_COUNT},
    {"F6_E2M3", 6, DT_COUNT},
    {"F6_E3M2", 6, DT_COUNT},
    {"F4", 4, DT_COUNT},
};

enum { FILE_TYPES = sizeof file_types / sizeof *file_types };

// A tensor while the header is read: begin and end as the header has them, place: its name's byte
// in the header.
typedef struct Entry {
  SafeTensor tensor;
  int64_t begin, end, place;
} Entry;

typedef struct Reading {
  Safetensors *st;
  JsonScan scan; // of the header
  Entry *entries;
  int64_t n_entries, capacity;
  int64_t metadata_capacity;
  bool has_metadata;
  Error *err;
} Reading;

static Status no_memory(const Reading *reading) {
  return error_set(reading->err, STATUS_MEMORY, "%s: no memory for its header", reading->st->path);
}

// Room for one more item of an array that grows by doubling: memory follows what was read.
static Status grow(const Reading *reading, void **items, int64_t used, int64_t *capacity,
                   size_t item_bytes) {
  if (used < *capacity) return STATUS_OK;
  int64_t larger = *capacity == 0 ? 16 : 2 * *capacity;
  void *moved = realloc(*items, (size_t)larger * item_bytes);
  if (moved == NULL) return no_memory(reading);
  *items = moved;
  *capacity = larger;
  return STATUS_OK;
}

// A decoded copy; a NUL inside would cut it short unseen, so it is refused.
static Status copy_string(Reading *reading, const JsonString *string, char **copy) {
  int64_t length;
  *copy = json_string_copy(string, &length);
  if (*copy == NULL) return no_memory(reading);
  if ((int64_t)strlen(*copy) == length) return STATUS_OK;
  free(*copy);
  *copy = NULL;
  return json_scan_error(&reading->scan, string->raw - reading->scan.text, reading->err,
                         "a string with a NUL inside");
}

static Status read_metadata(Reading *reading) {
  Status status = STATUS_OK;
  Error *err = reading->err;
  JsonScan *scan = &reading->scan;
  Safetensors *st = reading->st;
  if (reading->has_metadata) {
    return json_scan_error(scan, scan->pos, err, "'__metadata__' stands twice");
  }
  reading->has_metadata = true;
  TRY(json_scan_object(scan, err));
  for (;;) {
    bool more;
    JsonString key, value;
    TRY(json_scan_member(scan, &key, &more, err));
    if (!more) break;
    void *items = st->metadata;
    status =
        grow(reading, &items, st->n_metadata, &reading->metadata_capacity, sizeof *st->metadata);
    st->metadata = items;
    if (status != STATUS_OK) goto done;
    SafetensorsPair *pair = &st->metadata[st->n_metadata];
    *pair = (SafetensorsPair){0};
    st->n_metadata++;
    TRY(copy_string(reading, &key, &pair->key));
    TRY(json_scan_string(scan, &value, err));
    TRY(copy_string(reading, &value, &pair->value));
  }
done:
  return status;
}

static Status read_dtype(Reading *reading, const FileType **type) {
  Status status = STATUS_OK;
  JsonScan *scan = &reading->scan;
  JsonString name;
  TRY(json_scan_string(scan, &name, reading->err));
  for (int i = 0; i < FILE_TYPES; i++) {
    if (json_string_is(&name, file_types[i].name)) {
      *type = &file_types[i];
      return STATUS_OK;
    }
  }
  return json_scan_error(scan, name.raw - scan->text, reading->err, "the dtype %s is not known",
                         quote_bytes(name.raw, name.size).text);
done:
  return status;
}

static Status read_shape(Reading *reading, SafeTensor *tensor) {
  Status status = STATUS_OK;
  JsonScan *scan = &reading->scan;
  tensor->ndim = 0;
  TRY(json_scan_array(scan, reading->err));
  for (;;) {
    bool more;
    TRY(json_scan_element(scan, &more, reading->err));
    if (!more) break;
    if (tensor->ndim == SAFETENSORS_DIMS_MAX) {
      return json_scan_error(scan, scan->pos, reading->err, "more than %d dimensions",
                             SAFETENSORS_DIMS_MAX);
    }
    TRY(json_scan_int(scan, 0, INT64_MAX, &tensor->shape[tensor->ndim], reading->err));
    tensor->ndim++;
  }
done:
  return status;
}

static Status read_offsets(Reading *reading, Entry *entry) {
  Status status = STATUS_OK;
  JsonScan *scan = &reading->scan;
  int64_t pair[2] = {0};
  int n = 0;
  TRY(json_scan_array(scan, reading->err));
  for (;;) {
    bool more;
    TRY(json_scan_element(scan, &more, reading->err));
    if (!more && n == 2) break;
    if (!more || n == 2) {
      return json_scan_error(scan, scan->pos, reading->err, "data_offsets: expected two integers");
    }
    TRY(json_scan_int(scan, 0, INT64_MAX, &pair[n++], reading->err));
  }
  entry->begin = pair[0];
  entry->end = pair[1];
done:
  return status;
}

// shape x bits == bytes between the offsets, in 64 bits.
static Status check_size(Reading *reading, Entry *entry, const FileType *type) {
  SafeTensor *tensor = &entry->tensor;
  Quote quote = quote_text(tensor->name);
  const char *name = quote.text;
  int64_t bits = type->bits;
  // Every factor is checked, also behind a zero: the reference refuses an overflow in any order.
  for (int d = 0; d < tensor->ndim; d++) {
    if (__builtin_mul_overflow(bits, tensor->shape[d], &bits)) {
      return json_scan_error(&reading->scan, entry->place, reading->err,
                             "tensor %s: the size of its shape does not fit 64 bits", name);
    }
  }
  if (bits % 8 != 0) {
    return json_scan_error(&reading->scan, entry->place, reading->err,
                           "tensor %s: %lld bits are no whole number of bytes", name,
                           (long long)bits);
  }
  if (entry->end < entry->begin) {
    return json_scan_error(&reading->scan, entry->place, reading->err,
                           "tensor %s: its data_offsets [%lld,%lld] go backwards", name,
                           (long long)entry->begin, (long long)entry->end);
  }
  if (entry->end - entry->begin != bits / 8) {
    return json_scan_error(&reading->scan, entry->place, reading->err,
                           "tensor %s: expected %lld bytes for its shape and dtype %s, found "
                           "data_offsets of %lld",
                           name, (long long)(bits / 8), type->name,
                           (long long)(entry->end - entry->begin));
  }
  tensor->bytes = bits / 8;
  tensor->dtype_name = type->name;
  tensor->dtype = type->dtype;
  return STATUS_OK;
}

static Status read_tensor(Reading *reading, Entry *entry) {
  Status status = STATUS_OK;
  Error *err = reading->err;
  JsonScan *scan = &reading->scan;
  const FileType *type = NULL;
  bool has_shape = false, has_offsets = false;
  TRY(json_scan_object(scan, err));
  for (;;) {
    bool more;
    JsonString key;
    TRY(json_scan_member(scan, &key, &more, err));
    if (!more) break;
    bool is_type = json_string_is(&key, "dtype"), is_shape = json_string_is(&key, "shape"),
         is_offsets = json_string_is(&key, "data_offsets");
    if ((is_type && type != NULL) || (is_shape && has_shape) || (is_offsets && has_offsets)) {
      return json_scan_error(scan, key.raw - scan->text, err, "tensor %s: %s stands twice",
                             quote_text(entry->tensor.name).text,
                             quote_bytes(key.raw, key.size).text);
    }
    if (is_type) {
      TRY(read_dtype(reading, &type));
    } else if (is_shape) {
      has_shape = true;
      TRY(read_shape(reading, &entry->tensor));
    } else if (is_offsets) {
      has_offsets = true;
      TRY(read_offsets(reading, entry));
    } else {
      TRY(json_scan_skip(scan, err)); // as the reference
    }
  }
  if (type == NULL || !has_shape || !has_offsets) {
    return json_scan_error(scan, entry->place, err, "tensor %s has no '%s'",
                           quote_text(entry->tensor.name).text,
                           type == NULL ? "dtype" : (has_shape ? "data_offsets" : "shape"));
  }
  TRY(check_size(reading, entry, type));
done:
  return status;
}

static Status read_entries(Reading *reading) {
  Status status = STATUS_OK;
  JsonScan *scan = &reading->scan;
  TRY(json_scan_object(scan, reading->err));
  for (;;) {
    bool more;
    JsonString key;
    TRY(json_scan_member(scan, &key, &more, reading->err));
    if (!more) break;
    if (json_string_is(&key, "__metadata__")) {
      TRY(read_metadata(reading));
      continue;
    }
    void *items = reading->entries;
    status =
        grow(reading, &items, reading->n_entries, &reading->capacity, sizeof *reading->entries);
    reading->entries = items;
    if (status != STATUS_OK) goto done;
    Entry *entry = &reading->entries[reading->n_entries];
    *entry = (Entry){.place = key.raw - scan->text};
    reading->n_entries++;
    TRY(copy_string(reading, &key, &entry->tensor.name));
    TRY(read_tensor(reading, entry));
  }
  // Padding is spaces; the rest of JSON's white space has no business there.
  while (scan->pos < scan->size && scan->text[scan->pos] == ' ') scan->pos++;
  if (scan->pos < scan->size) {
    return json_scan_error(scan, scan->pos, reading->err,
                           "expected spaces to the header's end, found %s",
                           quote_bytes(scan->text + scan->pos, 1).text);
  }
done:
  return status;
}

static int by_offsets(const void *a, const void *b) {
  const Entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const Entry *)a)->tensor.name, ((const Entry *)b)->tensor.name);
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const SafetensorsPair *)a)->key, ((const SafetensorsPair *)b)->key);
}

// The tensors follow one another from 0 to the end of the file.
static Status check_layout(Reading *reading, int64_t data_bytes) {
  int64_t end = 0;
  Entry *entries = reading->entries;
  if (reading->n_entries > 1) {
    qsort(entries, (size_t)reading->n_entries, sizeof *entries, by_offsets);
  }
  for (int64_t i = 0; i < reading->n_entries; i++) {
    if (entries[i].begin != end) {
      return json_scan_error(&reading->scan, entries[i].place, reading->err,
                             "tensor %s: expected data_offsets from %lld, where the tensor before "
                             "ends, found %lld: %s",
                             quote_text(entries[i].tensor.name).text, (long long)end,
                             (long long)entries[i].begin,
                             entries[i].begin < end ? "an overlap" : "a hole");
    }
    end = entries[i].end;
  }
  if (end != data_bytes) {
    return error_set(
        reading->err, STATUS_DATA, "%s: byte %lld: expected %lld bytes of data, found %lld: %s",
        reading->st->path, (long long)(reading->st->size - data_bytes), (long long)end,
        (long long)data_bytes,
        end > data_bytes ? "the file is cut; get it again" : "something is appended to it");
  }
  return STATUS_OK;
}

static Status check_names(Reading *reading) {
  Entry *entries = reading->entries;
  Safetensors *st = reading->st;
  if (reading->n_entries > 1) {
    qsort(entries, (size_t)reading->n_entries, sizeof *entries, by_name);
  }
  for (int64_t i = 1; i < reading->n_entries; i++) {
    if (by_name(&entries[i - 1], &entries[i]) == 0) {
      int64_t place =
          entries[i].place > entries[i - 1].place ? entries[i].place : entries[i - 1].place;
      return json_scan_error(&reading->scan, place, reading->err, "tensor %s stands twice",
                             quote_text(entries[i].tensor.name).text);
    }
  }
  if (st->n_metadata > 1) {
    qsort(st->metadata, (size_t)st->n_metadata, sizeof *st->metadata, by_key);
  }
  for (int64_t i = 1; i < st->n_metadata; i++) {
    if (by_key(&st->metadata[i - 1], &st->metadata[i]) == 0) {
      return error_set(reading->err, STATUS_DATA, "%s: byte 8: %s stands twice in '__metadata__'",
                       st->path, quote_text(st->metadata[i].key).text);
    }
  }
  return STATUS_OK;
}

static Status parse(Reading *reading) {
  Status status = STATUS_OK;
  Safetensors *st = reading->st;
  uint64_t header = 0;
  if (st->size < 8) {
    return error_set(reading->err, STATUS_DATA,
                     "%s: byte 0: expected a safetensors file, which has at least 8 bytes, found "
                     "%lld",
                     st->path, (long long)st->size);
  }
  memcpy(&header, st->data, sizeof header);
  if (header > HEADER_MAX || header > (uint64_t)(st->size - 8)) {
    return error_set(reading->err, STATUS_DATA,
                     "%s: byte 0: a header of %llu bytes in a file of %lld: no safetensors file, "
                     "or cut",
                     st->path, (unsigned long long)header, (long long)st->size);
  }
  reading->scan = json_scan_make(st->path, st->data + 8, (int64_t)header);
  reading->scan.pos = 0; // no byte order mark here
  reading->scan.base = 8;
  reading->scan.whole = "header";
  if (header == 0 || st->data[8] != '{') {
    return json_scan_error(&reading->scan, 0, reading->err,
                           "expected a header that begins with '{': no safetensors file");
  }
  TRY(read_entries(reading));
  TRY(check_layout(reading, st->size - 8 - (int64_t)header));
  TRY(check_names(reading));
  st->tensors = calloc((size_t)reading->n_entries + 1, sizeof *st->tensors);
  if (st->tensors == NULL) return no_memory(reading);
  for (int64_t i = 0; i < reading->n_entries; i++) {
    st->tensors[i] = reading->entries[i].tensor;
    st->tensors[i].offset = 8 + (int64_t)header + reading->entries[i].begin;
    reading->entries[i].tensor.name = NULL; // moved
  }
  st->n_tensors = reading->n_entries;
done:
  return status;
}

static Status open_parts(Safetensors *st, const char *path, const void *data, int64_t size,
                         Error *err) {
  Status status = STATUS_OK;
  Reading reading = {.st = st, .err = err};
  *st = (Safetensors){.path = strdup(path)};
  if (st->path == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  if (data == NULL) {
    TRY(file_map(&st->file, path, err));
    st->data = st->file.data;
    st->size = st->file.size;
  } else {
    st->file = (MappedFile){.fd = -1, .slot = -1};
    st->data = data;
    st->size = size;
  }
  TRY(parse(&reading));
  TRY(file_check(&st->file, err));
done:
  for (int64_t i = 0; i < reading.n_entries; i++) free(reading.entries[i].tensor.name);
  free(reading.entries);
  if (status != STATUS_OK) safetensors_close(st);
  return status;
}

Status safetensors_open(Safetensors *st, const char *path, Error *err) {
  return open_parts(st, path, NULL, 0, err);
}

Status safetensors_open_memory(Safetensors *st, const char *path, const void *data, int64_t size,
                               Error *err) {
  static const uint8_t nothing[1];
  return open_parts(st, path, data == NULL ? nothing : data, size, err);
}

void safetensors_close(Safetensors *st) {
  for (int64_t i = 0; i < st->n_tensors; i++) free(st->tensors[i].name);
  for (int64_t i = 0; i < st->n_metadata; i++) {
    free(st->metadata[i].key);
    free(st->metadata[i].value);
  }
  free(st->tensors);
  free(st->metadata);
  file_unmap(&st->file);
  free(st->path);
  *st = (Safetensors){0};
}

const SafeTensor *safetensors_find(const Safetensors *st, const char *name) {
  int64_t low = 0, high = st->n_tensors;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(st->tensors[middle].name, name);
    if (order == 0) return &st->tensors[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

const char *safetensors_metadata(const Safetensors *st, const char *key) {
  for (int64_t i = 0; i < st->n_metadata; i++) {
    if (strcmp(st->metadata[i].key, key) == 0) return st->metadata[i].value;
  }
  return NULL;
}
