// labels: quick
// Tokenizing takes time linear in the text (counted, not timed), one tokenizer serves many threads,
// and invalid UTF-8 is what Python makes of it.
#include "merge_queue.h"
#include "test.h"
#include "tokenizer.h"
#include "utf8.h"

#include <pthread.h>

#define GOLDEN "tests/golden/tokenizer/"

static Tokenizer *open_ok(const char *path) {
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  EXPECT(tokenizer_open(&tokenizer, path, &err) == STATUS_OK, "%s", err.message);
  if (tokenizer == NULL) exit(1);
  return tokenizer;
}

// Doubling: any two equal neighbours merge. Ids are the logarithm of the length.
static bool doubling(const void *rules, const Symbol *left, const Symbol *right, uint32_t *rank,
                     int32_t *id) {
  (void)rules;
  if (left->id != right->id) return false;
  *rank = (uint32_t)left->id;
  *id = left->id + 1;
  return true;
}

// The longest grows by one at a time, from the left: the worst case of rules that overlap.
static bool growing(const void *rules, const Symbol *left, const Symbol *right, uint32_t *rank,
                    int32_t *id) {
  (void)rules;
  if (right->id != 0) return false;
  *rank = 1000000u - (uint32_t)(left->id < 1000000 ? left->id : 1000000);
  *id = left->id + 1;
  return true;
}

static void merge_work(void) {
  const MergeRule rules[] = {doubling, growing};
  for (int r = 0; r < 2; r++) {
    for (int64_t n = 1000; n <= 1000000; n *= 10) {
      MergeQueue queue = {0};
      merge_queue_clear(&queue);
      for (int64_t i = 0; i < n; i++) merge_queue_add(&queue, 0, i, 1, false);
      merge_queue_run(&queue, rules[r], NULL);
      // Each merge puts at most two candidates, each of which is taken once.
      EXPECT(queue.steps <= 6 * n, "rule %d, %lld symbols: %lld steps", r, (long long)n,
             (long long)queue.steps);
      int64_t total = 0;
      for (uint32_t i = 0; i != MERGE_NONE; i = queue.symbols[i].next) {
        total += queue.symbols[i].size;
      }
      EXPECT(total == n, "the symbols cover %lld of %lld", (long long)total, (long long)n);
      if (r == 1) EXPECT(queue.symbols[0].next == MERGE_NONE && queue.symbols[0].id == n - 1);
      merge_queue_free(&queue);
    }
  }
}

// Merges in the order of a plain search for the best pair, again and again.
static void merge_order(void) {
  MergeQueue queue = {0};
  uint64_t state = 7;
  for (int round = 0; round < 200; round++) {
    int32_t row[64];
    int n = 1 + round % 64;
    merge_queue_clear(&queue);
    for (int i = 0; i < n; i++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      row[i] = (int32_t)(state >> 62);
      merge_queue_add(&queue, row[i], i, 1, false);
    }
    merge_queue_run(&queue, doubling, NULL);
    for (;;) {
      int best = -1;
      for (int i = 0; i + 1 < n; i++) {
        if (row[i] == row[i + 1] && (best < 0 || row[i] < row[best])) best = i;
      }
      if (best < 0) break;
      row[best]++;
      memmove(row + best + 1, row + best + 2, (size_t)(n - best - 2) * sizeof *row);
      n--;
    }
    int k = 0;
    for (uint32_t i = 0; i != MERGE_NONE; i = queue.symbols[i].next, k++) {
      EXPECT(k < n && queue.symbols[i].id == row[k], "round %d, symbol %d", round, k);
    }
    EXPECT(k == n, "round %d: %d symbols, expected %d", round, k, n);
  }
  merge_queue_free(&queue);
}

// 10 MB of one letter, of spaces, of a special token's first byte and of mixed text through every
// family: with an algorithm that is not linear this would take hours.
static void long_texts(void) {
  static const char *const paths[] = {GOLDEN "bytes/tokenizer.json", GOLDEN "llama3/tokenizer.json",
                                      GOLDEN "legacy/tokenizer.json", GOLDEN "spm/tokenizer.model"};
  static const char *const units[] = {"a", " ", "<", "\n\t x1", "\xE5\xAD\x97", "\xFF"};
  enum { SIZE = 10000000, FEW = 400000 };
  for (int p = 0; p < 4; p++) {
    Tokenizer *tokenizer = open_ok(paths[p]);
    for (int u = 0; u < 6; u++) {
      int64_t unit = (int64_t)strlen(units[u]), size = u == 0 ? SIZE : FEW / unit * unit;
      char *text = malloc(SIZE);
      for (int64_t i = 0; i < size; i++) text[i] = units[u][i % unit];
      TokenIds ids = {0};
      tokenizer_encode(tokenizer, text, size, SPECIAL_PARSED, &ids);
      int64_t bytes;
      char *back = tokenizer_decode(tokenizer, ids.ids, ids.n, false, &bytes);
      // "bytes" has no symbols for some bytes, which it drops.
      bool lossy = u == 5 || p == 0;
      EXPECT(lossy || (bytes == size && memcmp(back, text, (size_t)size) == 0), "%s, '%s'",
             paths[p], units[u]);
      EXPECT(ids.n <= 3 * size + 3, "%lld ids", (long long)ids.n);
      free(back);
      token_ids_free(&ids);
      free(text);
    }
    tokenizer_close(tokenizer);
  }
}

typedef struct Job {
  const Tokenizer *tokenizer;
  uint64_t sum;
} Job;

static const char *const samples[] = {"The heart pumps blood.", "patients with anaemia, 1234",
                                      "it's what they've said", "\xF0\x9F\x91\x8D\n\n end"};

static void *encode_all(void *context) {
  Job *job = context;
  TokenIds ids = {0};
  for (int round = 0; round < 200; round++) {
    const char *text = samples[round % 4];
    tokenizer_encode(job->tokenizer, text, (int64_t)strlen(text), SPECIAL_AS_TEXT, &ids);
  }
  for (int64_t i = 0; i < ids.n; i++) job->sum = job->sum * 31 + (uint64_t)ids.ids[i];
  token_ids_free(&ids);
  return NULL;
}

static void threads(void) {
  Tokenizer *tokenizer = open_ok(GOLDEN "llama3/tokenizer.json");
  Job jobs[8];
  pthread_t thread[8];
  for (int i = 0; i < 8; i++) jobs[i] = (Job){tokenizer, 0};
  for (int i = 0; i < 8; i++) pthread_create(&thread[i], NULL, encode_all, &jobs[i]);
  for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
  Job alone = {tokenizer, 0};
  encode_all(&alone);
  for (int i = 0; i < 8; i++) EXPECT(jobs[i].sum == alone.sum, "thread %d", i);
  tokenizer_close(tokenizer);
}

// Python: bytes.decode("utf-8", errors="replace").
static void invalid_utf8(void) {
  static const struct {
    const char *bytes, *expected;
  } cases[] = {
      {"a\xFFz", "a\xEF\xBF\xBDz"},
      {"\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xE2\x82", "\xEF\xBF\xBD"},                             // cut at the end: one
      {"\xE2\x82z", "\xEF\xBF\xBDz"},                           // cut by a letter: one
      {"\xE2\xE2\x82\xAC", "\xEF\xBF\xBD\xE2\x82\xAC"},         // and a whole one after it
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                 // overlong
      {"\xE0\x80\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, // overlong
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, // a surrogate
      {"\xF0\x9F\x98", "\xEF\xBF\xBD"},                         // three of four
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\xEF\xBF\xBD\xF0\x9F\x98\x80"},
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, // > U+10FFFF
      {"\xF5\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
  };
  for (int i = 0; i < (int)(sizeof cases / sizeof cases[0]); i++) {
    int64_t size = 0;
    char *repaired = utf8_repair(cases[i].bytes, (int64_t)strlen(cases[i].bytes), &size);
    EXPECT(repaired != NULL && size == (int64_t)strlen(cases[i].expected) &&
               memcmp(repaired, cases[i].expected, (size_t)size) == 0,
           "case %d", i);
    free(repaired);
  }
  int64_t size = 0;
  EXPECT(utf8_repair("gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", 11, &size) == NULL);
  EXPECT(utf8_repair("", 0, &size) == NULL);
}

// A character comes out of a stream when it is complete, and not before.
static void streaming(void) {
  Tokenizer *tokenizer = open_ok(GOLDEN "spm/tokenizer.model");
  TokenStream stream;
  token_stream_init(&stream, tokenizer, true);
  const int32_t byte0 = tokenizer_find(tokenizer, "<0x00>");
  const int32_t the = tokenizer_find(tokenizer, "\xE2\x96\x81the");
  EXPECT(strcmp(token_stream_push(&stream, 1), "") == 0, "BOS is left out");
  EXPECT(strcmp(token_stream_push(&stream, the), "the") == 0, "the dummy prefix");
  EXPECT(strcmp(token_stream_push(&stream, the), " the") == 0);
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0xE2), "") == 0);
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0x82), "") == 0);
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0xAC), "\xE2\x82\xAC") == 0);
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0xE2), "") == 0);
  EXPECT(strcmp(token_stream_push(&stream, the), "\xEF\xBF\xBD the") == 0, "broken by a word");
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0xF0), "") == 0);
  EXPECT(strcmp(token_stream_push(&stream, byte0 + 0x9F), "") == 0);
  EXPECT(strcmp(token_stream_end(&stream), "\xEF\xBF\xBD\xEF\xBF\xBD") == 0, "at the end");
  EXPECT(strcmp(token_stream_end(&stream), "") == 0);
  token_stream_free(&stream);
  tokenizer_close(tokenizer);
}

int main(void) {
  RUN(merge_work);
  RUN(merge_order);
  RUN(long_texts);
  RUN(threads);
  RUN(invalid_utf8);
  RUN(streaming);
  return test_done();
}
