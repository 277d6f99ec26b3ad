#include "rng.h"

#include <math.h>

double rng_normal(Rng *rng) {
  double u = 1.0 - rng_uniform(rng), v = rng_uniform(rng); // u in (0, 1]: its logarithm is finite
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
