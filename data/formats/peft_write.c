// The writing half of peft_adapter.h.
#include "check.h"
#include "folder.h"
#include "mapped_file.h"
#include "peft_adapter.h"
#include "peft_config.h"
#include "safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status no_memory(const char *path, Error *err) {
  return error_set(err, STATUS_MEMORY, "%s: no memory", path);
}

static Status check_finite(const PeftAdapter *adapter, const char *folder, Error *err) {
  if (adapter->n_pairs == 0) {
    return error_set(err, STATUS_FAILED, "%s: an adapter without matrices is not written", folder);
  }
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const PeftPair *pair = &adapter->pairs[i];
    for (int half = 0; half < 2; half++) {
      const float *values = half == 0 ? pair->a : pair->b;
      int64_t n = pair->r * (half == 0 ? pair->in : pair->out);
      for (int64_t k = 0; k < n; k++) {
        if (isfinite(values[k])) continue;
        return error_set(err, STATUS_FAILED,
                         "%s: not written: %s.lora_%c.weight, element %lld is %g: the run has "
                         "diverged",
                         folder, pair->module, half == 0 ? 'A' : 'B', (long long)k,
                         (double)values[k]);
      }
    }
  }
  return STATUS_OK;
}

static Status write_weights(const PeftAdapter *adapter, const char *path, Error *err) {
  Status status = STATUS_OK;
  int64_t n = 2 * adapter->n_pairs, named = 0, n_metadata = 0;
  SafetensorsItem *items = calloc((size_t)n, sizeof *items);
  char **names = calloc((size_t)n, sizeof *names);
  SafetensorsPair metadata[3];
  static char keys[3][16] = {"vma_template", "vma_base_hash", "vma_version"};
  char *values[] = {adapter->template_name, adapter->base_hash, adapter->vma_version};
  for (int i = 0; i < 3; i++) {
    if (values[i] != NULL) metadata[n_metadata++] = (SafetensorsPair){keys[i], values[i]};
  }
  if (items == NULL || names == NULL) TRY(no_memory(path, err));
  for (; named < n; named++) {
    const PeftPair *pair = &adapter->pairs[named / 2];
    bool a = named % 2 == 0;
    if (asprintf(&names[named], "base_model.model.%s.lora_%c.weight", pair->module, a ? 'A' : 'B') <
        0) {
      TRY(no_memory(path, err));
    }
    items[named] = (SafetensorsItem){.name = names[named], .dtype = DT_F32, .ndim = 2};
    items[named].shape[0] = a ? pair->r : pair->out;
    items[named].shape[1] = a ? pair->in : pair->r;
    items[named].data = a ? pair->a : pair->b;
  }
  TRY(safetensors_write(path, items, n, metadata, n_metadata, err));
done:
  for (int64_t i = 0; names != NULL && i < named; i++) free(names[i]);
  free(names);
  free(items);
  return status;
}

static bool same_text(const char *a, const char *b) {
  return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool has_target(const PeftAdapter *adapter, const char *target) {
  for (int64_t i = 0; i < adapter->n_targets; i++) {
    if (strcmp(adapter->targets[i], target) == 0) return true;
  }
  return false;
}

static bool same_patterns(const PeftPatterns *x, const PeftPatterns *y) {
  if (x->n != y->n) return false;
  for (int64_t i = 0; i < x->n; i++) {
    if (strcmp(x->items[i].key, y->items[i].key) != 0) return false;
    if (x->items[i].value != y->items[i].value) return false;
  }
  return true;
}

static const PeftPair *find_pair(const PeftAdapter *adapter, const char *module) {
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    if (strcmp(adapter->pairs[i].module, module) == 0) return &adapter->pairs[i];
  }
  return NULL;
}

// What of the two differs, or NULL.
static const char *difference(const PeftAdapter *x, const PeftAdapter *y) {
  if (x->r != y->r || x->alpha != y->alpha || x->dropout != y->dropout ||
      x->rank_stabilised != y->rank_stabilised) {
    return "the numbers of adapter_config.json";
  }
  if (!same_patterns(&x->ranks, &y->ranks) || !same_patterns(&x->alphas, &y->alphas)) {
    return "rank_pattern or alpha_pattern";
  }
  for (int64_t i = 0; i < x->n_targets; i++) {
    if (x->n_targets != y->n_targets || !has_target(y, x->targets[i])) return "target_modules";
  }
  if (!same_text(x->template_name, y->template_name) || !same_text(x->base_hash, y->base_hash) ||
      !same_text(x->vma_version, y->vma_version)) {
    return "the metadata";
  }
  if (x->n_pairs != y->n_pairs) return "the number of matrices";
  for (int64_t i = 0; i < x->n_pairs; i++) {
    const PeftPair *a = &x->pairs[i], *b = find_pair(y, a->module);
    if (b == NULL || a->in != b->in || a->out != b->out || a->r != b->r)
      return "the name or shape of a matrix";
    if (memcmp(a->a, b->a, (size_t)(a->r * a->in) * sizeof(float)) != 0 ||
        memcmp(a->b, b->b, (size_t)(a->r * a->out) * sizeof(float)) != 0) {
      return "the values of a matrix";
    }
  }
  return NULL;
}

static Status verify(const PeftAdapter *adapter, const char *folder, Error *err) {
  Status status = STATUS_OK;
  PeftAdapter again = {0};
  TRY(peft_adapter_read(&again, folder, err));
  const char *what = difference(adapter, &again);
  if (what != NULL) {
    TRY(error_set(err, STATUS_IO, "%s: read back after it was written, %s differ: a faulty disk?",
                  folder, what));
  }
done:
  peft_adapter_free(&again);
  return status;
}

// Both files into a folder that exists: each appears by a rename, the weights first.
static Status fill_folder(const PeftAdapter *adapter, const char *folder, Error *err) {
  Status status = STATUS_OK;
  char *config = NULL, *weights = NULL, *text = peft_config_text(adapter);
  if (asprintf(&config, "%s/adapter_config.json", folder) < 0) config = NULL;
  if (asprintf(&weights, "%s/adapter_model.safetensors", folder) < 0) weights = NULL;
  if (text == NULL || config == NULL || weights == NULL) TRY(no_memory(folder, err));
  TRY(write_weights(adapter, weights, err));
  TRY(file_write(config, text, (int64_t)strlen(text), err));
  TRY(verify(adapter, folder, err));
done:
  free(text);
  free(config);
  free(weights);
  return status;
}

Status peft_adapter_write(const PeftAdapter *adapter, const char *path, Error *err) {
  Status status = STATUS_OK;
  NewFolder folder = {0};
  CHECK(adapter->r >= 1, "rank %lld", (long long)adapter->r);
  TRY(check_finite(adapter, path, err));
  if (file_is_folder(path)) {
    TRY(fill_folder(adapter, path, err));
  } else if (file_exists(path)) {
    TRY(error_set(err, STATUS_IO, "%s: cannot be written: it is a file, expected a folder", path));
  } else {
    TRY(new_folder_open(&folder, path, err));
    TRY(fill_folder(adapter, folder.temp, err));
    TRY(new_folder_commit(&folder, err));
  }
done:
  new_folder_abort(&folder);
  return status;
}
