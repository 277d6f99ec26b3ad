#include "lora.h"

#include "check.h"
#include "rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "model.layers.0.self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight".
static void module_of(const Param *weight, char *module) {
  size_t n = strlen(weight->name), tail = strlen(".weight");
  CHECK(n > tail && strcmp(weight->name + n - tail, ".weight") == 0, "%s is not a weight",
        weight->name);
  memcpy(module, weight->name, n - tail);
  module[n - tail] = '\0';
}

int64_t lora_rank(const LoraSpec *spec, const char *module) {
  return (int64_t)peft_patterns_value(spec->ranks, module, (double)spec->r);
}

float lora_scale(const LoraSpec *spec, const char *module) {
  double r = (double)lora_rank(spec, module);
  double alpha = peft_patterns_value(spec->alphas, module, (double)spec->alpha);
  return (float)(alpha / (spec->rank_stabilised ? sqrt(r) : r));
}

static const char *last_name(const char *module) {
  const char *dot = strrchr(module, '.');
  return dot != NULL ? dot + 1 : module;
}

void lora_tail(char tail[LORA_TAIL_MAX], char matrix, int index) {
  if (index == 0) {
    snprintf(tail, LORA_TAIL_MAX, ".lora_%c.weight", matrix);
  } else {
    snprintf(tail, LORA_TAIL_MAX, ".lora_%c.%d.weight", matrix, index);
  }
}

static void attach(ParamTable *table, LinearPart *part, const char *module, int bucket,
                   const LoraSpec *spec, int index, bool trainable, uint32_t tensor_id) {
  Tensor w = part->weight->value.t;
  DType dtype = w.dtype == DT_F64 ? DT_F64 : DT_F32;
  int64_t r = lora_rank(spec, module), a_shape[] = {r, w.cols}, b_shape[] = {w.rows, r};
  Adapter *adapter = &part->adapters[index];
  CHECK(adapter->a == NULL, "%s has adapter %d already", module, index);
  char tail[LORA_TAIL_MAX];
  lora_tail(tail, 'A', index);
  adapter->a = param_declare(table, dtype, bucket, 0, true, 2, a_shape, "%s%s", module, tail);
  lora_tail(tail, 'B', index);
  adapter->b = param_declare(table, dtype, bucket, 0, true, 2, b_shape, "%s%s", module, tail);
  adapter->a->adapter = adapter->b->adapter = true;
  adapter->a->trainable = adapter->b->trainable = trainable;
  if (spec->plus) adapter->b->rate = RATE_PLUS;
  adapter->scale = lora_scale(spec, module);
  adapter->dropout = spec->dropout;
  adapter->tensor_id = tensor_id;
}

// "q_proj, k_proj, ...": each module name once, in order of appearance.
static void list_modules(Linear *const *linears, int n, char *out, size_t size) {
  out[0] = '\0';
  char module[PARAM_NAME_MAX];
  for (int i = 0; i < n; i++) {
    for (int p = 0; p < linears[i]->n_parts; p++) {
      module_of(linears[i]->parts[p].weight, module);
      const char *name = last_name(module);
      if (strstr(out, name) != NULL || strlen(out) + strlen(name) + 3 > size) continue;
      snprintf(out + strlen(out), size - strlen(out), "%s%s", out[0] != '\0' ? ", " : "", name);
    }
  }
}

Status lora_attach(ParamTable *table, Linear *const *linears, const int *buckets, int n,
                   const LoraSpec *spec, int index, bool trainable, Error *err) {
  CHECK(index >= 0 && index < MAX_ADAPTERS, "adapter %d", index);
  uint32_t tensor_id = 0;
  for (int t = 0; t < spec->n_targets; t++) {
    bool found = false;
    char module[PARAM_NAME_MAX];
    for (int i = 0; i < n; i++) {
      for (int p = 0; p < linears[i]->n_parts; p++) {
        module_of(linears[i]->parts[p].weight, module);
        found = found || peft_adapter_targets(&spec->targets[t], 1, module);
      }
    }
    if (!found) {
      char known[400];
      list_modules(linears, n, known, sizeof known);
      return error_set(err, STATUS_USAGE,
                       "lora target '%s' matches no linear layer of the model; there are: %s",
                       spec->targets[t], known);
    }
  }
  for (int i = 0; i < n; i++) {
    for (int p = 0; p < linears[i]->n_parts; p++) {
      tensor_id++; // counted over all parts: masks stay the same when targets are added
      char module[PARAM_NAME_MAX];
      module_of(linears[i]->parts[p].weight, module);
      if (peft_adapter_targets(spec->targets, spec->n_targets, module))
        attach(table, &linears[i]->parts[p], module, buckets[i], spec, index, trainable, tensor_id);
    }
  }
  return STATUS_OK;
}

static uint64_t name_key(uint64_t seed, const char *name) { // FNV-1a
  uint64_t h = 0xcbf29ce484222325u ^ (seed * 0x9E3779B97F4A7C15u);
  for (; *name != '\0'; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  return h;
}

static bool ends_with(const char *name, const char *tail) {
  size_t n = strlen(name), t = strlen(tail);
  return n > t && strcmp(name + n - t, tail) == 0;
}

void lora_init_weights(ParamTable *table, Backend *be, int index, uint64_t seed) {
  char a_tail[LORA_TAIL_MAX], b_tail[LORA_TAIL_MAX];
  lora_tail(a_tail, 'A', index);
  lora_tail(b_tail, 'B', index);
  for (int64_t i = 0; i < table->n; i++) {
    Param *p = &table->items[i];
    bool is_a = ends_with(p->name, a_tail);
    if (!p->adapter || !(is_a || ends_with(p->name, b_tail))) continue;
    Tensor t = p->value.t;
    int64_t n = tensor_count(t);
    float *values = calloc((size_t)n, sizeof *values);
    CHECK(values != NULL, "no memory for an adapter");
    if (is_a) {
      Rng rng = {.key = name_key(seed, p->name)};
      double bound = 1.0 / sqrt((double)t.cols);
      for (int64_t k = 0; k < n; k++) values[k] = (float)((2.0 * rng_uniform(&rng) - 1.0) * bound);
    }
    param_write(be, t, values);
    free(values);
  }
}
