#include "tokenizer_save.h"

#include "check.h"
#include "folder.h"
#include "quote.h"
#include "tokenizer_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status no_memory(const char *path, Error *err) {
  return error_set(err, STATUS_MEMORY, "%s: no memory", path);
}

// ---- tokenizer_config.json ----

static void put(json_t *object, const char *key, json_t *value) {
  CHECK(value != NULL && json_object_set_new(object, key, value) == 0, "no memory for '%s'", key);
}

static void put_token(json_t *object, const char *key, const Tokenizer *t, int64_t id) {
  if (id < 0 || id >= t->pieces.n || !string_table_has(&t->pieces, id)) return;
  put(object, key, json_stringn(string_table_get(&t->pieces, id), (size_t)t->pieces.size[id]));
}

// {"0": {"content": ...}, ...}
static json_t *added_decoder(const Tokenizer *t) {
  json_t *list = tokenizer_added_tokens(t), *decoder = json_object(), *item;
  size_t i;
  CHECK(decoder != NULL, "no memory for the added tokens");
  json_array_foreach(list, i, item) {
    char key[24];
    snprintf(key, sizeof key, "%lld", json_integer_value(json_object_get(item, "id")));
    json_object_del(item, "id");
    put(decoder, key, json_incref(item));
  }
  json_decref(list);
  return decoder;
}

static Status put_template(json_t *root, const Gguf *gguf, Error *err) {
  static const char key[] = "tokenizer.chat_template";
  GgufString text = {0};
  Status status = gguf_get_string(gguf, key, GGUF_OPTIONAL, &text, err);
  if (status != STATUS_OK || text.size == 0) return status;
  json_t *value = json_stringn(text.data, (size_t)text.size);
  if (value == NULL)
    return error_set(err, STATUS_DATA, "%s: '%s': expected UTF-8", gguf_path(gguf), key);
  put(root, "chat_template", value);
  return STATUS_OK;
}

static Status write_config(const Tokenizer *t, const Gguf *gguf, const char *folder, Error *err) {
  Status status = STATUS_OK;
  int64_t pad = -1, context = 0;
  char *text = NULL;
  json_t *root = json_object();
  CHECK(root != NULL, "no memory for a tokenizer_config.json");
  TRY(gguf_get_int(gguf, "tokenizer.ggml.padding_token_id", GGUF_OPTIONAL, -1, UINT32_MAX, &pad,
                   err));
  TRY(gguf_get_int(gguf, "llama.context_length", GGUF_OPTIONAL, 1, INT32_MAX, &context, err));
  put(root, "add_bos_token", json_boolean(t->adds_bos));
  put(root, "add_eos_token", json_boolean(t->adds_eos));
  put(root, "added_tokens_decoder", added_decoder(t));
  put_token(root, "bos_token", t, t->bos);
  put(root, "clean_up_tokenization_spaces", json_false());
  put_token(root, "eos_token", t, t->eos);
  if (context > 0) put(root, "model_max_length", json_integer(context));
  put_token(root, "pad_token", t, pad);
  put(root, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
  put_token(root, "unk_token", t, t->family == FAMILY_SPM ? t->unk : -1);
  TRY(put_template(root, gguf, err));
  text = json_dumps(root, JSON_INDENT(2));
  CHECK(text != NULL, "no memory for a tokenizer_config.json");
  TRY(folder_write_text(folder, "tokenizer_config.json", text, err));
done:
  free(text);
  json_decref(root);
  return status;
}

// ---- the comparison ----

// What tokenizers are known to differ in: spaces in all places, runs, digits, apostrophes, line
// ends, scripts, marks, emoji, bytes, what spells a special token.
static const char *const probes[] = {
    "",
    " ",
    "  ",
    "   a",
    "a ",
    "a  b   c    d",
    "Hello, world!",
    " Hello  World ",
    "hello\nworld\r\n\r\n  next\tline\n\n\n",
    "\n",
    "\t\t x",
    "I'm, you'll, THEY'VE, he's, it'd, we're, don't; 'S 'LL o'clock",
    "0 12 345 6789 0123456789 1,000.50 3.14 1e-5 x2y3",
    "\xD9\xA1\xD9\xA2\xD9\xA3 \xE0\xA5\xA7\xE0\xA5\xA8 \xEF\xBC\x91\xEF\xBC\x92 \xC2\xBD "
    "\xE2\x85\xA7",
    "!!! ??? ... --- === <<>> (a)[b]{c} a_b-c/d\\e @#$%^&*~`|",
    "for (int i = 0; i < n; i++) {\n    x[i] += y[i];\n}",
    "na\xC3\xAFve caf\xC3\xA9 stra\xC3\x9F"
    "e \xC3\x85ngstr\xC3\xB6m",
    "e\xCC\x81 a\xCC\x8A\xCC\x81 \xE1\xBA\xA5",
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xCE\xBA\xCE\xB1\xCE\xBB\xCE\xB7",
    "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xD8\xB3\xD9\x84\xD8\xA7\xD9\x85",
    "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE6\x96\x87 "
    "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4",
    "\xE0\xB8\xA0\xE0\xB8\xB2\xE0\xB8\xA9\xE0\xB8\xB2 "
    "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80",
    "\xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD "
    "\xF0\x9F\x91\xA9\xE2\x80\x8D\xE2\x9A\x95\xEF\xB8\x8F\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA",
    "\xC2\xA0\xE2\x80\x83\xE3\x80\x80\xE2\x80\xA8\xE2\x80\x8B\xC2\x85\x0B\x0C x",
    "\x01\x02\x1F\x7F\xC2\x80",
    "\xEF\xBB\xBF\xEF\xBF\xBD\xEF\xBF\xBE",
    "\xE2\x96\x81\xE2\x96\x81the \xE2\x96\x81",
    "\xC5\xBF '\xC5\xBF \xEF\xAC\x86 \xC4\xB0\xC4\xB1",
    "<s>Hello</s> <unk> <pad> <0x0A> <0x41>",
    "<|begin_of_text|><|endoftext|>x<|im_start|>user\nHi<|im_end|> <|im_end|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                                 x",
    "ababababababababababab 1111111111111111111111",
    "The patient's blood pressure was 120/80 mmHg; temp. 37.5\xC2\xB0"
    "C (98.6\xC2\xB0"
    "F).",
    "### Instruction:\nName the bone.\n\n### Response:\n",
    "https://example.org/a?b=c&d=%20#e",
};

typedef struct Comparison {
  const Tokenizer *before, *after;
  TokenIds ids[2];
  const char *path;
} Comparison;

static Status differs(const Comparison *c, const char *what, Error *err) {
  return error_set(err, STATUS_FAILED,
                   "%s: its vocabulary cannot be written as a tokenizer.json: %s would differ",
                   c->path, what);
}

static Status compare_text(Comparison *c, const char *text, int64_t bytes, Error *err) {
  for (int mode = 0; mode < 2; mode++) {
    SpecialText special = mode == 0 ? SPECIAL_AS_TEXT : SPECIAL_PARSED;
    c->ids[0].n = c->ids[1].n = 0;
    tokenizer_encode(c->before, text, bytes, special, &c->ids[0]);
    tokenizer_encode(c->after, text, bytes, special, &c->ids[1]);
    size_t size = (size_t)c->ids[0].n * sizeof(int32_t);
    if (c->ids[0].n == c->ids[1].n &&
        (size == 0 || memcmp(c->ids[0].ids, c->ids[1].ids, size) == 0))
      continue;
    char what[400];
    snprintf(what, sizeof what, "the ids of %s", quote_bytes(text, bytes).text);
    return differs(c, what, err);
  }
  return STATUS_OK;
}

// Each piece as text, alone and before another one.
static Status compare_pieces(Comparison *c, Error *err) {
  int64_t n = tokenizer_vocab(c->before);
  for (int64_t id = 0; id < n; id++) {
    if (!string_table_has(&c->before->pieces, id)) continue;
    int32_t two[] = {(int32_t)id, (int32_t)((id * 7919 + 13) % n)};
    if (!string_table_has(&c->before->pieces, two[1])) two[1] = two[0];
    for (int count = 1; count <= 2; count++) {
      int64_t bytes;
      char *text = tokenizer_decode(c->before, two, count, false, &bytes);
      Status status = compare_text(c, text, bytes, err);
      free(text);
      if (status != STATUS_OK) return status;
    }
  }
  return STATUS_OK;
}

static Status compare(Comparison *c, Error *err) {
  Status status = STATUS_OK;
  const Tokenizer *a = c->before, *b = c->after;
  if (a->pieces.n != b->pieces.n) TRY(differs(c, "the number of ids", err));
  if (a->bos != b->bos || a->eos != b->eos || a->adds_bos != b->adds_bos ||
      a->adds_eos != b->adds_eos) {
    TRY(differs(c, "BOS and EOS", err));
  }
  for (int64_t id = 0; id < a->pieces.n; id++) {
    bool special = a->type[id] == PIECE_CONTROL;
    bool unknown = a->type[id] == PIECE_UNKNOWN; // special as well where there is a tokenizer.json
    if (unknown || special == (b->type[id] == PIECE_CONTROL)) continue;
    TRY(differs(c, "which tokens are special", err));
  }
  for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
    TRY(compare_text(c, probes[i], (int64_t)strlen(probes[i]), err));
  TRY(compare_pieces(c, err));
done:
  return status;
}

Status tokenizer_save_gguf(const Gguf *gguf, const char *folder, Error *err) {
  Status status = STATUS_OK;
  Tokenizer *before = NULL, *after = NULL;
  Comparison comparison = {.path = gguf_path(gguf)};
  char *text = NULL;
  TRY(tokenizer_from_gguf(&before, gguf, err));
  text = tokenizer_json_text(before);
  TRY(folder_write_text(folder, "tokenizer.json", text, err));
  TRY(write_config(before, gguf, folder, err));
  status = tokenizer_open(&after, folder, err);
  if (status != STATUS_OK) {
    error_prefix(err, "%s: its vocabulary cannot be written as a tokenizer.json", gguf_path(gguf));
    status = STATUS_FAILED;
    goto done;
  }
  comparison.before = before;
  comparison.after = after;
  TRY(compare(&comparison, err));
done:
  token_ids_free(&comparison.ids[0]);
  token_ids_free(&comparison.ids[1]);
  free(text);
  tokenizer_close(before);
  tokenizer_close(after);
  return status;
}

// ---- the files of a base ----

static Status copy_file(const char *from, const char *to, const char *name, Error *err) {
  Status status = STATUS_OK;
  char *source = NULL, *target = NULL;
  MappedFile file = {0};
  if (asprintf(&source, "%s/%s", from, name) < 0) source = NULL;
  if (asprintf(&target, "%s/%s", to, name) < 0) target = NULL;
  if (source == NULL || target == NULL) TRY(no_memory(from, err));
  if (!file_exists(source)) goto done;
  TRY(file_map(&file, source, err));
  TRY(file_write(target, file.data, file.size, err));
  TRY(file_check(&file, err));
done:
  file_unmap(&file);
  free(source);
  free(target);
  return status;
}

// What a base consists of: a GGUF file, or files in a folder, whose path is then in *folder.
static Status locate(const char *base, char **folder, bool *is_gguf, Error *err) {
  char magic[4] = {0};
  *is_gguf = false;
  if (file_is_folder(base)) {
    *folder = strdup(base);
  } else {
    FILE *file = fopen(base, "rb");
    *is_gguf = file != NULL && fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (file != NULL) fclose(file);
    const char *slash = strrchr(base, '/');
    *folder = slash == NULL ? strdup(".") : strndup(base, (size_t)(slash - base) + 1);
  }
  return *folder != NULL ? STATUS_OK : no_memory(base, err);
}

static Status save_gguf(const char *base, const char *folder, Error *err) {
  Status status = STATUS_OK;
  Gguf *gguf = NULL;
  TRY(gguf_open(&gguf, base, err));
  if (gguf_has(gguf, "tokenizer.ggml.model")) TRY(tokenizer_save_gguf(gguf, folder, err));
  TRY(file_check(gguf_file(gguf), err));
done:
  gguf_close(gguf);
  return status;
}

static Status save(const char *base, const char *folder, bool generation, Error *err) {
  static const char *const names[] = {
      "tokenizer.json", "tokenizer.model",         "tokenizer_config.json",
      "vocab.json",     "special_tokens_map.json", "added_tokens.json",
      "merges.txt",     "chat_template.jinja",     "generation_config.json"};
  Status status = STATUS_OK;
  char *from = NULL;
  bool is_gguf = false;
  TRY(locate(base, &from, &is_gguf, err));
  if (is_gguf) {
    TRY(save_gguf(base, folder, err));
  } else {
    size_t n = sizeof names / sizeof *names - !generation;
    for (size_t i = 0; i < n; i++) TRY(copy_file(from, folder, names[i], err));
  }
done:
  free(from);
  return status;
}

Status tokenizer_save(const char *base, const char *folder, Error *err) {
  return save(base, folder, false, err);
}

Status tokenizer_save_base(void *base, const char *folder, Error *err) {
  return save(base, folder, true, err);
}
