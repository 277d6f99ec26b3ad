// labels: quick
// The forms in which data come: one conversation in each of them gives the same tokens; plain text
// is cut into pieces and loses nothing; items that are wrong are refused by name; what is too long
// is cut, dropped or refused, and counted; several files, and how often an epoch takes each.
#include "dataset_digest.h"
#include "rng.h"
#include "test.h"
#include "tmp_file.h"

#include <zlib.h>

static Tokenizer *bpe, *spm;

static Tokenizer *open_tokenizer(const char *path) {
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  EXPECT(tokenizer_open(&tokenizer, path, &err) == STATUS_OK, "%s", err.message);
  if (tokenizer == NULL) exit(test_done());
  return tokenizer;
}

static DatasetOptions with(TemplateKind kind) {
  return (DatasetOptions){.template = template_builtin(kind), .cutoff_len = 4096};
}

static Dataset load(const char *paths, const Tokenizer *tokenizer, DatasetOptions options) {
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, paths, tokenizer, &options, &err) == STATUS_OK, "%s", err.message);
  if (d.n == 0) exit(test_done());
  return d;
}

static Dataset load_text(const char *text, const Tokenizer *tokenizer, DatasetOptions options) {
  tmp_put_text("data.json", text);
  return load(tmp_path("data.json"), tokenizer, options);
}

static void expect_same(const char *what, const Dataset *a, const Dataset *b) {
  EXPECT(a->n == b->n && a->n_tokens == b->n_tokens, "%s: %lld and %lld tokens", what,
         (long long)a->n_tokens, (long long)b->n_tokens);
  if (a->n != b->n || a->n_tokens != b->n_tokens) return;
  EXPECT(memcmp(a->tokens, b->tokens, (size_t)a->n_tokens * sizeof *a->tokens) == 0, "%s", what);
  for (int64_t i = 0; i < a->n; i++) EXPECT(a->examples[i].n == b->examples[i].n, "%s", what);
}

// ---- conversations ----

#define ALPACA                                                                                     \
  "{\"system\":\"Be brief.\",\"history\":[[\"Q1\",\"A1\"]],\"instruction\":\"Q2\",\"input\":"      \
  "\"\",\"output\":\"A2\"}\n{\"instruction\":\"Q3\",\"output\":\"A3\",\"history\":null}\n"
#define MESSAGES                                                                                   \
  "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","             \
  "\"content\":\"Q1\"},{\"role\":\"assistant\",\"content\":\"A1\",\"weight\":1},{\"role\":"        \
  "\"user\",\"content\":\"Q2\",\"name\":\"x\"},{\"role\":\"assistant\",\"content\":\"A2\"}]}\n"    \
  "{\"messages\":[{\"role\":\"user\",\"content\":\"Q3\"},{\"role\":\"assistant\",\"content\":"     \
  "\"A3\"}],\"tools\":[]}\n"
#define SHAREGPT                                                                                   \
  "[{\"conversations\":[{\"from\":\"human\",\"value\":\"Q1\"},{\"from\":\"gpt\",\"value\":"        \
  "\"A1\"},{\"from\":\"user\",\"value\":\"Q2\"},{\"from\":\"assistant\",\"value\":\"A2\"},"        \
  "{\"from\":\"human\",\"value\":\"Q9\"}],\"system\":\"Be brief.\",\"tools\":\"\"},\n"             \
  "{\"id\":1,\"conversations\":[{\"from\":\"human\",\"value\":\"Q3\"},{\"from\":\"gpt\","          \
  "\"value\":\"A3\"}]}]"

static void test_same_conversations(void) {
  static const TemplateKind kinds[] = {TEMPLATE_ALPACA, TEMPLATE_ALPACA_STANFORD, TEMPLATE_CHATML,
                                       TEMPLATE_NONE, TEMPLATE_LLAMA2};
  static const DataFormat formats[] = {DATA_FORMAT_AUTO, DATA_FORMAT_MESSAGES};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    for (int all = 0; all < 2; all++) {
      DatasetOptions o = with(kinds[k]);
      o.train_on_inputs = all;
      Dataset a = load_text(ALPACA, bpe, o), s = load_text(SHAREGPT, bpe, o);
      EXPECT(a.files[0].format == DATA_FORMAT_ALPACA && s.files[0].format == DATA_FORMAT_SHAREGPT);
      EXPECT(a.stats.unanswered == 0 && s.stats.unanswered == 1);
      expect_same("sharegpt", &a, &s);
      for (int f = 0; f < 2; f++) {
        o.format = formats[f];
        Dataset m = load_text(MESSAGES, bpe, o);
        EXPECT(m.files[0].format == DATA_FORMAT_MESSAGES && m.stats.items == 2);
        expect_same("messages", &a, &m);
        dataset_free(&m);
      }

      int64_t labels = 0;
      for (int64_t i = 0; i < a.n_tokens; i++) labels += token_is_label(a.tokens[i]);
      EXPECT(labels == a.stats.label_tokens && (all ? labels == a.n_tokens - 2 : labels > 5));
      dataset_free(&a);
      dataset_free(&s);
    }
  }
}

// "weight": 0 takes an answer and its end out of the loss, also where the end is appended later.
static void test_unlearned(void) {
  static const char text[] =
      "{\"messages\":[{\"role\":\"user\",\"content\":\"Q1\"},{\"role\":\"assistant\",\"content\":"
      "\"A1\",\"weight\":%d},{\"role\":\"user\",\"content\":\"Q2\"},{\"role\":\"assistant\","
      "\"content\":\"A2\",\"weight\":%d}]}";
  for (int k = 0; k < 2; k++) {
    DatasetOptions o = with(k == 0 ? TEMPLATE_CHATML : TEMPLATE_NONE);
    char first[sizeof text], second[sizeof text];
    snprintf(first, sizeof first, text, 1, 0);
    snprintf(second, sizeof second, text, 0, 1);
    Dataset a = load_text(first, bpe, o), b = load_text(second, bpe, o);
    int32_t ends = k == 0 ? 4 : 3; // A, 1, <|im_end|> and the newline of chatml
    EXPECT(a.examples[0].n_labels == ends && b.examples[0].n_labels == ends, "%d, %d",
           a.examples[0].n_labels, b.examples[0].n_labels);
    EXPECT(!token_is_label(a.tokens[a.n_tokens - 1]) && token_is_label(b.tokens[b.n_tokens - 1]));
    for (int64_t i = 0; i < a.n_tokens; i++) {
      EXPECT(token_id(a.tokens[i]) == token_id(b.tokens[i]));
      EXPECT(!token_is_label(a.tokens[i]) || !token_is_label(b.tokens[i]));
    }
    dataset_free(&a);
    dataset_free(&b);
  }
}

#define USER "{\"role\":\"user\",\"content\":\"q\"}"
#define GOOD "{\"instruction\":\"a\",\"output\":\"b\"}"
static const struct {
  DataFormat format;
  const char *text, *message;
} bads[] = {
    {DATA_FORMAT_AUTO, "{\"messages\":7}",
     ":1: item 0: \"messages\": expected a list, found a num"},
    {DATA_FORMAT_AUTO, "{\"messages\":[7]}",
     ":1: item 0: \"messages\"[0]: expected an object {\"role\", \"content\"}, found a number"},
    {DATA_FORMAT_AUTO, "{\"messages\":[{\"content\":\"a\"}]}",
     ":1: item 0: \"messages\"[0]: \"role\": expected a text, found no such field"},
    {DATA_FORMAT_AUTO, "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null}]}",
     ":1: item 0: \"messages\"[1]: \"content\": expected a text, found null"},
    {DATA_FORMAT_AUTO, "{\"messages\":[" USER ",{\"role\":\"tool\",\"content\":\"\"}]}",
     ":1: item 0: \"messages\"[1]: \"role\": expected system, user or assistant, found 'tool'; "
     "tools"},
    {DATA_FORMAT_AUTO, "{\"messages\":[" USER "," USER "]}",
     ":1: item 0: \"messages\"[1]: expected an answer, found a question"},
    {DATA_FORMAT_AUTO, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}",
     ":1: item 0: \"messages\"[0]: expected a system text or a question, found an answer"},
    {DATA_FORMAT_AUTO, "{\"messages\":[" USER ",{\"role\":\"system\",\"content\":\"\"}]}",
     ":1: item 0: \"messages\"[1]: expected an answer, found a system text"},
    {DATA_FORMAT_AUTO,
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"weight\":0.5}]}",
     ":1: item 0: \"messages\"[1]: \"weight\": expected 0 or 1, found another number"},
    {DATA_FORMAT_AUTO, "{\"messages\":[" USER "],\"tools\":[{}]}",
     ":1: item 0: \"tools\": tools and functions cannot be trained on"},
    {DATA_FORMAT_AUTO, "{\"conversations\":[{\"from\":\"observation\",\"value\":\"\"}]}",
     ":1: item 0: \"conversations\"[0]: \"from\": expected system, human, user, gpt or assistant, "
     "f"},
    {DATA_FORMAT_AUTO,
     "{\"system\":\"a\",\"conversations\":[{\"from\":\"system\",\"value\":\"b\"}]}",
     ":1: item 0: \"conversations\"[0]: expected a question, found a system text"},
    {DATA_FORMAT_AUTO, "{\"instruction\":\"a\",\"output\":\"b\",\"history\":[[\"q\"]]}",
     ":1: item 0: \"history\"[0]: expected a list of two texts, a question and an answer, found "
     "a "},
    {DATA_FORMAT_AUTO, "{\"instruction\":\"a\",\"output\":\"b\",\"history\":[[\"q\",1]]}",
     ":1: item 0: \"history\"[0][1]: expected a text, found a number"},
    {DATA_FORMAT_AUTO, GOOD "\n{\"messages\":[" USER "]}",
     ":2: item 1: expected {\"instruction\", \"input\", \"output\"}, found {\"messages\"}: the "
     "items"},
    {DATA_FORMAT_SHAREGPT, GOOD,
     ":1: item 0: expected {\"conversations\"}, found {\"instruction\", \"input\", \"output\"}: "
     "the"},
    {DATA_FORMAT_TEXT, "{\"text\":\"a\"}\n{\"text\":[]}",
     ":2: item 1: \"text\": expected a text, found a list"},
    {DATA_FORMAT_AUTO, "{\"messages\":[]}", ": no example is left of all 1 items"},
    {DATA_FORMAT_AUTO, "{\"text\":\"\"}", ": no example is left of all 1 items"},
};

static void test_bad_items(void) {
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    DatasetOptions o = with(TEMPLATE_CHATML);
    Dataset d;
    Error err = {0};
    o.format = bads[i].format;
    tmp_put_text("data.json", bads[i].text);
    const char *path = tmp_path("data.json");
    EXPECT(dataset_load(&d, path, bpe, &o, &err) == STATUS_DATA, "%s", bads[i].text);
    size_t n = strlen(path);
    EXPECT(strncmp(err.message, path, n) == 0 &&
               strncmp(err.message + n, bads[i].message, strlen(bads[i].message)) == 0,
           "\n  want %s\n  have %s", bads[i].message, err.message);
    EXPECT(d.files == NULL && d.tokens == NULL && d.n_files == 0);
  }
}

// ---- documents ----

static char *make_document(int64_t lines) {
  static const char *const words[] = {"the heart ", "\xC3\xA9\xF0\x9F\xAB\x80",
                                      "7 mg",       "\n",
                                      "\n  ",       "  ",
                                      "<|im_end|>", "a\tb",
                                      "</s>",       "pulmonary"};
  char *text = calloc((size_t)lines * 120 + 1, 1), *end = text;
  Rng rng = {.key = 9};
  for (int64_t i = 0; i < lines; i++) {
    for (int w = 0; w < 9; w++) end = stpcpy(end, words[rng_below(&rng, 10)]);
    end = stpcpy(end, "\n");
  }
  return text;
}

// All tokens of a document, with its end, in pieces of cutoff_len, each without a label in front.
static void expect_pieces(const Dataset *d, const Tokenizer *t, const char *text, int64_t cutoff) {
  TokenIds ids = {0};
  if (tokenizer_adds_bos(t)) token_ids_push(&ids, tokenizer_bos(t));
  tokenizer_encode(t, text, (int64_t)strlen(text), SPECIAL_AS_TEXT, &ids);
  token_ids_push(&ids, tokenizer_eos(t));
  EXPECT(d->n_tokens == ids.n, "%lld tokens, not %lld", (long long)d->n_tokens, (long long)ids.n);
  EXPECT(d->n == (ids.n + cutoff - 1) / cutoff && d->stats.items == 1);
  for (int64_t i = 0; i < d->n_tokens && i < ids.n; i++) {
    if (token_id(d->tokens[i]) == ids.ids[i] && token_is_label(d->tokens[i]) == (i % cutoff > 0))
      continue;
    EXPECT(false, "token %lld is %x, not %d", (long long)i, d->tokens[i], ids.ids[i]);
    break;
  }
  for (int64_t i = 0; i < d->n; i++) {
    const Example *e = &d->examples[i];
    EXPECT(e->first == i * cutoff && e->n_labels == e->n - 1 && !e->cut);
    EXPECT(e->n == (i + 1 < d->n ? cutoff : ids.n - i * cutoff));
  }
  token_ids_free(&ids);
}

static void test_plain_text(void) {
  const Tokenizer *tokenizers[] = {bpe, spm};
  for (int64_t lines = 2; lines < 60000; lines *= 150) { // of one part, and of several
    char *text = make_document(lines);
    int64_t size = (int64_t)strlen(text);
    tmp_put("plain.txt", text, size);
    tmp_put("plain", text, size);
    gzFile zipped = gzopen(tmp_path("plain.txt.gz"), "wb");
    gzwrite(zipped, text, (unsigned)size);
    gzclose(zipped);
    for (int k = 0; k < 2; k++) {
      DatasetOptions o = with(TEMPLATE_NONE);
      o.cutoff_len = 10;
      Dataset d = load(tmp_path("plain.txt"), tokenizers[k], o), other;
      expect_pieces(&d, tokenizers[k], text, 10);
      other = load(tmp_path("plain.txt.gz"), tokenizers[k], o);
      expect_same("gzip", &d, &other);
      dataset_free(&other);
      o.format = DATA_FORMAT_TEXT;
      other = load(tmp_path("plain"), tokenizers[k], o);
      expect_same("by its format", &d, &other);
      EXPECT(other.files[0].format == DATA_FORMAT_TEXT);
      dataset_free(&other);
      dataset_free(&d);
    }
    free(text);
  }
}

static void test_documents(void) {
  DatasetOptions o = with(TEMPLATE_NONE);
  o.cutoff_len = 3;
  Dataset d = load_text("{\"text\":\"1234\"}\n{\"text\":\"5\"}\n{\"text\":\"67\"}\n", bpe, o);
  // 1 2 3 | 4 end, 5 end, 6 7 end
  static const int32_t lengths[] = {3, 2, 2, 3}, items[] = {0, 0, 1, 2};
  EXPECT(d.n == 4 && d.stats.items == 3 && d.stats.no_label == 0 && d.stats.cut == 0);
  for (int i = 0; i < 4 && i < d.n; i++) {
    EXPECT(d.examples[i].n == lengths[i] && d.examples[i].item == items[i], "%d", i);
  }
  dataset_free(&d);
  o.cutoff_len = 5;
  d = load_text("{\"text\":\"12345\"}\n", bpe, o); // the end alone is foretold by nothing
  EXPECT(d.n == 1 && d.stats.no_label == 1 && d.n_tokens == 5);
  dataset_free(&d);
  Error err = {0};
  tmp_put_text("latin.txt", "caf\xC3\xA9 caf\xE9 x");
  EXPECT(dataset_load(&d, tmp_path("latin.txt"), bpe, &o, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "latin.txt: byte 9: expected UTF-8 text, found '\\xe9 x'") != NULL,
         "%s", err.message);
  tmp_put_text("odd.txt", "[not JSON");
  d = load(tmp_path("odd.txt"), bpe, o);
  EXPECT(d.files[0].format == DATA_FORMAT_TEXT);
  dataset_free(&d);
}

// ---- what is too long ----

// Instructions of 1 digit, outputs of 1 to 6: 1 + newline + output (+ end) tokens.
#define LENGTHS                                                                                    \
  "{\"instruction\":\"1\",\"output\":\"1\"}\n{\"instruction\":\"1\",\"output\":\"12\"}\n"          \
  "{\"instruction\":\"1\",\"output\":\"123\"}\n{\"instruction\":\"1\",\"output\":\"1234\"}\n"      \
  "{\"instruction\":\"1\",\"output\":\"12345\"}\n{\"instruction\":\"1\",\"output\":\"1234\"}\n"

static void test_over_length(void) {
  DatasetOptions o = with(TEMPLATE_NONE);
  o.cutoff_len = 5;
  Dataset d = load_text(LENGTHS, bpe, o);
  // 4, 5, 5 without the end, and three cut to 5
  EXPECT(d.n == 6 && d.stats.cut == 3 && d.stats.lost_end == 4 && d.stats.dropped == 0);
  EXPECT(d.stats.duplicates == 3, "%lld", (long long)d.stats.duplicates); // all are 1 \n 1 2 3
  EXPECT(d.stats.tokens == 4 + 5 * 5);
  dataset_free(&d);
  o.over_length = OVER_LENGTH_DROP;
  d = load_text(LENGTHS, bpe, o);
  // That of 5 tokens without its end is above the limit with it: no answer is kept without one.
  EXPECT(d.n == 2 && d.stats.cut == 0 && d.stats.lost_end == 0 && d.stats.dropped == 4);
  EXPECT(d.stats.items == 6 && d.examples[1].item == 1 && d.stats.duplicates == 0);
  EXPECT(token_id(d.tokens[d.n_tokens - 1]) == tokenizer_eos(bpe));
  dataset_free(&d);
  o.over_length = OVER_LENGTH_ERROR;
  Error err = {0};
  EXPECT(dataset_load(&d, tmp_path("data.json"), bpe, &o, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "data.json:3: item 2: 6 tokens, data.cutoff_len is 5: raise it") !=
             NULL,
         "%s", err.message);
  o.cutoff_len = 8;
  d = load_text(LENGTHS, bpe, o);
  EXPECT(d.n == 6 && d.stats.lost_end == 0 && d.stats.duplicates == 1 && d.stats.cut == 0);
  dataset_free(&d);
  o = with(TEMPLATE_CHATML);
  o.cutoff_len = 60;
  o.over_length = OVER_LENGTH_TRUNCATE;
  d = load_text("{\"instruction\":\"1\",\"output\":\"1\"}\n", bpe, o);
  o.cutoff_len = d.examples[0].n - 1;
  dataset_free(&d);
  d = load_text("{\"instruction\":\"1\",\"output\":\"1\"}\n", bpe, o);
  EXPECT(d.stats.cut == 1 && d.stats.lost_end == 1);
  dataset_free(&d);
}

// ---- several files ----

// n items whose instructions are `digit` and whose answers count up.
static void put_items(const char *name, int digit, int n) {
  char text[8192] = "", *end = text;
  for (int i = 0; i < n; i++) {
    end += snprintf(end, 64, "{\"instruction\":\"%d\",\"output\":\"%d\"}\n", digit, i);
  }
  tmp_put_text(name, text);
}

static void test_files(void) {
  char paths[600];
  DatasetOptions o = with(TEMPLATE_NONE);
  put_items("a.json", 1, 20);
  put_items("b.json", 2, 40);
  tmp_put_text("c.txt", "Some text.");
  snprintf(paths, sizeof paths, "%s, %s ,%s", tmp_path("a.json"), tmp_path("b.json"),
           tmp_path("c.txt"));
  Dataset d = load(paths, bpe, o), a = load(tmp_path("a.json"), bpe, o);
  EXPECT(d.n_files == 3 && d.n == 61 && d.stats.items == 61);
  EXPECT(d.files[1].first == 20 && d.files[1].examples == 40 && d.files[1].items == 40);
  EXPECT(d.files[2].format == DATA_FORMAT_TEXT && d.examples[60].item == 0);
  EXPECT(d.examples[20].item == 0 && d.examples[59].item == 39);
  EXPECT(dataset_file_of(&d, 19) == &d.files[0] && dataset_file_of(&d, 20) == &d.files[1]);
  EXPECT(d.files[0].tokens == a.n_tokens && d.files[0].label_tokens == a.stats.label_tokens);
  EXPECT(d.files[0].tokens + d.files[1].tokens + d.files[2].tokens == d.n_tokens);
  EXPECT(memcmp(d.tokens, a.tokens, (size_t)a.n_tokens * sizeof *a.tokens) == 0);
  EXPECT(strcmp(d.sha256, a.sha256) != 0 && strcmp(d.files[0].path, a.files[0].path) == 0);
  dataset_free(&d);
  dataset_free(&a);
  Error err = {0};
  EXPECT(dataset_load(&d, "data/samples/biomed_qa.json,no/such", bpe, &o, &err) == STATUS_NO_INPUT);
  EXPECT(strncmp(err.message, "no/such", 7) == 0, "%s", err.message);
}

static int count_of(const int32_t *examples, int64_t n, int32_t from, int32_t to) {
  int count = 0;
  for (int64_t i = 0; i < n; i++) count += examples[i] >= from && examples[i] < to;
  return count;
}

static void test_epochs(void) {
  char paths[600];
  Error err = {0};
  DatasetSplit split;
  int64_t n;
  snprintf(paths, sizeof paths, "%s,%s", tmp_path("a.json"), tmp_path("b.json"));
  Dataset d = load(paths, bpe, with(TEMPLATE_NONE));
  EXPECT(dataset_split(&split, &d, (ConfigShare){.count = 6}, 3, &err) == STATUS_OK);
  int32_t of_a = count_of(split.train, split.n_train, 0, 20), of_b = 54 - of_a;
  ConfigReals none = {0}, weights = {.n = 2, .values = {2.25, 0.5}},
              wrong = {.n = 1, .values = {1}};
  int32_t a[256], b[256], order[256];
  // Without weights: the training examples in the epoch's order.
  EXPECT(dataset_epoch_size(&n, &split, &d, &none, &err) == STATUS_OK && n == 54);
  dataset_epoch(a, &split, &d, &none, true, 5, 2);
  dataset_epoch_order(order, n, true, 5, 2);
  for (int64_t i = 0; i < n; i++) EXPECT(a[i] == split.train[order[i]]);
  // With them: each of the first file twice or three times, half of the second.
  EXPECT(dataset_epoch_size(&n, &split, &d, &weights, &err) == STATUS_OK);
  int64_t more = (int64_t)(0.25 * of_a + 0.5), half = (int64_t)(0.5 * of_b + 0.5);
  EXPECT(n == 2 * of_a + more + half, "%lld", (long long)n);
  int seen[60] = {0}, changed = 0;
  for (int epoch = 0; epoch < 40; epoch++) {
    dataset_epoch(a, &split, &d, &weights, true, 5, epoch);
    dataset_epoch(b, &split, &d, &weights, true, 5, epoch);
    EXPECT(memcmp(a, b, (size_t)n * sizeof *a) == 0);
    EXPECT(count_of(a, n, 20, 60) == half);
    for (int i = 0; i < split.n_train; i++) {
      int32_t e = split.train[i];
      int count = count_of(a, n, e, e + 1);
      EXPECT(e < 20 ? count == 2 || count == 3 : count <= 1, "%d: %d times", e, count);
      seen[e] += count;
    }
    for (int i = 0; i < split.n_held_out; i++) {
      EXPECT(count_of(a, n, split.held_out[i], split.held_out[i] + 1) == 0);
    }
    dataset_epoch(b, &split, &d, &weights, true, 5, epoch + 1);
    changed += memcmp(a, b, (size_t)n * sizeof *a) != 0;
    dataset_epoch(b, &split, &d, &weights, false, 5, epoch); // the same ones, in order
    for (int64_t i = 0; i < n; i++) {
      EXPECT(count_of(a, n, b[i], b[i] + 1) == count_of(b, n, b[i], b[i] + 1));
    }
    EXPECT(b[0] == split.train[0] && b[of_a] == b[0] && b[n - 1] >= 20);
  }
  EXPECT(changed == 40);
  for (int i = 0; i < split.n_train; i++) { // drawn evenly: 20 or 90 times, sigma about 3
    int32_t e = split.train[i];
    EXPECT(e < 20 ? seen[e] > 80 && seen[e] < 101 : seen[e] > 7 && seen[e] < 33, "%d: %d", e,
           seen[e]);
  }
  EXPECT(dataset_epoch_size(&n, &split, &d, &wrong, &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "each of the 2 files of data.path, found 1") != NULL, "%s",
         err.message);
  weights = (ConfigReals){.n = 2, .values = {1e-3, 1e-3}};
  EXPECT(dataset_epoch_size(&n, &split, &d, &weights, &err) == STATUS_USAGE);
  dataset_split_free(&split);
  dataset_free(&d);
}

int main(void) {
  bpe = open_tokenizer("tests/golden/dataset/bpe");
  spm = open_tokenizer("tests/golden/dataset/spm");
  RUN(test_same_conversations);
  RUN(test_unlearned);
  RUN(test_bad_items);
  RUN(test_plain_text);
  RUN(test_documents);
  RUN(test_over_length);
  RUN(test_files);
  RUN(test_epochs);
  tokenizer_close(bpe);
  tokenizer_close(spm);
  return test_done();
}
