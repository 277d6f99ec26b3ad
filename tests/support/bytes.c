#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bytes_put(Bytes *bytes, const void *data, int64_t size) {
  if (bytes->size + size > bytes->capacity) {
    bytes->capacity = 2 * (bytes->size + size) + 64;
    bytes->data = realloc(bytes->data, (size_t)bytes->capacity);
    if (bytes->data == NULL) {
      perror("bytes_put");
      exit(1);
    }
  }
  if (size > 0) memcpy(bytes->data + bytes->size, data, (size_t)size);
  bytes->size += size;
}

void bytes_u8(Bytes *bytes, uint8_t value) {
  bytes_put(bytes, &value, sizeof value);
}

void bytes_u32(Bytes *bytes, uint32_t value) {
  bytes_put(bytes, &value, sizeof value);
}

void bytes_u64(Bytes *bytes, uint64_t value) {
  bytes_put(bytes, &value, sizeof value);
}

void bytes_f32(Bytes *bytes, float value) {
  bytes_put(bytes, &value, sizeof value);
}

void bytes_text(Bytes *bytes, const char *text) {
  bytes_put(bytes, text, (int64_t)strlen(text));
}

void bytes_fill(Bytes *bytes, uint8_t value, int64_t size) {
  for (int64_t i = 0; i < size; i++) bytes_put(bytes, &value, 1);
}

void bytes_free(Bytes *bytes) {
  free(bytes->data);
  *bytes = (Bytes){0};
}

void gguf_put_string(Bytes *bytes, const char *text) {
  bytes_u64(bytes, strlen(text));
  bytes_text(bytes, text);
}

void gguf_put_header(Bytes *bytes, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
  bytes_text(bytes, "GGUF");
  bytes_u32(bytes, version);
  bytes_u64(bytes, n_tensors);
  bytes_u64(bytes, n_values);
}

void gguf_put_key_string(Bytes *bytes, const char *key, const char *value) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 8);
  gguf_put_string(bytes, value);
}

void gguf_put_key_u32(Bytes *bytes, const char *key, uint32_t value) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 4);
  bytes_u32(bytes, value);
}

void gguf_put_key_u64(Bytes *bytes, const char *key, uint64_t value) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 10);
  bytes_u64(bytes, value);
}

void gguf_put_key_f32(Bytes *bytes, const char *key, float value) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 6);
  bytes_f32(bytes, value);
}

void gguf_put_key_bool(Bytes *bytes, const char *key, uint8_t value) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 7);
  bytes_u8(bytes, value);
}

void gguf_put_key_array(Bytes *bytes, const char *key, uint32_t element_type, uint64_t count) {
  gguf_put_string(bytes, key);
  bytes_u32(bytes, 9);
  bytes_u32(bytes, element_type);
  bytes_u64(bytes, count);
}

void gguf_put_tensor(Bytes *bytes, const char *name, uint32_t n_dims, const uint64_t *dims,
                     uint32_t type, uint64_t offset) {
  gguf_put_string(bytes, name);
  bytes_u32(bytes, n_dims);
  for (uint32_t i = 0; i < n_dims; i++) bytes_u64(bytes, dims[i]);
  bytes_u32(bytes, type);
  bytes_u64(bytes, offset);
}

void gguf_put_padding(Bytes *bytes, int64_t alignment) {
  while (bytes->size % alignment != 0) bytes_u8(bytes, 0);
}
