// labels: quick
// The memo of words: it gives back what was kept for that word of that tokenizer and nothing else,
// and a tokenizer's ids are the same with a memo that is empty and with one that is full of
// others'.
#include "mapped_file.h"
#include "test.h"
#include "word_memo.h"

#include <pthread.h>

static bool finds(uint32_t serial, const char *word, const int32_t *ids, int64_t n) {
  TokenIds out = {0};
  token_ids_push(&out, 7);
  bool found = word_memo_find(serial, word, (int64_t)strlen(word), &out);
  EXPECT(out.ids[0] == 7 && (found ? out.n == 1 + n : out.n == 1), "%s", word);
  bool same = found && memcmp(out.ids + 1, ids, (size_t)n * sizeof *ids) == 0;
  token_ids_free(&out);
  return same;
}

static void test_words(void) {
  static const int32_t ids[] = {5, 4, 3, 2, 1, 6, 8, 9, 10};
  char word[32] = "a word of 26 bytes, and so";
  uint32_t a = word_memo_serial(), b = word_memo_serial();
  EXPECT(a != 0 && a != b);
  EXPECT(!finds(a, word, ids, 8));
  word_memo_keep(a, word, 26, ids, 8);
  EXPECT(finds(a, word, ids, 8) && !finds(b, word, ids, 8));
  word[25] = 'p';
  EXPECT(!finds(a, word, ids, 8), "another word");
  word_memo_keep(a, word, 25, ids, 9);
  word[25] = '\0';
  EXPECT(!finds(a, word, ids, 9), "more ids than it has room for");
  memcpy(word, "a word of twenty-seven byte", 28);
  word_memo_keep(a, word, 27, ids, 1);
  EXPECT(!finds(a, word, ids, 1), "a longer word than it has room for");
}

// Far more words than it has room for: each is the right one or not there.
static void test_many_words(void) {
  uint32_t serial = word_memo_serial();
  int64_t there = 0;
  for (int32_t i = 0; i < 100000; i++) {
    char word[16];
    int n = snprintf(word, sizeof word, "%d", i);
    word_memo_keep(serial, word, n, &i, 1);
  }
  for (int32_t i = 0; i < 100000; i++) {
    char word[16];
    TokenIds out = {0};
    int n = snprintf(word, sizeof word, "%d", i);
    if (word_memo_find(serial, word, n, &out)) {
      EXPECT(out.n == 1 && out.ids[0] == i, "%s", word);
      there++;
    }
    token_ids_free(&out);
  }
  EXPECT(there > 4000 && there <= 8192, "%lld", (long long)there);
}

// ---- tokenizers ----

typedef struct Job {
  const Tokenizer *tokenizer;
  const char *text;
  int64_t bytes;
  TokenIds ids;
} Job;

static void *encode(void *context) {
  Job *job = context;
  tokenizer_encode(job->tokenizer, job->text, job->bytes, SPECIAL_AS_TEXT, &job->ids);
  return NULL;
}

static void test_tokenizers(void) {
  static const char *const paths[] = {"tests/golden/dataset/bpe", "tests/golden/dataset/spm",
                                      "tests/golden/dataset/llama3"};
  enum { N = 3, STEP = 300 };
  Tokenizer *tokenizers[N];
  Error err = {0};
  char *text;
  int64_t size;
  Status status = file_read_all(&text, &size, "data/samples/biomed_qa.json", 1 << 24, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  if (status != STATUS_OK) return;
  for (int i = 0; i < N; i++) {
    status = tokenizer_open(&tokenizers[i], paths[i], &err);
    EXPECT(status == STATUS_OK, "%s", err.message);
    if (status != STATUS_OK) exit(test_done());
  }
  for (int64_t at = 0, step = 0; at < size && step < 200; at += STEP, step++) {
    for (int i = 0; i < N; i++) {
      Job full = {.tokenizer = tokenizers[i], .text = text + at};
      full.bytes = size - at < STEP ? size - at : STEP;
      Job fresh = full;
      pthread_t thread;
      encode(&full);
      EXPECT(pthread_create(&thread, NULL, encode, &fresh) == 0);
      pthread_join(thread, NULL);
      EXPECT(full.ids.n == fresh.ids.n &&
                 memcmp(full.ids.ids, fresh.ids.ids, (size_t)full.ids.n * sizeof(int32_t)) == 0,
             "%s at byte %lld", paths[i], (long long)at);
      token_ids_free(&full.ids);
      token_ids_free(&fresh.ids);
    }
  }
  for (int i = 0; i < N; i++) tokenizer_close(tokenizers[i]);
  free(text);
}

int main(void) {
  RUN(test_words);
  RUN(test_many_words);
  RUN(test_tokenizers);
  return test_done();
}
