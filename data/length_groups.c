#include "length_groups.h"

#include "check.h"

#include <stdlib.h>

enum { RUN_BATCHES = 50, RUNS_LEAST = 4 };

// An example with its place before the sort, which decides between equal lengths.
typedef struct Placed {
  int32_t length, place, example;
} Placed;

static int longest_first(const void *a, const void *b) {
  const Placed *x = a, *y = b;
  if (x->length != y->length) return x->length < y->length ? 1 : -1;
  return x->place < y->place ? -1 : 1;
}

static int64_t run_size(int64_t n, int64_t batch) {
  int64_t batches = n / (batch * RUNS_LEAST);
  if (batches > RUN_BATCHES) batches = RUN_BATCHES;
  return (batches > 0 ? batches : 1) * batch;
}

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

void length_groups_make(int32_t *order, int64_t n, const Dataset *dataset, int64_t batch) {
  int64_t size = run_size(n, batch), longest = 0;
  Placed *placed = malloc((size_t)smaller(size, n) * sizeof *placed + 1);
  CHECK(placed != NULL, "no memory to sort %lld examples", (long long)smaller(size, n));
  for (int64_t first = 0; first < n; first += size) {
    int64_t count = smaller(size, n - first);
    for (int64_t i = 0; i < count; i++) {
      int32_t example = order[first + i];
      placed[i] = (Placed){dataset->examples[example].n, (int32_t)i, example};
    }
    qsort(placed, (size_t)count, sizeof *placed, longest_first);
    for (int64_t i = 0; i < count; i++) order[first + i] = placed[i].example;
    const Example *examples = dataset->examples;
    if (examples[order[first]].n > examples[order[longest]].n) longest = first;
  }
  free(placed);
  if (n == 0) return;
  int32_t kept = order[0];
  order[0] = order[longest];
  order[longest] = kept;
}

double length_groups_padding(const int32_t *order, int64_t n, const Dataset *dataset,
                             int64_t batch) {
  int64_t tokens = 0, padded = 0;
  for (int64_t first = 0; first < n; first += batch) {
    int64_t count = smaller(batch, n - first), longest = 0;
    for (int64_t i = 0; i < count; i++) {
      int64_t length = dataset->examples[order[first + i]].n;
      tokens += length;
      if (length > longest) longest = length;
    }
    padded += longest * count;
  }
  return padded > 0 ? (double)(padded - tokens) / (double)padded : 0;
}
