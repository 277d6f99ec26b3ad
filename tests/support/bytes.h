// Files made byte by byte, for tests of the readers: a growing buffer, and GGUF's pieces on it.
#ifndef VMA_BYTES_H
#define VMA_BYTES_H

#include <stdint.h>

typedef struct Bytes {
  uint8_t *data;
  int64_t size, capacity;
} Bytes;

void bytes_put(Bytes *bytes, const void *data, int64_t size);
void bytes_u8(Bytes *bytes, uint8_t value);
void bytes_u32(Bytes *bytes, uint32_t value);
void bytes_u64(Bytes *bytes, uint64_t value);
void bytes_f32(Bytes *bytes, float value);
void bytes_text(Bytes *bytes, const char *text);            // without its NUL
void bytes_fill(Bytes *bytes, uint8_t value, int64_t size); // size times the same
void bytes_free(Bytes *bytes);

// GGUF: a string with its u64 length; a header; keys with values; the description of a tensor;
// zeros up to a multiple of `alignment`.
void gguf_put_string(Bytes *bytes, const char *text);
void gguf_put_header(Bytes *bytes, uint32_t version, uint64_t n_tensors, uint64_t n_values);
void gguf_put_key_string(Bytes *bytes, const char *key, const char *value);
void gguf_put_key_u32(Bytes *bytes, const char *key, uint32_t value);
void gguf_put_key_u64(Bytes *bytes, const char *key, uint64_t value);
void gguf_put_key_f32(Bytes *bytes, const char *key, float value);
void gguf_put_key_bool(Bytes *bytes, const char *key, uint8_t value);
void gguf_put_key_array(Bytes *bytes, const char *key, uint32_t element_type, uint64_t count);
void gguf_put_tensor(Bytes *bytes, const char *name, uint32_t n_dims, const uint64_t *dims,
                     uint32_t type, uint64_t offset);
void gguf_put_padding(Bytes *bytes, int64_t alignment);

// Tensors of a file: their descriptions, the padding and drawn values (seeded; finite, of magnitude
// about 1). types: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 8 Q8_0, 30 BF16. Alignment 32.
typedef struct GgufPlan {
  const char *name;
  uint32_t n_dims;
  uint64_t dims[4];
  uint32_t type;
} GgufPlan;

void gguf_put_tensors(Bytes *bytes, const GgufPlan *plans, int n, uint32_t seed);

// A pseudo-random number of 32 bits and the next state (a linear congruential generator's upper
// half).
uint32_t bytes_draw(uint64_t *state);

#endif
