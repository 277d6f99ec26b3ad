// vma-model tokenize: the ids of a file of texts.
#include "json_items.h"
#include "mapped_file.h"
#include "model_commands.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct TokenizeOptions {
  ModelArguments common;
  const char *input, *output;
} TokenizeOptions;

static const struct argp_option table[] = {
    MODEL_OPTION("a Hugging Face folder, a GGUF file, a folder with only a tokenizer, a "
                 "tokenizer.json or a tokenizer.model"),
    {"input", 'i', "IN.jsonl", 0, "texts, one {\"text\": T} a line; -: standard input", 0},
    {"output", 'o', "OUT.jsonl", 0, "their ids, one JSON list a line; -: standard output", 0},
    {0}};

static const char doc[] = "Writes the ids of texts. No special tokens are added, and text that "
                          "spells one stays text.";

static error_t parse(int key, char *text, struct argp_state *state) {
  TokenizeOptions *o = state->input;
  if (key == 'i') {
    o->input = text;
  } else if (key == 'o') {
    o->output = text;
  } else {
    return model_argument(&o->common, key, text, state);
  }
  return 0;
}

static Status put_ids(FileWriter *out, const TokenIds *ids, Error *err) {
  Status status = STATUS_OK;
  TRY(file_writer_put(out, "[", 1, err));
  for (int64_t i = 0; i < ids->n; i++) {
    char text[24];
    int n = snprintf(text, sizeof text, "%s%d", i > 0 ? "," : "", ids->ids[i]);
    TRY(file_writer_put(out, text, n, err));
  }
  TRY(file_writer_put(out, "]\n", 2, err));
done:
  return status;
}

Status model_tokenize(int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  TokenizeOptions o = {.common = {.err = err}};
  Tokenizer *tokenizer = NULL;
  JsonItems *items = NULL;
  JsonItem item;
  FileWriter out = {0};
  TokenIds ids = {0};
  const struct argp argp = {table, parse, NULL, doc, 0, 0, 0};
  TRY(model_parse(&argp, argc, argv, &o.common));
  TRY(model_required("tokenize", &o.common));
  if (o.input == NULL || o.output == NULL)
    return error_set(err, STATUS_USAGE, "tokenize: give --input IN.jsonl and --output OUT.jsonl");
  TRY(tokenizer_open(&tokenizer, o.common.model, err));
  bool from_stdin = strcmp(o.input, "-") == 0, to_stdout = strcmp(o.output, "-") == 0;
  TRY(json_items_open(&items, from_stdin ? "/dev/stdin" : o.input, err));
  TRY(file_writer_open(&out, to_stdout ? "/dev/stdout" : o.output, err));
  for (;;) {
    TRY(json_items_next(items, &item, err));
    if (item.value == NULL) break;
    const json_t *text = json_object_get(item.value, "text");
    if (!json_is_string(text)) {
      status = json_items_error(items, &item, err, "expected {\"text\": a string}");
      goto done;
    }
    ids.n = 0;
    tokenizer_encode(tokenizer, json_string_value(text), (int64_t)json_string_length(text),
                     SPECIAL_AS_TEXT, &ids);
    TRY(put_ids(&out, &ids, err));
  }
  TRY(file_writer_commit(&out, err));
done:
  token_ids_free(&ids);
  file_writer_abort(&out);
  json_items_close(items);
  tokenizer_close(tokenizer);
  return status;
}
