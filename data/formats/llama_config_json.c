// LlamaConfig from config.json and generation_config.json, in the spellings of transformers 4
// and 5.
#include "json_items.h"
#include "llama_config_parts.h"
#include "mapped_file.h"
#include "quote.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 16 << 20 };

// An object of the file; `name` is put before its keys in messages ("rope_scaling.").
typedef struct Fields {
  const char *path, *name;
  json_t *object;
  Error *err;
} Fields;

static Status wrong(const Fields *f, const char *key, const char *expected) {
  json_t *value = json_object_get(f->object, key);
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  Status status = error_set(f->err, STATUS_DATA, "%s: '%s%s': expected %s, found %s", f->path,
                            f->name, key, expected, text == NULL ? "?" : quote_text(text).text);
  free(text);
  return status;
}

static Status unsupported(const Fields *f, const char *key, const char *what) {
  json_t *value = json_object_get(f->object, key);
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  Status status = error_set(f->err, STATUS_DATA, "%s: '%s%s' is %s: %s not supported", f->path,
                            f->name, key, text == NULL ? "?" : quote_text(text).text, what);
  free(text);
  return status;
}

// A missing key and null both leave the default.
static json_t *given(const Fields *f, const char *key) {
  json_t *value = json_object_get(f->object, key);
  return json_is_null(value) ? NULL : value;
}

static Status missing(const Fields *f, const char *key) {
  return error_set(f->err, STATUS_DATA, "%s: '%s%s' is missing", f->path, f->name, key);
}

static Status get_int(const Fields *f, const char *key, int64_t min, int64_t max, int64_t *value) {
  json_t *found = given(f, key);
  if (found == NULL) return STATUS_OK;
  // Some tools write whole numbers as 4096.0.
  double real = json_is_real(found) ? json_real_value(found) : 0;
  bool whole = json_is_integer(found) ||
               (json_is_real(found) && real == floor(real) && fabs(real) < 9007199254740992.0);
  int64_t number = json_is_real(found) ? (whole ? (int64_t)real : 0) : json_integer_value(found);
  if (!whole || number < min || number > max) {
    char expected[80];
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)min,
             (long long)max);
    return wrong(f, key, expected);
  }
  *value = number;
  return STATUS_OK;
}

static Status get_number(const Fields *f, const char *key, double *value) {
  json_t *found = given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_number(found)) return wrong(f, key, "a number");
  *value = json_number_value(found);
  return STATUS_OK;
}

static Status get_bool(const Fields *f, const char *key, bool *value) {
  json_t *found = given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_boolean(found)) return wrong(f, key, "true or false");
  *value = json_is_true(found);
  return STATUS_OK;
}

static Status get_string(const Fields *f, const char *key, const char **value) {
  json_t *found = given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_string(found)) return wrong(f, key, "a string");
  *value = json_string_value(found);
  return STATUS_OK;
}

static Status check_architecture(const Fields *f) {
  Status status = STATUS_OK;
  const char *type = NULL;
  TRY(get_string(f, "model_type", &type));
  if (type != NULL && strcmp(type, "llama") != 0) {
    return unsupported(f, "model_type", "expected \"llama\"; other architectures are");
  }
  json_t *names = given(f, "architectures");
  if (names != NULL && !json_is_array(names)) return wrong(f, "architectures", "a list");
  if (type == NULL && json_array_size(names) == 0) return missing(f, "model_type");
  for (size_t i = 0; i < json_array_size(names); i++) {
    const char *name = json_string_value(json_array_get(names, i));
    // The second spelling is that of the first LLaMA conversions.
    if (name != NULL &&
        (strcmp(name, "LlamaForCausalLM") == 0 || strcmp(name, "LLaMAForCausalLM") == 0)) {
      continue;
    }
    return unsupported(f, "architectures", "expected LlamaForCausalLM; other architectures are");
  }
done:
  return status;
}

// What the model code does not do.
static Status check_supported(const Fields *f) {
  Status status = STATUS_OK;
  const char *act = "silu";
  bool sliding = true;
  double rotary = 1;
  int64_t experts = 0;
  TRY(check_architecture(f));
  TRY(get_string(f, "hidden_act", &act));
  if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0) {
    return unsupported(f, "hidden_act", "expected \"silu\"; other activations are");
  }
  TRY(get_bool(f, "use_sliding_window", &sliding));
  if (sliding && given(f, "sliding_window") != NULL) {
    return unsupported(f, "sliding_window", "a sliding window is");
  }
  json_t *kinds = given(f, "layer_types");
  if (kinds != NULL && !json_is_array(kinds)) return wrong(f, "layer_types", "a list");
  for (size_t i = 0; i < json_array_size(kinds); i++) {
    const char *kind = json_string_value(json_array_get(kinds, i));
    if (kind == NULL || strcmp(kind, "full_attention") != 0) {
      return unsupported(f, "layer_types", "expected \"full_attention\"; other layers are");
    }
  }
  TRY(get_number(f, "partial_rotary_factor", &rotary));
  if (rotary != 1) return unsupported(f, "partial_rotary_factor", "partial rotary is");
  static const char *const expert_keys[] = {"num_experts", "num_local_experts", "n_routed_experts"};
  for (int i = 0; i < 3; i++) {
    TRY(get_int(f, expert_keys[i], 0, INT64_MAX, &experts));
    if (experts > 0) return unsupported(f, expert_keys[i], "a mixture of experts is");
  }
  if (given(f, "quantization_config") != NULL) {
    return unsupported(f, "quantization_config",
                       "weights quantised this way are; take the original weights or a GGUF file;");
  }
done:
  return status;
}

static Status get_sizes(const Fields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(get_int(f, "hidden_size", 1, LLAMA_HIDDEN_MAX, &c->hidden));
  TRY(get_int(f, "intermediate_size", 1, LLAMA_FFN_MAX, &c->ffn));
  TRY(get_int(f, "num_hidden_layers", 1, LLAMA_LAYERS_MAX, &c->layers));
  TRY(get_int(f, "num_attention_heads", 1, LLAMA_HEADS_MAX, &c->heads));
  c->kv_heads = c->heads;
  TRY(get_int(f, "num_key_value_heads", 1, LLAMA_HEADS_MAX, &c->kv_heads));
  TRY(get_int(f, "head_dim", 1, LLAMA_HIDDEN_MAX, &c->head_dim));
  TRY(get_int(f, "vocab_size", 1, INT32_MAX, &c->vocab));
  TRY(get_int(f, "max_position_embeddings", 1, INT32_MAX, &c->max_positions));
  TRY(get_number(f, "rms_norm_eps", &c->rms_eps));
  TRY(get_bool(f, "tie_word_embeddings", &c->tied));
  TRY(get_bool(f, "attention_bias", &c->attention_bias));
  TRY(get_bool(f, "mlp_bias", &c->mlp_bias));
done:
  return status;
}

static Status get_scaling(const Fields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  const char *kind = "default", *key = "type"; // "type" in old files
  double rotary = 1;
  TRY(get_string(f, "type", &kind));
  if (given(f, "rope_type") != NULL) key = "rope_type";
  TRY(get_string(f, "rope_type", &kind));
  TRY(get_number(f, "partial_rotary_factor", &rotary));
  if (rotary != 1) return unsupported(f, "partial_rotary_factor", "partial rotary is");
  TRY(get_number(f, "rope_theta", &c->rope_theta));
  json_t *value;
  const char *name;
  json_object_foreach(f->object, name, value) {
    if (json_is_object(value)) return unsupported(f, name, "a rope scaling per kind of layer is");
  }
  if (strcmp(kind, "default") == 0) return STATUS_OK;
  bool llama3 = strcmp(kind, "llama3") == 0;
  if (!llama3 && strcmp(kind, "linear") != 0) {
    return unsupported(f, key, "expected default, linear or llama3; other rope scalings are");
  }
  c->rope_scaling = llama3 ? ROPE_LLAMA3 : ROPE_LINEAR;
  if (given(f, "factor") == NULL) return missing(f, "factor");
  TRY(get_number(f, "factor", &c->rope_factor));
  if (!llama3) return STATUS_OK;
  if (given(f, "low_freq_factor") == NULL) return missing(f, "low_freq_factor");
  if (given(f, "high_freq_factor") == NULL) return missing(f, "high_freq_factor");
  TRY(get_number(f, "low_freq_factor", &c->rope_low_freq));
  TRY(get_number(f, "high_freq_factor", &c->rope_high_freq));
  c->rope_original_positions = c->max_positions; // as transformers
  TRY(get_int(f, "original_max_position_embeddings", 1, INT32_MAX, &c->rope_original_positions));
done:
  return status;
}

// Version 4: rope_theta and rope_scaling; version 5: rope_parameters, which holds theta, too.
static Status get_rope(const Fields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(get_number(f, "rope_theta", &c->rope_theta));
  static const char *const keys[] = {"rope_parameters", "rope_scaling"};
  static const char *const names[] = {"rope_parameters.", "rope_scaling."};
  for (int i = 0; i < 2; i++) {
    json_t *object = given(f, keys[i]);
    if (object == NULL) continue;
    if (!json_is_object(object)) return wrong(f, keys[i], "an object");
    Fields inner = {f->path, names[i], object, f->err};
    return get_scaling(&inner, c);
  }
done:
  return status;
}

// eos_token_id is one id or a list.
static Status get_eos(const Fields *f, LlamaConfig *c) {
  json_t *found = given(f, "eos_token_id");
  if (found == NULL) return STATUS_OK;
  size_t n = json_is_array(found) ? json_array_size(found) : 1;
  if (n > LLAMA_EOS_MAX) return wrong(f, "eos_token_id", "16 ids at most");
  c->n_eos = 0;
  for (size_t i = 0; i < n; i++) {
    json_t *id = json_is_array(found) ? json_array_get(found, i) : found;
    if (!json_is_integer(id)) return wrong(f, "eos_token_id", "an id or a list of ids");
    if (json_integer_value(id) == -1) continue; // none
    c->eos_ids[c->n_eos++] = json_integer_value(id);
  }
  return STATUS_OK;
}

static Status get_ids(const Fields *f, LlamaConfig *c) {
  Status status = STATUS_OK;
  TRY(get_int(f, "bos_token_id", -1, INT32_MAX, &c->bos_id));
  TRY(get_int(f, "pad_token_id", -1, INT32_MAX, &c->pad_id));
  TRY(get_eos(f, c));
done:
  return status;
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
  Fields fields = {path, "", object, err};
  TRY(check_supported(&fields));
  TRY(get_sizes(&fields, &c));
  TRY(get_rope(&fields, &c));
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
