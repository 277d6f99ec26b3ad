#include "gguf_parse.h"

#include "quote.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  STRING_MAX = 1 << 30, // bytes of a string and items of an array, as the reference reader
  KEY_MAX = 65535,
  KV_BYTES_MIN = 8 + 1 + 4 + 1,             // a key of one byte, the type, a value of one byte
  TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8, // a name of one byte, one dimension
};

// ggml's tensor types: elements and bytes of a block. Gaps are types that were removed.
typedef struct TensorType {
  const char *name;
  int elements, bytes;
  DType dtype;
} TensorType;

static const TensorType tensor_types[] = {
    [0] = {"F32", 1, 4, DT_F32},           [1] = {"F16", 1, 2, DT_F16},
    [2] = {"Q4_0", 32, 18, DT_Q4_0},       [3] = {"Q4_1", 32, 20, DT_Q4_1},
    [6] = {"Q5_0", 32, 22, DT_COUNT},      [7] = {"Q5_1", 32, 24, DT_COUNT},
    [8] = {"Q8_0", 32, 34, DT_Q8_0},       [9] = {"Q8_1", 32, 36, DT_COUNT},
    [10] = {"Q2_K", 256, 84, DT_COUNT},    [11] = {"Q3_K", 256, 110, DT_COUNT},
    [12] = {"Q4_K", 256, 144, DT_Q4_K},    [13] = {"Q5_K", 256, 176, DT_COUNT},
    [14] = {"Q6_K", 256, 210, DT_Q6_K},    [15] = {"Q8_K", 256, 292, DT_COUNT},
    [16] = {"IQ2_XXS", 256, 66, DT_COUNT}, [17] = {"IQ2_XS", 256, 74, DT_COUNT},
    [18] = {"IQ3_XXS", 256, 98, DT_COUNT}, [19] = {"IQ1_S", 256, 50, DT_COUNT},
    [20] = {"IQ4_NL", 32, 18, DT_COUNT},   [21] = {"IQ3_S", 256, 110, DT_COUNT},
    [22] = {"IQ2_S", 256, 82, DT_COUNT},   [23] = {"IQ4_XS", 256, 136, DT_COUNT},
    [24] = {"I8", 1, 1, DT_COUNT},         [25] = {"I16", 1, 2, DT_COUNT},
    [26] = {"I32", 1, 4, DT_I32},          [27] = {"I64", 1, 8, DT_I64},
    [28] = {"F64", 1, 8, DT_F64},          [29] = {"IQ1_M", 256, 56, DT_COUNT},
    [30] = {"BF16", 1, 2, DT_BF16},        [34] = {"TQ1_0", 256, 54, DT_COUNT},
    [35] = {"TQ2_0", 256, 66, DT_COUNT},   [39] = {"MXFP4", 32, 17, DT_COUNT},
};

enum { TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types };

static const struct {
  const char *name;
  int bytes;
} value_types[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", 1},          [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},        [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},        [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"an array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_type_name(GgufType type) {
  return value_types[type].name;
}

int64_t gguf_type_bytes(GgufType type) {
  return value_types[type].bytes;
}

int gguf_compare_strings(GgufString a, GgufString b) {
  int64_t common = a.size < b.size ? a.size : b.size;
  int order = common > 0 ? memcmp(a.data, b.data, (size_t)common) : 0;
  if (order != 0) return order;
  return (a.size > b.size) - (a.size < b.size);
}

// Where the reading is; `what` names it in messages ("the value of 'general.name'").
typedef struct Cursor {
  const Gguf *gguf;
  int64_t pos;
  char what[160];
  Error *err;
} Cursor;

static Status fault(const Cursor *cursor, int64_t pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static Status fault(const Cursor *cursor, int64_t pos, const char *fmt, ...) {
  char message[500];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  return error_set(cursor->err, STATUS_DATA, "%s: byte %lld: %s: %s", cursor->gguf->path,
                   (long long)pos, cursor->what, message);
}

static int64_t left(const Cursor *cursor) {
  return cursor->gguf->size - cursor->pos;
}

static Status take(Cursor *cursor, void *value, int64_t bytes) {
  if (left(cursor) < bytes) {
    return fault(cursor, cursor->pos, "expected %lld more bytes, found %lld: the file is cut",
                 (long long)bytes, (long long)left(cursor));
  }
  memcpy(value, cursor->gguf->data + cursor->pos, (size_t)bytes);
  cursor->pos += bytes;
  return STATUS_OK;
}

static Status take_u32(Cursor *cursor, uint32_t *value) {
  return take(cursor, value, sizeof *value);
}

static Status take_u64(Cursor *cursor, uint64_t *value) {
  return take(cursor, value, sizeof *value);
}

static Status take_string(Cursor *cursor, GgufString *string) {
  Status status = STATUS_OK;
  uint64_t length = 0;
  int64_t at = cursor->pos;
  TRY(take_u64(cursor, &length));
  if (length > STRING_MAX || length > (uint64_t)left(cursor)) {
    return fault(cursor, at, "a string of %llu bytes where %lld bytes are left",
                 (unsigned long long)length, (long long)left(cursor));
  }
  *string = (GgufString){(const char *)cursor->gguf->data + cursor->pos, (int64_t)length};
  cursor->pos += (int64_t)length;
done:
  return status;
}

// Room for one more item of an array that grows by doubling: memory follows what was read, never
// what the file claims.
static Status grow(const Cursor *cursor, void **items, int64_t used, int64_t *capacity,
                   size_t item_bytes) {
  if (used < *capacity) return STATUS_OK;
  int64_t larger = *capacity == 0 ? 64 : 2 * *capacity;
  void *moved = realloc(*items, (size_t)larger * item_bytes);
  if (moved == NULL) {
    return error_set(cursor->err, STATUS_MEMORY, "%s: no memory for its header",
                     cursor->gguf->path);
  }
  *items = moved;
  *capacity = larger;
  return STATUS_OK;
}

static Status take_type(Cursor *cursor, GgufType *type) {
  Status status = STATUS_OK;
  uint32_t number;
  int64_t at = cursor->pos;
  TRY(take_u32(cursor, &number));
  if (number >= GGUF_TYPES) {
    return fault(cursor, at, "expected a value type from 0 to %d, found %u", GGUF_TYPES - 1,
                 number);
  }
  *type = (GgufType)number;
done:
  return status;
}

static Status check_bools(const Cursor *cursor, const uint8_t *data, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (data[i] > 1) {
      return fault(cursor, data + i - cursor->gguf->data, "expected a bool, 0 or 1, found %d",
                   data[i]);
    }
  }
  return STATUS_OK;
}

static Status take_array(Cursor *cursor, GgufValue *value) {
  Status status = STATUS_OK;
  uint64_t count;
  int64_t at = cursor->pos;
  TRY(take_type(cursor, &value->element));
  if (value->element == GGUF_ARRAY) {
    return fault(cursor, at, "an array of arrays, which is not supported");
  }
  at = cursor->pos;
  TRY(take_u64(cursor, &count));
  int64_t item = gguf_type_bytes(value->element);
  if (count > STRING_MAX || count > (uint64_t)(left(cursor) / (item > 0 ? item : 8))) {
    return fault(cursor, at, "an array of %llu items where %lld bytes are left",
                 (unsigned long long)count, (long long)left(cursor));
  }
  value->count = (int64_t)count;
  value->data = cursor->gguf->data + cursor->pos;
  if (item > 0) {
    cursor->pos += item * value->count;
    if (value->element == GGUF_BOOL) TRY(check_bools(cursor, value->data, value->count));
  } else {
    GgufString string;
    for (int64_t i = 0; i < value->count; i++) TRY(take_string(cursor, &string));
  }
  value->bytes = cursor->gguf->data + cursor->pos - value->data;
done:
  return status;
}

static Status take_value(Cursor *cursor, int64_t index, GgufValue *value) {
  Status status = STATUS_OK;
  snprintf(cursor->what, sizeof cursor->what, "key %lld", (long long)index);
  int64_t at = cursor->pos;
  TRY(take_string(cursor, &value->key));
  if (value->key.size == 0) return fault(cursor, at, "an empty key");
  if (value->key.size > KEY_MAX) {
    return fault(cursor, at, "a key of %lld bytes (%d at most)", (long long)value->key.size,
                 KEY_MAX);
  }
  snprintf(cursor->what, sizeof cursor->what, "the value of %s",
           quote_bytes(value->key.data, value->key.size).text);
  TRY(take_type(cursor, &value->type));
  if (value->type == GGUF_ARRAY) return take_array(cursor, value);
  at = cursor->pos;
  value->data = cursor->gguf->data + at;
  if (value->type == GGUF_STRING) {
    GgufString string;
    TRY(take_string(cursor, &string));
  } else {
    uint8_t bytes[8];
    TRY(take(cursor, bytes, gguf_type_bytes(value->type)));
    if (value->type == GGUF_BOOL) TRY(check_bools(cursor, value->data, 1));
  }
  value->bytes = cursor->pos - at;
done:
  return status;
}

static int by_key(const void *a, const void *b) {
  return gguf_compare_strings(((const GgufValue *)a)->key, ((const GgufValue *)b)->key);
}

static Status take_values(Cursor *cursor, Gguf *gguf, uint64_t count) {
  Status status = STATUS_OK;
  int64_t capacity = 0;
  if (count > (uint64_t)(left(cursor) / KV_BYTES_MIN)) {
    return fault(cursor, 16, "%llu metadata entries do not fit the %lld bytes that are left",
                 (unsigned long long)count, (long long)left(cursor));
  }
  for (uint64_t i = 0; i < count; i++) {
    void *items = gguf->values;
    status = grow(cursor, &items, gguf->n_values, &capacity, sizeof *gguf->values);
    gguf->values = items;
    if (status != STATUS_OK) goto done;
    GgufValue value = {0};
    TRY(take_value(cursor, (int64_t)i, &value));
    gguf->values[gguf->n_values++] = value;
  }
  // Sorted, so that duplicates lie side by side: no comparison of each with each.
  if (gguf->n_values > 1) qsort(gguf->values, (size_t)gguf->n_values, sizeof *gguf->values, by_key);
  for (int64_t i = 1; i < gguf->n_values; i++) {
    const GgufValue *a = &gguf->values[i - 1], *b = &gguf->values[i];
    if (by_key(a, b) == 0) {
      snprintf(cursor->what, sizeof cursor->what, "key %s",
               quote_bytes(a->key.data, a->key.size).text);
      const char *later = a->key.data > b->key.data ? a->key.data : b->key.data;
      return fault(cursor, later - (const char *)gguf->data, "this key stands twice");
    }
  }
done:
  return status;
}

static Status get_alignment(Cursor *cursor, const Gguf *gguf, int64_t *alignment) {
  *alignment = 32;
  for (int64_t i = 0; i < gguf->n_values; i++) {
    const GgufValue *value = &gguf->values[i];
    if (!gguf_string_is(value->key, "general.alignment")) continue;
    int64_t at = value->data - gguf->data;
    snprintf(cursor->what, sizeof cursor->what, "'general.alignment'");
    if (value->type != GGUF_U32) {
      return fault(cursor, at, "expected u32, found %s", gguf_type_name(value->type));
    }
    uint32_t number;
    memcpy(&number, value->data, sizeof number);
    if (number == 0 || (number & (number - 1)) != 0) {
      return fault(cursor, at, "expected a power of two, found %u", number);
    }
    *alignment = number;
  }
  return STATUS_OK;
}

// Rounds up to a multiple of a power of two; false when that does not fit.
static bool round_up(int64_t value, int64_t alignment, int64_t *result) {
  if (__builtin_add_overflow(value, alignment - 1, result)) return false;
  *result &= ~(alignment - 1);
  return true;
}

// The name, the shape and the type of a tensor; bytes follows from them.
static Status take_shape(Cursor *cursor, int64_t index, GgufTensor *tensor) {
  Status status = STATUS_OK;
  GgufString name;
  uint32_t n_dims, type;
  snprintf(cursor->what, sizeof cursor->what, "tensor %lld", (long long)index);
  int64_t at = cursor->pos;
  TRY(take_string(cursor, &name));
  if (name.size == 0 || name.size >= GGUF_NAME_MAX || memchr(name.data, 0, (size_t)name.size)) {
    return fault(cursor, at, "expected a name of 1 to %d bytes without NUL, found %s (%lld bytes)",
                 GGUF_NAME_MAX - 1, quote_bytes(name.data, name.size).text, (long long)name.size);
  }
  memcpy(tensor->name, name.data, (size_t)name.size);
  snprintf(cursor->what, sizeof cursor->what, "tensor %s", quote_text(tensor->name).text);
  at = cursor->pos;
  TRY(take_u32(cursor, &n_dims));
  if (n_dims < 1 || n_dims > GGUF_DIMS_MAX) {
    return fault(cursor, at, "expected 1 to %d dimensions, found %u", GGUF_DIMS_MAX, n_dims);
  }
  tensor->ndim = (int)n_dims;
  int64_t count = 1;
  for (int d = 0; d < GGUF_DIMS_MAX; d++) {
    tensor->dims[d] = 1;
    if (d >= tensor->ndim) continue;
    uint64_t dim;
    at = cursor->pos;
    TRY(take_u64(cursor, &dim));
    if (dim == 0 || dim > INT64_MAX) {
      return fault(cursor, at, "dimension %d: expected 1 or more, found %lld", d, (long long)dim);
    }
    tensor->dims[d] = (int64_t)dim;
    if (__builtin_mul_overflow(count, tensor->dims[d], &count)) {
      return fault(cursor, at, "the product of its dimensions does not fit 64 bits");
    }
  }
  at = cursor->pos;
  TRY(take_u32(cursor, &type));
  if (type >= TENSOR_TYPES || tensor_types[type].name == NULL) {
    return fault(cursor, at, "the tensor type %u is not known here", type);
  }
  const TensorType *info = &tensor_types[type];
  if (tensor->dims[0] % info->elements != 0) {
    return fault(cursor, at, "rows of %lld elements are no whole number of %s blocks (%d)",
                 (long long)tensor->dims[0], info->name, info->elements);
  }
  if (__builtin_mul_overflow(count / info->elements, (int64_t)info->bytes, &tensor->bytes)) {
    return fault(cursor, at, "its size in bytes does not fit 64 bits");
  }
  tensor->type_name = info->name;
  tensor->dtype = info->dtype;
done:
  return status;
}

static int by_tensor_name(const void *a, const void *b) {
  return strcmp((*(GgufTensor *const *)a)->name, (*(GgufTensor *const *)b)->name);
}

static Status index_names(Cursor *cursor, Gguf *gguf) {
  if (gguf->n_tensors == 0) return STATUS_OK;
  gguf->by_name = malloc((size_t)gguf->n_tensors * sizeof *gguf->by_name);
  if (gguf->by_name == NULL) {
    return error_set(cursor->err, STATUS_MEMORY, "%s: no memory for its header", gguf->path);
  }
  for (int64_t i = 0; i < gguf->n_tensors; i++) gguf->by_name[i] = &gguf->tensors[i];
  qsort(gguf->by_name, (size_t)gguf->n_tensors, sizeof *gguf->by_name, by_tensor_name);
  for (int64_t i = 1; i < gguf->n_tensors; i++) {
    if (by_tensor_name(&gguf->by_name[i - 1], &gguf->by_name[i]) == 0) {
      snprintf(cursor->what, sizeof cursor->what, "tensor %s",
               quote_text(gguf->by_name[i]->name).text);
      return fault(cursor, cursor->pos, "two tensors have this name");
    }
  }
  return STATUS_OK;
}

static Status take_tensors(Cursor *cursor, Gguf *gguf, uint64_t count, int64_t alignment) {
  Status status = STATUS_OK;
  int64_t capacity = 0, end = 0; // end: of the tensors so far, from the start of the data
  if (count > (uint64_t)(left(cursor) / TENSOR_BYTES_MIN)) {
    return fault(cursor, 8, "%llu tensors do not fit the %lld bytes that are left",
                 (unsigned long long)count, (long long)left(cursor));
  }
  for (uint64_t i = 0; i < count; i++) {
    void *items = gguf->tensors;
    status = grow(cursor, &items, gguf->n_tensors, &capacity, sizeof *gguf->tensors);
    gguf->tensors = items;
    if (status != STATUS_OK) goto done;
    GgufTensor tensor = {0};
    TRY(take_shape(cursor, (int64_t)i, &tensor));
    uint64_t offset;
    int64_t at = cursor->pos, expected;
    TRY(take_u64(cursor, &offset));
    if (!round_up(end, alignment, &expected)) {
      return fault(cursor, at, "the tensors' sizes do not add up in 64 bits");
    }
    if (offset != (uint64_t)expected) {
      return fault(cursor, at, "expected offset %lld, where the tensor before ends, found %llu",
                   (long long)expected, (unsigned long long)offset);
    }
    tensor.offset = expected;
    if (__builtin_add_overflow(expected, tensor.bytes, &end) || end > gguf->size) {
      return fault(cursor, at, "its %lld bytes at offset %lld do not fit a file of %lld bytes",
                   (long long)tensor.bytes, (long long)expected, (long long)gguf->size);
    }
    gguf->tensors[gguf->n_tensors++] = tensor;
  }
  TRY(index_names(cursor, gguf));
  if (gguf->n_tensors == 0) return STATUS_OK;
  int64_t start;
  snprintf(cursor->what, sizeof cursor->what, "the data");
  if (!round_up(cursor->pos, alignment, &start) || start > gguf->size || end > gguf->size - start) {
    return fault(cursor, cursor->pos,
                 "expected %lld bytes after the header, aligned to %lld, found %lld: the file is "
                 "cut",
                 (long long)end, (long long)alignment, (long long)left(cursor));
  }
  for (int64_t i = 0; i < gguf->n_tensors; i++) gguf->tensors[i].offset += start;
done:
  return status;
}

Status gguf_parse(Gguf *gguf, Error *err) {
  Status status = STATUS_OK;
  Cursor cursor = {.gguf = gguf, .what = "the header", .err = err};
  char magic[4];
  uint64_t n_tensors, n_values;
  int64_t alignment;
  TRY(take(&cursor, magic, 4));
  if (memcmp(magic, "GGUF", 4) != 0) {
    return fault(&cursor, 0, "expected a GGUF file, which begins with 'GGUF', found %s",
                 quote_bytes(magic, 4).text);
  }
  TRY(take_u32(&cursor, &gguf->version));
  if ((gguf->version & 0xFFFF) == 0 && gguf->version != 0) {
    return fault(&cursor, 4, "a big-endian GGUF file, which is not supported");
  }
  if (gguf->version != 2 && gguf->version != 3) {
    return fault(&cursor, 4, "expected GGUF version 2 or 3, found %u", gguf->version);
  }
  TRY(take_u64(&cursor, &n_tensors));
  TRY(take_u64(&cursor, &n_values));
  TRY(take_values(&cursor, gguf, n_values));
  TRY(get_alignment(&cursor, gguf, &alignment));
  TRY(take_tensors(&cursor, gguf, n_tensors, alignment));
done:
  return status;
}
