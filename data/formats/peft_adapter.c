#include "peft_adapter.h"

#include "dtype_convert.h"
#include "mapped_file.h"
#include "peft_config.h"
#include "quote.h"
#include "safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "base_model.model.", tail_a[] = ".lora_A.weight",
                  tail_b[] = ".lora_B.weight";

enum { HEAD = sizeof head - 1, TAIL = sizeof tail_a - 1 };

typedef struct Reading {
  PeftAdapter *adapter;
  Safetensors st;
  Error *err;
} Reading;

static Status no_memory(const Reading *reading) {
  return error_set(reading->err, STATUS_MEMORY, "%s: no memory", reading->st.path);
}

double peft_adapter_scale(const PeftAdapter *adapter, const PeftPair *pair) {
  double r = (double)pair->r;
  double alpha = peft_patterns_value(&adapter->alphas, pair->module, adapter->alpha);
  return alpha / (adapter->rank_stabilised ? sqrt(r) : r);
}

bool peft_adapter_targets(const char *const *targets, int64_t n, const char *module) {
  size_t length = strlen(module);
  for (int64_t i = 0; i < n; i++) {
    size_t t = strlen(targets[i]);
    if (strcmp(targets[i], PEFT_ALL_LINEAR) == 0) return true;
    if (t > length || strcmp(module + length - t, targets[i]) != 0) continue;
    if (t == length || module[length - t - 1] == '.') return true;
  }
  return false;
}

void peft_adapter_free(PeftAdapter *adapter) {
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    free(adapter->pairs[i].module);
    free(adapter->pairs[i].a);
    free(adapter->pairs[i].b);
  }
  free(adapter->pairs);
  for (int64_t i = 0; i < adapter->n_targets; i++) free(adapter->targets[i]);
  free(adapter->targets);
  peft_patterns_free(&adapter->ranks);
  peft_patterns_free(&adapter->alphas);
  free(adapter->base_model);
  free(adapter->template_name);
  free(adapter->base_hash);
  free(adapter->vma_version);
  *adapter = (PeftAdapter){0};
}

static Status refuse(const Reading *reading, const SafeTensor *tensor, const char *what) {
  return error_set(reading->err, STATUS_DATA, "%s: tensor %s: %s", reading->st.path,
                   quote_text(tensor->name).text, what);
}

// 'A' or 'B'; 0 with the error set for a name that is no LoRA matrix of a linear layer.
static char which_matrix(const Reading *reading, const SafeTensor *tensor) {
  const char *name = tensor->name;
  size_t length = strlen(name);
  if (length > HEAD + TAIL && strncmp(name, head, HEAD) == 0) {
    if (strcmp(name + length - TAIL, tail_a) == 0) return 'A';
    if (strcmp(name + length - TAIL, tail_b) == 0) return 'B';
  }
  const char *what = "expected a name like 'base_model.model.MODULE.lora_A.weight'; whole modules "
                     "trained beside the adapter are not supported";
  if (strstr(name, "lora_embedding_") != NULL) {
    what = "adapters of embeddings are not supported";
  } else if (strstr(name, "lora_magnitude_vector") != NULL) {
    what = "DoRA is not supported";
  } else if (strstr(name, "lora_B.bias") != NULL) {
    what = "biases of the adapter are not supported";
  }
  refuse(reading, tensor, what);
  return 0;
}

// A matrix as f32; the memory is bounded by the file, which holds every value.
static Status load_matrix(const Reading *reading, const SafeTensor *tensor, float **values) {
  int64_t n = tensor->shape[0] * tensor->shape[1];
  *values = malloc(((size_t)n + 1) * sizeof **values);
  if (*values == NULL) return no_memory(reading);
  dtype_convert(DT_F32, *values, tensor->dtype, reading->st.data + tensor->offset, n);
  for (int64_t i = 0; i < n; i++) {
    if (isfinite((*values)[i])) continue;
    char what[80];
    snprintf(what, sizeof what, "element %lld is %g, which is not finite", (long long)i,
             (double)(*values)[i]);
    return refuse(reading, tensor, what);
  }
  return STATUS_OK;
}

static Status check_matrix(const Reading *reading, const SafeTensor *tensor, int64_t r,
                           int rank_dim) {
  char what[160];
  if (tensor->dtype != DT_F32 && tensor->dtype != DT_F16 && tensor->dtype != DT_BF16) {
    snprintf(what, sizeof what, "expected F32, F16 or BF16, found %s", tensor->dtype_name);
    return refuse(reading, tensor, what);
  }
  if (tensor->ndim != 2 || tensor->shape[0] == 0 || tensor->shape[1] == 0) {
    return refuse(reading, tensor, "expected a matrix");
  }
  if (tensor->shape[rank_dim] != r) {
    snprintf(what, sizeof what,
             "expected rank %lld, as adapter_config.json says, found [%lld,%lld]", (long long)r,
             (long long)tensor->shape[0], (long long)tensor->shape[1]);
    return refuse(reading, tensor, what);
  }
  return STATUS_OK;
}

// The other matrix of a pair: its name differs in one letter.
static Status find_other(const Reading *reading, const SafeTensor *tensor,
                         const SafeTensor **other) {
  char *name = strdup(tensor->name);
  if (name == NULL) return no_memory(reading);
  char *letter = name + strlen(name) - TAIL + 6; // ".lora_" is six characters long
  *letter = *letter == 'A' ? 'B' : 'A';
  *other = safetensors_find(&reading->st, name);
  free(name);
  if (*other != NULL) return STATUS_OK;
  return refuse(reading, tensor, "its other half is missing");
}

static Status add_pair(const Reading *reading, const SafeTensor *a, const SafeTensor *b) {
  Status status = STATUS_OK;
  PeftAdapter *adapter = reading->adapter;
  PeftPair *pair = &adapter->pairs[adapter->n_pairs];
  *pair = (PeftPair){.module = strndup(a->name + HEAD, strlen(a->name) - HEAD - TAIL)};
  adapter->n_pairs++;
  if (pair->module == NULL) return no_memory(reading);
  pair->r = (int64_t)peft_patterns_value(&adapter->ranks, pair->module, (double)adapter->r);
  TRY(check_matrix(reading, a, pair->r, 0));
  TRY(check_matrix(reading, b, pair->r, 1));
  pair->in = a->shape[1];
  pair->out = b->shape[0];
  TRY(load_matrix(reading, a, &pair->a));
  TRY(load_matrix(reading, b, &pair->b));
done:
  return status;
}

static int by_module(const void *a, const void *b) {
  return strcmp(((const PeftPair *)a)->module, ((const PeftPair *)b)->module);
}

static Status read_pairs(const Reading *reading) {
  Status status = STATUS_OK;
  PeftAdapter *adapter = reading->adapter;
  const Safetensors *st = &reading->st;
  if (st->n_tensors == 0) {
    return error_set(reading->err, STATUS_DATA,
                     "%s: holds no tensors: whoever saved it saved an empty adapter", st->path);
  }
  adapter->pairs = calloc((size_t)st->n_tensors, sizeof *adapter->pairs);
  if (adapter->pairs == NULL) return no_memory(reading);
  for (int64_t i = 0; i < st->n_tensors; i++) {
    if (which_matrix(reading, &st->tensors[i]) == 0) return STATUS_DATA;
  }
  for (int64_t i = 0; i < st->n_tensors; i++) {
    const SafeTensor *other = NULL;
    TRY(find_other(reading, &st->tensors[i], &other));
    if (which_matrix(reading, other) == 'B') TRY(add_pair(reading, &st->tensors[i], other));
  }
  qsort(adapter->pairs, (size_t)adapter->n_pairs, sizeof *adapter->pairs, by_module);
done:
  return status;
}

// A list in the config must name every module; without one the modules themselves are the targets.
static Status complete_targets(const Reading *reading) {
  PeftAdapter *adapter = reading->adapter;
  if (adapter->n_targets > 0) {
    for (int64_t i = 0; i < adapter->n_pairs; i++) {
      const char *module = adapter->pairs[i].module;
      if (peft_adapter_targets((const char *const *)adapter->targets, adapter->n_targets, module))
        continue;
      return error_set(reading->err, STATUS_DATA,
                       "%s: holds matrices of %s, which target_modules of adapter_config.json does "
                       "not name",
                       reading->st.path, quote_text(module).text);
    }
    return STATUS_OK;
  }
  adapter->targets = calloc((size_t)adapter->n_pairs, sizeof *adapter->targets);
  if (adapter->targets == NULL) return no_memory(reading);
  for (; adapter->n_targets < adapter->n_pairs; adapter->n_targets++) {
    char *copy = strdup(adapter->pairs[adapter->n_targets].module);
    if (copy == NULL) return no_memory(reading);
    adapter->targets[adapter->n_targets] = copy;
  }
  return STATUS_OK;
}

static Status read_metadata(const Reading *reading) {
  static const char *const keys[] = {"vma_template", "vma_base_hash", "vma_version"};
  PeftAdapter *adapter = reading->adapter;
  char **values[] = {&adapter->template_name, &adapter->base_hash, &adapter->vma_version};
  for (int i = 0; i < 3; i++) {
    const char *value = safetensors_metadata(&reading->st, keys[i]);
    if (value == NULL) continue;
    *values[i] = strdup(value);
    if (*values[i] == NULL) return no_memory(reading);
  }
  return STATUS_OK;
}

static Status no_weights(const char *folder, const char *path, Error *err) {
  char *pickle;
  if (asprintf(&pickle, "%s/adapter_model.bin", folder) < 0) {
    return error_set(err, STATUS_MEMORY, "%s: no memory", folder);
  }
  bool exists = file_exists(pickle);
  free(pickle);
  if (exists) {
    return error_set(err, STATUS_DATA,
                     "%s/adapter_model.bin: a pickle, which is not supported: load it in PEFT and "
                     "save it again as adapter_model.safetensors",
                     folder);
  }
  return error_set(err, STATUS_NO_INPUT, "%s: missing: the adapter's weights", path);
}

Status peft_adapter_read(PeftAdapter *adapter, const char *folder, Error *err) {
  Status status = STATUS_OK;
  char *config = NULL, *weights = NULL;
  Reading reading = {.adapter = adapter, .err = err};
  *adapter = (PeftAdapter){0};
  if (asprintf(&config, "%s/adapter_config.json", folder) < 0) config = NULL;
  if (asprintf(&weights, "%s/adapter_model.safetensors", folder) < 0) weights = NULL;
  if (config == NULL || weights == NULL) {
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", folder));
  }
  TRY(peft_config_read(adapter, config, err));
  if (!file_exists(weights)) TRY(no_weights(folder, weights, err));
  TRY(safetensors_open(&reading.st, weights, err));
  TRY(read_pairs(&reading));
  TRY(complete_targets(&reading));
  TRY(read_metadata(&reading));
  TRY(file_check(&reading.st.file, err));
done:
  safetensors_close(&reading.st);
  free(config);
  free(weights);
  if (status != STATUS_OK) peft_adapter_free(adapter);
  return status;
}
