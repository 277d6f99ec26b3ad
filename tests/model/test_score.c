// labels: quick
// Scoring: the log probabilities are those of the reference's logits whatever is packed together,
// and the rules of ids, completion_start and greedy hold.
#include "json_items.h"
#include "safetensors.h"
#include "score.h"
#include "test.h"
#include "tiny_engine.h"

#include <math.h>

enum { V = 131 };

static char in_path[600], out_path[600];

// The tiny tokenizer with a config that asks for BOS (1) and EOS (2) around every text.
static void use_special_tokenizer(Engine *engine) {
  char path[700], *text = NULL;
  int64_t size = 0;
  Error err = {0};
  static const char config[] = "{\"bos_token\": \"<|im_start|>\", \"eos_token\": \"<|im_end|>\", "
                               "\"add_bos_token\": true, \"add_eos_token\": true}";
  EXPECT(file_read_all(&text, &size, "tests/support/tiny_tokenizer/tokenizer.json", 1 << 20,
                       &err) == STATUS_OK);
  snprintf(path, sizeof path, "%s/special", test_tmp_dir());
  EXPECT(file_make_folders(path, &err) == STATUS_OK);
  snprintf(path, sizeof path, "%s/special/tokenizer.json", test_tmp_dir());
  EXPECT(file_write(path, text, size, &err) == STATUS_OK);
  snprintf(path, sizeof path, "%s/special/tokenizer_config.json", test_tmp_dir());
  EXPECT(file_write(path, config, (int64_t)strlen(config), &err) == STATUS_OK);
  snprintf(path, sizeof path, "%s/special", test_tmp_dir());
  tokenizer_close(engine->tokenizer);
  EXPECT(tokenizer_open(&engine->tokenizer, path, &err) == STATUS_OK, "%s", err.message);
  free(text);
}

// Scores `text`, a JSONL input, with the tiny model; returns the status. add_special: with the
// tokenizer that asks for BOS and EOS, too.
static Status score(const char *text, int64_t batch_tokens, bool add_special, Error *err) {
  Engine engine;
  ScoreStats stats;
  snprintf(in_path, sizeof in_path, "%s/in.jsonl", test_tmp_dir());
  snprintf(out_path, sizeof out_path, "%s/out.jsonl", test_tmp_dir());
  remove(out_path);
  *err = (Error){0};
  EXPECT(file_write(in_path, text, (int64_t)strlen(text), err) == STATUS_OK, "%s", err->message);
  tiny_engine_open(&engine, "gqa", NULL);
  if (add_special) use_special_tokenizer(&engine);
  ScoreOptions options = {.input = in_path,
                          .output = out_path,
                          .add_special = add_special,
                          .batch_tokens = batch_tokens};
  Status status = score_file(&engine, &options, &stats, err);
  engine_close(&engine);
  return status;
}

static json_t *results(void) {
  JsonItems *items;
  JsonItem item;
  Error err = {0};
  json_t *list = json_array();
  EXPECT(json_items_open(&items, out_path, &err) == STATUS_OK, "%s", err.message);
  while (json_items_next(items, &item, &err) == STATUS_OK && item.value != NULL)
    json_array_append(list, item.value);
  EXPECT(err.status == STATUS_OK, "%s", err.message);
  json_items_close(items);
  return list;
}

static json_t *field(json_t *list, size_t index, const char *key) {
  json_t *value = json_object_get(json_array_get(list, index), key);
  EXPECT(value != NULL, "line %zu has no %s", index, key);
  return value;
}

static int64_t start_of(json_t *list, size_t index) {
  return json_integer_value(field(list, index, "completion_start"));
}

// ---- against the reference's logits ----

typedef struct Golden {
  int64_t n;
  int32_t ids[128];
  double log_probs[128];
  bool greedy;
} Golden;

static void read_golden(const Safetensors *file, int seq, Golden *g) {
  char name[32];
  snprintf(name, sizeof name, "seq%d.ids", seq);
  const SafeTensor *ids = safetensors_find(file, name);
  snprintf(name, sizeof name, "seq%d.logits", seq);
  const SafeTensor *logits = safetensors_find(file, name);
  EXPECT(ids != NULL && logits != NULL);
  g->n = ids->shape[0];
  g->greedy = true;
  memcpy(g->ids, file->data + ids->offset, (size_t)g->n * sizeof *g->ids);
  for (int64_t i = 1; i < g->n; i++) {
    float row[V];
    memcpy(row, file->data + logits->offset + (i - 1) * (int64_t)sizeof row, sizeof row);
    double sum = 0;
    int best = 0;
    for (int v = 0; v < V; v++) {
      sum += exp(row[v]);
      if (row[v] > row[best]) best = v;
    }
    g->log_probs[i] = row[g->ids[i]] - log(sum);
    g->greedy = g->greedy && best == g->ids[i];
  }
}

static void put_ids(char *text, size_t size, const Golden *g) {
  size_t n = strlen(text);
  n += (size_t)snprintf(text + n, size - n, "{\"ids\": [");
  for (int64_t i = 0; i < g->n; i++)
    n += (size_t)snprintf(text + n, size - n, "%s%d", i > 0 ? ", " : "", g->ids[i]);
  snprintf(text + n, size - n, "]}\n");
}

static void check_line(json_t *list, size_t line, const Golden *g) {
  json_t *ids = field(list, line, "ids"), *log_probs = field(list, line, "logprobs");
  EXPECT((int64_t)json_array_size(ids) == g->n && (int64_t)json_array_size(log_probs) == g->n);
  EXPECT(g->n == 0 || json_is_null(json_array_get(log_probs, 0)), "the first is null");
  for (int64_t i = 0; i < g->n; i++) {
    EXPECT(json_integer_value(json_array_get(ids, (size_t)i)) == g->ids[i]);
    if (i == 0) continue;
    double got = json_number_value(json_array_get(log_probs, (size_t)i));
    EXPECT(fabs(got - g->log_probs[i]) <= 1e-4, "line %zu, token %lld: %g, not %g", line,
           (long long)i, got, g->log_probs[i]); // as far as the logits may differ
  }
  EXPECT(json_is_true(field(list, line, "greedy")) == g->greedy, "line %zu", line);
  EXPECT(start_of(list, line) == 0);
}

static void test_log_probs(void) {
  static char text[20000];
  Golden golden[3];
  Safetensors file;
  Error err;
  EXPECT(safetensors_open(&file, "tests/golden/tiny_llama/gqa/expected.safetensors", &err) ==
         STATUS_OK);
  for (int i = 0; i < 3; i++) read_golden(&file, i, &golden[i]);
  safetensors_close(&file);
  static const int order[] = {2, 0, 1, -1, 1, 1, 2, 0, -1, 2, 2, 2, 2, 2, 1};
  enum { N = sizeof order / sizeof *order };
  Golden empty = {.greedy = true};
  text[0] = '\0';
  for (int i = 0; i < N; i++) put_ids(text, sizeof text, order[i] < 0 ? &empty : &golden[order[i]]);
  static const int64_t budgets[] = {1, 64, 79, 2048};
  for (int b = 0; b < 4; b++) {
    EXPECT(score(text, budgets[b], false, &err) == STATUS_OK, "%s", err.message);
    json_t *list = results();
    EXPECT(json_array_size(list) == N, "%zu lines", json_array_size(list));
    for (int i = 0; i < N; i++)
      check_line(list, (size_t)i, order[i] < 0 ? &empty : &golden[order[i]]);
    json_decref(list);
  }
}

// ---- the rules of ids ----

static void expect_ids(json_t *list, size_t line, const char *text) {
  Tokenizer *tokenizer;
  Error err = {0};
  TokenIds ids = {0};
  EXPECT(tokenizer_open(&tokenizer, "tests/support/tiny_tokenizer", &err) == STATUS_OK);
  tokenizer_encode(tokenizer, text, (int64_t)strlen(text), SPECIAL_AS_TEXT, &ids);
  json_t *got = field(list, line, "ids");
  bool same = (int64_t)json_array_size(got) == ids.n;
  for (int64_t i = 0; same && i < ids.n; i++)
    same = json_integer_value(json_array_get(got, (size_t)i)) == ids.ids[i];
  EXPECT(same, "line %zu: ids of '%s'", line, text);
  token_ids_free(&ids);
  tokenizer_close(tokenizer);
}

static void test_prompt_and_completion(void) {
  Error err;
  // "Ġthe" is one token, "a " is two: the space belongs to the completion's first token.
  EXPECT(score("{\"prompt\": \"abc\", \"completion\": \" the\"}\n"
               "{\"prompt\": \"abc  \", \"completion\": \"the\"}\n"
               "{\"prompt\": \"abc\\n\", \"completion\": \"x\"}\n"
               "{\"prompt\": \"\", \"completion\": \"xyz\"}\n"
               "{\"prompt\": \"  \", \"completion\": \"x\"}\n"
               "{\"prompt\": \"abc\", \"completion\": \"\"}\n"
               "{\"text\": \"abc<|im_end|>\", \"note\": [1]}\n",
               2048, false, &err) == STATUS_OK,
         "%s", err.message);
  json_t *list = results();
  static const struct {
    const char *text;
    int64_t start;
  } lines[] = {{"abc the", 3}, {"abc  the", 3}, {"abc\nx", 4},       {"xyz", 0},
               {"  x", 0},     {"abc", 3},      {"abc<|im_end|>", 0}};
  for (size_t i = 0; i < 7; i++) {
    expect_ids(list, i, lines[i].text);
    EXPECT(start_of(list, i) == lines[i].start, "line %zu: %lld", i, (long long)start_of(list, i));
  }
  EXPECT(json_is_true(field(list, 5, "greedy")), "nothing to be wrong about");
  json_decref(list);
}

static void expect_id_list(json_t *list, size_t line, const char *expected) {
  char *got = json_dumps(field(list, line, "ids"), JSON_COMPACT);
  EXPECT(strcmp(got, expected) == 0, "line %zu: %s, not %s", line, got, expected);
  free(got);
}

// BOS and EOS only when asked for, and only around texts: ids are as they are.
static void test_add_special(void) {
  Error err;
  EXPECT(score("{\"text\": \"hi\"}\n"
               "{\"prompt\": \"h \", \"completion\": \"i\"}\n"
               "{\"ids\": [74, 75]}\n"
               "{\"text\": \"\"}\n",
               2048, true, &err) == STATUS_OK,
         "%s", err.message);
  json_t *list = results();
  expect_id_list(list, 0, "[1,74,75,2]");
  expect_id_list(list, 1, "[1,74,97,75,2]");
  EXPECT(start_of(list, 1) == 2, "BOS and 'h': %lld", (long long)start_of(list, 1));
  expect_id_list(list, 2, "[74,75]");
  expect_id_list(list, 3, "[1,2]");
  json_decref(list);
}

// The tokens that the model itself would draw are greedy; one that it would not is not, but only
// from completion_start on.
static void test_greedy(void) {
  Error err;
  char text[400];
  EXPECT(score("{\"text\": \"The heart\"}\n", 2048, false, &err) == STATUS_OK);
  json_t *list = results();
  EXPECT(json_is_false(field(list, 0, "greedy")), "a text that the model would not draw");
  json_decref(list);
  // Try every continuation by one character: exactly one of them, or none, is the argmax.
  text[0] = '\0';
  int greedy = 0;
  for (char c = 'a'; c <= 'z'; c++) {
    snprintf(text, sizeof text, "{\"prompt\": \"The heart-\", \"completion\": \"%c\"}\n", c);
    EXPECT(score(text, 2048, false, &err) == STATUS_OK, "%s", err.message);
    list = results();
    EXPECT(start_of(list, 0) == (int64_t)json_array_size(field(list, 0, "ids")) - 1);
    greedy += json_is_true(field(list, 0, "greedy"));
    json_decref(list);
  }
  EXPECT(greedy <= 1, "%d argmaxes", greedy);
}

// ---- what is wrong with an input ----

static void expect_error(const char *text, Status status, const char *part) {
  Error err;
  Status got = score(text, 2048, false, &err);
  EXPECT(got == status && strstr(err.message, part) != NULL, "%s: status %d: %s", text, got,
         err.message);
  EXPECT(!file_exists(out_path), "%s: an output was left", text);
}

// The beginning, then a line of n ids.
static const char *fives(const char *begin, int n) {
  static char text[2000];
  int at = snprintf(text, sizeof text, "%s{\"ids\": [5", begin);
  for (int i = 1; i < n; i++) at += snprintf(text + at, sizeof text - (size_t)at, ",5");
  snprintf(text + at, sizeof text - (size_t)at, "]}\n");
  return text;
}

static void test_bad_input(void) {
  expect_error("{\"text\": \"a\"}\n\n{\"text\": 3}\n", STATUS_DATA, "in.jsonl:3: item 1: \"text\"");
  expect_error("{\"text\": \"a\"}\nnot json\n", STATUS_DATA, "in.jsonl:2:");
  expect_error("{\"text\": \"a\", \"text\": \"b\"}\n", STATUS_DATA, "in.jsonl:1");
  expect_error("{\"txt\": \"a\"}\n", STATUS_DATA, "none of them");
  expect_error("{\"text\": \"a\", \"ids\": [1]}\n", STATUS_DATA, "several of them");
  expect_error("{\"prompt\": \"a\"}\n", STATUS_DATA,
               "\"completion\": expected a string, found not");
  expect_error("{\"completion\": \"a\"}\n", STATUS_DATA,
               "\"prompt\": expected a string, found not");
  expect_error("{\"prompt\": \"a\", \"completion\": null}\n", STATUS_DATA, "found null");
  expect_error("{\"ids\": [1, 131]}\n", STATUS_DATA, "\"ids\"[1]: expected an id in 0..130");
  expect_error("{\"ids\": [1, -1]}\n", STATUS_DATA, "found -1");
  expect_error("{\"ids\": [1.5]}\n", STATUS_DATA, "expected an integer, found a real");
  expect_error("{\"ids\": {}}\n", STATUS_DATA, "expected a list, found an object");
  expect_error("[[1]]\n", STATUS_DATA, "expected an object, found a list");
  expect_error(fives("{\"ids\": [1]}\n", 129), STATUS_DATA, "in.jsonl:2: item 1: has 129 tokens");
  expect_error("", STATUS_DATA, "in.jsonl");
}

// As long as the context: legal.
static void test_longest(void) {
  Error err;
  EXPECT(score(fives("", 128), 16, false, &err) == STATUS_OK, "%s", err.message);
}

int main(void) {
  RUN(test_log_probs);
  RUN(test_prompt_and_completion);
  RUN(test_add_special);
  RUN(test_greedy);
  RUN(test_bad_input);
  RUN(test_longest);
  return test_done();
}
