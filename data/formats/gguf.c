#include "gguf.h"

#include "check.h"
#include "gguf_parse.h"
#include "quote.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *gguf_path(const Gguf *gguf) {
  return gguf->path;
}

int gguf_version(const Gguf *gguf) {
  return (int)gguf->version;
}

const MappedFile *gguf_file(const Gguf *gguf) {
  return &gguf->file;
}

const uint8_t *gguf_data(const Gguf *gguf) {
  return gguf->data;
}

void gguf_close(Gguf *gguf) {
  if (gguf == NULL) return;
  free(gguf->values);
  free(gguf->tensors);
  free(gguf->by_name);
  file_unmap(&gguf->file);
  free(gguf->path);
  free(gguf);
}

static Status open_parts(Gguf **result, const char *path, const void *data, int64_t size,
                         Error *err) {
  Status status = STATUS_OK;
  *result = NULL;
  Gguf *gguf = calloc(1, sizeof *gguf);
  if (gguf == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  gguf->path = strdup(path);
  if (gguf->path == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  if (data == NULL && size == 0) {
    TRY(file_map(&gguf->file, path, err));
    gguf->data = gguf->file.data;
    gguf->size = gguf->file.size;
  } else {
    gguf->file = (MappedFile){.fd = -1, .slot = -1};
    gguf->data = data;
    gguf->size = size;
  }
  TRY(gguf_parse(gguf, err));
  TRY(file_check(&gguf->file, err));
done:
  if (status != STATUS_OK) {
    gguf_close(gguf);
  } else {
    *result = gguf;
  }
  return status;
}

Status gguf_open(Gguf **gguf, const char *path, Error *err) {
  return open_parts(gguf, path, NULL, 0, err);
}

Status gguf_open_memory(Gguf **gguf, const char *path, const void *data, int64_t size, Error *err) {
  static const uint8_t nothing[1];
  return open_parts(gguf, path, data == NULL ? nothing : data, size, err);
}

static const GgufValue *find_value(const Gguf *gguf, const char *key) {
  int64_t size = (int64_t)strlen(key), low = 0, high = gguf->n_values;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = gguf_compare_strings(gguf->values[middle].key, (GgufString){key, size});
    if (order == 0) return &gguf->values[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

bool gguf_has(const Gguf *gguf, const char *key) {
  return find_value(gguf, key) != NULL;
}

// *value is NULL when an optional key is missing.
static Status need_value(const Gguf *gguf, const char *key, GgufNeed need, const GgufValue **value,
                         Error *err) {
  *value = find_value(gguf, key);
  if (*value != NULL || need == GGUF_OPTIONAL) return STATUS_OK;
  return error_set(err, STATUS_DATA, "%s: the metadata have no '%s'", gguf->path, key);
}

static Status wrong_type(const Gguf *gguf, const GgufValue *value, const char *expected,
                         Error *err) {
  const char *found = gguf_type_name(value->type);
  return error_set(err, STATUS_DATA, "%s: byte %lld: '%.*s': expected %s, found %s%s%s", gguf->path,
                   (long long)(value->data - gguf->data), (int)value->key.size, value->key.data,
                   expected, found, value->type == GGUF_ARRAY ? " of " : "",
                   value->type == GGUF_ARRAY ? gguf_type_name(value->element) : "");
}

// The integer of the given type at `data`; false when it is no integer type or above INT64_MAX.
static bool load_int(GgufType type, const uint8_t *data, int64_t *value) {
  uint64_t bits = 0;
  int64_t bytes = gguf_type_bytes(type);
  if (bytes == 0 || bytes > 8) return false;
  memcpy(&bits, data, (size_t)bytes);
  switch (type) {
  case GGUF_U8:
  case GGUF_U16:
  case GGUF_U32:
    *value = (int64_t)bits;
    return true;
  case GGUF_U64:
    *value = (int64_t)bits;
    return bits <= INT64_MAX;
  case GGUF_I8:
    *value = (int8_t)bits;
    return true;
  case GGUF_I16:
    *value = (int16_t)bits;
    return true;
  case GGUF_I32:
    *value = (int32_t)bits;
    return true;
  case GGUF_I64:
    *value = (int64_t)bits;
    return true;
  default:
    return false;
  }
}

static bool is_int_type(GgufType type) {
  return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

Status gguf_get_int(const Gguf *gguf, const char *key, GgufNeed need, int64_t min, int64_t max,
                    int64_t *value, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  TRY(need_value(gguf, key, need, &entry, err));
  if (entry == NULL) return STATUS_OK;
  if (!is_int_type(entry->type)) return wrong_type(gguf, entry, "an integer", err);
  int64_t number = 0;
  bool fits = load_int(entry->type, entry->data, &number);
  if (!fits || number < min || number > max) {
    if (!fits) number = INT64_MAX;
    return error_set(err, STATUS_DATA, "%s: byte %lld: '%s': expected %lld to %lld, found %lld%s",
                     gguf->path, (long long)(entry->data - gguf->data), key, (long long)min,
                     (long long)max, (long long)number, fits ? "" : " or more");
  }
  *value = number;
done:
  return status;
}

Status gguf_get_float(const Gguf *gguf, const char *key, GgufNeed need, double *value, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  TRY(need_value(gguf, key, need, &entry, err));
  if (entry == NULL) return STATUS_OK;
  double number;
  if (entry->type == GGUF_F32) {
    float single;
    memcpy(&single, entry->data, sizeof single);
    number = (double)single;
  } else if (entry->type == GGUF_F64) {
    memcpy(&number, entry->data, sizeof number);
  } else {
    return wrong_type(gguf, entry, "f32", err);
  }
  if (!isfinite(number)) {
    return error_set(err, STATUS_DATA, "%s: byte %lld: '%s': expected a finite number, found %g",
                     gguf->path, (long long)(entry->data - gguf->data), key, number);
  }
  *value = number;
done:
  return status;
}

Status gguf_get_bool(const Gguf *gguf, const char *key, GgufNeed need, bool *value, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  TRY(need_value(gguf, key, need, &entry, err));
  if (entry == NULL) return STATUS_OK;
  if (entry->type != GGUF_BOOL) return wrong_type(gguf, entry, "bool", err);
  *value = entry->data[0] != 0;
done:
  return status;
}

Status gguf_get_string(const Gguf *gguf, const char *key, GgufNeed need, GgufString *value,
                       Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  TRY(need_value(gguf, key, need, &entry, err));
  if (entry == NULL) return STATUS_OK;
  if (entry->type != GGUF_STRING) return wrong_type(gguf, entry, "string", err);
  *value = (GgufString){(const char *)entry->data + 8, entry->bytes - 8};
done:
  return status;
}

Status gguf_expect_architecture(const Gguf *gguf, const char *expected, Error *err) {
  Status status = STATUS_OK;
  GgufString found;
  TRY(gguf_get_string(gguf, "general.architecture", GGUF_REQUIRED, &found, err));
  if (!gguf_string_is(found, expected)) {
    return error_set(err, STATUS_DATA,
                     "%s: 'general.architecture': expected '%s', the one that is supported, found "
                     "%s",
                     gguf->path, expected, quote_bytes(found.data, found.size).text);
  }
done:
  return status;
}

// Finds an array and takes memory for its items; *entry is NULL when there is nothing to fill.
static Status prepare_array(const Gguf *gguf, const char *key, GgufNeed need, size_t item_bytes,
                            const GgufValue **entry, void **items, int64_t *count, Error *err) {
  Status status = STATUS_OK;
  TRY(need_value(gguf, key, need, entry, err));
  if (*entry == NULL) return STATUS_OK;
  const GgufValue *value = *entry;
  bool fits = value->type == GGUF_ARRAY;
  if (item_bytes == sizeof(GgufString)) {
    if (!fits || value->element != GGUF_STRING) {
      return wrong_type(gguf, value, "array of string", err);
    }
  } else if (!fits) {
    return wrong_type(gguf, value, "an array of numbers", err);
  }
  *items = NULL;
  *count = value->count;
  if (value->count == 0) {
    *entry = NULL;
    return STATUS_OK;
  }
  *items = malloc((size_t)value->count * item_bytes); // at most 2^30 items, all in the file
  if (*items == NULL) {
    return error_set(err, STATUS_MEMORY, "%s: no memory for the %lld items of '%s'", gguf->path,
                     (long long)value->count, key);
  }
done:
  return status;
}

Status gguf_get_strings(const Gguf *gguf, const char *key, GgufNeed need, GgufString **items,
                        int64_t *count, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  void *room;
  TRY(prepare_array(gguf, key, need, sizeof **items, &entry, &room, count, err));
  if (entry == NULL) {
    if (gguf_has(gguf, key)) *items = NULL;
    return STATUS_OK;
  }
  // The lengths were checked at the opening; they are checked again because the file lies in memory
  // that another process may write to.
  GgufString *strings = room;
  const uint8_t *at = entry->data, *end = entry->data + entry->bytes;
  for (int64_t i = 0; i < entry->count; i++) {
    uint64_t length = 0;
    if (end - at >= 8) memcpy(&length, at, 8);
    if (end - at < 8 || length > (uint64_t)(end - at - 8)) {
      free(room);
      return error_set(err, STATUS_DATA, "%s: '%s' changed while it was read", gguf->path, key);
    }
    strings[i] = (GgufString){(const char *)at + 8, (int64_t)length};
    at += 8 + length;
  }
  *items = strings;
done:
  return status;
}

Status gguf_get_floats(const Gguf *gguf, const char *key, GgufNeed need, float **items,
                       int64_t *count, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  void *room;
  TRY(prepare_array(gguf, key, need, sizeof **items, &entry, &room, count, err));
  if (entry == NULL) {
    if (gguf_has(gguf, key)) *items = NULL;
    return STATUS_OK;
  }
  if (entry->element != GGUF_F32) {
    free(room);
    return wrong_type(gguf, entry, "array of f32", err);
  }
  memcpy(room, entry->data, (size_t)entry->count * sizeof **items);
  *items = room;
done:
  return status;
}

Status gguf_get_ints(const Gguf *gguf, const char *key, GgufNeed need, int32_t **items,
                     int64_t *count, Error *err) {
  Status status = STATUS_OK;
  const GgufValue *entry;
  void *room;
  TRY(prepare_array(gguf, key, need, sizeof **items, &entry, &room, count, err));
  if (entry == NULL) {
    if (gguf_has(gguf, key)) *items = NULL;
    return STATUS_OK;
  }
  if (!is_int_type(entry->element)) {
    free(room);
    return wrong_type(gguf, entry, "array of integers", err);
  }
  int32_t *numbers = room;
  int64_t bytes = gguf_type_bytes(entry->element);
  for (int64_t i = 0; i < entry->count; i++) {
    int64_t number;
    if (!load_int(entry->element, entry->data + i * bytes, &number) || number < INT32_MIN ||
        number > INT32_MAX) {
      free(room);
      return error_set(err, STATUS_DATA, "%s: byte %lld: '%s': item %lld does not fit 32 bits",
                       gguf->path, (long long)(entry->data + i * bytes - gguf->data), key,
                       (long long)i);
    }
    numbers[i] = (int32_t)number;
  }
  *items = numbers;
done:
  return status;
}

bool gguf_string_is(GgufString string, const char *text) {
  size_t length = strlen(text);
  return string.size == (int64_t)length && memcmp(string.data, text, length) == 0;
}

int64_t gguf_tensor_count(const Gguf *gguf) {
  return gguf->n_tensors;
}

const GgufTensor *gguf_tensor_at(const Gguf *gguf, int64_t index) {
  CHECK(index >= 0 && index < gguf->n_tensors, "%lld of %lld", (long long)index,
        (long long)gguf->n_tensors);
  return &gguf->tensors[index];
}

const GgufTensor *gguf_tensor_find(const Gguf *gguf, const char *name) {
  int64_t low = 0, high = gguf->n_tensors;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(gguf->by_name[middle]->name, name);
    if (order == 0) return gguf->by_name[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}
