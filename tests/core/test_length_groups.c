// Grouping by length: the orders that transformers' get_length_grouped_indices makes of the same
// draws, and the padding of their batches (counted there too).
#include "length_groups.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

// Example i has 1 + (31 i^2 + 17 i) mod 97 tokens; the draw is place i -> (i step + 3) mod n.
typedef struct Case {
  int64_t n, batch, step;
  uint64_t hash; // FNV-1a of the indices of the result
  double padding, random_padding;
} Case;

static Dataset make_dataset(int64_t n) {
  Dataset d = {.n = n, .examples = calloc((size_t)n, sizeof(Example))};
  for (int64_t i = 0; i < n; i++) d.examples[i].n = (int32_t)(1 + (i * i * 31 + i * 17) % 97);
  return d;
}

static void orders_are_those_of_transformers(void) {
  static const Case cases[] = {
      {10, 4, 3, 0x9e0b4873bac261ccu, 223.0 / 812, 173.0 / 762},
      {60, 4, 7, 0x6c5fb59a7febc30bu, 708.0 / 3528, 1956.0 / 4776},
      {1001, 2, 10, 0x242f523a37bcd637u, 353.0 / 45605, 14921.0 / 60173},
      {5000, 16, 7, 0xede5fe4fc89622efu, 4613.0 / 229824, 213925.0 / 439136},
      {1, 4, 1, 0xaf63bd4c8601b7dfu, 0, 0},
      {3, 8, 2, 0xea9ca21875dc49e4u, 74.0 / 186, 74.0 / 186},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    const Case *k = &cases[c];
    Dataset d = make_dataset(k->n);
    int32_t *order = malloc((size_t)k->n * sizeof *order);
    for (int64_t i = 0; i < k->n; i++) order[i] = (int32_t)((i * k->step + 3) % k->n);
    double before = length_groups_padding(order, k->n, &d, k->batch);
    EXPECT(fabs(before - k->random_padding) < 1e-12, "case %zu: %.17g", c, before);
    length_groups_make(order, k->n, &d, k->batch);
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < k->n; i++) hash = (hash ^ (uint64_t)order[i]) * 0x100000001b3u;
    EXPECT(hash == k->hash, "case %zu: 0x%016llx, first %d", c, (unsigned long long)hash, order[0]);
    double after = length_groups_padding(order, k->n, &d, k->batch);
    EXPECT(fabs(after - k->padding) < 1e-12, "case %zu: %.17g", c, after);
    free(order);
    free(d.examples);
  }
}

static void nothing(void) {
  Dataset d = {0};
  int32_t none[1] = {7};
  length_groups_make(none, 0, &d, 4);
  EXPECT(none[0] == 7 && length_groups_padding(none, 0, &d, 4) == 0);
}

int main(void) {
  RUN(orders_are_those_of_transformers);
  RUN(nothing);
  return test_done();
}
