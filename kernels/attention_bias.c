// The relative-position buckets of T5 (Raffel et al. 2020), as transformers computes them for a
// decoder.
#include "backend.h"

#include <math.h>

int64_t attention_bias_bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
  int64_t exact = buckets / 2, n = distance > 0 ? distance : 0;
  if (n < exact) return n;
  // In f32, operation by operation as the reference: the floor sits on exact borders (16 at
  // distance 16), where another rounding would choose the neighbour.
  float ratio = logf((float)n / (float)exact);
  float scaled =
      ratio / (float)log((double)max_distance / (double)exact) * (float)(buckets - exact);
  int64_t large = exact + (int64_t)scaled;
  return large < buckets - 1 ? large : buckets - 1;
}
