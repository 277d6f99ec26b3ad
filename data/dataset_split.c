// Which examples are held out, and in which order an epoch takes the others: draws from Philox
// streams of their own, keyed by the seed, so that neither changes with anything else that is
// drawn.
#include "dataset.h"

#include "check.h"
#include "rng.h"

#include <math.h>
#include <stdlib.h>

enum { PURPOSE_SPLIT = 0x73706c74, PURPOSE_ORDER = 0x6f726472 }; // "splt", "ordr"

static Rng stream(uint64_t seed, uint32_t purpose, int64_t number) {
  Philox p = philox4x32(seed, purpose, (uint32_t)number, (uint32_t)((uint64_t)number >> 32), 0);
  return (Rng){.key = (uint64_t)p.v[0] << 32 | p.v[1]};
}

// Fisher-Yates from the front: afterwards the first k are drawn from all n without replacement.
static void draw_front(int32_t *indices, int64_t k, int64_t n, Rng *rng) {
  for (int64_t i = 0; i < k; i++) {
    int64_t j = i + (int64_t)rng_below(rng, (uint64_t)(n - i));
    int32_t kept = indices[i];
    indices[i] = indices[j];
    indices[j] = kept;
  }
}

Status dataset_split(DatasetSplit *split, const Dataset *dataset, ConfigShare share, uint64_t seed,
                     Error *err) {
  int64_t n = dataset->n, k = share.count;
  *split = (DatasetSplit){0};
  if (share.fraction > 0) k = (int64_t)floor(share.fraction * (double)n + 0.5);
  if (k < 0 || k >= n) {
    return error_set(err, STATUS_USAGE,
                     "data.val_set_size: expected fewer than the %lld examples that there are, "
                     "found %lld: none would be left to train on",
                     (long long)n, (long long)k);
  }
  int32_t *indices = malloc((size_t)n * sizeof *indices);
  bool *is_held = calloc((size_t)n, sizeof *is_held);
  split->train = malloc((size_t)(n - k) * sizeof *split->train);
  split->held_out = malloc((size_t)(k > 0 ? k : 1) * sizeof *split->held_out);
  bool ok = indices != NULL && is_held != NULL && split->train != NULL && split->held_out != NULL;
  if (ok) {
    for (int64_t i = 0; i < n; i++) indices[i] = (int32_t)i;
    Rng rng = stream(seed, PURPOSE_SPLIT, 0);
    draw_front(indices, k, n, &rng);
    for (int64_t i = 0; i < k; i++) is_held[indices[i]] = true;
    for (int64_t i = 0; i < n; i++) {
      if (is_held[i]) {
        split->held_out[split->n_held_out++] = (int32_t)i;
      } else {
        split->train[split->n_train++] = (int32_t)i;
      }
    }
  } else {
    dataset_split_free(split);
  }
  free(indices);
  free(is_held);
  if (ok) return STATUS_OK;
  return error_set(err, STATUS_MEMORY, "no memory to split %lld examples", (long long)n);
}

void dataset_split_free(DatasetSplit *split) {
  free(split->train);
  free(split->held_out);
  *split = (DatasetSplit){0};
}

void dataset_epoch_order(int32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch) {
  CHECK(n >= 0 && n <= INT32_MAX && epoch >= 0, "%lld examples, epoch %lld", (long long)n,
        (long long)epoch);
  for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
  if (!shuffle) return;
  Rng rng = stream(seed, PURPOSE_ORDER, epoch);
  draw_front(order, n, n, &rng);
}
