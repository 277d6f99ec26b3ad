// Philox4x32-10 against the known answers of its authors (Random123, kat_vectors), and the stream
// over it.
#include "rng.h"
#include "test.h"

#include <math.h>

static void known_answers(void) {
  static const struct {
    uint32_t counter[4], key[2], answer[4];
  } rows[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (int i = 0; i < 3; i++) {
    const uint32_t *c = rows[i].counter;
    uint64_t key = (uint64_t)rows[i].key[1] << 32 | rows[i].key[0];
    Philox p = philox4x32(key, c[0], c[1], c[2], c[3]);
    for (int k = 0; k < 4; k++) {
      EXPECT(p.v[k] == rows[i].answer[k], "vector %d word %d is %08x", i, k, p.v[k]);
    }
  }
}

static void a_stream_goes_on_from_its_state(void) {
  Rng a = {.key = 42}, b;
  uint64_t seen[8];
  for (int i = 0; i < 4; i++) seen[i] = rng_u64(&a);
  b = a;
  for (int i = 4; i < 8; i++) {
    seen[i] = rng_u64(&a);
    EXPECT(rng_u64(&b) == seen[i], "draw %d", i);
  }
  for (int i = 0; i < 8; i++) {
    for (int k = 0; k < i; k++) EXPECT(seen[i] != seen[k], "draws %d and %d are equal", k, i);
  }
  Rng high = {.key = 42, .counter = UINT64_C(1) << 32}, low = {.key = 42};
  EXPECT(rng_u64(&high) != rng_u64(&low), "the counter's upper half is not used");
}

static void moments(void) {
  enum { N = 100000 };
  Rng rng = {.key = 1};
  double sum = 0, squares = 0, normal = 0, normal_squares = 0;
  for (int i = 0; i < N; i++) {
    double u = rng_uniform(&rng), x = rng_normal(&rng);
    EXPECT(u >= 0 && u < 1 && isfinite(x));
    sum += u, squares += u * u, normal += x, normal_squares += x * x;
  }
  // Five standard deviations of the mean of N draws.
  EXPECT(fabs(sum / N - 0.5) < 5 * 0.289 / sqrt(N), "mean %g", sum / N);
  EXPECT(fabs(squares / N - 1 / 3.0) < 5 * 0.3 / sqrt(N), "square %g", squares / N);
  EXPECT(fabs(normal / N) < 5 / sqrt(N), "mean %g", normal / N);
  EXPECT(fabs(normal_squares / N - 1) < 5 * sqrt(2.0 / N), "variance %g", normal_squares / N);
}

static void below_is_even(void) {
  enum { N = 60000, K = 6 };
  Rng rng = {.key = 2};
  int counts[K] = {0};
  for (int i = 0; i < N; i++) {
    uint64_t x = rng_below(&rng, K);
    EXPECT(x < K);
    counts[x]++;
  }
  for (int k = 0; k < K; k++) EXPECT(abs(counts[k] - N / K) < 500, "%d: %d times", k, counts[k]);
  EXPECT(rng_below(&rng, 1) == 0);
  // 2^63 + 1: nearly half of all draws must be drawn again, else small values come twice as often.
  int small = 0;
  for (int i = 0; i < 1000; i++)
    small += rng_below(&rng, (UINT64_C(1) << 63) + 1) < UINT64_C(1) << 62;
  EXPECT(small > 420 && small < 580, "%d of 1000 in the lower half", small);
}

int main(void) {
  RUN(known_answers);
  RUN(a_stream_goes_on_from_its_state);
  RUN(moments);
  RUN(below_is_even);
  return test_done();
}
