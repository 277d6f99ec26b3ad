#include "sha256.h"

#include "check.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAS_SHA_PATH 1
#endif

static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t rotate(uint32_t x, int n) {
  return x >> n | x << (32 - n);
}

// One round: the new d and h; the caller renames instead of moving the rest.
static inline void step(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f,
                        uint32_t g, uint32_t *h, uint32_t k) {
  uint32_t t = *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k;
  *d += t;
  *h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
}

static void add_blocks_plain(uint32_t state[8], const uint8_t *data, int64_t blocks) {
  for (; blocks > 0; blocks--, data += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
      uint32_t word;
      memcpy(&word, data + 4 * i, sizeof word);
      w[i] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(word) : word;
    }
    for (int i = 16; i < 64; i++) {
      uint32_t x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] +
             (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5],
             g = state[6], h = state[7];
    for (int i = 0; i < 64; i += 8) { // eight rounds, so that no value moves between variables
      step(a, b, c, &d, e, f, g, &h, constants[i] + w[i]);
      step(h, a, b, &c, d, e, f, &g, constants[i + 1] + w[i + 1]);
      step(g, h, a, &b, c, d, e, &f, constants[i + 2] + w[i + 2]);
      step(f, g, h, &a, b, c, d, &e, constants[i + 3] + w[i + 3]);
      step(e, f, g, &h, a, b, c, &d, constants[i + 4] + w[i + 4]);
      step(d, e, f, &g, h, a, b, &c, constants[i + 5] + w[i + 5]);
      step(c, d, e, &f, g, h, a, &b, constants[i + 6] + w[i + 6]);
      step(b, c, d, &e, f, g, h, &a, constants[i + 7] + w[i + 7]);
    }
    const uint32_t after[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += after[i];
  }
}

#ifdef HAS_SHA_PATH
// The instructions keep the state as two registers, {A,B,E,F} and {C,D,G,H}, and do two rounds each
// (Intel, "New instructions supporting the Secure Hash Algorithm", 2013).
__attribute__((target("sha,sse4.1"))) static void
add_blocks_sha(uint32_t state[8], const uint8_t *data, int64_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i low = _mm_loadu_si128((const __m128i *)state);        // D C B A
  __m128i high = _mm_loadu_si128((const __m128i *)(state + 4)); // H G F E
  low = _mm_shuffle_epi32(low, 0xB1);                           // C D A B
  high = _mm_shuffle_epi32(high, 0x1B);                         // E F G H
  __m128i abef = _mm_alignr_epi8(low, high, 8);
  __m128i cdgh = _mm_blend_epi16(high, low, 0xF0);
  for (; blocks > 0; blocks--, data += 64) {
    __m128i abef_before = abef, cdgh_before = cdgh, w[4];
    for (int i = 0; i < 4; i++) {
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
    }
    for (int i = 0; i < 16; i++) { // four rounds each
      __m128i *now = &w[i & 3];
      if (i >= 4) {
        __m128i last = w[(i + 3) & 3];
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) & 3]),
                                    _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
        *now = _mm_sha256msg2_epu32(sum, last);
      }
      __m128i k = _mm_add_epi32(*now, _mm_load_si128((const __m128i *)(constants + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  low = _mm_shuffle_epi32(abef, 0x1B);  // F E B A
  high = _mm_shuffle_epi32(cdgh, 0xB1); // D C H G
  _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xF0));
  _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

static bool cpu_has_sha(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}
#else
static void add_blocks_sha(uint32_t state[8], const uint8_t *data, int64_t blocks) {
  add_blocks_plain(state, data, blocks);
}

static bool cpu_has_sha(void) {
  return false;
}
#endif

// 0: not asked yet, 1: plain, 2: instructions. Threads that ask at once find the same answer.
static _Atomic int path;

bool sha256_use_instructions(bool on) {
  path = on && cpu_has_sha() ? 2 : 1;
  return path == 2;
}

static void add_blocks(uint32_t state[8], const uint8_t *data, int64_t blocks) {
  if (path == 0) sha256_use_instructions(true);
  if (path == 2) {
    add_blocks_sha(state, data, blocks);
  } else {
    add_blocks_plain(state, data, blocks);
  }
}

void sha256_init(Sha256 *sha) {
  *sha = (Sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                            0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(Sha256 *sha, const void *data, int64_t bytes) {
  CHECK(bytes >= 0, "%lld", (long long)bytes);
  if (bytes == 0) return; // data may be NULL then, which memcpy must not be given
  const uint8_t *from = data;
  int64_t used = (int64_t)(sha->bytes % 64);
  sha->bytes += (uint64_t)bytes;
  if (used > 0) {
    int64_t take = bytes < 64 - used ? bytes : 64 - used;
    memcpy(sha->block + used, from, (size_t)take);
    from += take;
    bytes -= take;
    if (used + take < 64) return;
    add_blocks(sha->state, sha->block, 1);
  }
  add_blocks(sha->state, from, bytes / 64);
  if (bytes % 64 > 0) memcpy(sha->block, from + bytes / 64 * 64, (size_t)(bytes % 64));
}

void sha256_finish(Sha256 *sha, uint8_t digest[SHA256_BYTES]) {
  static const uint8_t padding[64] = {0x80};
  uint64_t bits = 8 * sha->bytes;
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  int64_t used = (int64_t)(sha->bytes % 64);
  sha256_add(sha, padding, used < 56 ? 56 - used : 120 - used);
  sha256_add(sha, length, 8);
  for (int i = 0; i < SHA256_BYTES; i++) {
    digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
  }
}

void sha256_to_hex(const uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < SHA256_BYTES; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  hex[2 * SHA256_BYTES] = '\0';
}
