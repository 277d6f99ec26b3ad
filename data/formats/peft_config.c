#include "peft_config.h"

#include "json_fields.h"
#include "json_items.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONFIG_BYTES_MAX = 16 << 20, TARGETS_MAX = 1 << 14, RANK_MAX = 1 << 16 };

// Keys whose features a plain LoRA does not have: any value but null, false, 0, "" or an empty list
// or object asks for something that is not done here.
static const struct {
  const char *key, *what;
} refused[] = {
    {"use_dora", "DoRA is"},
    {"use_qalora", "QA-LoRA is"},
    {"use_bdlora", "BD-LoRA is"},
    {"lora_bias", "biases of the adapter are"},
    {"modules_to_save", "whole modules trained beside the adapter are"},
    {"trainable_token_indices", "trained token embeddings are"},
    {"target_parameters", "adapters of bare parameters are"},
    {"layer_replication", "replicated layers are"},
    {"alora_invocation_tokens", "activated LoRA is"},
    {"arrow_config", "Arrow routing is"},
    {"kasa_config", "KaSA is"},
    {"monteclora_config", "MonteCLoRA is"},
    {"velora_config", "VeLoRA is"},
    {"megatron_config", "Megatron layers are"},
    {"fan_in_fan_out", "weights stored as [in,out] are"},
};

static bool is_off(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_NULL:
  case JSON_FALSE:
    return true;
  case JSON_INTEGER:
    return json_integer_value(value) == 0;
  case JSON_STRING:
    return json_string_length(value) == 0;
  case JSON_ARRAY:
    return json_array_size(value) == 0;
  case JSON_OBJECT:
    return json_object_size(value) == 0;
  default:
    return false;
  }
}

static bool is_given(const JsonFields *f, const char *key) {
  json_t *value = json_object_get(f->object, key);
  return value != NULL && !is_off(value);
}

static Status check_supported(const JsonFields *f) {
  Status status = STATUS_OK;
  const char *type = NULL, *bias = "none", *init = "gaussian";
  TRY(json_fields_string(f, "peft_type", &type));
  if (type == NULL) return json_fields_missing(f, "peft_type");
  if (strcmp(type, "LORA") != 0) {
    return json_fields_unsupported(f, "peft_type", "expected \"LORA\"; other adapters are");
  }
  TRY(json_fields_string(f, "bias", &bias));
  if (strcmp(bias, "none") != 0) {
    return json_fields_unsupported(f, "bias", "biases trained beside the adapter are");
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    if (is_given(f, refused[i].key)) {
      return json_fields_unsupported(f, refused[i].key, refused[i].what);
    }
  }
  // Once it is trained, the way of its initialisation is of no matter, unless it was one that
  // subtracts the adapter's first values from the base weights (PiSSA, OLoRA, CorDA, LoftQ, ...).
  if (!json_is_boolean(json_object_get(f->object, "init_lora_weights"))) {
    TRY(json_fields_string(f, "init_lora_weights", &init));
  }
  if (strcmp(init, "gaussian") != 0 && strcmp(init, "orthogonal") != 0 &&
      strcmp(init, "eva") != 0) {
    return json_fields_unsupported(
        f, "init_lora_weights",
        "an adapter to changed base weights is (convert it with PEFT's save_pretrained and "
        "path_initial_model_for_weight_conversion),");
  }
done:
  return status;
}

// rank_pattern or alpha_pattern; ranks are whole numbers.
static Status read_patterns(const JsonFields *f, const char *name, bool whole,
                            PeftPatterns *patterns) {
  json_t *object = json_fields_given(f, name);
  const char *key;
  json_t *item;
  if (object == NULL) return STATUS_OK;
  if (!json_is_object(object)) return json_fields_wrong(f, name, "an object of names and numbers");
  char prefix[32];
  snprintf(prefix, sizeof prefix, "%s.", name);
  const JsonFields fields = {f->path, prefix, object, f->err};
  json_object_foreach(object, key, item) {
    Status status = peft_patterns_add(patterns, key, 0, f->err);
    if (status != STATUS_OK) {
      error_prefix(f->err, "%s: '%s'", f->path, name);
      return status;
    }
    int64_t number = 0;
    double *value = &patterns->items[patterns->n - 1].value;
    if (json_is_null(item)) return json_fields_wrong(&fields, key, "a number");
    status = whole ? json_fields_int(&fields, key, 1, RANK_MAX, &number)
                   : json_fields_number(&fields, key, value);
    if (status != STATUS_OK) return status;
    if (whole) *value = (double)number;
  }
  return STATUS_OK;
}

static Status add_target(const JsonFields *f, PeftAdapter *adapter, const char *name) {
  char *copy = strdup(name);
  if (copy == NULL) return error_set(f->err, STATUS_MEMORY, "%s: no memory", f->path);
  adapter->targets[adapter->n_targets++] = copy;
  return STATUS_OK;
}

// target_modules as a list whose rule nothing else changes.
static Status read_targets(const JsonFields *f, PeftAdapter *adapter) {
  json_t *list = json_fields_given(f, "target_modules");
  if (list != NULL && !json_is_array(list) && !json_is_string(list)) {
    return json_fields_wrong(f, "target_modules", "a list of names or a string");
  }
  size_t n = json_array_size(list);
  for (size_t i = 0; i < n; i++) {
    const char *name = json_string_value(json_array_get(list, i));
    if (name != NULL && name[0] != '\0' &&
        strlen(name) == json_string_length(json_array_get(list, i))) {
      continue;
    }
    return json_fields_wrong(f, "target_modules", "names of modules");
  }
  const char *word = json_string_value(list);
  bool all = word != NULL && strcasecmp(word, PEFT_ALL_LINEAR) == 0;
  if ((n == 0 && !all) || is_given(f, "exclude_modules") ||
      json_fields_given(f, "layers_to_transform") != NULL) {
    return STATUS_OK;
  }
  if (n > TARGETS_MAX) return json_fields_wrong(f, "target_modules", "16,384 names at most");
  adapter->targets = calloc(n + 1, sizeof *adapter->targets);
  if (adapter->targets == NULL) return error_set(f->err, STATUS_MEMORY, "%s: no memory", f->path);
  if (all) return add_target(f, adapter, PEFT_ALL_LINEAR);
  Status status = STATUS_OK;
  for (size_t i = 0; status == STATUS_OK && i < n; i++)
    status = add_target(f, adapter, json_string_value(json_array_get(list, i)));
  return status;
}

Status peft_config_read(PeftAdapter *adapter, const char *path, Error *err) {
  Status status = STATUS_OK;
  json_t *object = NULL;
  const char *base = NULL;
  adapter->r = 8; // PEFT's defaults
  adapter->alpha = 8;
  TRY(json_document_load(&object, path, CONFIG_BYTES_MAX, err));
  if (!json_is_object(object)) {
    TRY(error_set(err, STATUS_DATA, "%s: expected an object '{'", path));
  }
  const JsonFields fields = {path, "", object, err};
  TRY(check_supported(&fields));
  TRY(json_fields_int(&fields, "r", 1, RANK_MAX, &adapter->r));
  TRY(json_fields_number(&fields, "lora_alpha", &adapter->alpha));
  TRY(json_fields_number(&fields, "lora_dropout", &adapter->dropout));
  if (!(adapter->dropout >= 0 && adapter->dropout < 1)) {
    TRY(json_fields_wrong(&fields, "lora_dropout", "a number from 0 to less than 1"));
  }
  TRY(json_fields_bool(&fields, "use_rslora", &adapter->rank_stabilised));
  TRY(json_fields_string(&fields, "base_model_name_or_path", &base));
  if (base != NULL) {
    adapter->base_model = strdup(base);
    if (adapter->base_model == NULL) {
      TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
    }
  }
  TRY(read_patterns(&fields, "rank_pattern", true, &adapter->ranks));
  TRY(read_patterns(&fields, "alpha_pattern", false, &adapter->alphas));
  TRY(read_targets(&fields, adapter));
done:
  json_decref(object);
  return status;
}

// ---- writing ----

// What PEFT writes for a plain LoRA, in its order; peft_version says whose keys these are.
static const char written[] =
    "{\"alora_invocation_tokens\":null,\"alpha_pattern\":{},\"arrow_config\":null,"
    "\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"corda_config\":"
    "null,"
    "\"ensure_weight_tying\":false,\"eva_config\":null,\"exclude_modules\":null,"
    "\"fan_in_fan_out\":false,\"inference_mode\":true,\"init_lora_weights\":true,"
    "\"kasa_config\":null,\"layer_replication\":null,\"layers_pattern\":null,"
    "\"layers_to_transform\":null,\"loftq_config\":{},\"lora_alpha\":8,\"lora_bias\":false,"
    "\"lora_dropout\":0.0,\"lora_ga_config\":null,\"megatron_config\":null,"
    "\"megatron_core\":\"megatron.core\",\"modules_to_save\":null,\"monteclora_config\":null,"
    "\"peft_type\":\"LORA\",\"peft_version\":\"0.21.2\",\"qalora_group_size\":16,\"r\":8,"
    "\"rank_pattern\":{},\"revision\":null,\"target_modules\":[],\"target_parameters\":null,"
    "\"task_type\":\"CAUSAL_LM\",\"trainable_token_indices\":null,\"use_bdlora\":null,"
    "\"use_dora\":false,\"use_qalora\":false,\"use_rslora\":false,\"velora_config\":null}";

// The fewest digits, from `least`, with which the number is read back as it is.
static int digits_of(double value, int least) {
  for (int digits = least; digits < 17; digits++) {
    char text[64];
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) return digits;
  }
  return 17;
}

static json_t *json_of_alpha(double alpha) {
  bool whole = alpha > -1e15 && alpha < 1e15 && (double)(int64_t)alpha == alpha;
  return whole ? json_integer((int64_t)alpha) : json_real(alpha);
}

static json_t *json_of_patterns(const PeftPatterns *patterns) {
  json_t *object = json_object();
  bool failed = object == NULL;
  for (int64_t i = 0; !failed && i < patterns->n; i++) {
    const PeftPattern *p = &patterns->items[i];
    failed = json_object_set_new(object, p->key, json_of_alpha(p->value)) != 0;
  }
  if (!failed) return object;
  json_decref(object);
  return NULL;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *json_of_targets(const PeftAdapter *adapter) {
  json_t *list = json_array();
  const char **sorted = malloc(((size_t)adapter->n_targets + 1) * sizeof *sorted);
  for (int64_t i = 0; sorted != NULL && i < adapter->n_targets; i++)
    sorted[i] = adapter->targets[i];
  if (sorted != NULL) qsort(sorted, (size_t)adapter->n_targets, sizeof *sorted, by_text);
  for (int64_t i = 0; sorted != NULL && i < adapter->n_targets; i++) {
    json_array_append_new(list, json_string(sorted[i]));
  }
  free(sorted);
  if (json_array_size(list) == (size_t)adapter->n_targets) return list;
  json_decref(list);
  return NULL;
}

char *peft_config_text(const PeftAdapter *adapter) {
  char *text = NULL, *line = NULL;
  json_t *object = json_loads(written, 0, NULL);
  if (object == NULL) return NULL;
  // A path that is not UTF-8 cannot stand in JSON; PEFT asks for the base model anyway.
  json_t *base = adapter->base_model == NULL ? NULL : json_string(adapter->base_model);
  bool failed = json_object_set_new(object, "base_model_name_or_path",
                                    base == NULL ? json_null() : base) != 0;
  failed |= json_object_set_new(object, "lora_alpha", json_of_alpha(adapter->alpha)) != 0;
  failed |= json_object_set_new(object, "lora_dropout", json_real(adapter->dropout)) != 0;
  failed |= json_object_set_new(object, "r", json_integer(adapter->r)) != 0;
  failed |= json_object_set_new(object, "target_modules", json_of_targets(adapter)) != 0;
  failed |= json_object_set_new(object, "use_rslora", json_boolean(adapter->rank_stabilised)) != 0;
  failed |= json_object_set_new(object, "rank_pattern", json_of_patterns(&adapter->ranks)) != 0;
  failed |= json_object_set_new(object, "alpha_pattern", json_of_patterns(&adapter->alphas)) != 0;
  int digits = digits_of(adapter->dropout, digits_of(adapter->alpha, 1));
  for (int64_t i = 0; i < adapter->alphas.n; i++)
    digits = digits_of(adapter->alphas.items[i].value, digits);
  if (!failed) {
    text = json_dumps(object,
                      JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION((size_t)digits));
  }
  if (text != NULL && asprintf(&line, "%s\n", text) < 0) line = NULL;
  free(text);
  json_decref(object);
  return line;
}
