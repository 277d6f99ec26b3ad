// The weights of a model from its files.
#include "check.h"
#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAGING_BYTES = 8 << 20 }; // converted values between the file and the backend

// "[rows, cols]"
static void shape_text(char *text, size_t size, int n_dims, const int64_t *shape) {
  size_t used = (size_t)snprintf(text, size, "[");
  for (int i = 0; i < n_dims && used < size; i++) {
    used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "",
                             (long long)shape[i]);
  }
  if (used < size) snprintf(text + used, size - used, "]");
}

static Status check_shape(const Param *p, const StoreTensor *t, Error *err) {
  bool same = t->ndim == p->n_dims;
  for (int i = 0; same && i < p->n_dims; i++) same = t->shape[i] == p->shape[i];
  if (same) return STATUS_OK;
  char found[128], needed[128];
  shape_text(found, sizeof found, t->ndim, t->shape);
  shape_text(needed, sizeof needed, p->n_dims, p->shape);
  return error_set(err, STATUS_DATA, "%s: tensor %s is %s; the model's config needs %s", t->path,
                   t->file_name, found, needed);
}

// A file may spell out the head of a tied model; transformers does not use it either.
static bool is_tied_head(const Llama *m, const StoreTensor *t) {
  return m->config.tied && strcmp(t->name, "lm_head.weight") == 0;
}

Status llama_check_store(const Llama *m, const TensorStore *store, Error *err) {
  for (int64_t i = 0; i < m->params.n; i++) {
    const Param *p = &m->params.items[i];
    if (p->adapter) continue;
    const StoreTensor *t = store_find(store, p->name);
    if (t == NULL) {
      return error_set(err, STATUS_DATA, "%s: no tensor %s, which the model's config asks for",
                       store_path(store), p->name);
    }
    Status status = check_shape(p, t, err);
    if (status != STATUS_OK) return status;
  }
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    const Param *p = param_find(&m->params, t->name);
    if ((p != NULL && !p->adapter) || is_tied_head(m, t)) continue;
    return error_set(err, STATUS_DATA,
                     "%s: tensor %s has no place in the model that its config describes", t->path,
                     t->file_name);
  }
  return STATUS_OK;
}

// Rows of a weight, or of its master, through the staging buffer. An f64 weight (gradient tests)
// takes the f32 values.
static Status load_weight(const Param *p, Backend *be, const TensorStore *store,
                          const StoreTensor *source, void *staging, int64_t staging_bytes,
                          Error *err) {
  Tensor t = tensor_given(p->master) ? p->master : p->value.t;
  DType dtype = t.dtype == DT_F64 ? DT_F32 : t.dtype;
  int64_t step = staging_bytes / dtype_bytes(dtype, t.cols);
  for (int64_t row = 0; row < t.rows; row += step) {
    int64_t rows = t.rows - row < step ? t.rows - row : step;
    Status status = store_read_rows(store, source, row, rows, dtype, staging, t.cols, err);
    if (status != STATUS_OK) return status;
    Tensor to = tensor_rows(t, row, rows);
    if (t.dtype == DT_F64) {
      param_write(be, to, staging);
    } else {
      be->copy_in(be, to, staging);
    }
    store_release_pages(store, source); // what was read; the rest is not there yet
  }
  return STATUS_OK;
}

Status llama_load(Llama *m, Backend *be, TensorStore *store, Error *err) {
  Status status = STATUS_OK;
  void *staging = NULL;
  int64_t bytes = STAGING_BYTES;
  TRY(llama_check_store(m, store, err));
  for (int64_t i = 0; i < m->params.n; i++) { // one row at least
    int64_t row = m->params.items[i].value.t.cols * (int64_t)sizeof(float);
    if (row > bytes) bytes = row;
  }
  staging = malloc((size_t)bytes);
  if (staging == NULL) {
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory to convert its weights", store_path(store)));
  }
  for (int64_t i = 0; i < m->params.n; i++) {
    const Param *p = &m->params.items[i];
    if (p->adapter) continue;
    TRY(load_weight(p, be, store, store_find(store, p->name), staging, bytes, err));
  }
  param_round_masters(&m->params, be);
done:
  free(staging);
  return status;
}
