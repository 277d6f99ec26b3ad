// The block-quantised formats of ggml, one block at a time. Blocks of 32 elements along a row; d
// and m are IEEE halves, little endian as in the file.
//   Q8_0  {d; int8 q[32]}       x = d * q
//   Q4_0  {d; 16 bytes}         x = d * (q - 8);  element i < 16 is the low nibble of byte i,
//                               element i + 16 its high nibble
//   Q4_1  {d, m; 16 bytes}      x = d * q + m
#ifndef VMA_QUANT_H
#define VMA_QUANT_H

#include "bf16.h"

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

#endif
