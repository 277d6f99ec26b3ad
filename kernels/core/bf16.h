// bfloat16 and IEEE half <-> float, one value at a time. The SIMD loops have their own, equal to
// these bit for bit.
#ifndef VMA_BF16_H
#define VMA_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t bf16; // the upper 16 bits of a float

static inline float bf16_to_f32(bf16 h) {
  uint32_t bits = (uint32_t)h << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
static inline bf16 bf16_from_f32(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)((bits >> 16) | 0x40u);
  return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu,
           bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (fraction << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112u) << 23) | (fraction << 13);
  } else if (fraction == 0) {
    bits = sign;
  } else { // subnormal half: a normal float
    int shift = __builtin_clz(fraction) - 21;
    bits = sign | ((uint32_t)(113 - shift) << 23) | ((fraction << (shift + 13)) & 0x7fffffu);
  }
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// Rounds to nearest, ties to even; what is too large becomes infinity, a NaN stays a (quiet) NaN.
static inline uint16_t f16_from_f32(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); // 65520 and above
  if (magnitude < 0x38800000u) { // below 2^-14: a subnormal half, in units of 2^-24
    // 0.5 has a unit in the last place of 2^-24, so this addition rounds to that unit.
    float shifted, magic = 0.5f;
    memcpy(&shifted, &magnitude, sizeof shifted);
    shifted += magic;
    uint32_t sum;
    memcpy(&sum, &shifted, sizeof sum);
    return (uint16_t)(sign | (sum - 0x3f000000u));
  }
  magnitude += 0xfffu + (magnitude >> 13 & 1u);
  return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

#endif
