// labels: quick
// What a tokenizer says of itself, from each kind of file, and what the configs beside it change.
#include "mapped_file.h"
#include "test.h"
#include "tokenizer.h"

#include <stdarg.h>

#define GOLDEN "tests/golden/tokenizer/"

static Tokenizer *open_ok(const char *path) {
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  Status status = tokenizer_open(&tokenizer, path, &err);
  EXPECT(status == STATUS_OK && tokenizer != NULL, "%s", err.message);
  if (tokenizer == NULL) exit(1);
  return tokenizer;
}

static void expect_ids(const Tokenizer *tokenizer, const char *text, SpecialText special, int n,
                       ...) {
  TokenIds found = {0};
  tokenizer_encode(tokenizer, text, (int64_t)strlen(text), special, &found);
  EXPECT(found.n == n, "'%s': %lld ids, expected %d", text, (long long)found.n, n);
  va_list args;
  va_start(args, n);
  for (int i = 0; i < n && i < found.n; i++) {
    const char *piece = va_arg(args, const char *);
    int32_t id = tokenizer_find(tokenizer, piece);
    EXPECT(id >= 0 && found.ids[i] == id, "'%s', id %d: %d, expected %d of '%s'", text, i,
           found.ids[i], id, piece);
  }
  va_end(args);
  token_ids_free(&found);
}

static void says(const Tokenizer *tokenizer, const char *kind, int bos, int eos, bool adds_bos,
                 bool adds_eos) {
  EXPECT(strcmp(tokenizer_kind(tokenizer), kind) == 0, "%s", tokenizer_kind(tokenizer));
  EXPECT(tokenizer_bos(tokenizer) == bos, "%s: bos %d", kind, tokenizer_bos(tokenizer));
  EXPECT(tokenizer_eos(tokenizer) == eos, "%s: eos %d", kind, tokenizer_eos(tokenizer));
  EXPECT(tokenizer_adds_bos(tokenizer) == adds_bos, "%s", kind);
  EXPECT(tokenizer_adds_eos(tokenizer) == adds_eos, "%s", kind);
}

static void json_files(void) {
  Tokenizer *t = open_ok(GOLDEN "bytes/tokenizer.json");
  says(t, "byte-level BPE (tokenizer.json)", -1, -1, false, false);
  EXPECT(tokenizer_vocab(t) == 1503, "%lld", (long long)tokenizer_vocab(t));
  EXPECT(tokenizer_is_special(t, tokenizer_find(t, "<|im_start|>")));
  EXPECT(tokenizer_find(t, "[USER]") >= 0 && !tokenizer_is_special(t, tokenizer_find(t, "[USER]")));
  EXPECT(tokenizer_find(t, "no such piece") == -1 && !tokenizer_is_special(t, -1));
  expect_ids(t, "<|im_end|>", SPECIAL_PARSED, 1, "<|im_end|>");
  expect_ids(t, "[USER]", SPECIAL_AS_TEXT, 1, "[USER]");
  expect_ids(t, " \t<mask>\n\n", SPECIAL_PARSED, 1, "<mask>"); // lstrip, rstrip
  TokenIds ids = {0};
  tokenizer_encode(t, "<|im_end|>", 10, SPECIAL_AS_TEXT, &ids);
  EXPECT(ids.n > 1, "a special token came out of text");
  for (int64_t i = 0; i < ids.n; i++) EXPECT(!tokenizer_is_special(t, ids.ids[i]));
  token_ids_free(&ids);
  tokenizer_close(t);
  t = open_ok(GOLDEN "llama3/tokenizer.json");
  says(t, "byte-level BPE (tokenizer.json)", tokenizer_find(t, "<|begin_of_text|>"), -1, true,
       false);
  // The word is in the vocabulary, but no merges lead there: ignore_merges. GPT-2's letters.
  expect_ids(t, " ca\xC3\xB1on", SPECIAL_AS_TEXT, 1,
             "\xC4\xA0"
             "ca\xC3\x83\xC2\xB1on");
  tokenizer_close(t);
  t = open_ok(GOLDEN "metaspace"); // a folder with a tokenizer.json only
  says(t, "BPE with byte fallback (tokenizer.json)", 1, -1, true, false);
  tokenizer_close(t);
  t = open_ok(GOLDEN "words");
  says(t, "BPE of characters (tokenizer.json)", -1, -1, false, false);
  tokenizer_close(t);
}

static void model_files(void) {
  Tokenizer *t = open_ok(GOLDEN "spm/tokenizer.model");
  says(t, "sentencepiece", 1, 2, true, false);
  EXPECT(tokenizer_vocab(t) == 1200);
  EXPECT(tokenizer_is_special(t, 1) && !tokenizer_is_special(t, 0) && !tokenizer_is_special(t, 3));
  expect_ids(t, "<s>", SPECIAL_PARSED, 1, "<s>");
  int32_t ids[] = {1, tokenizer_find(t, "\xE2\x96\x81the"), 2};
  char *text = tokenizer_decode(t, ids, 3, true, NULL);
  EXPECT(strcmp(text, "the") == 0, "'%s'", text);
  free(text);
  text = tokenizer_decode(t, ids, 3, false, NULL);
  EXPECT(strcmp(text, "<s> the</s>") == 0, "'%s'", text);
  free(text);
  expect_ids(t, "", SPECIAL_AS_TEXT, 0);
  tokenizer_close(t);
  t = open_ok(GOLDEN "plain/tokenizer.model");
  expect_ids(t, "mmHg", SPECIAL_AS_TEXT, 2, "\xE2\x96\x81", "mmHg"); // user-defined
  tokenizer_close(t);
  t = open_ok(GOLDEN "across/tokenizer.model");
  expect_ids(t, "of the", SPECIAL_AS_TEXT, 1, "\xE2\x96\x81of\xE2\x96\x81the");
  tokenizer_close(t);
}

// A folder with copies of a tokenizer and with these configs (NULL: none).
static char *make_folder(const char *name, const char *source, const char *file,
                         const char *tokenizer_config, const char *config) {
  char *folder = NULL, *path = NULL, *data = NULL;
  int64_t size;
  Error err = {0};
  if (asprintf(&folder, "%s/%s", test_tmp_dir(), name) < 0) exit(1);
  EXPECT(file_make_folders(folder, &err) == STATUS_OK, "%s", err.message);
  const char *texts[2] = {tokenizer_config, config};
  const char *names[2] = {"tokenizer_config.json", "config.json"};
  for (int i = 0; i < 2; i++) {
    if (texts[i] == NULL) continue;
    if (asprintf(&path, "%s/%s", folder, names[i]) < 0) exit(1);
    EXPECT(file_write(path, texts[i], (int64_t)strlen(texts[i]), &err) == STATUS_OK);
    free(path);
  }
  EXPECT(file_read_all(&data, &size, source, 1 << 20, &err) == STATUS_OK, "%s", err.message);
  if (asprintf(&path, "%s/%s", folder, file) < 0) exit(1);
  EXPECT(file_write(path, data, size, &err) == STATUS_OK);
  free(path);
  free(data);
  return folder;
}

static void configs(void) {
  char *folder = make_folder("a", GOLDEN "bytes/tokenizer.json", "tokenizer.json",
                             "{\"bos_token\": \"<|im_start|>\", \"eos_token\": {\"content\": "
                             "\"<|im_end|>\", \"lstrip\": false}, \"add_bos_token\": true}",
                             "{\"eos_token_id\": 7}");
  Tokenizer *t = open_ok(folder);
  says(t, "byte-level BPE (tokenizer.json)", 1, 2, true, false);
  tokenizer_close(t);
  free(folder);
  // config.json only; a list; null.
  folder = make_folder("b", GOLDEN "bytes/tokenizer.json", "tokenizer.json", NULL,
                       "{\"bos_token_id\": null, \"eos_token_id\": [2, 0]}");
  t = open_ok(folder);
  says(t, "byte-level BPE (tokenizer.json)", -1, 2, false, false);
  tokenizer_close(t);
  free(folder);
  // The template says BOS, the config says none; BOS and EOS from the config.
  folder = make_folder("c", GOLDEN "legacy/tokenizer.json", "tokenizer.json",
                       "{\"eos_token\": \"</s>\", \"add_bos_token\": false, \"add_eos_token\": "
                       "true}",
                       NULL);
  t = open_ok(folder);
  says(t, "BPE with byte fallback (tokenizer.json)", 1, 2, false, true);
  tokenizer_close(t);
  free(folder);
  // Tokens that only the config knows.
  folder = make_folder("d", GOLDEN "spm/tokenizer.model", "tokenizer.model",
                       "{\"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": "
                       "true}, \"1200\": {\"content\": \"<pad>\", \"special\": true}}, "
                       "\"bos_token\": \"\"}",
                       NULL);
  t = open_ok(folder);
  says(t, "sentencepiece", 1, 2, true, false);
  EXPECT(tokenizer_vocab(t) == 1201 && tokenizer_find(t, "<pad>") == 1200 &&
         tokenizer_is_special(t, 1200));
  expect_ids(t, "<pad><s>", SPECIAL_PARSED, 2, "<pad>", "<s>");
  tokenizer_close(t);
  free(folder);
}

static void expect_fault(const char *name, const char *tokenizer_config, const char *config,
                         const char *part) {
  char *folder =
      make_folder(name, GOLDEN "spm/tokenizer.model", "tokenizer.model", tokenizer_config, config);
  Tokenizer *t = NULL;
  Error err = {0};
  EXPECT(tokenizer_open(&t, folder, &err) == STATUS_DATA && t == NULL, "%s", part);
  EXPECT(strstr(err.message, part) != NULL, "'%s': %s", part, err.message);
  tokenizer_close(t);
  free(folder);
}

static void config_faults(void) {
  expect_fault("e", "[]", NULL, "expected a JSON object");
  expect_fault("f", "{\"bos_token\": 1}", NULL, "'bos_token': expected a string");
  expect_fault("g", "{\"bos_token\": \"<none>\"}", NULL, "'<none>' is not in the vocabulary");
  expect_fault("h", "{\"add_bos_token\": 1}", NULL, "expected true or false");
  expect_fault("i", "{\"a\": 1", NULL, "tokenizer_config.json:1:");
  expect_fault("j", NULL, "{\"bos_token_id\": \"x\"}", "'bos_token_id': expected an id");
  expect_fault("k", "{\"added_tokens_decoder\": {\"7\": {\"content\": \"<s>\"}}}", NULL,
               "'<s>' has id 1");
  expect_fault("l", "{\"added_tokens_decoder\": {\"900000000\": {\"content\": \"<x>\"}}}", NULL,
               "out of range");
  Tokenizer *t = NULL;
  Error err = {0};
  EXPECT(tokenizer_open(&t, "tests/golden/tokenizer", &err) == STATUS_NO_INPUT, "no tokenizer");
  EXPECT(strstr(err.message, "tokenizer.json or a tokenizer.model") != NULL, "%s", err.message);
  EXPECT(tokenizer_open(&t, "tests/none", &err) == STATUS_NO_INPUT, "no file");
}

int main(void) {
  RUN(json_files);
  RUN(model_files);
  RUN(configs);
  RUN(config_faults);
  return test_done();
}
