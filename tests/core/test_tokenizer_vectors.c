// labels: quick
// llama.cpp's own test strings and ids for the vocabularies that it keeps as GGUF files.
#include "mapped_file.h"
#include "test.h"
#include "tokenizer.h"

static const char *folder;

static char *read_text(const char *name, const char *ending, int64_t *size) {
  char path[1024];
  char *text = NULL;
  Error err = {0};
  snprintf(path, sizeof path, "%s/tokenizers/%s.gguf%s", folder, name, ending);
  if (file_read_all(&text, size, path, 1 << 20, &err) != STATUS_OK) {
    test_fail(__FILE__, __LINE__, "read", "%s", err.message);
    exit(1);
  }
  return text;
}

// One line of numbers; returns where the next begins.
static char *read_ids(char *line, TokenIds *ids) {
  char *end = line + strcspn(line, "\n");
  bool last = *end == 0;
  *end = 0;
  for (;;) {
    char *after;
    long id = strtol(line, &after, 10);
    if (after == line) break;
    token_ids_push(ids, (int32_t)id);
    line = after;
  }
  return last ? end : end + 1;
}

static bool same(const TokenIds *a, const TokenIds *b) {
  return a->n == b->n && (a->n == 0 || memcmp(a->ids, b->ids, (size_t)a->n * 4) == 0);
}

static void check_vocabulary(const char *name, const char *kind) {
  char path[1024];
  snprintf(path, sizeof path, "%s/tokenizers/%s.gguf", folder, name);
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  Status status = tokenizer_open(&tokenizer, path, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  if (status != STATUS_OK) return;
  EXPECT(strcmp(tokenizer_kind(tokenizer), kind) == 0, "%s", tokenizer_kind(tokenizer));
  static const char separator[] = "\n__ggml_vocab_test__\n";
  int64_t size;
  char *input = read_text(name, ".inp", &size), *output = read_text(name, ".out", &size);
  char *text = input, *line = output;
  int count = 0;
  for (;;) {
    char *end = strstr(text, separator);
    bool last = end == NULL;
    if (last) end = text + strlen(text);
    TokenIds expected = {0}, found = {0};
    line = read_ids(line, &expected);
    tokenizer_encode(tokenizer, text, end - text, SPECIAL_AS_TEXT, &found);
    EXPECT(same(&expected, &found), "%s, string %d: %lld ids, expected %lld", name, count,
           (long long)found.n, (long long)expected.n);
    count++;
    // And back: nothing is lost but what is not there in the vocabulary.
    int64_t bytes;
    char *back = tokenizer_decode(tokenizer, found.ids, found.n, true, &bytes);
    EXPECT(bytes == end - text && memcmp(back, text, (size_t)bytes) == 0, "%s, string %d: '%s'",
           name, count, back);
    free(back);
    token_ids_free(&expected);
    token_ids_free(&found);
    if (last) break;
    text = end + sizeof separator - 1;
  }
  EXPECT(count == 47, "%d strings", count);
  printf("%s: %d strings\n", name, count);
  free(input);
  free(output);
  tokenizer_close(tokenizer);
}

static void llama(void) {
  check_vocabulary("llama-spm", "sentencepiece");
}

static void gpt2(void) {
  check_vocabulary("gpt-2", "byte-level BPE (gpt-2)");
}

static void starcoder(void) {
  check_vocabulary("starcoder", "byte-level BPE (starcoder)");
}

int main(void) {
  folder = test_shared_data();
  if (folder == NULL) TEST_SKIP("shared/data is absent: it holds llama.cpp's vocabularies");
  RUN(llama);
  RUN(gpt2);
  RUN(starcoder);
  return test_done();
}
