// A GGUF file as a TensorStore: llama.cpp's names and shapes become Hugging Face's.
#include "tensor_store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct NamePair {
  const char *gguf, *hf;
} NamePair;

static const NamePair whole_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

// Of a block: after "blk.N." and before ".weight" or ".bias".
static const NamePair block_names[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

// The place after "blk.N." and the length of N's digits; NULL when the name is of another kind.
static const char *after_block(const char *name, int *digits) {
  if (strncmp(name, "blk.", 4) != 0) return NULL;
  size_t length = strspn(name + 4, "0123456789");
  if (length == 0 || length > 9 || (length > 1 && name[4] == '0') || name[4 + length] != '.') {
    return NULL;
  }
  *digits = (int)length;
  return name + 4 + length + 1;
}

bool store_gguf_name(const char *gguf_name, char *name, int64_t room) {
  for (size_t i = 0; i < sizeof whole_names / sizeof *whole_names; i++) {
    if (strcmp(gguf_name, whole_names[i].gguf) != 0) continue;
    snprintf(name, (size_t)room, "%s", whole_names[i].hf);
    return true;
  }
  int digits;
  const char *part = after_block(gguf_name, &digits);
  if (part == NULL) return false;
  for (size_t i = 0; i < sizeof block_names / sizeof *block_names; i++) {
    size_t length = strlen(block_names[i].gguf);
    if (strncmp(part, block_names[i].gguf, length) != 0) continue;
    const char *end = part + length;
    if (strcmp(end, ".weight") != 0 && strcmp(end, ".bias") != 0) continue;
    snprintf(name, (size_t)room, "model.layers.%.*s.%s%s", digits, gguf_name + 4, block_names[i].hf,
             end);
    return true;
  }
  return false;
}

typedef struct Heads {
  int64_t q, k;
} Heads;

static Status read_heads(const Gguf *gguf, Heads *heads, Error *err) {
  Status status = STATUS_OK;
  int64_t parts = 1;
  TRY(gguf_expect_architecture(gguf, "llama", err));
  TRY(gguf_get_int(gguf, "split.count", GGUF_OPTIONAL, 0, INT64_MAX, &parts, err));
  if (parts > 1) {
    return error_set(err, STATUS_DATA,
                     "%s: one of %lld parts of a model: join them first (llama-gguf-split --merge)",
                     gguf_path(gguf), (long long)parts);
  }
  if (gguf_tensor_count(gguf) == 0) return STATUS_OK; // only a vocabulary
  TRY(gguf_get_int(gguf, "llama.attention.head_count", GGUF_REQUIRED, 1, INT32_MAX, &heads->q,
                   err));
  heads->k = heads->q;
  TRY(gguf_get_int(gguf, "llama.attention.head_count_kv", GGUF_OPTIONAL, 1, INT32_MAX, &heads->k,
                   err));
done:
  return status;
}

// Sets head_dim of q and k, whose rows llama.cpp stores with interleaved rotary pairs.
static Status set_order(const TensorStore *store, StoreEntry *entry, const Heads *heads,
                        Error *err) {
  const StoreTensor *tensor = &entry->tensor;
  int digits;
  const char *part = after_block(tensor->file_name, &digits);
  if (part == NULL) return STATUS_OK;
  bool q = strncmp(part, "attn_q.", 7) == 0, k = strncmp(part, "attn_k.", 7) == 0;
  if (!q && !k) return STATUS_OK;
  int64_t rows = tensor->ndim == 1 ? tensor->cols : tensor->rows, n = q ? heads->q : heads->k;
  if (rows % n != 0 || rows / n % 2 != 0) {
    return error_set(err, STATUS_DATA,
                     "%s: tensor '%s': %lld rows are no %lld heads of an even width", store->path,
                     tensor->file_name, (long long)rows, (long long)n);
  }
  entry->head_dim = rows / n;
  return STATUS_OK;
}

Status store_open_gguf(TensorStore *store, Error *err) {
  Status status = STATUS_OK;
  Heads heads = {0};
  TRY(gguf_open(&store->gguf, store->path, err));
  TRY(read_heads(store->gguf, &heads, err));
  store->shards = calloc(1, sizeof *store->shards);
  if (store->shards == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", store->path);
  StoreShard *shard = &store->shards[0];
  store->n_shards = 1;
  shard->path = strdup(store->path);
  if (shard->path == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", store->path);
  shard->file = gguf_file(store->gguf);
  shard->data = gguf_data(store->gguf);
  for (int64_t i = 0; i < gguf_tensor_count(store->gguf); i++) {
    const GgufTensor *from = gguf_tensor_at(store->gguf, i);
    // Divisors of the rotary frequencies: a part of the model's config, no weight.
    if (strcmp(from->name, "rope_freqs.weight") == 0) continue;
    StoreTensor tensor = {.name = from->name,
                          .file_name = from->name,
                          .dtype_name = from->type_name,
                          .dtype = from->dtype,
                          .ndim = from->ndim,
                          .offset = from->offset,
                          .bytes = from->bytes};
    for (int d = 0; d < from->ndim; d++) tensor.shape[d] = from->dims[from->ndim - 1 - d];
    StoreEntry *entry;
    char name[GGUF_NAME_MAX + 64];
    TRY(store_add(store, shard, &tensor, &entry, err));
    if (!store_gguf_name(from->name, name, sizeof name)) continue; // as it is in the file
    entry->name = strdup(name);
    if (entry->name == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", store->path);
    entry->tensor.name = entry->name;
    TRY(set_order(store, entry, &heads, err));
  }
done:
  return status;
}
