// labels: quick
// Splits, epoch orders and packed batches, on a data set made by hand: no tokenizer is needed.
#include "dataset.h"
#include "rng.h"
#include "test.h"

#include <stdbool.h>

// Examples of the given lengths and label starts; ids count up from 100 over all of them.
static Dataset make_dataset(const int32_t *lengths, const int32_t *label_starts, int64_t n) {
  Dataset d = {.n = n, .examples = calloc((size_t)n, sizeof(Example))};
  for (int64_t i = 0; i < n; i++) {
    d.examples[i] = (Example){.first = d.n_tokens, .n = lengths[i], .item = (int32_t)i};
    d.n_tokens += lengths[i];
  }
  d.tokens = malloc((size_t)d.n_tokens * sizeof *d.tokens);
  for (int64_t i = 0; i < d.n_tokens; i++) d.tokens[i] = 100 + (int32_t)i;
  for (int64_t i = 0; i < n; i++) dataset_mark(&d, i, label_starts[i]);
  return d;
}

static void free_made(Dataset *d) {
  free(d->tokens);
  free(d->examples);
}

static void test_runs(void) {
  static const struct {
    int32_t lengths[8];
    int64_t n, micro_tokens, runs, ends[8];
  } cases[] = {
      {{5}, 1, 10, 1, {1}},
      {{5, 5, 5, 5}, 4, 10, 2, {2, 4}},
      {{5, 5, 1, 5}, 4, 10, 2, {2, 4}},
      {{5, 6, 4, 1}, 4, 10, 3, {1, 3, 4}},
      {{30, 1, 30, 2, 3}, 5, 10, 4, {1, 2, 3, 5}}, // a longer sequence is a run by itself
      {{1, 1, 1}, 3, 1, 3, {1, 2, 3}},
      {{3, 3, 3}, 3, 100, 1, {3}},
      {{0}, 0, 10, 0, {0}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t ends[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    int64_t runs = pack_runs(ends, cases[i].lengths, cases[i].n, cases[i].micro_tokens);
    EXPECT(runs == cases[i].runs, "%zu: %lld", i, (long long)runs);
    for (int64_t r = 0; r < cases[i].runs; r++) {
      EXPECT(ends[r] == cases[i].ends[r], "%zu: run %lld ends at %lld", i, (long long)r,
             (long long)ends[r]);
    }
  }
}

static void test_runs_drawn(void) {
  Rng rng = {.key = 5};
  for (int round = 0; round < 200; round++) {
    int32_t lengths[40];
    int64_t ends[40], n = 1 + (int64_t)rng_below(&rng, 40),
                      budget = 1 + (int64_t)rng_below(&rng, 60);
    for (int64_t i = 0; i < n; i++) lengths[i] = 1 + (int32_t)rng_below(&rng, 30);
    int64_t runs = pack_runs(ends, lengths, n, budget), first = 0;
    for (int64_t r = 0; r < runs; r++) {
      int64_t tokens = 0;
      EXPECT(ends[r] > first);
      for (int64_t i = first; i < ends[r]; i++) tokens += lengths[i];
      EXPECT(tokens <= budget || ends[r] == first + 1);
      // No run could have taken one more.
      EXPECT(ends[r] == n || tokens + lengths[ends[r]] > budget);
      first = ends[r];
    }
    EXPECT(first == n);
  }
}

static void expect_ints(const int32_t *found, const int32_t *expected, int64_t n,
                        const char *what) {
  for (int64_t i = 0; i < n; i++) {
    EXPECT(found[i] == expected[i], "%s[%lld]: %d, expected %d", what, (long long)i, found[i],
           expected[i]);
  }
}

static void test_batch(void) {
  // Prompt masked; one token; trained whole; a prompt of one token; the last token alone.
  static const int32_t lengths[] = {5, 1, 3, 3, 4}, starts[] = {3, 0, 0, 1, 3};
  Dataset d = make_dataset(lengths, starts, 5);
  PackedBatch p;
  packed_batch_init(&p, 16, 5);
  EXPECT(p.batch.tokens.n_seqs == 0 && p.batch.tokens.n_rows == 0 && p.batch.n_labels == 0);
  EXPECT(p.batch.tokens.cu_seqlens[0] == 0 && p.batch.adapters == NULL);
  for (int32_t i = 0; i < 5; i++) packed_batch_add(&p, &d, i, 40 + i);
  const Batch *b = &p.batch;
  EXPECT(b->tokens.n_seqs == 5 && b->tokens.n_rows == 16 && b->n_labels == 2 + 0 + 2 + 2 + 1);
  expect_ints(b->tokens.cu_seqlens, (int32_t[]){0, 5, 6, 9, 12, 16}, 6, "cu_seqlens");
  expect_ints(b->tokens.positions, (int32_t[]){0, 1, 2, 3, 4, 0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 3}, 16,
              "positions");
  for (int32_t r = 0; r < 16; r++) EXPECT(b->tokens.ids[r] == 100 + r);
  // Row r trains on ids[r+1]: the shift stays within a sequence.
  expect_ints(b->label_rows, (int32_t[]){2, 3, 6, 7, 9, 10, 14}, 7, "label_rows");
  expect_ints(b->label_ids, (int32_t[]){103, 104, 107, 108, 110, 111, 115}, 7, "label_ids");
  expect_ints(b->global_index, (int32_t[]){40, 41, 42, 43, 44}, 5, "global_index");

  packed_batch_clear(&p); // and again, another choice in another order
  packed_batch_add(&p, &d, 4, 7);
  packed_batch_add(&p, &d, 0, 3);
  EXPECT(b->tokens.n_seqs == 2 && b->tokens.n_rows == 9 && b->n_labels == 3);
  expect_ints(b->tokens.cu_seqlens, (int32_t[]){0, 4, 9}, 3, "cu_seqlens");
  expect_ints(b->tokens.positions, (int32_t[]){0, 1, 2, 3, 0, 1, 2, 3, 4}, 9, "positions");
  expect_ints(b->tokens.ids, (int32_t[]){112, 113, 114, 115, 100, 101, 102, 103, 104}, 9, "ids");
  expect_ints(b->label_rows, (int32_t[]){2, 6, 7}, 3, "label_rows");
  expect_ints(b->label_ids, (int32_t[]){115, 103, 104}, 3, "label_ids");
  expect_ints(b->global_index, (int32_t[]){7, 3}, 2, "global_index");

  d.tokens[1] |= TOKEN_LABEL; // labels 1, 3 and 4 of five tokens: not those of an answer at the end
  d.tokens[11] &= ~TOKEN_LABEL;
  packed_batch_clear(&p);
  packed_batch_add(&p, &d, 0, 0);
  packed_batch_add(&p, &d, 3, 1);
  expect_ints(b->tokens.ids, (int32_t[]){100, 101, 102, 103, 104, 109, 110, 111}, 8, "ids");
  expect_ints(b->label_rows, (int32_t[]){0, 2, 3, 5}, 4, "label_rows");
  expect_ints(b->label_ids, (int32_t[]){101, 103, 104, 110}, 4, "label_ids");
  EXPECT(b->n_labels == 4);
  packed_batch_free(&p);
  free_made(&d);
}

static Dataset numbered(int64_t n) {
  int32_t *ones = malloc((size_t)n * sizeof *ones);
  for (int64_t i = 0; i < n; i++) ones[i] = 1;
  Dataset d = make_dataset(ones, ones, n);
  free(ones);
  return d;
}

static void test_split(void) {
  static const struct {
    int64_t n;
    ConfigShare share;
    int64_t held_out;
  } cases[] = {
      {10, {0}, 0},
      {10, {.count = 3}, 3},
      {10, {.count = 9}, 9},
      {1, {0}, 0},
      {284, {.fraction = 0.05}, 14},
      {10, {.fraction = 0.25}, 3},
      {3, {.fraction = 0.1}, 0},
      {1000, {.fraction = 0.999}, 999},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Dataset d = numbered(cases[i].n);
    DatasetSplit s, again;
    Error err = {0};
    EXPECT(dataset_split(&s, &d, cases[i].share, 7, &err) == STATUS_OK, "%s", err.message);
    EXPECT(s.n_held_out == cases[i].held_out && s.n_train == cases[i].n - cases[i].held_out);
    int64_t t = 0, h = 0; // together all examples once, each part ascending
    for (int32_t x = 0; x < cases[i].n; x++) {
      if (t < s.n_train && s.train[t] == x) {
        t++;
      } else {
        EXPECT(h < s.n_held_out && s.held_out[h] == x, "%zu: %d is nowhere", i, x);
        h++;
      }
    }
    EXPECT(dataset_split(&again, &d, cases[i].share, 7, &err) == STATUS_OK);
    EXPECT(memcmp(s.train, again.train, (size_t)s.n_train * sizeof *s.train) == 0);
    dataset_split_free(&s);
    dataset_split_free(&again);
    free_made(&d);
  }
}

static void test_split_refused(void) {
  static const ConfigShare shares[] = {{.count = 10}, {.count = 11}, {.fraction = 0.97}};
  Dataset d = numbered(10);
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
    DatasetSplit s;
    Error err = {0};
    EXPECT(dataset_split(&s, &d, shares[i], 7, &err) == STATUS_USAGE);
    EXPECT(strstr(err.message, "data.val_set_size: expected fewer than the 10 examples") != NULL,
           "%s", err.message);
    EXPECT(s.train == NULL && s.held_out == NULL);
  }
  free_made(&d);
}

// Over many seeds each example is held out about as often as any other, and orders are even: a
// count of `draws` tries with probability p stays within 5 standard deviations.
static bool is_even(int count, int draws, double p) {
  double d = count - draws * p;
  return d * d <= 25 * draws * p * (1 - p);
}

static void test_draws_are_even(void) {
  enum { N = 7, HELD = 2, DRAWS = 2000 };
  Dataset d = numbered(N);
  int held[N] = {0}, places[N][N] = {{0}}, changed = 0;
  for (int seed = 0; seed < DRAWS; seed++) {
    DatasetSplit s;
    Error err = {0};
    EXPECT(dataset_split(&s, &d, (ConfigShare){.count = HELD}, (uint64_t)seed, &err) == STATUS_OK);
    for (int i = 0; i < HELD; i++) held[s.held_out[i]]++;
    dataset_split_free(&s);
    int32_t order[N], next[N];
    bool seen[N] = {false};
    dataset_epoch_order(order, N, true, (uint64_t)seed, 3);
    dataset_epoch_order(next, N, true, (uint64_t)seed, 4);
    for (int i = 0; i < N; i++) {
      EXPECT(order[i] >= 0 && order[i] < N && !seen[order[i]]);
      seen[order[i]] = true;
      places[i][order[i]]++;
    }
    changed += memcmp(order, next, sizeof order) != 0;
  }
  for (int i = 0; i < N; i++) {
    EXPECT(is_even(held[i], DRAWS, (double)HELD / N), "%d: %d", i, held[i]);
    for (int j = 0; j < N; j++) {
      EXPECT(is_even(places[i][j], DRAWS, 1.0 / N), "%d at %d: %d", j, i, places[i][j]);
    }
  }
  EXPECT(changed > DRAWS * 99 / 100, "%d", changed); // one in 7! is the same by chance
  free_made(&d);
}

static void test_order(void) {
  int32_t a[100], b[100];
  dataset_epoch_order(a, 100, true, 1, 0);
  dataset_epoch_order(b, 100, true, 1, 0);
  EXPECT(memcmp(a, b, sizeof a) == 0);
  dataset_epoch_order(b, 100, true, 2, 0);
  EXPECT(memcmp(a, b, sizeof a) != 0);
  dataset_epoch_order(b, 100, true, (uint64_t)1 << 32 | 1, 0); // every bit of the seed counts
  EXPECT(memcmp(a, b, sizeof a) != 0);
  // A resumed run hangs on these numbers, computed by a second implementation: they do not change
  // from version to version.
  dataset_epoch_order(a, 8, true, 42, 1);
  expect_ints(a, (int32_t[]){6, 5, 2, 1, 0, 7, 3, 4}, 8, "order of epoch 1, seed 42");
  Dataset d = numbered(10);
  DatasetSplit s;
  Error err = {0};
  EXPECT(dataset_split(&s, &d, (ConfigShare){.count = 3}, 42, &err) == STATUS_OK);
  expect_ints(s.held_out, (int32_t[]){1, 2, 4}, 3, "held out by seed 42");
  dataset_split_free(&s);
  free_made(&d);
  dataset_epoch_order(a, 100, false, 1, 5);
  for (int32_t i = 0; i < 100; i++) EXPECT(a[i] == i);
  dataset_epoch_order(a, 0, true, 1, 0);
}

int main(void) {
  RUN(test_runs);
  RUN(test_runs_drawn);
  RUN(test_batch);
  RUN(test_split);
  RUN(test_split_refused);
  RUN(test_draws_are_even);
  RUN(test_order);
  return test_done();
}
