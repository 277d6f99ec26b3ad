#include "model_folder.h"

#include "bf16.h"
#include "check.h"
#include "folder.h"
#include "sha256.h"
#include "tensor_store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_NAME_MAX = 48 };

// While the weights are written.
typedef struct Writing {
  const ModelFolder *model;
  const char *path;                 // the folder's final name, for messages
  uint8_t (*digests)[SHA256_BYTES]; // [n_items] of what was written
  int64_t *shard_of;                // [n_items] which file an item is in
  int64_t n_shards;
  int64_t first; // of the items of the file that is being written
  Sha256 sha;
  int64_t bytes_done, bytes_all;
} Writing;

static Status no_memory(const char *path, Error *err) {
  return error_set(err, STATUS_MEMORY, "%s: no memory", path);
}

static int64_t count_of(const SafetensorsItem *item) {
  int64_t count = 1;
  for (int d = 0; d < item->ndim; d++) {
    CHECK(item->shape[d] >= 0 && !__builtin_mul_overflow(count, item->shape[d], &count) &&
              count < INT64_MAX / 16,
          "%s: its shape", item->name);
  }
  return count;
}

static int64_t bytes_of(const SafetensorsItem *item) {
  return dtype_bytes(item->dtype, count_of(item));
}

// Greedy, in the order of the items, as transformers does it.
static Status cut_shards(Writing *w, Error *err) {
  const ModelFolder *m = w->model;
  int64_t limit = m->shard_bytes > 0 ? m->shard_bytes : MODEL_SHARD_BYTES, used = 0;
  w->shard_of = calloc((size_t)m->n_items + 1, sizeof *w->shard_of);
  w->digests = calloc((size_t)m->n_items + 1, sizeof *w->digests);
  if (w->shard_of == NULL || w->digests == NULL) return no_memory(w->path, err);
  w->n_shards = 1;
  for (int64_t i = 0; i < m->n_items; i++) {
    const SafetensorsItem *item = &m->items[i];
    CHECK(item->dtype == m->dtype, "%s is not of the folder's dtype", item->name);
    int64_t bytes = bytes_of(item);
    if (used > 0 && bytes > limit - used) {
      w->n_shards++;
      used = 0;
    }
    used += bytes;
    w->bytes_all += bytes;
    w->shard_of[i] = w->n_shards - 1;
  }
  CHECK(w->n_shards < 100000, "%lld shards", (long long)w->n_shards);
  return STATUS_OK;
}

static void shard_name(const Writing *w, int64_t shard, char name[FILE_NAME_MAX]) {
  if (w->n_shards == 1) {
    snprintf(name, FILE_NAME_MAX, "model.safetensors");
  } else {
    snprintf(name, FILE_NAME_MAX, "model-%05d-of-%05d.safetensors", (int)shard + 1,
             (int)w->n_shards);
  }
}

// The place of a value that is not finite, or -1.
static int64_t find_broken(DType dtype, const void *values, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float value =
        dtype == DT_BF16 ? bf16_to_f32(((const bf16 *)values)[i]) : ((const float *)values)[i];
    if (!isfinite(value)) return i;
  }
  return -1;
}

// The caller's values on their way into the file.
static Status fill(void *context, int64_t index, int64_t first, int64_t count, void *dst,
                   Error *err) {
  Writing *w = context;
  const ModelFolder *m = w->model;
  const SafetensorsItem *item = &m->items[w->first + index];
  Status status = m->fill(m->fill_context, w->first + index, first, count, dst, err);
  if (status != STATUS_OK) return status;
  int64_t broken = find_broken(item->dtype, dst, count), bytes = dtype_bytes(item->dtype, count);
  if (broken >= 0) {
    return error_set(err, STATUS_FAILED,
                     "%s: not written: %s, element %lld is not finite: the run has diverged, or "
                     "the weights do not fit the dtype",
                     w->path, item->name, (long long)(first + broken));
  }
  if (first == 0) sha256_init(&w->sha);
  sha256_add(&w->sha, dst, bytes);
  if (first + count == count_of(item)) sha256_finish(&w->sha, w->digests[w->first + index]);
  w->bytes_done += bytes;
  if (m->progress != NULL) m->progress(m->progress_context, w->bytes_done, w->bytes_all);
  return STATUS_OK;
}

static Status write_shards(Writing *w, const char *folder, Error *err) {
  Status status = STATUS_OK;
  const ModelFolder *m = w->model;
  char *path = NULL;
  for (int64_t shard = 0, end = 0; shard < w->n_shards; shard++) {
    char name[FILE_NAME_MAX];
    w->first = end;
    while (end < m->n_items && w->shard_of[end] == shard) end++;
    shard_name(w, shard, name);
    free(path);
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
      path = NULL;
      TRY(no_memory(folder, err));
    }
    TRY(safetensors_write_stream(path, m->items + w->first, end - w->first, m->metadata,
                                 m->n_metadata, fill, w, err));
  }
done:
  free(path);
  return status;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const SafetensorsItem *const *)a)->name,
                (*(const SafetensorsItem *const *)b)->name);
}

// model.safetensors.index.json: names of weights need no escapes.
static Status write_index(const Writing *w, const char *folder, Error *err) {
  const ModelFolder *m = w->model;
  char *text = NULL;
  size_t size;
  if (w->n_shards == 1) return STATUS_OK;
  const SafetensorsItem **sorted = malloc(((size_t)m->n_items + 1) * sizeof *sorted);
  FILE *out = open_memstream(&text, &size);
  if (sorted != NULL && out != NULL) {
    for (int64_t i = 0; i < m->n_items; i++) sorted[i] = &m->items[i];
    qsort(sorted, (size_t)m->n_items, sizeof *sorted, by_name);
    fprintf(out, "{\n  \"metadata\": {\n    \"total_size\": %lld\n  },\n  \"weight_map\": {\n",
            (long long)w->bytes_all);
    for (int64_t i = 0; i < m->n_items; i++) {
      char name[FILE_NAME_MAX];
      shard_name(w, w->shard_of[sorted[i] - m->items], name);
      fprintf(out, "    \"%s\": \"%s\"%s\n", sorted[i]->name, name, i + 1 < m->n_items ? "," : "");
    }
    fputs("  }\n}\n", out);
  }
  bool fits = sorted != NULL && out != NULL;
  if (out != NULL) fits = fclose(out) == 0 && fits;
  Status status = fits ? folder_write_text(folder, "model.safetensors.index.json", text, err)
                       : no_memory(folder, err);
  free(sorted);
  free(text);
  return status;
}

static Status write_generation(const char *folder, const char *text, Error *err) {
  static const char name[] = "generation_config.json";
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0) return no_memory(folder, err);
  bool there = file_exists(path); // of the base
  free(path);
  return there ? STATUS_OK : folder_write_text(folder, name, text, err);
}

// ---- what stands there now ----

static Status differs(const Writing *w, const char *name, const char *what, Error *err) {
  return error_set(err, STATUS_IO,
                   "%s: not kept: read back after it was written, %s of %s differs: a faulty disk?",
                   w->path, what, name);
}

static Status check_tensor(const Writing *w, const TensorStore *store, int64_t index, Error *err) {
  const SafetensorsItem *item = &w->model->items[index];
  const StoreTensor *found = store_find(store, item->name);
  if (found == NULL) return differs(w, item->name, "the name", err);
  bool same = found->ndim == item->ndim && found->dtype == item->dtype;
  for (int d = 0; same && d < item->ndim; d++) same = found->shape[d] == item->shape[d];
  if (!same) return differs(w, item->name, "the shape or dtype", err);
  uint8_t digest[SHA256_BYTES];
  Sha256 sha;
  sha256_init(&sha);
  store_hash_bytes(store, found, &sha);
  sha256_finish(&sha, digest);
  if (memcmp(digest, w->digests[index], sizeof digest) == 0) return STATUS_OK;
  return differs(w, item->name, "the content", err);
}

// The written config gives the same config again.
static Status check_config(const Writing *w, const char *folder, const char *text, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig config;
  char *again = NULL, *generation = NULL;
  TRY(llama_config_from_folder(&config, folder, err));
  TRY(llama_config_text(&again, &generation, &config, w->model->dtype, w->path, err));
  if (strcmp(again, text) != 0) TRY(differs(w, "the model", "config.json", err));
done:
  free(again);
  free(generation);
  return status;
}

static Status verify(const Writing *w, const char *folder, const char *config_text, Error *err) {
  Status status = STATUS_OK;
  TensorStore *store = NULL;
  TRY(store_open(&store, folder, err));
  if (store_count(store) != w->model->n_items) TRY(differs(w, "tensors", "the number", err));
  for (int64_t i = 0; i < w->model->n_items; i++) TRY(check_tensor(w, store, i, err));
  TRY(store_check(store, err));
  TRY(check_config(w, folder, config_text, err));
done:
  store_close(store);
  return status;
}

Status model_folder_write(const char *path, const ModelFolder *model, Error *err) {
  Status status = STATUS_OK;
  Writing w = {.model = model, .path = path};
  NewFolder folder = {0};
  char *config = NULL, *generation = NULL;
  CHECK(model->dtype == DT_F32 || model->dtype == DT_BF16, "weights in %s",
        dtype_info(model->dtype)->name);
  TRY(cut_shards(&w, err));
  TRY(llama_config_text(&config, &generation, model->config, model->dtype, path, err));
  TRY(new_folder_open(&folder, path, err));
  // What is small and may be refused comes before what takes long.
  if (model->add_files != NULL) TRY(model->add_files(model->add_context, folder.temp, err));
  TRY(write_generation(folder.temp, generation, err));
  TRY(folder_write_text(folder.temp, "README.md", model->card, err));
  TRY(folder_write_text(folder.temp, "config.json", config, err));
  TRY(write_shards(&w, folder.temp, err));
  TRY(write_index(&w, folder.temp, err));
  TRY(verify(&w, folder.temp, config, err));
  TRY(new_folder_commit(&folder, err));
done:
  new_folder_abort(&folder);
  free(config);
  free(generation);
  free(w.shard_of);
  free(w.digests);
  return status;
}
