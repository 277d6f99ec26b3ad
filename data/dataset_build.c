// Appending examples, and what is counted of them all.
#include "dataset_build.h"

#include <stdlib.h>
#include <string.h>

// Room for `count` more elements of `bytes` each behind the first n.
static Status make_room(void **array, int64_t *room, int64_t n, int64_t count, size_t bytes,
                        Error *err) {
  if (n + count <= *room) return STATUS_OK;
  int64_t want = n + count > *room * 2 ? n + count : *room * 2;
  void *grown = realloc(*array, (size_t)want * bytes);
  if (grown == NULL)
    return error_set(err, STATUS_MEMORY, "no memory for %lld examples", (long long)n);
  *array = grown;
  *room = want;
  return STATUS_OK;
}

Status dataset_add(DatasetBuild *b, const int32_t *tokens, int64_t n, int64_t item, bool cut,
                   Error *err) {
  Status status = STATUS_OK;
  Dataset *d = b->dataset;
  int64_t labels = 0;
  for (int64_t i = 1; i < n; i++) labels += token_is_label(tokens[i]);
  if (labels == 0) {
    d->stats.no_label++;
    return STATUS_OK;
  }
  if (d->n == INT32_MAX) {
    return error_set(err, STATUS_DATA, "expected at most %d examples, found more", INT32_MAX);
  }
  TRY(make_room((void **)&d->examples, &b->room, d->n, 1, sizeof *d->examples, err));
  TRY(make_room((void **)&d->tokens, &b->room_tokens, d->n_tokens, n, sizeof *d->tokens, err));
  memcpy(d->tokens + d->n_tokens, tokens, (size_t)n * sizeof *tokens);
  d->tokens[d->n_tokens] = token_id(tokens[0]); // nothing foretells it
  d->examples[d->n++] = (Example){.first = d->n_tokens,
                                  .n = (int32_t)n,
                                  .n_labels = (int32_t)labels,
                                  .item = (int32_t)item,
                                  .cut = cut};
  d->n_tokens += n;
  d->stats.label_tokens += labels;
done:
  return status;
}

// ---- statistics ----

static int compare_lengths(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

// The smallest length that at least p of 100 examples do not exceed (nearest rank).
static int32_t percentile(const int32_t *sorted, int64_t n, int64_t p) {
  return sorted[(n * p + 99) / 100 - 1];
}

static void count_lengths(Dataset *d, int32_t *lengths) {
  DatasetStats *s = &d->stats;
  for (int64_t i = 0; i < d->n; i++) lengths[i] = d->examples[i].n;
  qsort(lengths, (size_t)d->n, sizeof *lengths, compare_lengths);
  s->examples = d->n;
  s->tokens = d->n_tokens;
  s->shortest = lengths[0];
  s->median = percentile(lengths, d->n, 50);
  s->p90 = percentile(lengths, d->n, 90);
  s->p99 = percentile(lengths, d->n, 99);
  s->longest = lengths[d->n - 1];
}

// FNV-1a over words, its high bits stirred into the low ones that choose a place.
static uint64_t hash_tokens(const int32_t *tokens, int32_t n) {
  uint64_t h = 0xCBF29CE484222325u;
  for (int32_t i = 0; i < n; i++) h = (h ^ (uint32_t)tokens[i]) * 0x100000001B3u;
  h ^= h >> 32;
  return h * 0x9E3779B97F4A7C15u;
}

static bool same_tokens(const Dataset *d, const Example *a, const Example *b) {
  return a->n == b->n &&
         memcmp(d->tokens + a->first, d->tokens + b->first, (size_t)a->n * sizeof *d->tokens) == 0;
}

// `places` [1 << bits] are free: -1. Each example goes to the first free place from its hash on,
// unless one with its tokens is met before.
static void count_duplicates(Dataset *d, int32_t *places, int bits) {
  uint64_t mask = ((uint64_t)1 << bits) - 1;
  for (int64_t i = 0; i < d->n; i++) {
    const Example *e = &d->examples[i];
    uint64_t at = hash_tokens(d->tokens + e->first, e->n) >> (64 - bits);
    while (places[at] >= 0 && !same_tokens(d, &d->examples[places[at]], e)) at = (at + 1) & mask;
    if (places[at] >= 0) {
      d->stats.duplicates++;
    } else {
      places[at] = (int32_t)i;
    }
  }
}

Status dataset_count(Dataset *d, Error *err) {
  int bits = 4;
  while (((int64_t)1 << bits) < 2 * d->n) bits++;
  int64_t n = (int64_t)1 << bits; // more than the lengths need
  int32_t *room = malloc((size_t)n * sizeof *room);
  if (room == NULL) {
    return error_set(err, STATUS_MEMORY, "no memory to count %lld examples", (long long)d->n);
  }
  count_lengths(d, room);
  memset(room, 0xFF, (size_t)n * sizeof *room);
  count_duplicates(d, room, bits);
  free(room);
  return STATUS_OK;
}
