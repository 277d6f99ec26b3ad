// labels: quick
// Tokenizer files that are broken, one for each rule, and then cut, swapped and random ones: each
// is a message and a status, never a crash.
#include "bytes.h"
#include "mapped_file.h"
#include "test.h"
#include "tokenizer.h"

#define GOLDEN "tests/golden/tokenizer/"

static char *write_file(const void *data, int64_t size) {
  static int count;
  char *path = NULL;
  Error err = {0};
  if (asprintf(&path, "%s/file%d", test_tmp_dir(), count++) < 0) exit(1);
  EXPECT(file_write(path, data, size, &err) == STATUS_OK, "%s", err.message);
  return path;
}

// Opening fails with STATUS_DATA, names the path and says this.
static void expect_bytes_fault(const void *data, int64_t size, const char *part) {
  char *path = write_file(data, size);
  Tokenizer *t = NULL;
  Error err = {0};
  Status status = tokenizer_open(&t, path, &err);
  EXPECT(status == STATUS_DATA && t == NULL, "status %d for '%s'", status, part);
  EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
  EXPECT(strstr(err.message, part) != NULL, "expected '%s', found '%s'", part, err.message);
  EXPECT(strchr(err.message, '\n') == NULL);
  tokenizer_close(t);
  free(path);
}

// A tokenizer.json of these parts; NULL: what is right.
typedef struct Parts {
  const char *added, *normalizer, *pre, *post, *decoder, *flags, *vocab, *merges, *more;
} Parts;

#define OR(text, other) ((text) != NULL ? (text) : (other))

static char *json_of(Parts p) {
  char *text = NULL;
  int n = asprintf(
      &text,
      "{\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,"
      "\"decoder\":%s,\"model\":{%s\"vocab\":%s,\"merges\":%s}%s}",
      OR(p.added, "[]"), OR(p.normalizer, "null"),
      OR(p.pre, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"), OR(p.post, "null"),
      OR(p.decoder, "{\"type\":\"ByteLevel\"}"), OR(p.flags, "\"type\":\"BPE\","),
      OR(p.vocab, "{\"a\":0,\"b\":1,\"ab\":2}"), OR(p.merges, "[\"a b\"]"), OR(p.more, ""));
  EXPECT(n > 0);
  return text;
}

static void json_fault(Parts parts, const char *part) {
  char *text = json_of(parts);
  expect_bytes_fault(text, (int64_t)strlen(text), part);
  free(text);
}

static void json_good(void) {
  char *text = json_of((Parts){0});
  char *path = write_file(text, (int64_t)strlen(text));
  Tokenizer *t = NULL;
  Error err = {0};
  TokenIds ids = {0};
  EXPECT(tokenizer_open(&t, path, &err) == STATUS_OK, "%s", err.message);
  if (t != NULL) tokenizer_encode(t, "abcba", 5, SPECIAL_AS_TEXT, &ids);
  EXPECT(ids.n == 3 && ids.ids[0] == 2 && ids.ids[1] == 1 && ids.ids[2] == 0, "ab, b, a");
  token_ids_free(&ids);
  tokenizer_close(t);
  free(path);
  free(text);
}

// A word that is a special token's text stays text, also where merges are ignored.
static void json_special_word(void) {
  char *text = json_of((Parts){.flags = "\"type\":\"BPE\",\"ignore_merges\":true,",
                               .merges = "[]",
                               .added = "[{\"id\":2,\"content\":\"ab\",\"special\":true}]"});
  char *path = write_file(text, (int64_t)strlen(text));
  Tokenizer *t = NULL;
  Error err = {0};
  TokenIds ids = {0};
  EXPECT(tokenizer_open(&t, path, &err) == STATUS_OK, "%s", err.message);
  if (t != NULL) tokenizer_encode(t, "ab", 2, SPECIAL_AS_TEXT, &ids);
  EXPECT(ids.n == 2 && ids.ids[0] == 0 && ids.ids[1] == 1, "a, b");
  if (t != NULL) tokenizer_encode(t, "ab", 2, SPECIAL_PARSED, &ids);
  EXPECT(ids.n == 3 && ids.ids[2] == 2, "ab");
  token_ids_free(&ids);
  tokenizer_close(t);
  free(path);
  free(text);
}

static void json_model(void) {
  json_fault((Parts){.flags = "\"type\":\"Unigram\","}, "model type 'Unigram' is not supported");
  json_fault((Parts){.flags = "\"dropout\":0.1,"}, "dropout");
  json_fault((Parts){.flags = "\"end_of_word_suffix\":\"</w>\","}, "end_of_word_suffix");
  json_fault((Parts){.flags = "\"unk_token\":\"<unk>\","}, "unk_token '<unk>' is not in");
  json_fault((Parts){.flags = "\"vocab\":{},"}, "'vocab' is there twice");
  json_fault((Parts){.flags = "\"fuse_unk\":1,"}, "expected");
  json_fault((Parts){.vocab = "{\"a\":0,\"a\":1}"}, "'a' is there twice, with ids 0 and 1");
  json_fault((Parts){.vocab = "{\"a\":0,\"b\":0}"}, "id 0 is that of two pieces, 'a' and 'b'");
  json_fault((Parts){.vocab = "{\"a\":0,\"b\":-1}"}, "expected");
  json_fault((Parts){.vocab = "{\"a\":0,\"b\":2000000000}"}, "expected");
  json_fault((Parts){.vocab = "{\"a\":0,\"b\":1.5}"}, "expected");
  json_fault((Parts){.vocab = "[]"}, "expected");
  json_fault((Parts){.vocab = "{}", .merges = "[]"}, "no byte-level BPE");
  json_fault((Parts){.merges = "[\"a c\"]"}, "merge 0 names 'c', which is not in the vocabulary");
  json_fault((Parts){.merges = "[\"a b\",\"b a\"]"}, "merge 1 gives 'ba', which is not in");
  json_fault((Parts){.merges = "[\"ab\"]"}, "expected two pieces and a space");
  json_fault((Parts){.merges = "[\"a b c\"]"}, "expected two pieces and a space");
  json_fault((Parts){.merges = "[[\"a\"]]"}, "expected a pair of strings");
  json_fault((Parts){.merges = "[[\"a\",\"b\",\"c\"]]"}, "expected a pair of strings");
  json_fault((Parts){.merges = "[1]"}, "expected");
  json_fault((Parts){.more = ",\"model\":{}"}, "'model' is there twice");
  expect_bytes_fault("{\"a\":1}", 7, "no 'model'");
  expect_bytes_fault("{\"model\":{\"vocab\":{}}}", 22, "no 'merges'");
}

static void json_parts(void) {
  json_fault((Parts){.normalizer = "{\"type\":\"NFC\"}"}, "normalizer: 'NFC' is not supported");
  json_fault((Parts){.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},"
                                   "\"content\":\"x\"}"},
             "Replace of a Regex");
  json_fault((Parts){.normalizer = "{\"type\":\"Prepend\"}"}, "'prepend' is missing");
  json_fault((Parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},"
                            "{\"type\":\"ByteLevel\"}]}"},
             "pre_tokenizer: 'Whitespace' is not supported");
  json_fault((Parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
                            "\"pattern\":{\"Regex\":\"x+\"},\"behavior\":\"Isolated\"},"
                            "{\"type\":\"ByteLevel\"}]}"},
             "the regular expression 'x+' is not supported");
  json_fault((Parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
                            "{\"type\":\"Digits\"}]}"},
             "a step after ByteLevel");
  json_fault((Parts){.pre = "{\"type\":\"ByteLevel\",\"use_regex\":\"yes\"}"}, "'use_regex' is");
  json_fault((Parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\"}"}, "'_' is not");
  json_fault((Parts){.decoder = "null"}, "decoder: 'none at all'");
  json_fault((Parts){.decoder = "{\"type\":\"WordPiece\"}"}, "decoder: 'WordPiece'");
  json_fault((Parts){.pre = "null",
                     .decoder = "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
                                "\"stop\":0}"},
             "Strip without Fuse");
  json_fault((Parts){.pre = "null", .decoder = "{\"type\":\"BPEDecoder\"}"}, "'BPEDecoder'");
  json_fault((Parts){.post = "{\"type\":\"BertProcessing\"}"}, "post_processor: 'BertProcessing'");
  json_fault((Parts){.post = "{\"type\":\"TemplateProcessing\"}"}, "'single' is missing");
  json_fault((Parts){.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                             "{\"id\":\"x\"}}],\"special_tokens\":{\"x\":{\"ids\":[77]}}}"},
             "'special_tokens' is missing or of the wrong type");
  json_fault((Parts){.added = "{}"}, "added_tokens: expected a list");
  json_fault((Parts){.added = "[1]"}, "added_tokens, item 0: expected an 'id'");
  json_fault((Parts){.added = "[{\"id\":3,\"content\":\"\"}]"}, "item 0: expected an 'id'");
  json_fault((Parts){.added = "[{\"id\":2000000000,\"content\":\"x\"}]"}, "out of range");
  json_fault((Parts){.added = "[{\"id\":3,\"content\":\"a\"}]"}, "'a' has id 0 in the vocabulary");
  json_fault((Parts){.added = "[{\"id\":0,\"content\":\"x\"}]"}, "id 0 is that of two pieces");
  json_fault((Parts){.added = "[{\"id\":3,\"content\":\"x\",\"single_word\":true}]"},
             "single_word");
}

// ---- protobuf ----

static void varint(Bytes *b, uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_u8(b, (uint8_t)(value | 0x80));
  bytes_u8(b, (uint8_t)value);
}

static void field(Bytes *b, int number, const Bytes *message) {
  varint(b, (uint64_t)number << 3 | 2);
  varint(b, (uint64_t)message->size);
  bytes_put(b, message->data, message->size);
}

static void put_piece(Bytes *b, const char *text, float score, int type) {
  Bytes piece = {0};
  varint(&piece, 1 << 3 | 2);
  varint(&piece, strlen(text));
  bytes_text(&piece, text);
  varint(&piece, 2 << 3 | 5);
  bytes_f32(&piece, score);
  varint(&piece, 3 << 3);
  varint(&piece, (uint64_t)type);
  field(b, 1, &piece);
  bytes_free(&piece);
}

static void put_number(Bytes *b, int message, int number, uint64_t value) {
  Bytes spec = {0};
  varint(&spec, (uint64_t)number << 3);
  varint(&spec, value);
  field(b, message, &spec);
  bytes_free(&spec);
}

// A sound model, to which a test appends what breaks it (the last value of a field counts).
static Bytes make_model(void) {
  Bytes b = {0};
  put_piece(&b, "<unk>", 0, 2);
  put_piece(&b, "<s>", 0, 3);
  put_piece(&b, "a", -1, 1);
  put_piece(&b, "\xE2\x96\x81", -2, 1);
  put_number(&b, 2, 3, 2); // BPE
  put_number(&b, 3, 4, 0); // extra white space stays
  return b;
}

static void model_good(void) {
  Bytes b = make_model();
  char *path = write_file(b.data, b.size);
  Tokenizer *t = NULL;
  Error err = {0};
  TokenIds ids = {0};
  EXPECT(tokenizer_open(&t, path, &err) == STATUS_OK, "%s", err.message);
  if (t != NULL) tokenizer_encode(t, "axyz", 4, SPECIAL_AS_TEXT, &ids);
  EXPECT(ids.n == 3 && ids.ids[0] == 3 && ids.ids[1] == 2 && ids.ids[2] == 0, "unknown runs fuse");
  token_ids_free(&ids);
  tokenizer_close(t);
  free(path);
  bytes_free(&b);
}

// A user-defined piece is found first and never merged on, whatever its neighbours would give.
static void model_user_piece(void) {
  Bytes b = make_model();
  put_piece(&b, "bc", -3, 4);
  put_piece(&b, "abc", -0.5f, 1);
  put_piece(&b, "b", -4, 1);
  put_piece(&b, "ab", -0.6f, 1);
  char *path = write_file(b.data, b.size);
  Tokenizer *t = NULL;
  Error err = {0};
  TokenIds ids = {0};
  EXPECT(tokenizer_open(&t, path, &err) == STATUS_OK, "%s", err.message);
  if (t != NULL) tokenizer_encode(t, "abcab", 5, SPECIAL_AS_TEXT, &ids);
  EXPECT(ids.n == 4 && ids.ids[1] == 2 && ids.ids[2] == 4 && ids.ids[3] == 7, "a, bc, ab");
  token_ids_free(&ids);
  tokenizer_close(t);
  free(path);
  bytes_free(&b);
}

typedef void (*Breaks)(Bytes *b);

static void model_fault(Breaks breaks, const char *part) {
  Bytes b = make_model();
  breaks(&b);
  expect_bytes_fault(b.data, b.size, part);
  bytes_free(&b);
}

static void twice(Bytes *b) {
  put_piece(b, "a", -9, 1);
}

static void empty_piece(Bytes *b) {
  put_piece(b, "", -9, 1);
}

static void not_utf8(Bytes *b) {
  put_piece(b, "\xFF", -9, 1);
}

static void unknown_type(Bytes *b) {
  put_piece(b, "x", -9, 7);
}

static void two_unknowns(Bytes *b) {
  put_piece(b, "<u2>", 0, 2);
}

static void nan_score(Bytes *b) {
  put_piece(b, "x", __builtin_nanf(""), 1);
}

static void bad_byte(Bytes *b) {
  put_piece(b, "<0xZZ>", 0, 6);
}

static void one_byte(Bytes *b) {
  put_piece(b, "<0x41>", 0, 6);
}

static void unigram(Bytes *b) {
  put_number(b, 2, 3, 1);
}

static void removes(Bytes *b) {
  put_number(b, 3, 4, 1);
}

static void no_escape(Bytes *b) {
  put_number(b, 3, 5, 0);
}

static void suffix(Bytes *b) {
  put_number(b, 2, 24, 1);
}

static void says_fallback(Bytes *b) {
  put_number(b, 2, 35, 1);
}

static void charsmap(Bytes *b) {
  Bytes spec = {0}, map = {0};
  bytes_text(&map, "some map");
  field(&spec, 2, &map);
  field(b, 3, &spec);
  bytes_free(&map);
  bytes_free(&spec);
}

static void too_long(Bytes *b) {
  varint(b, 1 << 3 | 2);
  varint(b, 1000000);
}

static void huge_length(Bytes *b) {
  varint(b, 1 << 3 | 2);
  varint(b, UINT64_MAX);
}

static void endless_number(Bytes *b) {
  bytes_fill(b, 0xFF, 12);
}

static void cut_number(Bytes *b) {
  bytes_u8(b, 0x80);
}

static void field_zero(Bytes *b) {
  bytes_u8(b, 0x02);
  bytes_u8(b, 0);
}

static void group(Bytes *b) {
  bytes_u8(b, 9 << 3 | 3);
}

static void wrong_wire(Bytes *b) {
  bytes_u8(b, 1 << 3);
  bytes_u8(b, 1);
}

static void model_faults(void) {
  model_fault(twice, "'a' is there twice, with ids 2 and 4");
  model_fault(empty_piece, "a piece is empty");
  model_fault(not_utf8, "piece 4 is not UTF-8: '\\xff'");
  model_fault(unknown_type, "a piece is of unknown type");
  model_fault(two_unknowns, "pieces 0 and 4 are both of the type unknown");
  model_fault(nan_score, "piece 4: the score is not finite");
  model_fault(bad_byte, "expected a byte like <0x0A>, found '<0xZZ>'");
  model_fault(one_byte, "expected 256 byte pieces (or none), found 1");
  model_fault(unigram, "found a unigram model");
  model_fault(removes, "remove_extra_whitespaces");
  model_fault(no_escape, "without escape_whitespaces");
  model_fault(suffix, "treat_whitespace_as_suffix");
  model_fault(says_fallback, "byte_fallback is true, but there are no byte pieces");
  model_fault(charsmap, "precompiled_charsmap");
  model_fault(too_long, "a field is longer than what holds it");
  model_fault(huge_length, "a field is longer than what holds it");
  model_fault(endless_number, "a number of more than ten bytes");
  model_fault(cut_number, "a number is cut off");
  model_fault(field_zero, "a field number is out of range");
  model_fault(group, "a field of unknown type");
  model_fault(wrong_wire, "a field has another type than in the schema");
  Bytes b = {0};
  put_piece(&b, "a", 0, 1);
  put_number(&b, 2, 3, 2);
  put_number(&b, 3, 4, 0);
  expect_bytes_fault(b.data, b.size, "no piece is of the type unknown");
  bytes_free(&b);
  put_number(&b, 2, 3, 2);
  expect_bytes_fault(b.data, b.size, "it has no pieces");
  bytes_free(&b);
  expect_bytes_fault("", 0, "the file is empty");
}

// ---- GGUF ----

typedef struct GgufParts {
  const char *model, *pre, *tokens[4], *merge;
  int types[3], n_types, n_scores;
  const char *flag;
  uint32_t bos;
} GgufParts;

static void gguf_fault(GgufParts p, const char *part) {
  Bytes b = {0};
  int n = 0;
  while (n < 4 && p.tokens[n] != NULL) n++;
  gguf_put_header(&b, 3, 0, 8);
  gguf_put_key_string(&b, "tokenizer.ggml.model", OR(p.model, "gpt2"));
  gguf_put_key_string(&b, "tokenizer.ggml.pre", OR(p.pre, "gpt-2"));
  gguf_put_key_array(&b, "tokenizer.ggml.tokens", 8, (uint64_t)n);
  for (int i = 0; i < n; i++) gguf_put_string(&b, p.tokens[i]);
  gguf_put_key_array(&b, "tokenizer.ggml.token_type", 5, (uint64_t)p.n_types);
  for (int i = 0; i < p.n_types; i++) bytes_u32(&b, (uint32_t)p.types[i]);
  gguf_put_key_array(&b, "tokenizer.ggml.scores", 6, (uint64_t)p.n_scores);
  for (int i = 0; i < p.n_scores; i++) bytes_f32(&b, (float)-i);
  gguf_put_key_array(&b, "tokenizer.ggml.merges", 8, 1);
  gguf_put_string(&b, OR(p.merge, "a b"));
  gguf_put_key_bool(&b, OR(p.flag, "tokenizer.ggml.add_space_prefix"), 1);
  gguf_put_key_u32(&b, "tokenizer.ggml.bos_token_id", p.bos);
  gguf_put_padding(&b, 32);
  expect_bytes_fault(b.data, b.size, part);
  bytes_free(&b);
}

#define GOOD .tokens = {"a", "b", "ab"}, .types = {1, 1, 1}, .n_types = 3, .n_scores = 3

static void gguf_faults(void) {
  gguf_fault((GgufParts){GOOD, .model = "bert"}, "the tokenizer model 'bert' is not supported");
  gguf_fault((GgufParts){GOOD, .pre = "qwen2"}, "the pre-tokenizer 'qwen2' is not supported");
  gguf_fault((GgufParts){.n_types = 0}, "tokens is empty");
  gguf_fault((GgufParts){.tokens = {"a", "b", "ab"}, .types = {1, 1}, .n_types = 2},
             "3 tokens, but 2 token types");
  gguf_fault((GgufParts){.tokens = {"a", "b", "ab"}, .types = {1, 1, 9}, .n_types = 3},
             "token 2: expected a type from 1 to 6, found 9");
  gguf_fault((GgufParts){.tokens = {"a", "b", ""}, .types = {1, 1, 1}, .n_types = 3},
             "token 2 is empty");
  gguf_fault((GgufParts){.tokens = {"a", "b", "a"}, .types = {1, 1, 1}, .n_types = 3},
             "'a' is there twice");
  gguf_fault((GgufParts){GOOD, .merge = "ab"}, "merge 0: expected two pieces and a space");
  gguf_fault((GgufParts){GOOD, .merge = " b"}, "merge 0: expected two pieces and a space");
  gguf_fault((GgufParts){GOOD, .merge = "b a"}, "merge 0 gives 'ba'");
  gguf_fault((GgufParts){GOOD, .bos = 3}, "token 3 of a vocabulary of 3");
  gguf_fault((GgufParts){GOOD, .model = "llama"}, "no piece is of the type unknown");
  gguf_fault((GgufParts){.tokens = {"a", "b", "<unk>"},
                         .types = {1, 1, 2},
                         .n_types = 3,
                         .n_scores = 2,
                         .model = "llama"},
             "3 tokens, but 2 scores");
  gguf_fault((GgufParts){GOOD, .model = "llama", .flag = "tokenizer.ggml.remove_extra_whitespaces"},
             "remove_extra_whitespaces");
}

// ---- cut, swapped, random ----

// Whatever comes out: a status with a message, or a tokenizer that works.
static void try_bytes(const void *data, int64_t size) {
  static char *path;
  Tokenizer *t = NULL;
  Error err = {0};
  free(path);
  path = NULL;
  if (asprintf(&path, "%s/mutant", test_tmp_dir()) < 0) exit(1);
  EXPECT(file_write(path, data, size, &err) == STATUS_OK, "%s", err.message);
  Status status = tokenizer_open(&t, path, &err);
  EXPECT((status == STATUS_OK) == (t != NULL));
  if (status != STATUS_OK) {
    EXPECT(status == STATUS_DATA && err.message[0] != 0, "status %d: %s", status, err.message);
    return;
  }
  TokenIds ids = {0};
  static const char text[] = " The patient's heart rate is 72/min <s>\xE6\x97\xA5\xFF\n\n<mask>";
  tokenizer_encode(t, text, sizeof text - 1, SPECIAL_PARSED, &ids);
  free(tokenizer_decode(t, ids.ids, ids.n, false, NULL));
  token_ids_free(&ids);
  tokenizer_close(t);
}

static void mutants(void) {
  static const char *const paths[] = {
      GOLDEN "bytes/tokenizer.json", GOLDEN "metaspace/tokenizer.json",
      GOLDEN "plain/tokenizer.model", GOLDEN "gguf/bare.gguf", GOLDEN "gguf/llama-bpe.gguf"};
  uint64_t state = 1;
  for (int p = 0; p < 5; p++) {
    char *data;
    int64_t size;
    Error err = {0};
    EXPECT(file_read_all(&data, &size, paths[p], 1 << 20, &err) == STATUS_OK, "%s", err.message);
    for (int i = 0; i < 40; i++) try_bytes(data, size * i / 40); // cut
    for (int i = 0; i < 150; i++) {
      char *changed = malloc((size_t)size);
      memcpy(changed, data, (size_t)size);
      for (int k = 0; k <= i % 4; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        changed[(state >> 20) % (uint64_t)size] = (char)(state >> 56);
      }
      try_bytes(changed, size);
      free(changed);
    }
    free(data);
  }
  for (int i = 0; i < 200; i++) {
    uint8_t noise[257];
    for (int k = 0; k < 257; k++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      noise[k] = (uint8_t)(state >> 56);
    }
    try_bytes(noise, i + 1);
  }
  // Other formats under this name.
  static const char *const others[] = {"data/samples/biomed_qa.json", "LICENSE",
                                       "tests/golden/tiny_llama/mha/model.safetensors",
                                       "tests/golden/tiny_llama/mha/config.json"};
  for (int i = 0; i < 4; i++) {
    Tokenizer *t = NULL;
    Error err = {0};
    EXPECT(tokenizer_open(&t, others[i], &err) == STATUS_DATA, "%s", others[i]);
    EXPECT(strstr(err.message, others[i]) != NULL, "%s", err.message);
  }
}

int main(void) {
  RUN(json_good);
  RUN(json_special_word);
  RUN(json_model);
  RUN(json_parts);
  RUN(model_good);
  RUN(model_user_piece);
  RUN(model_faults);
  RUN(gguf_faults);
  RUN(mutants);
  return test_done();
}
