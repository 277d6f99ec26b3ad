// labels: quick
// Instruction data as ids and label starts: against tokenizers, sentencepiece and SmolLM2's chat
// template (tests/golden/dataset), by rules that hold for any data, and bad files of every kind.
#include "dataset_digest.h"
#include "json_items.h"
#include "mapped_file.h"
#include "rng.h"
#include "sha256.h"
#include "test.h"

#define GOLDEN "tests/golden/dataset/"

static Tokenizer *open_tokenizer(const char *name) {
  char path[256];
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  snprintf(path, sizeof path, GOLDEN "%s", name);
  EXPECT(tokenizer_open(&tokenizer, path, &err) == STATUS_OK, "%s", err.message);
  if (tokenizer == NULL) exit(test_done());
  return tokenizer;
}

static const char *put(const char *text, int64_t size) {
  static char path[512];
  Error err = {0};
  snprintf(path, sizeof path, "%s/items.json", test_tmp_dir());
  EXPECT(file_write(path, text, size, &err) == STATUS_OK, "%s", err.message);
  return path;
}

static json_t *load_json(const char *path) {
  json_t *root = NULL;
  Error err = {0};
  EXPECT(json_document_load(&root, path, 1 << 22, &err) == STATUS_OK, "%s", err.message);
  if (root == NULL) exit(test_done());
  return root;
}

static int64_t integer(const json_t *object, const char *key) {
  return json_integer_value(json_object_get(object, key));
}

static void compare_example(const Dataset *d, int64_t at, const json_t *expected,
                            const char *where) {
  const Example *e = &d->examples[at];
  const json_t *ids = json_object_get(expected, "ids");
  EXPECT(e->item == integer(expected, "item"), "%s %lld: item %d", where, (long long)at, e->item);
  int64_t start = integer(expected, "label_start");
  EXPECT(first_label(d, at) == (start > 1 ? start : 1), "%s item %d: labels from %d", where,
         e->item, first_label(d, at));
  EXPECT(e->cut == json_is_true(json_object_get(expected, "cut")), "%s item %d", where, e->item);
  EXPECT(e->n == (int64_t)json_array_size(ids), "%s item %d: %d ids, expected %zu", where, e->item,
         e->n, json_array_size(ids));
  for (int32_t i = 0; i < e->n && i < (int32_t)json_array_size(ids); i++) {
    int64_t id = json_integer_value(json_array_get(ids, (size_t)i));
    int32_t have = token_id(d->tokens[e->first + i]);
    EXPECT(have == id, "%s item %d: id %d is %d, expected %lld", where, e->item, i, have,
           (long long)id);
  }
}

static void check_stats(const Dataset *d) {
  const DatasetStats *s = &d->stats;
  int64_t tokens = 0, labels = 0;
  int32_t longest = 0, shortest = INT32_MAX;
  for (int64_t i = 0; i < d->n; i++) {
    const Example *e = &d->examples[i];
    EXPECT(e->first == tokens);
    tokens += e->n;
    EXPECT(e->n_labels > 0 && first_label(d, i) >= 1);
    labels += e->n_labels;
    if (e->n > longest) longest = e->n;
    if (e->n < shortest) shortest = e->n;
  }
  EXPECT(s->examples == d->n && s->items == d->n + s->no_label && s->tokens == tokens);
  EXPECT(d->n_tokens == tokens && s->label_tokens == labels);
  EXPECT(s->longest == longest && s->shortest == shortest);
  EXPECT(s->shortest <= s->median && s->median <= s->p90 && s->p90 <= s->p99 &&
         s->p99 <= s->longest);
}

static void test_reference(void) {
  json_t *root = load_json(GOLDEN "expected.json"), *cases = json_object_get(root, "cases"), *one;
  size_t i;
  EXPECT(json_array_size(cases) >= 13);
  json_array_foreach(cases, i, one) {
    const char *name = json_string_value(json_object_get(one, "tokenizer"));
    const char *template = json_string_value(json_object_get(one, "template"));
    char where[64];
    snprintf(where, sizeof where, "%s %s", name, template);
    DatasetOptions options = {
        .template = template_builtin(template_kind_from_name(template)),
        .cutoff_len = integer(one, "cutoff_len"),
        .train_on_inputs = json_is_true(json_object_get(one, "train_on_inputs")),
    };
    Tokenizer *tokenizer = open_tokenizer(name);
    const json_t *examples = json_object_get(one, "examples");
    Dataset d;
    Error err = {0};
    EXPECT(dataset_load(&d, GOLDEN "items.json", tokenizer, &options, &err) == STATUS_OK, "%s",
           err.message);
    EXPECT(d.n == (int64_t)json_array_size(examples), "%s: %lld examples", where, (long long)d.n);
    for (int64_t k = 0; k < d.n && k < (int64_t)json_array_size(examples); k++) {
      compare_example(&d, k, json_array_get(examples, (size_t)k), where);
    }
    EXPECT(d.stats.items == 12 && d.stats.with_input == 6);
    check_stats(&d);
    dataset_free(&d);
    tokenizer_close(tokenizer);
  }
  json_decref(root);
}

// The same items as a list, as lines, compressed or not, give the same examples.
static void test_forms(void) {
  static const char items[] = "{\"instruction\":\"a b\",\"output\":\"c\"}\n"
                              "{\"output\":\"f\",\"instruction\":\"d\",\"input\":\"e\"}\n";
  static const char list[] = "\xEF\xBB\xBF[{\"instruction\":\"a b\",\"output\":\"c\"},\n"
                             "{\"output\":\"f\",\"instruction\":\"d\",\"input\":\"e\"}]";
  Tokenizer *tokenizer = open_tokenizer("bpe");
  DatasetOptions options = {.template = template_builtin(TEMPLATE_ALPACA), .cutoff_len = 99};
  Dataset a, b;
  Error err = {0};
  EXPECT(dataset_load(&a, put(items, sizeof items - 1), tokenizer, &options, &err) == STATUS_OK,
         "%s", err.message);
  EXPECT(dataset_load(&b, put(list, sizeof list - 1), tokenizer, &options, &err) == STATUS_OK, "%s",
         err.message);
  EXPECT(a.n == 2 && b.n == 2 && a.n_tokens == b.n_tokens);
  EXPECT(memcmp(a.tokens, b.tokens, (size_t)a.n_tokens * sizeof *a.tokens) == 0);
  EXPECT(memcmp(&a.stats, &b.stats, sizeof a.stats) == 0);
  const DatasetStats *s = &a.stats;
  EXPECT(s->shortest < s->longest && s->median == s->shortest && s->p90 == s->longest);
  EXPECT(strlen(a.sha256) == 64 && strcmp(a.sha256, b.sha256) != 0);
  uint8_t digest[SHA256_BYTES];
  char hex[SHA256_HEX];
  Sha256 sha;
  sha256_init(&sha);
  sha256_add(&sha, items, sizeof items - 1);
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
  EXPECT(strcmp(a.sha256, hex) == 0, "%s", a.sha256);
  dataset_free(&a);
  dataset_free(&b);
  tokenizer_close(tokenizer);
}

// An example's text reads back: nothing of it was lost or moved.
static void test_decodes(void) {
  static const char item[] =
      "[{\"instruction\":\"Why \\u00e9?\",\"input\":\"x\",\"output\":\" So.\\n\"}]";
  static const struct {
    TemplateKind kind;
    const char *text;
  } cases[] = {
      {TEMPLATE_ALPACA_SHORT,
       "### Instruction:\nWhy é?\n\n### Input:\nx\n\n### Response:\n So.\n<|im_end|>"},
      {TEMPLATE_NONE, "Why é?\nx\n So.\n<|im_end|>"},
      {TEMPLATE_CHATML,
       "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
       "Face<|im_end|>\n<|im_start|>user\nWhy é?\n\nx<|im_end|>\n<|im_start|>assistant\n "
       "So.\n<|im_end|>\n"},
  };
  Tokenizer *tokenizer = open_tokenizer("bpe");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    DatasetOptions options = {.template = template_builtin(cases[i].kind), .cutoff_len = 512};
    Dataset d;
    Error err = {0};
    EXPECT(dataset_load(&d, put(item, sizeof item - 1), tokenizer, &options, &err) == STATUS_OK);
    int32_t ids[512], start = first_label(&d, 0);
    for (int64_t k = 0; k < d.n_tokens; k++) ids[k] = token_id(d.tokens[k]);
    char *text = tokenizer_decode(tokenizer, ids, d.n_tokens, false, NULL);
    EXPECT(strcmp(text, cases[i].text) == 0, "%s", text);
    free(text);
    text = tokenizer_decode(tokenizer, ids + start, d.n_tokens - start, false, NULL);
    EXPECT(strncmp(text, " So.\n<|im_end|>", 15) == 0, "%s", text);
    free(text);
    dataset_free(&d);
  }
  tokenizer_close(tokenizer);
}

static void test_percentiles(void) {
  char text[100000] = "", *end = text;
  for (int i = 1; i <= 200; i++) { // outputs of 1 to 200 digits, a token each, in a mixed order
    end = stpcpy(end, "{\"instruction\":\"\",\"output\":\"");
    int digits = i * 77 % 201;
    memset(end, '7', (size_t)digits);
    end = stpcpy(end + digits, "\"}\n");
  }
  Tokenizer *tokenizer = open_tokenizer("bpe");
  DatasetOptions options = {.template = template_builtin(TEMPLATE_NONE), .cutoff_len = 150};
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, put(text, end - text), tokenizer, &options, &err) == STATUS_OK, "%s",
         err.message);
  // A newline before the digits, EOS after them: 3 to 202 tokens; 150 digits leave no room for EOS.
  const DatasetStats *s = &d.stats;
  EXPECT(s->shortest == 3 && s->median == 102 && s->p90 == 150 && s->p99 == 150 &&
             s->longest == 150,
         "%d %d %d %d %d", s->shortest, s->median, s->p90, s->p99, s->longest);
  EXPECT(s->cut == 51 && s->no_label == 0 && s->with_input == 0, "%lld", (long long)s->cut);
  check_stats(&d);
  dataset_free(&d);
  options.cutoff_len = 512;
  EXPECT(dataset_load(&d, put(text, end - text), tokenizer, &options, &err) == STATUS_OK);
  EXPECT(s->median == 102 && s->p90 == 182 && s->p99 == 200 && s->longest == 202 && s->cut == 0,
         "%d %d %d", s->median, s->p90, s->p99);
  dataset_free(&d);
  tokenizer_close(tokenizer);
}

typedef struct Bad {
  const char *text, *message; // the message from the path's end on
} Bad;

#define GOOD "{\"instruction\":\"a\",\"output\":\"b\"}"

static const Bad bads[] = {
    {"", ": expected a JSON list or one JSON object a line, found an empty file"},
    {" \n\n", ": expected a JSON list or one JSON object a line, found an empty file"},
    {"\"text\"", ":1:1: expected a JSON list"},
    {"instruction,output\na,b\n", ":1:1: expected a JSON list"},
    {"[]", ": expected items to learn from, found none"},
    {"{\"data\":[" GOOD "]}",
     ":1: item 0: expected a text \"instruction\", found no such field in"},
    {"[" GOOD ",\n7]",
     ":2: item 1: expected an object {\"instruction\", \"input\", \"output\"}, found a number"},
    {"[null]",
     ":1: item 0: expected an object {\"instruction\", \"input\", \"output\"}, found null"},
    {"[[]]",
     ":1: item 0: expected an object {\"instruction\", \"input\", \"output\"}, found a list"},
    {GOOD "\n{\"instruction\":\"a\"}\n",
     ":2: item 1: expected a text \"output\", found no such field in '{\"instruction\":\"a\"}'"},
    {GOOD "\n\n{\"input\":\"a\",\"output\":\"b\"}\n",
     ":3: item 1: expected a text \"instruction\", found no such field in"},
    {"{\"instruction\":\"a\",\"output\":3}",
     ":1: item 0: \"output\": expected a text, found a number"},
    {"{\"instruction\":[\"a\"],\"output\":\"\"}",
     ":1: item 0: \"instruction\": expected a text, found a list"},
    {"{\"instruction\":\"a\",\"output\":null}",
     ":1: item 0: \"output\": expected a text, found null"},
    {"{\"instruction\":\"a\",\"output\":\"b\",\"input\":false}",
     ":1: item 0: \"input\": expected a text, found false"},
    {"{\"instruction\":\"a\",\"output\":\"b\",\"input\":{}}",
     ":1: item 0: \"input\": expected a text, found an object"},
    {"{\"instruction\":\"a\\u0000\",\"output\":\"b\"}",
     ":1: item 0: \"instruction\": expected a text, found a NUL character (\\u0000) in it"},
    {"[" GOOD ",\n{\"instruction\":\"a\",\"output\":\"\xC3\"}]", ":2:30: invalid UTF-8"},
    {"[" GOOD ",\n{\"instruction\":\"a\",\"output\":\"b", ":2:"},
    {"[" GOOD, ":1:34: expected ',' or ']', found the end of the text"},
    {"[" GOOD ",]", ":1:35: expected a value"},
    {"{\"instruction\":\"a\",\"instruction\":\"b\",\"output\":\"\"}",
     ":1:20: the key 'instruction' stands twice"},
    {"{\n\"instruction\": \"a\",\n\"output\": \"b\"\n}", ":1:2: expected a key"},
};

static void test_bad_files(void) {
  Tokenizer *tokenizer = open_tokenizer("bpe");
  DatasetOptions options = {.template = template_builtin(TEMPLATE_ALPACA), .cutoff_len = 99};
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    const char *path = put(bads[i].text, (int64_t)strlen(bads[i].text));
    Dataset d;
    Error err = {0};
    EXPECT(dataset_load(&d, path, tokenizer, &options, &err) == STATUS_DATA, "%s", bads[i].text);
    EXPECT(strncmp(err.message, path, strlen(path)) == 0 &&
               strncmp(err.message + strlen(path), bads[i].message, strlen(bads[i].message)) == 0,
           "\n  want %s\n  have %s", bads[i].message, err.message);
    EXPECT(d.tokens == NULL && d.examples == NULL && d.n == 0);
  }
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, "no/such.json", tokenizer, &options, &err) == STATUS_NO_INPUT);
  EXPECT(strncmp(err.message, "no/such.json", 12) == 0, "%s", err.message);
  options.cutoff_len = 5; // fewer tokens than the prompt has
  EXPECT(dataset_load(&d, put(GOOD "\n", sizeof GOOD), tokenizer, &options, &err) == STATUS_DATA);
  EXPECT(
      strstr(
          err.message,
          "no example is left of all 1 items: in 1 the prompt fills data.cutoff_len = 5 tokens") !=
          NULL,
      "%s", err.message);
  tokenizer_close(tokenizer);
  tokenizer = open_tokenizer("spm");
  options = (DatasetOptions){.template = template_builtin(TEMPLATE_CHATML), .cutoff_len = 99};
  EXPECT(dataset_load(&d, put(GOOD "\n", sizeof GOOD), tokenizer, &options, &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "the template chatml: ") == err.message, "%s", err.message);
  tokenizer_close(tokenizer);
}

// Cut anywhere, with flipped bits, or random: an error with the path, or a data set that is sound.
static void test_noise(void) {
  static const char text[] =
      "[\n " GOOD ",\n {\"instruction\":\"q\\u00e9\",\"input\":\"\",\"output\":\"b\"},\n " GOOD
      "\n]\n";
  enum { SIZE = sizeof text - 1 };
  Tokenizer *tokenizer = open_tokenizer("bpe");
  DatasetOptions options = {.template = template_builtin(TEMPLATE_NONE), .cutoff_len = 99};
  Rng rng = {.key = 3};
  int accepted = 0;
  for (int i = 0; i < 900; i++) {
    char bytes[SIZE];
    int64_t size = SIZE;
    memcpy(bytes, text, SIZE);
    if (i < 300) {
      size = (int64_t)rng_below(&rng, SIZE - 2); // the closing bracket and more are gone
    } else if (i < 600) {
      bytes[rng_below(&rng, SIZE)] ^= (char)(1 << rng_below(&rng, 8));
    } else {
      for (int j = 0; j < SIZE; j++) bytes[j] = (char)rng_u64(&rng);
    }
    Dataset d;
    Error err = {0};
    const char *path = put(bytes, size);
    Status status = dataset_load(&d, path, tokenizer, &options, &err);
    EXPECT(status == STATUS_OK || status == STATUS_DATA, "%d: %s", status, err.message);
    if (status == STATUS_OK) {
      EXPECT(i >= 300 && i < 600, "%d was accepted", i);
      check_stats(&d);
      accepted++;
    } else {
      EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
    }
    dataset_free(&d);
  }
  EXPECT(accepted > 30, "%d", accepted); // a flipped letter of an answer is no fault
  tokenizer_close(tokenizer);
}

static void test_sample_data(void) {
  Tokenizer *tokenizer = open_tokenizer("bpe");
  DatasetOptions options = {.template = template_builtin(TEMPLATE_CHATML), .cutoff_len = 512};
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, "data/samples/biomed_qa.json", tokenizer, &options, &err) == STATUS_OK,
         "%s", err.message);
  EXPECT(d.n == 284 && d.stats.with_input == 67 && d.stats.no_label == 0);
  check_stats(&d);
  dataset_free(&d);
  tokenizer_close(tokenizer);
}

int main(void) {
  RUN(test_reference);
  RUN(test_forms);
  RUN(test_decodes);
  RUN(test_percentiles);
  RUN(test_bad_files);
  RUN(test_noise);
  RUN(test_sample_data);
  return test_done();
}
