// The block-quantised formats against a second decoder, written element by element from ggml's
// description of the bits.
#include "quant.h"
#include "rng.h"
#include "test.h"

// Bits [first, first + n) of a little-endian string of bits.
static int bits_of(const uint8_t *p, int first, int n) {
  int value = 0;
  for (int i = 0; i < n; i++) value |= (p[(first + i) / 8] >> (first + i) % 8 & 1) << i;
  return value;
}

static double half_at(const uint8_t *p) {
  return (double)f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

// Element i of a super-block: 8 scales of 6 bits and 8 minima. The first four of each lie in the
// low 6 bits of bytes 0..3 and 4..7; of the others the low 4 bits are the nibbles of bytes 8..11
// and the high 2 bits the top bits of bytes 0..3 (scales) and 4..7 (minima).
static double q4_k_element(const uint8_t *block, int i) {
  const uint8_t *s = block + 4;
  int j = i / 32, scale, least;
  if (j < 4) {
    scale = bits_of(s + j, 0, 6);
    least = bits_of(s + 4 + j, 0, 6);
  } else {
    scale = bits_of(s + 4 + j, 0, 4) + 16 * bits_of(s + j - 4, 6, 2);
    least = bits_of(s + 4 + j, 4, 4) + 16 * bits_of(s + j, 6, 2);
  }
  int q = bits_of(block + 16 + 32 * (i / 64) + i % 32, i % 64 < 32 ? 0 : 4, 4);
  return half_at(block) * scale * q - half_at(block + 2) * least;
}

static double q6_k_element(const uint8_t *block, int i) {
  int half = i / 128, within = i % 128;
  int low = bits_of(block + 64 * half + within % 64, within < 64 ? 0 : 4, 4);
  int high = bits_of(block + 128 + 32 * half + within % 32, within / 32 * 2, 2);
  return half_at(block + 208) * (int8_t)block[192 + i / 16] * (low + 16 * high - 32);
}

static void k_formats(void) {
  Rng rng = {.key = 5};
  for (int n = 0; n < 200; n++) {
    uint8_t blocks[2 * 210];
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)rng_below(&rng, 256);
    for (int b = 0; b < 2; b++) { // halves of moderate size
      blocks[144 * b + 1] = (uint8_t)(0x20 + n % 16);
      blocks[144 * b + 3] = (uint8_t)(0xa0 + n % 13);
    }
    for (int c = 0; c < 512; c += 32) {
      float x[QUANT_BLOCK];
      quant_expand(x, DT_Q4_K, blocks, c);
      for (int i = 0; i < 32; i++) {
        double want = q4_k_element(blocks + 144 * ((c + i) / 256), (c + i) % 256);
        double error = (double)x[i] - want; // three roundings to f32
        EXPECT(error <= 2e-4 && error >= -2e-4, "q4_k element %d: %g, expected %g", c + i,
               (double)x[i], want);
      }
    }
    for (int b = 0; b < 2; b++) blocks[210 * b + 209] = (uint8_t)(0x20 + n % 16);
    for (int c = 0; c < 512; c += 32) {
      float x[QUANT_BLOCK];
      quant_expand(x, DT_Q6_K, blocks, c);
      for (int i = 0; i < 32; i++) {
        double want = q6_k_element(blocks + 210 * ((c + i) / 256), (c + i) % 256);
        double error = (double)x[i] - want;
        EXPECT(error <= 2e-4 && error >= -2e-4, "q6_k element %d: %g, expected %g", c + i,
               (double)x[i], want);
      }
    }
  }
}

int main(void) {
  RUN(k_formats);
  return test_done();
}
