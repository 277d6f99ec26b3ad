// vma-model: what a model's files say about it, and its tokenizer on a file of texts.
#include "json_items.h"
#include "llama_config.h"
#include "mapped_file.h"
#include "quote.h"
#include "standard_streams.h"
#include "tensor_store.h"
#include "tokenizer.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Options {
  const char *command, *model, *input, *output;
  bool hash;
  Status status;
  Error err;
} Options;

static const struct argp_option table[] = {
    {"model", 'm', "PATH", 0,
     "a Hugging Face folder or a GGUF file; for tokenize also a folder with only a tokenizer, a "
     "tokenizer.json or a tokenizer.model",
     0},
    {"hash", 256, 0, 0, "info: also the identity of the weights (reads all of them)", 0},
    {"input", 'i', "IN.jsonl", 0, "tokenize: texts, one {\"text\": T} a line; -: standard input",
     0},
    {"output", 'o', "OUT.jsonl", 0, "tokenize: their ids, one JSON list a line; -: standard output",
     0},
    {0}};

static const char doc[] =
    "Looks at a LLaMA-family model.\v"
    "  vma-model info PATH [--hash]\n"
    "      architecture, sizes, parameters, types, tokenizer\n"
    "  vma-model tokenize --model PATH --input IN.jsonl --output OUT.jsonl\n"
    "      ids of texts; no special tokens are added, and text that spells one stays text\n"
    "\n"
    "Exit status: 0 done; 2 a mistake on the command line; 65 a file's content is not sound; 66 a "
    "file is missing; 74 reading or writing failed.";

static error_t parse_one(int key, char *text, struct argp_state *state) {
  Options *o = state->input;
  switch (key) {
  case 'm':
    o->model = text;
    return 0;
  case 'i':
    o->input = text;
    return 0;
  case 'o':
    o->output = text;
    return 0;
  case 256:
    o->hash = true;
    return 0;
  case ARGP_KEY_ARG:
    if (o->command == NULL) {
      o->command = text;
    } else if (o->model == NULL) {
      o->model = text;
    } else if (o->status == STATUS_OK) {
      o->status = error_set(&o->err, STATUS_USAGE, "unexpected %s", quote_text(text).text);
    }
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

// ---- info ----

static void print_dtypes(const TensorStore *store) {
  int64_t parameters = 0, bytes = 0, n = store_count(store);
  for (int64_t i = 0; i < n; i++) {
    const StoreTensor *t = store_at(store, i);
    parameters += t->rows * t->cols;
    bytes += t->bytes;
  }
  printf("parameters       %lld in %lld tensors, %.1f MiB\n", (long long)parameters, (long long)n,
         (double)bytes / (1 << 20));
  printf("stored as       ");
  for (int64_t i = 0; i < n; i++) { // each type at its first tensor
    const char *name = store_at(store, i)->dtype_name;
    int64_t first = 0, count = 0;
    while (strcmp(store_at(store, first)->dtype_name, name) != 0) first++;
    if (first < i) continue;
    for (int64_t k = i; k < n; k++) count += strcmp(store_at(store, k)->dtype_name, name) == 0;
    printf(" %s (%lld tensors)", name, (long long)count);
  }
  printf("\n");
}

static void print_config(const LlamaConfig *c) {
  static const char *const scalings[] = {"none", "linear", "llama3"};
  printf("architecture     llama\n");
  printf("layers           %lld\n", (long long)c->layers);
  printf("hidden           %lld\n", (long long)c->hidden);
  printf("feed-forward     %lld\n", (long long)c->ffn);
  printf("heads            %lld of %lld, %lld for keys and values\n", (long long)c->heads,
         (long long)c->head_dim, (long long)c->kv_heads);
  printf("vocabulary       %lld%s\n", (long long)c->vocab,
         c->tied ? ", output tied to the embedding" : "");
  printf("context          %lld\n", (long long)c->max_positions);
  printf("rope             theta %g, scaling %s", c->rope_theta, scalings[c->rope_scaling]);
  if (c->rope_scaling != ROPE_PLAIN) printf(" by %g", c->rope_factor);
  if (c->n_rope_freqs > 0) printf(", factors from the file");
  printf("\nnorm epsilon     %g\n", c->rms_eps);
  if (c->attention_bias) printf("attention        with biases\n");
  if (c->mlp_bias) printf("feed-forward     with biases\n");
  printf("ends a text     ");
  for (int i = 0; i < c->n_eos; i++) printf(" %lld", (long long)c->eos_ids[i]);
  printf("%s\n", c->n_eos == 0 ? " (no id)" : "");
}

static void print_special(const Tokenizer *t, const char *name, int32_t id, bool added) {
  if (id < 0) {
    printf("%-16s none\n", name);
    return;
  }
  char *text = tokenizer_decode(t, &id, 1, false, NULL);
  printf("%-16s %d %s%s\n", name, id, quote_text(text).text,
         added ? ", added to texts to train on" : "");
  free(text);
}

// A model without a tokenizer still has its sizes to show.
static void print_tokenizer(const TensorStore *store) {
  Tokenizer *t = NULL;
  Error err = {0};
  const Gguf *gguf = store_gguf(store);
  Status status = gguf != NULL ? tokenizer_from_gguf(&t, gguf, &err)
                               : tokenizer_open(&t, store_folder(store), &err);
  if (status != STATUS_OK) {
    printf("tokenizer        none: %s\n", err.message);
    return;
  }
  printf("tokenizer        %s, %lld ids\n", tokenizer_kind(t), (long long)tokenizer_vocab(t));
  print_special(t, "BOS", tokenizer_bos(t), tokenizer_adds_bos(t));
  print_special(t, "EOS", tokenizer_eos(t), tokenizer_adds_eos(t));
  tokenizer_close(t);
}

static Status run_info(const Options *o, Error *err) {
  Status status = STATUS_OK;
  TensorStore *store = NULL;
  LlamaConfig config;
  char hash[65];
  if (o->input != NULL || o->output != NULL)
    return error_set(err, STATUS_USAGE, "info: --input and --output go with tokenize");
  TRY(store_open(&store, o->model, err));
  TRY(llama_config_load(&config, store, err));
  printf("file             %s\n", store_path(store));
  print_config(&config);
  print_dtypes(store);
  print_tokenizer(store);
  if (o->hash) {
    TRY(store_hash(store, hash, err));
    printf("weights          sha256 %s\n", hash);
  }
done:
  store_close(store);
  return status;
}

// ---- tokenize ----

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

static Status run_tokenize(const Options *o, Error *err) {
  Status status = STATUS_OK;
  Tokenizer *tokenizer = NULL;
  JsonItems *items = NULL;
  JsonItem item;
  FileWriter out = {0};
  TokenIds ids = {0};
  if (o->input == NULL || o->output == NULL)
    return error_set(err, STATUS_USAGE, "tokenize: give --input IN.jsonl and --output OUT.jsonl");
  if (o->hash) return error_set(err, STATUS_USAGE, "tokenize: --hash goes with info");
  TRY(tokenizer_open(&tokenizer, o->model, err));
  bool from_stdin = strcmp(o->input, "-") == 0, to_stdout = strcmp(o->output, "-") == 0;
  TRY(json_items_open(&items, from_stdin ? "/dev/stdin" : o->input, err));
  TRY(file_writer_open(&out, to_stdout ? "/dev/stdout" : o->output, err));
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

static Status run(Options *o, Error *err) {
  static const char *const commands[] = {"info", "tokenize"};
  if (o->command == NULL)
    return error_set(err, STATUS_USAGE, "what to do? info or tokenize (see --help)");
  bool info = strcmp(o->command, commands[0]) == 0;
  if (!info && strcmp(o->command, commands[1]) != 0) {
    return error_set(err, STATUS_USAGE, "expected info or tokenize, found %s",
                     quote_text(o->command).text);
  }
  if (o->model == NULL)
    return error_set(err, STATUS_USAGE, "%s: of which model? give --model PATH", o->command);
  return info ? run_info(o, err) : run_tokenize(o, err);
}

int main(int argc, char **argv) {
  standard_streams_hold();
  Options o = {0};
  const struct argp argp = {
      table, parse_one, "info PATH\ntokenize --model PATH --input IN --output OUT", doc, 0, 0, 0};
  argp_program_version = "vma-model " VMA_VERSION;
  argp_err_exit_status = STATUS_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &o);
  if (o.status == STATUS_OK) o.status = run(&o, &o.err);
  errno = 0;
  if (o.status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout)))
    o.status = error_set(&o.err, STATUS_IO, "standard output: %s", strerror(errno));
  if (o.status != STATUS_OK) fprintf(stderr, "vma-model: %s\n", o.err.message);
  return (int)o.status;
}
