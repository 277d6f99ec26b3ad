// vma-model info: what a model's files say about it.
#include "llama_config.h"
#include "model_commands.h"
#include "quote.h"
#include "tensor_store.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct InfoOptions {
  ModelArguments common;
  bool hash;
} InfoOptions;

static const struct argp_option table[] = {
    MODEL_OPTION("a Hugging Face folder or a GGUF file; may be given without the option"),
    {"hash", 'h', 0, 0, "also the identity of the weights, as adapters hold it: reads all of them",
     0},
    {0}};

static const char doc[] =
    "Shows what a model's files say: architecture, sizes, parameters, types, tokenizer.";

static error_t parse(int key, char *text, struct argp_state *state) {
  InfoOptions *o = state->input;
  if (key != 'h') return model_argument(&o->common, key, text, state);
  o->hash = true;
  return 0;
}

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

Status model_info(int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  InfoOptions o = {.common = {.free_arguments = 1, .err = err}};
  TensorStore *store = NULL;
  LlamaConfig config;
  char hash[65];
  const struct argp argp = {table, parse, "PATH", doc, 0, 0, 0};
  TRY(model_parse(&argp, argc, argv, &o.common));
  TRY(model_required("info", &o.common));
  TRY(store_open(&store, o.common.model, err));
  TRY(llama_config_load(&config, store, err));
  printf("file             %s\n", store_path(store));
  print_config(&config);
  print_dtypes(store);
  print_tokenizer(store);
  if (o.hash) {
    TRY(store_hash(store, hash, err));
    printf("weights          sha256 %s\n", hash);
  }
done:
  store_close(store);
  return status;
}
