// GGUF vocabularies as tokenizer.json: the ids of the reference on generated strings, the chat
// template as it stands, and vocabularies that such a file cannot express.
#include "bytes.h"
#include "mapped_file.h"
#include "test.h"
#include "tmp_file.h"
#include "token_strings.h"
#include "tokenizer_save.h"

#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>

#define GOLDEN "tests/golden/tokenizer/"

// Under a sanitizer this is several times slower: there every tenth block does.
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 10 };
#else
enum { STRIDE = 2 };
#endif

static Gguf *open_gguf(const char *path) {
  Error err = {0};
  Gguf *gguf = NULL;
  if (gguf_open(&gguf, path, &err) == STATUS_OK) return gguf;
  printf("%s\n", err.message);
  exit(1);
}

// The vocabulary of a file as the folder TMP/name.
static void save(const char *path, const char *name) {
  Error err = {0};
  Gguf *gguf = open_gguf(path);
  tmp_folder(name);
  Status status = tokenizer_save_gguf(gguf, tmp_path(name), &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  gguf_close(gguf);
}

static void test_byte_level(void) {
  static const char *const names[] = {"default", "gpt-2", "smollm", "starcoder", "llama-bpe"};
  for (int i = 0; i < 5; i++) {
    char path[200], hashes[64];
    snprintf(path, sizeof path, GOLDEN "gguf/%s.gguf", names[i]);
    snprintf(hashes, sizeof hashes, "gguf_%s", names[i]);
    save(path, names[i]);
    token_strings_check(hashes, tmp_path(names[i]), STRIDE);
  }
}

// The decoder differs from SentencePiece's in broken UTF-8, so only ids are compared.
static void same_ids(const char *path, const char *folder) {
  Error err = {0};
  Tokenizer *before, *after;
  TokenIds a = {0}, b = {0};
  Bytes text = {0};
  EXPECT(tokenizer_open(&before, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(tokenizer_open(&after, folder, &err) == STATUS_OK, "%s", err.message);
  int64_t different = 0, ids = 0;
  for (int64_t i = 0; i < TOKEN_STRINGS && before != NULL && after != NULL; i += STRIDE) {
    text.size = 0;
    token_string_make(&text, i);
    for (int special = SPECIAL_AS_TEXT; special <= SPECIAL_PARSED; special++) {
      a.n = b.n = 0;
      tokenizer_encode(before, (const char *)text.data, text.size, (SpecialText)special, &a);
      tokenizer_encode(after, (const char *)text.data, text.size, (SpecialText)special, &b);
      different += a.n != b.n || memcmp(a.ids, b.ids, (size_t)a.n * sizeof *a.ids) != 0;
      ids += a.n;
    }
  }
  EXPECT(different == 0, "%s: %lld strings", path, (long long)different);
  EXPECT(ids > TOKEN_STRINGS / STRIDE, "%lld ids", (long long)ids);
  token_ids_free(&a);
  token_ids_free(&b);
  bytes_free(&text);
  tokenizer_close(before);
  tokenizer_close(after);
}

static void test_sentencepiece(void) {
  save(GOLDEN "gguf/spm.gguf", "spm");
  same_ids(GOLDEN "gguf/spm.gguf", tmp_path("spm"));
  save(GOLDEN "gguf/bare.gguf", "bare");
  same_ids(GOLDEN "gguf/bare.gguf", tmp_path("bare"));
}

static void test_shared(void) {
  static const char *const names[] = {"gpt-2", "starcoder"};
  const char *folder = test_shared_data();
  char path[1024];
  if (folder == NULL) {
    printf("shared/data is absent: its vocabularies were not compared\n");
    return;
  }
  for (int i = 0; i < 2; i++) {
    char hashes[64];
    snprintf(path, sizeof path, "%s/tokenizers/%s.gguf", folder, names[i]);
    snprintf(hashes, sizeof hashes, "shared_%s", names[i]);
    save(path, hashes);
    token_strings_check(hashes, tmp_path(hashes), STRIDE);
  }
  snprintf(path, sizeof path, "%s/tokenizers/llama-spm.gguf", folder);
  save(path, "llama");
  same_ids(path, tmp_path("llama"));
}

// ---- files made here ----

typedef struct Piece {
  const char *text;
  float score;
  int type;
} Piece;

typedef struct Parts {
  const char *model, *chat_template;
  const Piece *pieces;
  int n;
  int64_t bos, eos, pad; // 0: not given
  bool add_bos, add_eos;
} Parts;

static void put_gguf(const char *name, const Parts *p) {
  Bytes b = {0};
  bool spm = strcmp(p->model, "llama") == 0;
  uint64_t ids = (uint64_t)((p->bos > 0) + (p->eos > 0) + (p->pad > 0));
  gguf_put_header(&b, 3, 0, 6 + ids + (p->chat_template != NULL));
  gguf_put_key_string(&b, "tokenizer.ggml.model", p->model);
  gguf_put_key_array(&b, "tokenizer.ggml.tokens", 8, (uint64_t)p->n);
  for (int i = 0; i < p->n; i++) gguf_put_string(&b, p->pieces[i].text);
  gguf_put_key_array(&b, "tokenizer.ggml.token_type", 5, (uint64_t)p->n);
  for (int i = 0; i < p->n; i++) bytes_u32(&b, (uint32_t)p->pieces[i].type);
  if (spm) {
    gguf_put_key_array(&b, "tokenizer.ggml.scores", 6, (uint64_t)p->n);
    for (int i = 0; i < p->n; i++) bytes_f32(&b, p->pieces[i].score);
  } else {
    gguf_put_key_array(&b, "tokenizer.ggml.merges", 8, 1);
    gguf_put_string(&b, "a b");
  }
  gguf_put_key_bool(&b, "tokenizer.ggml.add_bos_token", p->add_bos);
  gguf_put_key_bool(&b, "tokenizer.ggml.add_eos_token", p->add_eos);
  if (p->bos > 0) gguf_put_key_u32(&b, "tokenizer.ggml.bos_token_id", (uint32_t)p->bos);
  if (p->eos > 0) gguf_put_key_u32(&b, "tokenizer.ggml.eos_token_id", (uint32_t)p->eos);
  if (p->pad > 0) gguf_put_key_u32(&b, "tokenizer.ggml.padding_token_id", (uint32_t)p->pad);
  if (p->chat_template != NULL)
    gguf_put_key_string(&b, "tokenizer.chat_template", p->chat_template);
  gguf_put_padding(&b, 32);
  tmp_put(name, b.data, b.size);
  bytes_free(&b);
}

#define WORDS                                                                                      \
  {"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"\xE2\x96\x81", -3, 1}, {"a", -4, 1},           \
      {"b", -5, 1}, {"c", -6, 1}, {"ab", -1, 1}, {                                                 \
    "\xE2\x96\x81"                                                                                 \
    "a",                                                                                           \
        -2, 1                                                                                      \
  }

static void test_config(void) {
  static const char jinja[] =
      "{% for m in messages %}{{ '<s>' + m['content'] }}\n\"\xC3\xA9\\{% endfor %}";
  static const Piece pieces[] = {WORDS};
  Parts parts = {.model = "llama",
                 .chat_template = jinja,
                 .pieces = pieces,
                 .n = 9,
                 .bos = 1,
                 .eos = 2,
                 .pad = 2,
                 .add_bos = true,
                 .add_eos = true};
  put_gguf("config.gguf", &parts);
  save(tmp_path("config.gguf"), "config");
  json_t *root = json_load_file(tmp_path("config/tokenizer_config.json"), 0, NULL);
  const char *template_text = json_string_value(json_object_get(root, "chat_template"));
  EXPECT(template_text != NULL && strcmp(template_text, jinja) == 0, "%s", template_text);
  static const char *const keys[] = {"bos_token", "eos_token", "pad_token", "unk_token"};
  static const char *const texts[] = {"<s>", "</s>", "</s>", "<unk>"};
  for (int i = 0; i < 4; i++) {
    const char *text = json_string_value(json_object_get(root, keys[i]));
    EXPECT(text != NULL && strcmp(text, texts[i]) == 0, "%s", keys[i]);
  }
  json_decref(root);
  // Without its tokenizer_config.json the tokenizer.json itself says what is around a text.
  Error err = {0};
  Tokenizer *tokenizer = NULL;
  EXPECT(tokenizer_open(&tokenizer, tmp_path("config/tokenizer.json"), &err) == STATUS_OK, "%s",
         err.message);
  if (tokenizer == NULL) return;
  EXPECT(tokenizer_bos(tokenizer) == 1 && tokenizer_eos(tokenizer) == 2 &&
         tokenizer_adds_bos(tokenizer) && tokenizer_adds_eos(tokenizer));
  EXPECT(tokenizer_is_special(tokenizer, 0) && !tokenizer_is_special(tokenizer, 4));
  tokenizer_close(tokenizer);
}

static void expect_refused(const Parts *parts, Status status, const char *message) {
  Error err = {0};
  put_gguf("refused.gguf", parts);
  Gguf *gguf = open_gguf(tmp_path("refused.gguf"));
  tmp_folder("refused");
  Status found = tokenizer_save_gguf(gguf, tmp_path("refused"), &err);
  EXPECT(found == status, "%d: %s", (int)found, err.message);
  EXPECT(strstr(err.message, message) != NULL && strstr(err.message, "refused.gguf") != NULL,
         "found: %s", err.message);
  gguf_close(gguf);
}

static void test_refused(void) {
  // A piece that comes about through one that is not used, which merges cannot say.
  static const Piece unused[] = {WORDS, {"cc", -0.5f, 5}, {"ccb", -0.6f, 1}};
  expect_refused(&(Parts){.model = "llama", .pieces = unused, .n = 11}, STATUS_FAILED,
                 "cannot be written as a tokenizer.json: the ids of 'ccb' would differ");
  // Of equal scores SentencePiece merges the leftmost pair; a list of merges has an order of pairs.
  static const Piece tied[] = {
      WORDS, {"cb", -7, 1}, {"ac", -0.5f, 1}, {"ba", -0.5f, 1}, {"bb", -7, 1}};
  expect_refused(&(Parts){.model = "llama", .pieces = tied, .n = 13}, STATUS_FAILED,
                 "the ids of 'bac' would differ");
  static const Piece bytes[] = {{"a", 0, 1}, {"b", 0, 1}, {"ab", 0, 1}};
  expect_refused(&(Parts){.model = "gpt2", .pieces = bytes, .n = 3, .chat_template = "\xFF"},
                 STATUS_DATA, "'tokenizer.chat_template': expected UTF-8");
  expect_refused(&(Parts){.model = "bert", .pieces = bytes, .n = 3}, STATUS_DATA, "'bert'");
  // A full disk, as a limit on the size of files.
  struct rlimit before, limit;
  Error err = {0};
  Gguf *gguf = open_gguf(GOLDEN "gguf/spm.gguf");
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &before);
  limit = before;
  limit.rlim_cur = 500;
  tmp_folder("full");
  setrlimit(RLIMIT_FSIZE, &limit);
  EXPECT(tokenizer_save_gguf(gguf, tmp_path("full"), &err) == STATUS_IO, "%s", err.message);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT(!file_exists(tmp_path("full/tokenizer.json")));
  gguf_close(gguf);
}

// ---- the files of a base ----

static void expect_same_file(const char *a, const char *b) {
  Error err = {0};
  char *x = NULL, *y = NULL;
  int64_t n = 0, m = 0;
  EXPECT(file_read_all(&x, &n, a, 1 << 20, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_read_all(&y, &m, b, 1 << 20, &err) == STATUS_OK, "%s", err.message);
  EXPECT(n == m && x != NULL && y != NULL && memcmp(x, y, (size_t)n) == 0, "%s", b);
  free(x);
  free(y);
}

static void test_base(void) {
  Error err = {0};
  tmp_folder("base");
  tmp_folder("copy");
  tmp_put("base/tokenizer.json", "{\r\n \0x", 6);
  tmp_put_text("base/generation_config.json", "{}");
  tmp_put_text("base/config.json", "{}");
  tmp_put_text("base/chat_template.jinja", "{{ x }}");
  tmp_put_text("base/model.safetensors", "weights");
  static const char *const copied[] = {"tokenizer.json", "generation_config.json",
                                       "chat_template.jinja"};
  for (int form = 0; form < 2; form++) { // the folder, and a file in it
    char base[700];
    snprintf(base, sizeof base, "%s", tmp_path(form == 0 ? "base" : "base/model.safetensors"));
    EXPECT(tokenizer_save_base(base, tmp_path("copy"), &err) == STATUS_OK, "%s", err.message);
    for (int i = 0; i < 3; i++) {
      char from[64], to[64];
      snprintf(from, sizeof from, "base/%s", copied[i]);
      snprintf(to, sizeof to, "copy/%s", copied[i]);
      expect_same_file(tmp_path(from), tmp_path(to));
      tmp_remove(to);
    }
    EXPECT(!file_exists(tmp_path("copy/config.json")) &&
           !file_exists(tmp_path("copy/model.safetensors")));
  }
  char base[] = GOLDEN "gguf/smollm.gguf";
  EXPECT(tokenizer_save_base(base, tmp_path("copy"), &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_exists(tmp_path("copy/tokenizer.json")));
}

int main(void) {
  RUN(test_byte_level);
  RUN(test_sentencepiece);
  RUN(test_shared);
  RUN(test_config);
  RUN(test_refused);
  RUN(test_base);
  return test_done();
}
