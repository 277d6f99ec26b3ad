// Which examples are held out, and which of the others an epoch takes, in which order: draws from
// Philox streams of their own, keyed by the seed, so that neither changes with anything else that
// is drawn.
#include "dataset.h"

#include "check.h"
#include "rng.h"

#include <math.h>
#include <stdlib.h>

// "splt", "ordr", "prt\0" + the file's number
enum { PURPOSE_SPLIT = 0x73706c74, PURPOSE_ORDER = 0x6f726472, PURPOSE_PART = 0x70727400 };

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

// ---- epochs ----

// The file's part of the training examples: split->train[*begin, *end).
static void train_range(const DatasetSplit *split, const DatasetFile *file, int64_t *begin,
                        int64_t *end) {
  while (*begin < split->n_train && split->train[*begin] < file->first) ++*begin;
  *end = *begin;
  while (*end < split->n_train && split->train[*end] < file->first + file->examples) ++*end;
}

// How often all n examples are taken, and how many of them once more.
static void copies(double weight, int64_t n, int64_t *whole, int64_t *part) {
  *whole = (int64_t)floor(weight);
  *part = (int64_t)floor((weight - floor(weight)) * (double)n + 0.5);
}

Status dataset_epoch_size(int64_t *size, const DatasetSplit *split, const Dataset *dataset,
                          const ConfigReals *weights, Error *err) {
  *size = split->n_train;
  if (weights->n == 0) return STATUS_OK;
  if (weights->n != dataset->n_files) {
    return error_set(err, STATUS_USAGE,
                     "data.weights: expected one number for each of the %lld files of data.path, "
                     "found %d",
                     (long long)dataset->n_files, weights->n);
  }
  *size = 0;
  for (int64_t f = 0, begin = 0, end; f < dataset->n_files; f++, begin = end) {
    int64_t whole, part;
    train_range(split, &dataset->files[f], &begin, &end);
    copies(weights->values[f], end - begin, &whole, &part);
    *size += whole * (end - begin) + part;
  }
  if (*size >= 1 && *size <= INT32_MAX) return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "data.weights: expected 1 to %d examples an epoch, found %lld: %s the weights",
                   INT32_MAX, (long long)*size, *size < 1 ? "raise" : "lower");
}

// Appends `part` of the n examples, drawn, in their order.
static int64_t add_part(int32_t *examples, const int32_t *from, int64_t n, int64_t part, Rng rng) {
  if (part == 0) return 0;
  int32_t *indices = malloc((size_t)n * sizeof *indices);
  bool *taken = calloc((size_t)n, sizeof *taken);
  CHECK(indices != NULL && taken != NULL, "no memory to draw from %lld examples", (long long)n);
  for (int64_t i = 0; i < n; i++) indices[i] = (int32_t)i;
  draw_front(indices, part, n, &rng);
  for (int64_t i = 0; i < part; i++) taken[indices[i]] = true;
  for (int64_t i = 0; i < n; i++) {
    if (taken[i]) *examples++ = from[i];
  }
  free(indices);
  free(taken);
  return part;
}

void dataset_epoch_order(int32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch) {
  CHECK(n >= 0 && n <= INT32_MAX && epoch >= 0, "%lld examples, epoch %lld", (long long)n,
        (long long)epoch);
  for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
  if (!shuffle) return;
  Rng rng = stream(seed, PURPOSE_ORDER, epoch);
  draw_front(order, n, n, &rng);
}

void dataset_epoch(int32_t *examples, const DatasetSplit *split, const Dataset *dataset,
                   const ConfigReals *weights, bool shuffle, uint64_t seed, int64_t epoch) {
  CHECK(epoch >= 0, "epoch %lld", (long long)epoch);
  int64_t n = 0;
  if (weights->n == 0) {
    for (; n < split->n_train; n++) examples[n] = split->train[n];
  }
  for (int64_t f = 0, begin = 0, end; f < weights->n; f++, begin = end) {
    int64_t whole, part;
    train_range(split, &dataset->files[f], &begin, &end);
    copies(weights->values[f], end - begin, &whole, &part);
    for (int64_t k = 0; k < whole; k++) {
      for (int64_t i = begin; i < end; i++) examples[n++] = split->train[i];
    }
    n += add_part(examples + n, split->train + begin, end - begin, part,
                  stream(seed, PURPOSE_PART + (uint32_t)f, epoch));
  }
  if (!shuffle) return;
  Rng rng = stream(seed, PURPOSE_ORDER, epoch); // as dataset_epoch_order
  draw_front(examples, n, n, &rng);
}
