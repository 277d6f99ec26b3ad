#include "bytes.h"

#include "bf16.h"

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

uint32_t bytes_draw(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 32);
}

static void put_half(Bytes *bytes, float value) {
  uint16_t half = f16_from_f32(value);
  bytes_put(bytes, &half, sizeof half);
}

static void put_block(Bytes *bytes, uint32_t type, uint64_t *state) {
  float a = (float)bytes_draw(state) * 0x1p-31f - 1, b = (float)bytes_draw(state) * 0x1p-31f - 1;
  bf16 brain = bf16_from_f32(a);
  switch (type) {
  case 0:
    bytes_f32(bytes, a);
    return;
  case 1:
    put_half(bytes, a);
    return;
  case 30:
    bytes_put(bytes, &brain, sizeof brain);
    return;
  case 2:
    put_half(bytes, a / 8);
    break;
  case 3:
    put_half(bytes, a / 8);
    put_half(bytes, b);
    break;
  case 8:
    put_half(bytes, a / 128);
    break;
  default:
    printf("gguf_put_tensors: type %u\n", type);
    exit(1);
  }
  for (int i = 0; i < (type == 8 ? 32 : 16); i++)
    bytes_u8(bytes, (uint8_t)(bytes_draw(state) >> 9));
}

static uint64_t plan_blocks(const GgufPlan *plan) {
  uint64_t count = 1;
  for (uint32_t d = 0; d < plan->n_dims; d++) count *= plan->dims[d];
  return plan->type == 0 || plan->type == 1 || plan->type == 30 ? count : count / 32;
}

void gguf_put_tensors(Bytes *bytes, const GgufPlan *plans, int n, uint32_t seed) {
  static const uint64_t block_bytes[] = {[0] = 4, [1] = 2, [2] = 18, [3] = 20, [8] = 34, [30] = 2};
  uint64_t state = seed, offset = 0;
  for (int i = 0; i < n; i++) {
    gguf_put_tensor(bytes, plans[i].name, plans[i].n_dims, plans[i].dims, plans[i].type, offset);
    offset += (plan_blocks(&plans[i]) * block_bytes[plans[i].type] + 31) / 32 * 32;
  }
  for (int i = 0; i < n; i++) {
    uint64_t blocks = plan_blocks(&plans[i]);
    gguf_put_padding(bytes, 32);
    for (uint64_t k = 0; k < blocks; k++) put_block(bytes, plans[i].type, &state);
  }
}
