// LlamaConfig from the metadata of a GGUF file.
#include "llama_config_parts.h"
#include "quote.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static Status unsupported(const Gguf *gguf, const char *key, const char *what, Error *err) {
  return error_set(err, STATUS_DATA, "%s: '%s': %s not supported", gguf_path(gguf), key, what);
}

static Status check_supported(const Gguf *gguf, Error *err) {
  Status status = STATUS_OK;
  int64_t experts = 0, window = 0;
  double scale = 0;
  TRY(gguf_expect_architecture(gguf, "llama", err));
  TRY(gguf_get_int(gguf, "llama.expert_count", GGUF_OPTIONAL, 0, INT64_MAX, &experts, err));
  if (experts > 0) {
    return unsupported(gguf, "llama.expert_count", "a mixture of experts is", err);
  }
  TRY(gguf_get_int(gguf, "llama.attention.sliding_window", GGUF_OPTIONAL, 0, INT64_MAX, &window,
                   err));
  if (window > 0) {
    return unsupported(gguf, "llama.attention.sliding_window", "a sliding window is", err);
  }
  static const char *const scales[] = {"llama.attention.scale", "llama.embedding_scale",
                                       "llama.residual_scale", "llama.logit_scale"};
  for (int i = 0; i < 4; i++) {
    TRY(gguf_get_float(gguf, scales[i], GGUF_OPTIONAL, &scale, err));
    if (scale != 0) return unsupported(gguf, scales[i], "a scale of its own is", err);
  }
done:
  return status;
}

static Status get_vocab(const Gguf *gguf, int64_t *vocab, Error *err) {
  Status status = STATUS_OK;
  GgufString *tokens = NULL;
  const GgufTensor *embedding = gguf_tensor_find(gguf, "token_embd.weight");
  if (embedding != NULL) { // older files have no vocab_size
    *vocab = embedding->dims[1];
  } else if (gguf_has(gguf, "llama.vocab_size")) {
    TRY(gguf_get_int(gguf, "llama.vocab_size", GGUF_REQUIRED, 1, INT32_MAX, vocab, err));
  } else {
    TRY(gguf_get_strings(gguf, "tokenizer.ggml.tokens", GGUF_REQUIRED, &tokens, vocab, err));
  }
  if (*vocab < 1 || *vocab > INT32_MAX) {
    return error_set(err, STATUS_DATA, "%s: a vocabulary of %lld tokens", gguf_path(gguf),
                     (long long)*vocab);
  }
done:
  free(tokens);
  return status;
}

static Status get_sizes(const Gguf *gguf, LlamaConfig *c, Error *err) {
  Status status = STATUS_OK;
  int64_t value_width = 0, rotary = 0;
  TRY(gguf_get_int(gguf, "llama.embedding_length", GGUF_REQUIRED, 1, LLAMA_HIDDEN_MAX, &c->hidden,
                   err));
  TRY(gguf_get_int(gguf, "llama.feed_forward_length", GGUF_REQUIRED, 1, LLAMA_FFN_MAX, &c->ffn,
                   err));
  TRY(gguf_get_int(gguf, "llama.block_count", GGUF_REQUIRED, 1, LLAMA_LAYERS_MAX, &c->layers, err));
  TRY(gguf_get_int(gguf, "llama.attention.head_count", GGUF_REQUIRED, 1, LLAMA_HEADS_MAX, &c->heads,
                   err));
  c->kv_heads = c->heads;
  TRY(gguf_get_int(gguf, "llama.attention.head_count_kv", GGUF_OPTIONAL, 1, LLAMA_HEADS_MAX,
                   &c->kv_heads, err));
  TRY(gguf_get_int(gguf, "llama.attention.key_length", GGUF_OPTIONAL, 1, LLAMA_HIDDEN_MAX,
                   &c->head_dim, err));
  TRY(gguf_get_int(gguf, "llama.context_length", GGUF_OPTIONAL, 1, INT32_MAX, &c->max_positions,
                   err));
  TRY(gguf_get_float(gguf, "llama.attention.layer_norm_rms_epsilon", GGUF_REQUIRED, &c->rms_eps,
                     err));
  TRY(gguf_get_float(gguf, "llama.rope.freq_base", GGUF_OPTIONAL, &c->rope_theta, err));
  TRY(get_vocab(gguf, &c->vocab, err));
  TRY(llama_config_check(c, gguf_path(gguf), err));
  value_width = rotary = c->head_dim;
  TRY(gguf_get_int(gguf, "llama.attention.value_length", GGUF_OPTIONAL, 1, LLAMA_HIDDEN_MAX,
                   &value_width, err));
  if (value_width != c->head_dim) {
    return unsupported(gguf, "llama.attention.value_length",
                       "values of another width than keys are", err);
  }
  TRY(gguf_get_int(gguf, "llama.rope.dimension_count", GGUF_OPTIONAL, 1, LLAMA_HIDDEN_MAX, &rotary,
                   err));
  if (rotary != c->head_dim) {
    return unsupported(gguf, "llama.rope.dimension_count", "partial rotary is", err);
  }
done:
  return status;
}

// rope_freqs.weight: what the llama3 scaling makes of each frequency, as divisors.
static Status get_rope_freqs(const Gguf *gguf, LlamaConfig *c, Error *err) {
  const GgufTensor *t = gguf_tensor_find(gguf, "rope_freqs.weight");
  if (t == NULL) return STATUS_OK;
  int64_t half = c->head_dim / 2;
  if (t->dtype != DT_F32 || t->ndim != 1 || t->dims[0] != half) {
    return error_set(err, STATUS_DATA,
                     "%s: tensor 'rope_freqs.weight': expected %lld of F32, found %lld of %s",
                     gguf_path(gguf), (long long)half, (long long)(t->bytes / 4), t->type_name);
  }
  if (c->rope_scaling != ROPE_PLAIN) {
    return unsupported(gguf, "llama.rope.scaling.type", "with rope_freqs.weight beside it, it is",
                       err);
  }
  memcpy(c->rope_freqs, gguf_data(gguf) + t->offset, (size_t)t->bytes);
  for (int64_t i = 0; i < half; i++) {
    if (isfinite(c->rope_freqs[i]) && c->rope_freqs[i] > 0) continue;
    return error_set(err, STATUS_DATA,
                     "%s: byte %lld: tensor 'rope_freqs.weight': expected a number above 0, found "
                     "%g",
                     gguf_path(gguf), (long long)(t->offset + 4 * i), (double)c->rope_freqs[i]);
  }
  c->n_rope_freqs = half;
  return STATUS_OK;
}

static Status get_rope(const Gguf *gguf, LlamaConfig *c, Error *err) {
  Status status = STATUS_OK;
  GgufString kind = {"linear", 6}; // as llama.cpp, when there is only a factor
  double factor = 0;
  TRY(gguf_get_string(gguf, "llama.rope.scaling.type", GGUF_OPTIONAL, &kind, err));
  TRY(gguf_get_float(gguf, "llama.rope.scale_linear", GGUF_OPTIONAL, &factor, err)); // old files
  TRY(gguf_get_float(gguf, "llama.rope.scaling.factor", GGUF_OPTIONAL, &factor, err));
  bool linear = gguf_string_is(kind, "linear");
  if (!linear && !gguf_string_is(kind, "none")) {
    return error_set(err, STATUS_DATA,
                     "%s: 'llama.rope.scaling.type': expected 'none' or 'linear', other rope "
                     "scalings are not supported, found %s",
                     gguf_path(gguf), quote_bytes(kind.data, kind.size).text);
  }
  if (linear && factor != 0 && factor != 1) {
    c->rope_scaling = ROPE_LINEAR;
    c->rope_factor = factor;
  }
  TRY(get_rope_freqs(gguf, c, err));
done:
  return status;
}

static Status get_ids(const Gguf *gguf, LlamaConfig *c, Error *err) {
  Status status = STATUS_OK;
  // Any of them ends a text: llama.cpp's end of turn and end of message beside the end of sequence.
  static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"};
  TRY(gguf_get_int(gguf, "tokenizer.ggml.bos_token_id", GGUF_OPTIONAL, 0, UINT32_MAX, &c->bos_id,
                   err));
  TRY(gguf_get_int(gguf, "tokenizer.ggml.padding_token_id", GGUF_OPTIONAL, 0, UINT32_MAX,
                   &c->pad_id, err));
  if (c->bos_id == UINT32_MAX) c->bos_id = -1; // how some converters write none
  for (int i = 0; i < 3; i++) {
    int64_t id = -1;
    TRY(gguf_get_int(gguf, ends[i], GGUF_OPTIONAL, 0, UINT32_MAX, &id, err));
    bool known = id == -1 || id == UINT32_MAX;
    for (int k = 0; k < c->n_eos; k++) known = known || c->eos_ids[k] == id;
    if (!known) c->eos_ids[c->n_eos++] = id;
  }
done:
  return status;
}

Status llama_config_from_gguf(LlamaConfig *config, const Gguf *gguf, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig c = {.rope_theta = 10000, .max_positions = 2048, .bos_id = -1, .pad_id = -1};
  TRY(check_supported(gguf, err));
  TRY(get_sizes(gguf, &c, err));
  TRY(get_rope(gguf, &c, err));
  TRY(get_ids(gguf, &c, err));
  c.tied = gguf_tensor_find(gguf, "output.weight") == NULL;
  c.attention_bias = gguf_tensor_find(gguf, "blk.0.attn_q.bias") != NULL;
  c.mlp_bias = gguf_tensor_find(gguf, "blk.0.ffn_gate.bias") != NULL;
  TRY(llama_config_check(&c, gguf_path(gguf), err));
  *config = c;
done:
  return status;
}
