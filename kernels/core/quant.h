// The block-quantised formats of ggml, one block at a time. Blocks of 32 elements along a row; d
// and m are IEEE halves, little endian as in the file.
//   Q8_0  {d; int8 q[32]}       x = d * q
//   Q4_0  {d; 16 bytes}         x = d * (q - 8);  element i < 16 is the low nibble of byte i,
//                               element i + 16 its high nibble
//   Q4_1  {d, m; 16 bytes}      x = d * q + m
// The K formats have super-blocks of 256 elements, in 8 parts of 32 (p below):
//   Q4_K  {d, m; 12 bytes of 8 pairs of 6-bit (scale, min); 128 bytes q}
//         x = (d * scale) * q - m * min;  part p is the low (p even) or high nibbles of bytes
//         32 (p / 2) .. + 31
//   Q6_K  {128 bytes low; 64 bytes high; int8 scale[16]; d}   x = (d * scale) * (q - 32)
//         with half h = p / 4 and k = p % 4, element i of a part has 4 low bits in a nibble of
//         low[64 h + 32 (k % 2) + i] (k < 2: the low one), 2 high bits at 2 k of high[32 h + i],
//         and scale[8 h + 2 k + i / 16]
#ifndef VMA_QUANT_H
#define VMA_QUANT_H

#include "bf16.h"
#include "tensor.h"

enum { QUANT_BLOCK = 32 };

static inline float quant_half(const uint8_t *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
  return f16_to_f32(h);
}

static inline void q8_0_block(float x[QUANT_BLOCK], const uint8_t *block) {
  float d = quant_half(block);
  for (int i = 0; i < 32; i++) x[i] = d * (float)(int8_t)block[2 + i];
}

static inline void q4_0_block(float x[QUANT_BLOCK], const uint8_t *block) {
  float d = quant_half(block);
  for (int i = 0; i < 16; i++) {
    x[i] = d * (float)((block[2 + i] & 15) - 8);
    x[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
  }
}

static inline void q4_1_block(float x[QUANT_BLOCK], const uint8_t *block) {
  float d = quant_half(block), m = quant_half(block + 2);
  for (int i = 0; i < 16; i++) {
    x[i] = d * (float)(block[4 + i] & 15) + m;
    x[i + 16] = d * (float)(block[4 + i] >> 4) + m;
  }
}

static inline void q4_k_part(float x[QUANT_BLOCK], const uint8_t *block, int part) {
  const uint8_t *packed = block + 4, *q = block + 16 + part / 2 * 32;
  int scale, least;
  if (part < 4) {
    scale = packed[part] & 63;
    least = packed[part + 4] & 63;
  } else { // the upper two bits stand above those of the first four
    scale = (packed[part + 4] & 15) | packed[part - 4] >> 6 << 4;
    least = packed[part + 4] >> 4 | packed[part] >> 6 << 4;
  }
  float d = quant_half(block) * (float)scale, m = quant_half(block + 2) * (float)least;
  for (int i = 0; i < 32; i++) x[i] = d * (float)(q[i] >> part % 2 * 4 & 15) - m;
}

static inline void q6_k_part(float x[QUANT_BLOCK], const uint8_t *block, int part) {
  int h = part / 4, k = part % 4;
  const uint8_t *low = block + 64 * h + 32 * (k % 2), *high = block + 128 + 32 * h,
                *scale = block + 192 + 8 * h + 2 * k;
  float d = quant_half(block + 208);
  for (int i = 0; i < 32; i++) {
    int q = (low[i] >> (k < 2 ? 0 : 4) & 15) | (high[i] >> 2 * k & 3) << 4;
    x[i] = d * (float)(int8_t)scale[i / 16] * (float)(q - 32);
  }
}

// The 32 elements of a row of any of these formats that begin at column c, a multiple of 32.
static inline void quant_expand(float x[QUANT_BLOCK], DType dtype, const uint8_t *row, int64_t c) {
  int64_t b = c / 32, super = c / 256;
  int part = (int)(b % 8);
  switch (dtype) {
  case DT_Q8_0:
    q8_0_block(x, row + b * 34);
    break;
  case DT_Q4_0:
    q4_0_block(x, row + b * 18);
    break;
  case DT_Q4_1:
    q4_1_block(x, row + b * 20);
    break;
  case DT_Q4_K:
    q4_k_part(x, row + super * 144, part);
    break;
  default:
    q6_k_part(x, row + super * 210, part);
  }
}

#endif
