// labels: quick
// Stop texts: found across the borders of pieces, nothing of them given out, nothing held longer
// than needed.
#include "stop_text.h"
#include "test.h"

static char out[100000];
static int64_t n_out;

static Status put(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  (void)err;
  memcpy(out + n_out, text, (size_t)bytes);
  n_out += bytes;
  out[n_out] = '\0';
  return STATUS_OK;
}

static bool run(const char *const *stops, int n, const char *text, int64_t piece) {
  StopText s;
  Error err = {0};
  stop_text_init(&s, stops, n, (TextSink){.put = put});
  n_out = 0;
  out[0] = '\0';
  int64_t size = (int64_t)strlen(text);
  for (int64_t at = 0; at < size; at += piece) {
    int64_t bytes = size - at < piece ? size - at : piece;
    EXPECT(stop_text_put(&s, text + at, bytes, &err) == STATUS_OK);
  }
  EXPECT(stop_text_end(&s, &err) == STATUS_OK);
  bool found = s.found;
  stop_text_free(&s);
  return found;
}

static void test_pieces_of_any_length(void) {
  const char *const stops[] = {"###", "\nUser:", "aab"};
  const struct {
    const char *text, *expected;
    bool found;
  } cases[] = {{"hello", "hello", false},
               {"hello ### more", "hello ", true},
               {"## not # yet", "## not # yet", false},
               {"a\nUse r\nUser: x", "a\nUse r", true},
               {"aaab", "a", true}, // begins again within its own beginning
               {"##", "##", false},
               {"####", "", true},
               {"", "", false},
               {"x\n###aab", "x\n", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int64_t piece = 1; piece <= 16; piece++) {
      bool found = run(stops, 3, cases[i].text, piece);
      EXPECT(found == cases[i].found && strcmp(out, cases[i].expected) == 0,
             "'%s' by %lld: '%s', %d", cases[i].text, (long long)piece, out, found);
    }
  }
  EXPECT(!run(NULL, 0, "###", 1) && strcmp(out, "###") == 0);
}

static void test_held_no_longer_than_needed(void) {
  const char *const stops[] = {"abc"};
  StopText s;
  Error err = {0};
  stop_text_init(&s, stops, 1, (TextSink){.put = put});
  n_out = 0;
  stop_text_put(&s, "xyab", 4, &err);
  EXPECT(n_out == 2, "%lld bytes are out", (long long)n_out);
  stop_text_put(&s, "a", 1, &err);
  EXPECT(n_out == 4, "%lld bytes are out", (long long)n_out);
  stop_text_put(&s, "bc", 2, &err);
  EXPECT(n_out == 4 && s.found);
  stop_text_put(&s, "more", 4, &err);
  EXPECT(n_out == 4);
  stop_text_free(&s);
}

// An earlier place that only begins a longer stop gives way to a whole stop behind it.
static void test_begun_and_whole(void) {
  const char *const stops[] = {"abcdef", "cd", "bcd"};
  for (int64_t piece = 1; piece <= 8; piece++) {
    EXPECT(run(stops, 2, "xabcdefg", piece) && strcmp(out, "xab") == 0, "'%s'", out);
    EXPECT(run(stops, 3, "xabcdefg", piece) && strcmp(out, "xa") == 0, "'%s'", out);
  }
}

static Status refuse(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  (void)text;
  (void)bytes;
  return error_set(err, STATUS_IO, "full");
}

static void test_sink_fails(void) {
  StopText s;
  Error err = {0};
  stop_text_init(&s, NULL, 0, (TextSink){.put = refuse});
  EXPECT(stop_text_put(&s, "a", 1, &err) == STATUS_IO);
  stop_text_free(&s);
}

int main(void) {
  RUN(test_pieces_of_any_length);
  RUN(test_held_no_longer_than_needed);
  RUN(test_begun_and_whole);
  RUN(test_sink_fails);
  return test_done();
}
