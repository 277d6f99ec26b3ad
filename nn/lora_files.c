// Between the adapters of a model and PEFT's folders.
#include "check.h"
#include "lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LoraSpec lora_spec_of(const PeftAdapter *adapter) {
  return (LoraSpec){.r = adapter->r,
                    .alpha = (float)adapter->alpha,
                    .dropout = (float)adapter->dropout,
                    .rank_stabilised = adapter->rank_stabilised,
                    .ranks = &adapter->ranks,
                    .alphas = &adapter->alphas,
                    .n_targets = (int)adapter->n_targets,
                    .targets = (const char *const *)adapter->targets};
}

// ---- loading ----

// The attached weight that a pair's matrix belongs to, or NULL with the error set.
static Param *weight_of_pair(const ParamTable *table, const PeftPair *pair, char matrix, int index,
                             Error *err) {
  char tail[LORA_TAIL_MAX], name[PARAM_NAME_MAX + LORA_TAIL_MAX];
  lora_tail(tail, matrix, index);
  snprintf(name, sizeof name, "%s%s", pair->module, tail);
  Param *p = param_find(table, name);
  if (p == NULL) {
    snprintf(name, sizeof name, "%s.weight", pair->module);
    const char *why = param_find(table, name) != NULL
                          ? "is no target of the adapter's config"
                          : "does not exist in the model; the adapter is for another one";
    error_set(err, STATUS_DATA, "adapter tensor base_model.model.%s.lora_%c.weight: the layer %s",
              pair->module, matrix, why);
    return NULL;
  }
  int64_t r = pair->r, rows = matrix == 'A' ? r : pair->out, cols = matrix == 'A' ? pair->in : r;
  if (p->shape[0] == rows && p->shape[1] == cols) return p;
  error_set(err, STATUS_DATA,
            "adapter tensor base_model.model.%s.lora_%c.weight is [%lld, %lld], the model needs "
            "[%lld, %lld]; the adapter is for another one",
            pair->module, matrix, (long long)rows, (long long)cols, (long long)p->shape[0],
            (long long)p->shape[1]);
  return NULL;
}

// The module's name in `module` if p is the A of adapter `index`.
static bool is_a_of(const Param *p, int index, char module[PARAM_NAME_MAX]) {
  char tail[LORA_TAIL_MAX];
  lora_tail(tail, 'A', index);
  size_t n = strlen(p->name), t = strlen(tail);
  if (!p->adapter || n <= t || strcmp(p->name + n - t, tail) != 0) return false;
  memcpy(module, p->name, n - t);
  module[n - t] = '\0';
  return true;
}

static bool has_pair(const PeftAdapter *adapter, const char *module) {
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    if (strcmp(adapter->pairs[i].module, module) == 0) return true;
  }
  return false;
}

Status lora_check(const ParamTable *table, const PeftAdapter *adapter, int index, Error *err) {
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const PeftPair *pair = &adapter->pairs[i];
    if (weight_of_pair(table, pair, 'A', index, err) == NULL) return STATUS_DATA;
    if (weight_of_pair(table, pair, 'B', index, err) == NULL) return STATUS_DATA;
  }
  for (int64_t i = 0; i < table->n; i++) {
    char module[PARAM_NAME_MAX];
    if (!is_a_of(&table->items[i], index, module) || has_pair(adapter, module)) continue;
    return error_set(err, STATUS_DATA,
                     "adapter tensor base_model.model.%s.lora_A.weight is missing, although the "
                     "layer is a target of the adapter's config",
                     module);
  }
  return STATUS_OK;
}

Status lora_load(ParamTable *table, Backend *be, const PeftAdapter *adapter, int index,
                 Error *err) {
  Status status = lora_check(table, adapter, index, err);
  if (status != STATUS_OK) return status;
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const PeftPair *pair = &adapter->pairs[i];
    param_write(be, weight_of_pair(table, pair, 'A', index, err)->value.t, pair->a);
    param_write(be, weight_of_pair(table, pair, 'B', index, err)->value.t, pair->b);
  }
  return STATUS_OK;
}

// ---- collecting ----

static int by_module(const void *a, const void *b) {
  return strcmp(((const PeftPair *)a)->module, ((const PeftPair *)b)->module);
}

static float *values_of(Backend *be, const Param *p) {
  float *values = malloc((size_t)tensor_count(p->value.t) * sizeof *values);
  if (values != NULL) param_read(be, values, p->value.t);
  return values;
}

// Fills the next pair from the A and B of a module; false when there is no memory.
static bool add_pair(PeftAdapter *adapter, const ParamTable *table, Backend *be, const Param *a,
                     const char *module, int index) {
  char tail[LORA_TAIL_MAX], name[PARAM_NAME_MAX + LORA_TAIL_MAX];
  lora_tail(tail, 'B', index);
  snprintf(name, sizeof name, "%s%s", module, tail);
  const Param *b = param_find(table, name);
  CHECK(b != NULL, "%s has no B", a->name);
  PeftPair *pair = &adapter->pairs[adapter->n_pairs++];
  *pair = (PeftPair){.module = strdup(module),
                     .in = a->shape[1],
                     .out = b->shape[0],
                     .r = a->shape[0],
                     .a = values_of(be, a),
                     .b = values_of(be, b)};
  return pair->module != NULL && pair->a != NULL && pair->b != NULL;
}

static const char *last_name(const char *module) {
  const char *dot = strrchr(module, '.');
  return dot != NULL ? dot + 1 : module;
}

static bool add_target(PeftAdapter *adapter, const char *target) {
  for (int64_t i = 0; i < adapter->n_targets; i++) {
    if (strcmp(adapter->targets[i], target) == 0) return true;
  }
  adapter->targets[adapter->n_targets] = strdup(target);
  return adapter->targets[adapter->n_targets++] != NULL;
}

// After the pairs. "all-linear" becomes the names of the layers, as PEFT writes it.
static bool collect_targets(PeftAdapter *adapter, const LoraSpec *spec) {
  size_t room = (size_t)(spec->n_targets + adapter->n_pairs) + 1;
  bool fits = (adapter->targets = calloc(room, sizeof *adapter->targets)) != NULL;
  for (int t = 0; fits && t < spec->n_targets; t++) {
    if (strcmp(spec->targets[t], PEFT_ALL_LINEAR) != 0) {
      fits = add_target(adapter, spec->targets[t]);
      continue;
    }
    for (int64_t i = 0; fits && i < adapter->n_pairs; i++)
      fits = add_target(adapter, last_name(adapter->pairs[i].module));
  }
  return fits;
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const PeftPattern *)a)->key, ((const PeftPattern *)b)->key);
}

// PEFT sorts the keys whenever it saves, and the first that matches counts: where the order matters
// each module that differs is named in full instead.
static Status collect_patterns(PeftPatterns *out, const PeftPatterns *from,
                               const PeftAdapter *adapter, double otherwise, Error *err) {
  Status status = STATUS_OK;
  bool same = true;
  for (int64_t i = 0; from != NULL && i < from->n; i++)
    TRY(peft_patterns_add(out, from->items[i].key, from->items[i].value, err));
  if (out->n > 1) qsort(out->items, (size_t)out->n, sizeof *out->items, by_key);
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const char *module = adapter->pairs[i].module;
    same = same && peft_patterns_value(out, module, otherwise) ==
                       peft_patterns_value(from, module, otherwise);
  }
  if (same) return STATUS_OK;
  peft_patterns_free(out);
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const char *module = adapter->pairs[i].module;
    double value = peft_patterns_value(from, module, otherwise);
    if (value != otherwise) TRY(peft_patterns_add_glob(out, module, value, err));
  }
done:
  return status;
}

// A float's shortest decimal spelling: 0.05f is 0.05, not 0.0500000007.
static double as_written(float value) {
  char text[32];
  snprintf(text, sizeof text, "%.7g", (double)value);
  return strtod(text, NULL);
}

Status lora_collect(PeftAdapter *adapter, const ParamTable *table, Backend *be, int index,
                    const LoraSpec *spec, Error *err) {
  Status status = STATUS_OK;
  *adapter = (PeftAdapter){.r = spec->r,
                           .alpha = as_written(spec->alpha),
                           .dropout = as_written(spec->dropout),
                           .rank_stabilised = spec->rank_stabilised};
  char module[PARAM_NAME_MAX];
  int64_t n = 0;
  for (int64_t i = 0; i < table->n; i++) n += is_a_of(&table->items[i], index, module);
  adapter->pairs = calloc((size_t)n + 1, sizeof *adapter->pairs);
  bool fits = adapter->pairs != NULL;
  for (int64_t i = 0; fits && i < table->n; i++) {
    const Param *p = &table->items[i];
    if (is_a_of(p, index, module)) fits = add_pair(adapter, table, be, p, module, index);
  }
  fits = fits && collect_targets(adapter, spec);
  if (!fits) return error_set(err, STATUS_MEMORY, "no memory for a copy of the adapter");
  if (n > 0) qsort(adapter->pairs, (size_t)n, sizeof *adapter->pairs, by_module);
  TRY(collect_patterns(&adapter->ranks, spec->ranks, adapter, (double)adapter->r, err));
  TRY(collect_patterns(&adapter->alphas, spec->alphas, adapter, adapter->alpha, err));
done:
  return status;
}
