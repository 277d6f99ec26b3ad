// LlamaConfig from config.json and generation_config.json, in the spellings of transformers 4
// and 5.
#include "json_fields.h"
#include "json_items.h"
#include "llama_config_parts.h"
#include "mapped_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 16 << 20 };

static Status check_architecture(const JsonFields *f) {
  Status status = STATUS_OK;
  const char *type = NULL;
  TRY(json_fields_string(f, "model_type", &type));
  if (type != NULL && strcmp(type, "llama") != 0) {
    return json_fields_unsupported(f, "model_type", "expected \"llama\"; other architectures are");
  }
  json_t *names = json_fields_given(f, "architectures");
  if (names != NULL && !json_is_array(names))
    return json_fields_wrong(f, "architectures", "a list");
  if (type == NULL && json_array_size(names) == 0) return json_fields_missing(f, "model_type");
  for (size_t i = 0; i < json_array_size(names); i++) {
    const char *name = json_string_value(json_array_get(names, i));
    // The second spelling is that of the first LLaMA conversions.
    if (name != NULL &&
        (strcmp(name, "LlamaForCausalLM") == 0 || strcmp(name, "LLaMAForCausalLM") == 0)) {
      continue;
    }
    return json_fields_unsupported(f, "architectures",
                                   "expected LlamaForCausalLM; other architectures are");
  }
done:
  return status;
}

// What the model code does not do.
static Status check_supported(const JsonFields *f) {
  Status status = STATUS_OK;
  const char *act = "silu";
  bool sliding = true;
  double rotary = 1;
  int64_t experts = 0;
  TRY(check_architecture(f));
  TRY(json_fields_string(f, "hidden_act", &act));
  if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0) {
    return json_fields_unsupported(f, "hidden_act", "expected \"silu\"; other activations are");
  }
  TRY(json_fields_bool(f, "use_sliding_window", &sliding));
  if (sliding && json_fields_given(f, "sliding_window") != NULL) {
    return json_fields_unsupported(f, "sliding_window", "a sliding window is");
  }
  json_t *kinds = json_fields_given(f, "layer_types");
  if (kinds != NULL && !json_is_array(kinds)) return json_fields_wrong(f, "layer_types", "a list");
  for (size_t i = 0; i < json_array_size(kinds); i++) {
    const char *kind = json_string_value(json_array_get(kinds, i));
    if (kind == NULL || strcmp(kind, "full_attention") != 0) {
      return json_fields_unsupported(f, "layer_types",
                                     "expected \"full_attention\"; other layers are");
    }
  }
  TRY(json_fields_number(f, "partial_rotary_factor", &rotary));
  if (rotary != 1) return json_fields_unsupported(f, "partial_rotary_factor", "partial rotary is");
  static const char *const expert_keys[] = {"num_experts", "num_local_experts", "n_routed_experts"};
  for (int i = 0; i < 3; i++) {
    TRY(json_fields_int(f, expert_keys[i], 0, INT64_MAX, &experts));
    if (experts > 0) return json_fields_unsupported(f, expert_keys[i], "a mixture of experts is");
  }
  if (json_fields_given(f, "quantization_config") != NULL) {
    return json_fields_unsupported(
        f, "quantization_config",
        "weights quantised this way are; take the original weights or a GGUF file;");
  }
done:
  return status;
}

static Status get_sizes(const JsonFields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(json_fields_int(f, "hidden_size", 1, LLAMA_HIDDEN_MAX, &c->hidden));
  TRY(json_fields_int(f, "intermediate_size", 1, LLAMA_FFN_MAX, &c->ffn));
  TRY(json_fields_int(f, "num_hidden_layers", 1, LLAMA_LAYERS_MAX, &c->layers));
  TRY(json_fields_int(f, "num_attention_heads", 1, LLAMA_HEADS_MAX, &c->heads));
  c->kv_heads = c->heads;
  TRY(json_fields_int(f, "num_key_value_heads", 1, LLAMA_HEADS_MAX, &c->kv_heads));
  TRY(json_fields_int(f, "head_dim", 1, LLAMA_HIDDEN_MAX, &c->head_dim));
  TRY(json_fields_int(f, "vocab_size", 1, INT32_MAX, &c->vocab));
  TRY(json_fields_int(f, "max_position_embeddings", 1, INT32_MAX, &c->max_positions));
  TRY(json_fields_number(f, "rms_norm_eps", &c->rms_eps));
  TRY(json_fields_bool(f, "tie_word_embeddings", &c->tied));
  TRY(json_fields_bool(f, "attention_bias", &c->attention_bias));
  TRY(json_fields_bool(f, "mlp_bias", &c->mlp_bias));
done:
  return status;
}

static Status get_scaling(const JsonFields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  const char *kind = "default", *key = "type"; // "type" in old files
  double rotary = 1;
  TRY(json_fields_string(f, "type", &kind));
  if (json_fields_given(f, "rope_type") != NULL) key = "rope_type";
  TRY(json_fields_string(f, "rope_type", &kind));
  TRY(json_fields_number(f, "partial_rotary_factor", &rotary));
  if (rotary != 1) return json_fields_unsupported(f, "partial_rotary_factor", "partial rotary is");
  TRY(json_fields_number(f, "rope_theta", &c->rope_theta));
  json_t *value;
  const char *name;
  json_object_foreach(f->object, name, value) {
    if (json_is_object(value))
      return json_fields_unsupported(f, name, "a rope scaling per kind of layer is");
  }
  if (strcmp(kind, "default") == 0) return STATUS_OK;
  bool llama3 = strcmp(kind, "llama3") == 0;
  if (!llama3 && strcmp(kind, "linear") != 0) {
    return json_fields_unsupported(f, key,
                                   "expected default, linear or llama3; other rope scalings are");
  }
  c->rope_scaling = llama3 ? ROPE_LLAMA3 : ROPE_LINEAR;
  if (json_fields_given(f, "factor") == NULL) return json_fields_missing(f, "factor");
  TRY(json_fields_number(f, "factor", &c->rope_factor));
  if (!llama3) return STATUS_OK;
  if (json_fields_given(f, "low_freq_factor") == NULL)
    return json_fields_missing(f, "low_freq_factor");
  if (json_fields_given(f, "high_freq_factor") == NULL)
    return json_fields_missing(f, "high_freq_factor");
  TRY(json_fields_number(f, "low_freq_factor", &c->rope_low_freq));
  TRY(json_fields_number(f, "high_freq_factor", &c->rope_high_freq));
  c->rope_original_positions = c->max_positions; // as transformers
  TRY(json_fields_int(f, "original_max_position_embeddings", 1, INT32_MAX,
                      &c->rope_original_positions));
done:
  return status;
}

// Version 4: rope_theta and rope_scaling; version 5: rope_parameters, which holds theta, too.
static Status get_rope(const JsonFields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(json_fields_number(f, "rope_theta", &c->rope_theta));
  static const char *const keys[] = {"rope_parameters", "rope_scaling"};
  static const char *const names[] = {"rope_parameters.", "rope_scaling."};
  for (int i = 0; i < 2; i++) {
    json_t *object = json_fields_given(f, keys[i]);
    if (object == NULL) continue;
    if (!json_is_object(object)) return json_fields_wrong(f, keys[i], "an object");
    JsonFields inner = {f->path, names[i], object, f->err};
    return get_scaling(&inner, c);
  }
done:
  return status;
}

// eos_token_id is one id or a list.
static Status get_eos(const JsonFields *f, LlamaConfig *c) {
  json_t *found = json_fields_given(f, "eos_token_id");
  if (found == NULL) return STATUS_OK;
  size_t n = json_is_array(found) ? json_array_size(found) : 1;
  if (n > LLAMA_EOS_MAX) return json_fields_wrong(f, "eos_token_id", "16 ids at most");
  c->n_eos = 0;
  for (size_t i = 0; i < n; i++) {
    json_t *id = json_is_array(found) ? json_array_get(found, i) : found;
    if (!json_is_integer(id)) return json_fields_wrong(f, "eos_token_id", "an id or a list of ids");
    if (json_integer_value(id) == -1) continue; // none
    c->eos_ids[c->n_eos++] = json_integer_value(id);
  }
  return STATUS_OK;
}

static Status get_ids(const JsonFields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(json_fields_int(f, "bos_token_id", -1, INT32_MAX, &c->bos_id));
  TRY(json_fields_int(f, "pad_token_id", -1, INT32_MAX, &c->pad_id));
  TRY(get_eos(f, c));
done:
  return status;
}

// null in config.json says that there is no such token; a missing key means LLaMA's own.
static void forget_ids(const JsonFields *f, LlamaConfig *c) {
  if (json_is_null(json_object_get(f->object, "bos_token_id"))) c->bos_id = -1;
  if (json_is_null(json_object_get(f->object, "eos_token_id"))) c->n_eos = 0;
}

// The file's object; *object is NULL when the file is optional and not there.
static Status load(const char *folder, const char *name, bool optional, char **path,
                   json_t **object, Error *err) {
  Status status = STATUS_OK;
  if (asprintf(path, "%s/%s", folder, name) < 0) {
    *path = NULL;
    return error_set(err, STATUS_MEMORY, "%s: no memory", folder);
  }
  if (optional && !file_exists(*path)) return STATUS_OK;
  TRY(json_document_load(object, *path, CONFIG_BYTES_MAX, err));
  if (!json_is_object(*object)) {
    return error_set(err, STATUS_DATA, "%s: expected an object '{'", *path);
  }
done:
  return status;
}

Status llama_config_from_folder(LlamaConfig *config, const char *folder, Error *err) {
  Status status = STATUS_OK;
  char *path = NULL, *generation_path = NULL;
  json_t *object = NULL, *generation = NULL;
  // The defaults of transformers' LlamaConfig.
  LlamaConfig c = {.hidden = 4096,
                   .ffn = 11008,
                   .layers = 32,
                   .heads = 32,
                   .vocab = 32000,
                   .rms_eps = 1e-6,
                   .rope_theta = 10000,
                   .max_positions = 2048,
                   .bos_id = 1,
                   .pad_id = -1,
                   .n_eos = 1,
                   .eos_ids = {2}};
  TRY(load(folder, "config.json", false, &path, &object, err));
  JsonFields fields = {path, "", object, err};
  TRY(check_supported(&fields));
  TRY(get_sizes(&fields, &c));
  TRY(get_rope(&fields, &c));
  forget_ids(&fields, &c);
  TRY(get_ids(&fields, &c));
  TRY(load(folder, "generation_config.json", true, &generation_path, &generation, err));
  if (generation != NULL) {
    fields.path = generation_path;
    fields.object = generation;
    TRY(get_ids(&fields, &c));
  }
  TRY(llama_config_check(&c, path, err));
  *config = c;
done:
  json_decref(generation);
  json_decref(object);
  free(generation_path);
  free(path);
  return status;
}
