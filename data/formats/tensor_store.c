#include "tensor_store.h"

#include "bf16.h"
#include "check.h"
#include "dtype_convert.h"
#include "mapped_file.h"
#include "quote.h"
#include "sha256.h"
#include "tensor_store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static Status no_memory(const char *path, Error *err) {
  return error_set(err, STATUS_MEMORY, "%s: no memory", path);
}

static bool ends_in(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length >= tail && strcmp(text + length - tail, end) == 0;
}

Status store_add(TensorStore *store, const StoreShard *shard, const StoreTensor *tensor,
                 StoreEntry **entry, Error *err) {
  if (store->n_entries == store->capacity) {
    int64_t larger = store->capacity == 0 ? 256 : 2 * store->capacity;
    StoreEntry *moved = realloc(store->entries, (size_t)larger * sizeof *moved);
    if (moved == NULL) return no_memory(store->path, err);
    store->entries = moved;
    store->capacity = larger;
  }
  *entry = &store->entries[store->n_entries++];
  **entry = (StoreEntry){.tensor = *tensor, .shard = shard};
  StoreTensor *t = &(*entry)->tensor;
  t->path = shard->path;
  if (!dtype_can_convert(t->dtype)) t->dtype = DT_COUNT;
  t->rows = t->ndim > 1 ? t->shape[0] : 1;
  t->cols = 1;
  for (int d = t->ndim > 1; d < t->ndim; d++) {
    if (__builtin_mul_overflow(t->cols, t->shape[d], &t->cols)) { // an empty tensor [0, huge, huge]
      return error_set(err, STATUS_DATA, "%s: tensor %s: its shape does not fit 64 bits",
                       shard->path, quote_text(t->file_name).text);
    }
  }
  return STATUS_OK;
}

Status store_open_shard(TensorStore *store, StoreShard *shard, const char *path, Error *err) {
  Status status = STATUS_OK;
  shard->path = strdup(path);
  if (shard->path == NULL) return no_memory(path, err);
  TRY(safetensors_open(&shard->st, path, err));
  shard->file = &shard->st.file;
  shard->data = shard->st.data;
  for (int64_t i = 0; i < shard->st.n_tensors; i++) {
    const SafeTensor *from = &shard->st.tensors[i];
    // Old files keep the rotary frequencies; they are computed from the config, since some were
    // rounded when they were saved.
    if (ends_in(from->name, ".rotary_emb.inv_freq")) continue;
    StoreTensor tensor = {.name = from->name,
                          .file_name = from->name,
                          .dtype_name = from->dtype_name,
                          .dtype = from->dtype,
                          .ndim = from->ndim,
                          .offset = from->offset,
                          .bytes = from->bytes};
    memcpy(tensor.shape, from->shape, sizeof tensor.shape);
    StoreEntry *entry;
    TRY(store_add(store, shard, &tensor, &entry, err));
  }
done:
  return status;
}

static Status open_single(TensorStore *store, const char *path, Error *err) {
  store->shards = calloc(1, sizeof *store->shards);
  if (store->shards == NULL) return no_memory(path, err);
  store->n_shards = 1;
  return store_open_shard(store, &store->shards[0], path, err);
}

// What a folder holds instead of safetensors, as the end of a message.
static const char *what_else(const char *folder) {
  static const struct {
    const char *file, *advice;
  } others[] = {
      {"pytorch_model.bin", ": it has pytorch_model.bin, a pickle: convert it to safetensors"},
      {"pytorch_model.bin.index.json", ": it has pickles (pytorch_model-*.bin): convert them to "
                                       "safetensors"},
      {"consolidated.00.pth", ": it has Meta's consolidated.00.pth: convert it to safetensors"},
      {"adapter_model.safetensors", ": it is an adapter: give the base model here and this folder "
                                    "as the adapter"},
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    char *path;
    if (asprintf(&path, "%s/%s", folder, others[i].file) < 0) return "";
    bool exists = file_exists(path);
    free(path);
    if (exists) return others[i].advice;
  }
  return "; for a GGUF file give the file itself";
}

static Status open_folder(TensorStore *store, Error *err) {
  Status status = STATUS_OK;
  char *single = NULL, *index = NULL;
  if (asprintf(&single, "%s/model.safetensors", store->folder) < 0) single = NULL;
  if (asprintf(&index, "%s/model.safetensors.index.json", store->folder) < 0) index = NULL;
  if (single == NULL || index == NULL) TRY(no_memory(store->path, err));
  if (file_exists(single)) {
    TRY(open_single(store, single, err));
  } else if (file_exists(index)) {
    TRY(store_open_index(store, index, err));
  } else {
    TRY(error_set(err, STATUS_NO_INPUT,
                  "%s: expected model.safetensors or model.safetensors.index.json in this folder, "
                  "found neither%s",
                  store->path, what_else(store->folder)));
  }
done:
  free(single);
  free(index);
  return status;
}

// By the first bytes, not by the name: what is inside decides.
static Status open_file(TensorStore *store, Error *err) {
  Status status = STATUS_OK;
  MappedFile file;
  struct stat st;
  char magic[4] = {0};
  // A pipe would be empty when it is opened again.
  if (stat(store->path, &st) == 0 && !S_ISREG(st.st_mode)) {
    return error_set(err, STATUS_NO_INPUT, "%s: expected a file or a folder, found neither",
                     store->path);
  }
  TRY(file_map(&file, store->path, err));
  if (file.size >= 4) memcpy(magic, file.data, 4);
  file_unmap(&file);
  if (memcmp(magic, "GGUF", 4) == 0 || ends_in(store->path, ".gguf")) {
    TRY(store_open_gguf(store, err));
  } else {
    TRY(open_single(store, store->path, err));
  }
done:
  return status;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const StoreEntry *)a)->tensor.name, ((const StoreEntry *)b)->tensor.name);
}

static Status sort_entries(TensorStore *store, Error *err) {
  if (store->n_entries > 1) {
    qsort(store->entries, (size_t)store->n_entries, sizeof *store->entries, by_name);
  }
  for (int64_t i = 1; i < store->n_entries; i++) {
    const StoreTensor *a = &store->entries[i - 1].tensor, *b = &store->entries[i].tensor;
    if (strcmp(a->name, b->name) != 0) continue;
    return error_set(err, STATUS_DATA, "%s: tensor %s is both %s of %s and %s of %s", store->path,
                     quote_text(a->name).text, quote_text(a->file_name).text, a->path,
                     quote_text(b->file_name).text, b->path);
  }
  return STATUS_OK;
}

Status store_open(TensorStore **result, const char *path, Error *err) {
  Status status = STATUS_OK;
  *result = NULL;
  TensorStore *store = calloc(1, sizeof *store);
  if (store == NULL) return no_memory(path, err);
  bool is_folder = file_is_folder(path);
  const char *slash = strrchr(path, '/');
  store->path = strdup(path);
  if (is_folder) {
    store->folder = strdup(path);
  } else if (slash == NULL) {
    store->folder = strdup(".");
  } else {
    store->folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
  }
  if (store->path == NULL || store->folder == NULL) TRY(no_memory(path, err));
  if (is_folder) {
    TRY(open_folder(store, err));
  } else {
    TRY(open_file(store, err));
  }
  TRY(sort_entries(store, err));
done:
  if (status != STATUS_OK) {
    store_close(store);
  } else {
    *result = store;
  }
  return status;
}

void store_close(TensorStore *store) {
  if (store == NULL) return;
  for (int64_t i = 0; i < store->n_entries; i++) free(store->entries[i].name);
  free(store->entries);
  for (int64_t i = 0; i < store->n_shards; i++) {
    safetensors_close(&store->shards[i].st);
    free(store->shards[i].path);
  }
  free(store->shards);
  gguf_close(store->gguf);
  free(store->path);
  free(store->folder);
  free(store);
}

const char *store_path(const TensorStore *store) {
  return store->path;
}

const char *store_folder(const TensorStore *store) {
  return store->folder;
}

const Gguf *store_gguf(const TensorStore *store) {
  return store->gguf;
}

int64_t store_count(const TensorStore *store) {
  return store->n_entries;
}

const StoreTensor *store_at(const TensorStore *store, int64_t index) {
  CHECK(index >= 0 && index < store->n_entries, "%lld of %lld", (long long)index,
        (long long)store->n_entries);
  return &store->entries[index].tensor;
}

const StoreTensor *store_find(const TensorStore *store, const char *name) {
  int64_t low = 0, high = store->n_entries;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(store->entries[middle].tensor.name, name);
    if (order == 0) return &store->entries[middle].tensor;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

static const StoreEntry *entry_of(const TensorStore *store, const StoreTensor *tensor) {
  const StoreEntry *entry = (const StoreEntry *)tensor;
  CHECK(entry >= store->entries && entry < store->entries + store->n_entries,
        "a tensor of another store");
  return entry;
}

// Where index i of Hugging Face's order stands in GGUF's: h*D + j*D/2 + i <- h*D + 2i + j.
static int64_t stored_index(int64_t index, int64_t head_dim) {
  if (head_dim == 0) return index;
  int64_t within = index % head_dim, half = head_dim / 2;
  return index - within + 2 * (within % half) + within / half;
}

// The bias of q or k: one row whose elements, not rows, are out of order.
static Status read_bias(const StoreEntry *entry, DType dtype, void *dst, Error *err) {
  const StoreTensor *t = &entry->tensor;
  float *values = malloc((size_t)(t->cols > 0 ? t->cols : 1) * sizeof *values);
  if (values == NULL) return no_memory(t->path, err);
  dtype_convert(DT_F32, values, t->dtype, entry->shard->data + t->offset, t->cols);
  for (int64_t i = 0; i < t->cols; i++) {
    float value = values[stored_index(i, entry->head_dim)];
    if (dtype == DT_F32) {
      ((float *)dst)[i] = value;
    } else {
      ((bf16 *)dst)[i] = bf16_from_f32(value);
    }
  }
  free(values);
  return STATUS_OK;
}

Status store_read_rows(const TensorStore *store, const StoreTensor *tensor, int64_t row0,
                       int64_t rows, DType dtype, void *dst, int64_t stride, Error *err) {
  Status status = STATUS_OK;
  const StoreEntry *entry = entry_of(store, tensor);
  CHECK(dtype == DT_F32 || dtype == DT_BF16, "%s", dtype_info(dtype)->name);
  CHECK(row0 >= 0 && rows >= 0 && row0 <= tensor->rows && rows <= tensor->rows - row0,
        "%s: rows [%lld, +%lld) of %lld", tensor->name, (long long)row0, (long long)rows,
        (long long)tensor->rows);
  CHECK(stride >= tensor->cols, "stride %lld, %lld columns", (long long)stride,
        (long long)tensor->cols);
  if (tensor->dtype == DT_COUNT) {
    return error_set(
        err, STATUS_DATA,
        "%s: tensor %s has type %s; expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K or Q6_K",
        tensor->path, quote_text(tensor->file_name).text, tensor->dtype_name);
  }
  if (entry->head_dim > 0 && tensor->ndim == 1) {
    if (rows > 0) TRY(read_bias(entry, dtype, dst, err));
  } else {
    const uint8_t *data = entry->shard->data + tensor->offset;
    int64_t cols = tensor->cols, from = dtype_bytes(tensor->dtype, cols);
    int64_t to = dtype_bytes(dtype, stride);
#pragma omp parallel for schedule(static) if (rows * cols > 16384)
    for (int64_t r = 0; r < rows; r++) {
      int64_t stored = stored_index(row0 + r, entry->head_dim);
      dtype_convert(dtype, (char *)dst + r * to, tensor->dtype, data + stored * from, cols);
    }
  }
  TRY(file_check(entry->shard->file, err));
done:
  return status;
}

const uint8_t *store_bytes(const TensorStore *store, const StoreTensor *tensor) {
  return entry_of(store, tensor)->shard->data + tensor->offset;
}

Status store_check(const TensorStore *store, Error *err) {
  Status status = STATUS_OK;
  for (int64_t i = 0; i < store->n_shards; i++) TRY(file_check(store->shards[i].file, err));
done:
  return status;
}

void store_release_pages(const TensorStore *store, const StoreTensor *tensor) {
  const StoreEntry *entry = entry_of(store, tensor);
  file_release_pages(entry->shard->file, tensor->offset, tensor->bytes);
}

void store_hash_bytes(const TensorStore *store, const StoreTensor *tensor, Sha256 *sha) {
  enum { PIECE = 1 << 20 };
  const StoreShard *shard = entry_of(store, tensor)->shard;
  for (int64_t at = 0, n; at < tensor->bytes; at += n) {
    n = tensor->bytes - at < PIECE ? tensor->bytes - at : PIECE;
    sha256_add(sha, shard->data + tensor->offset + at, n);
    file_release_pages(shard->file, tensor->offset + at, n);
  }
}

static void add_number(Sha256 *sha, int64_t value) {
  sha256_add(sha, &value, sizeof value);
}

// Of one tensor: name and dtype with their NULs, the number of dimensions, the dimensions, the
// bytes' number (each a little-endian i64), the bytes.
static void hash_tensor(const TensorStore *store, const StoreTensor *t,
                        uint8_t digest[SHA256_BYTES]) {
  Sha256 sha;
  sha256_init(&sha);
  sha256_add(&sha, t->name, (int64_t)strlen(t->name) + 1);
  sha256_add(&sha, t->dtype_name, (int64_t)strlen(t->dtype_name) + 1);
  add_number(&sha, t->ndim);
  for (int d = 0; d < t->ndim; d++) add_number(&sha, t->shape[d]);
  add_number(&sha, t->bytes);
  store_hash_bytes(store, t, &sha);
  sha256_finish(&sha, digest);
}

// The hash of the tensors' hashes, so that tensors are hashed by all threads at once.
Status store_hash(TensorStore *store, char hex[65], Error *err) {
  Status status = STATUS_OK;
  uint8_t *digests = NULL, digest[SHA256_BYTES];
  Sha256 sha;
  if (store->hash[0] == '\0') {
    digests = calloc((size_t)store->n_entries + 1, SHA256_BYTES);
    if (digests == NULL) return no_memory(store->path, err);
    int64_t bytes = 0;
    for (int64_t i = 0; i < store->n_entries; i++) bytes += store->entries[i].tensor.bytes;
#pragma omp parallel for schedule(dynamic) if (bytes > 1 << 20)
    for (int64_t i = 0; i < store->n_entries; i++) {
      hash_tensor(store, &store->entries[i].tensor, digests + i * SHA256_BYTES);
    }
    TRY(store_check(store, err));
    sha256_init(&sha);
    sha256_add(&sha, digests, store->n_entries * SHA256_BYTES);
    sha256_finish(&sha, digest);
    sha256_to_hex(digest, store->hash);
  }
  memcpy(hex, store->hash, sizeof store->hash);
done:
  free(digests);
  return status;
}
