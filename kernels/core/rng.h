// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3"). The same key and counter give the same bits on every device, in any order;
// nothing is stored.
#ifndef VMA_RNG_H
#define VMA_RNG_H

#include <stdint.h>

typedef struct Philox {
  uint32_t v[4];
} Philox;

static inline Philox philox4x32(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int i = 0; i < 10; i++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return (Philox){{c0, c1, c2, c3}};
}

// A sequential stream over Philox, for host-side draws (shuffles, initial adapters, sampling). Its
// whole state is (key, counter): saving both and setting them again goes on with the same bits.
typedef struct Rng {
  uint64_t key;
  uint64_t counter;
} Rng;

static inline uint64_t rng_u64(Rng *rng) {
  uint64_t n = rng->counter++;
  Philox p = philox4x32(rng->key, (uint32_t)n, (uint32_t)(n >> 32), 0x766d6100u, 0);
  return (uint64_t)p.v[0] << 32 | p.v[1];
}

// Uniform in [0, 1), 53 bits.
static inline double rng_uniform(Rng *rng) {
  return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

// Uniform in [0, n), n > 0, without bias.
static inline uint64_t rng_below(Rng *rng, uint64_t n) {
  uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
  do x = rng_u64(rng);
  while (x >= limit);
  return x % n;
}

// Standard normal (Box-Muller; two uniforms a draw).
double rng_normal(Rng *rng);

#endif
