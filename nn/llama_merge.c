// Adapters folded into the weights of files, range by range.
#include "check.h"
#include "llama_save_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Merging {
  LlamaSaveItems items; // first: what the fill is given
  TensorStore *base;
  const PeftAdapter *adapters;
  int64_t n_adapters;
  DType dtype;
  float *values; // of one range
  int64_t capacity;
} Merging;

// A pair of an adapter that belongs to a weight.
typedef struct Term {
  const PeftPair *pair;
  double scale;
} Term;

// "model.layers.0.self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight"
static bool is_weight_of(const char *name, const char *module) {
  size_t n = strlen(module);
  return strncmp(name, module, n) == 0 && strcmp(name + n, ".weight") == 0;
}

static int find_terms(Term terms[], const Merging *m, const char *name) {
  int n = 0;
  for (int64_t a = 0; a < m->n_adapters; a++) {
    const PeftAdapter *adapter = &m->adapters[a];
    for (int64_t i = 0; i < adapter->n_pairs; i++) {
      const PeftPair *pair = &adapter->pairs[i];
      if (!is_weight_of(name, pair->module)) continue;
      CHECK(n < MERGE_ADAPTERS_MAX, "%s: two pairs of an adapter", name);
      terms[n++] = (Term){.pair = pair, .scale = peft_adapter_scale(adapter, pair)};
    }
  }
  return n;
}

// values [rows, cols] += the terms' s B A, rows from row0 of the weight.
static void add_terms(float *values, int64_t row0, int64_t rows, int64_t cols, const Term *terms,
                      int n) {
#pragma omp parallel
  {
    double *sum = malloc((size_t)cols * 2 * sizeof *sum), *product = sum + cols;
    CHECK(sum != NULL, "no memory for two rows of %lld", (long long)cols);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
      float *w = values + row * cols;
      for (int64_t c = 0; c < cols; c++) sum[c] = w[c];
      for (int i = 0; i < n; i++) {
        const float *b = terms[i].pair->b + (row0 + row) * terms[i].pair->r;
        for (int64_t c = 0; c < cols; c++) product[c] = 0;
        for (int64_t k = 0; k < terms[i].pair->r; k++) {
          const float *a = terms[i].pair->a + k * cols;
          for (int64_t c = 0; c < cols; c++) product[c] += (double)b[k] * a[c];
        }
        for (int64_t c = 0; c < cols; c++) sum[c] += terms[i].scale * product[c];
      }
      for (int64_t c = 0; c < cols; c++) w[c] = (float)sum[c];
    }
    free(sum);
  }
}

static Status make_room(Merging *m, int64_t count, Error *err) {
  if (count <= m->capacity) return STATUS_OK;
  free(m->values);
  m->values = malloc((size_t)count * sizeof *m->values);
  m->capacity = m->values != NULL ? count : 0;
  if (m->values != NULL) return STATUS_OK;
  return error_set(err, STATUS_MEMORY, "%s: no memory for %lld values", store_path(m->base),
                   (long long)count);
}

static Status read_merged(void *context, int64_t item, int64_t first, int64_t count, void *dst,
                          Error *err) {
  Status status = STATUS_OK;
  Merging *m = context;
  const StoreTensor *t = store_find(m->base, m->items.params[item]->name);
  // Whole rows; only a very long bias comes in parts, and is read whole for each.
  int64_t skipped = first % t->cols, row = first / t->cols, rows = (count + t->cols - 1) / t->cols;
  Term terms[MERGE_ADAPTERS_MAX];
  int n = find_terms(terms, m, t->name);
  if (n == 0 && count == rows * t->cols) {
    TRY(store_read_rows(m->base, t, row, rows, m->dtype, dst, t->cols, err));
  } else {
    TRY(make_room(m, rows * t->cols, err));
    TRY(store_read_rows(m->base, t, row, rows, DT_F32, m->values, t->cols, err));
    add_terms(m->values, row, rows, t->cols, terms, n);
    llama_save_values(dst, m->dtype, m->values + skipped, count);
  }
  if (row + rows == t->rows) store_release_pages(m->base, t);
done:
  return status;
}

// Every module has a weight of its shape to be folded into.
static Status check_adapter(const Llama *model, const PeftAdapter *adapter, Error *err) {
  for (int64_t i = 0; i < adapter->n_pairs; i++) {
    const PeftPair *pair = &adapter->pairs[i];
    char name[PARAM_NAME_MAX];
    snprintf(name, sizeof name, "%s.weight", pair->module);
    const Param *p = param_find(&model->params, name);
    if (p == NULL) {
      bool tied = model->config.tied && strcmp(pair->module, "lm_head") == 0;
      return error_set(err, STATUS_DATA, "the adapter's module %s %s", pair->module,
                       tied ? "is tied to the embedding in this base: it cannot be merged"
                            : "does not exist in this base; the adapter is for another one");
    }
    if (p->n_dims == 2 && p->shape[0] == pair->out && p->shape[1] == pair->in) continue;
    return error_set(err, STATUS_DATA,
                     "the adapter's module %s is for a weight of [%lld, %lld], the base has [%lld, "
                     "%lld]; the adapter is for another one",
                     pair->module, (long long)pair->out, (long long)pair->in,
                     (long long)p->value.t.rows, (long long)p->value.t.cols);
  }
  return STATUS_OK;
}

Status llama_merge(TensorStore *base, const PeftAdapter *adapters, int64_t n_adapters,
                   const char *path, const LlamaSave *save, Error *err) {
  Status status = STATUS_OK;
  Merging m = {.base = base, .adapters = adapters, .n_adapters = n_adapters, .dtype = save->dtype};
  Llama model = {0};
  LlamaConfig config;
  CHECK(n_adapters <= MERGE_ADAPTERS_MAX, "%lld adapters", (long long)n_adapters);
  TRY(llama_config_load(&config, base, err));
  llama_init(&model, &config, DT_F32); // its table of weights; nothing is allocated for them
  TRY(llama_check_store(&model, base, err));
  for (int64_t i = 0; i < n_adapters; i++) {
    status = check_adapter(&model, &adapters[i], err);
    if (status == STATUS_OK) continue;
    if (n_adapters > 1) error_prefix(err, "adapter %lld", (long long)i + 1);
    goto done;
  }
  TRY(llama_save_folder(&model, path, save, read_merged, &m.items, err));
done:
  llama_free(&model);
  free(m.values);
  return status;
}
