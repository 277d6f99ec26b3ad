#include "dataset.h"

#include "dataset_build.h"
#include "dataset_cache.h"
#include "mapped_file.h"
#include "sha256.h"

#include <stdlib.h>
#include <string.h>

static Status no_memory(Error *err) {
  return error_set(err, STATUS_MEMORY, "no memory for the data");
}

// The paths that stand between commas, white space around them aside.
static Status list_files(Dataset *d, const char *paths, Error *err) {
  int64_t n = 1;
  for (const char *c = paths; *c != '\0'; c++) n += *c == ',';
  d->files = calloc((size_t)n, sizeof *d->files);
  if (d->files == NULL) return no_memory(err);
  for (const char *at = paths; d->n_files < n; at++) {
    size_t size = strcspn(at, ",");
    const char *end = at + size;
    while (at < end && *at == ' ') at++;
    while (end > at && end[-1] == ' ') end--;
    char *path = strndup(at, (size_t)(end - at));
    if (path == NULL) return no_memory(err);
    d->files[d->n_files++].path = path;
    at += strcspn(at, ",");
  }
  return STATUS_OK;
}

// *bytes: grows by the file's.
static Status hash_file(const char *path, uint8_t digest[SHA256_BYTES], int64_t *bytes,
                        Error *err) {
  Status status = STATUS_OK;
  enum { STEP = 8 << 20 };
  MappedFile file = {0};
  Sha256 sha;
  sha256_init(&sha);
  TRY(file_map(&file, path, err));
  if (file.fd < 0 && file.size > 0) {
    TRY(error_set(err, STATUS_USAGE,
                  "%s: expected a file, found a pipe or a device: data is read more than once",
                  path));
  }
  for (int64_t at = 0; at < file.size; at += STEP) {
    int64_t n = file.size - at < STEP ? file.size - at : STEP;
    sha256_add(&sha, file.data + at, n);
    file_release_pages(&file, at, n);
  }
  *bytes += file.size;
  sha256_finish(&sha, digest);
  TRY(file_check(&file, err));
done:
  file_unmap(&file);
  return status;
}

static Status hash_files(Dataset *d, int64_t *bytes, Error *err) {
  Status status = STATUS_OK;
  uint8_t digest[SHA256_BYTES];
  Sha256 all;
  sha256_init(&all);
  for (int64_t i = 0; i < d->n_files; i++) {
    TRY(hash_file(d->files[i].path, digest, bytes, err));
    sha256_add(&all, digest, SHA256_BYTES);
  }
  if (d->n_files > 1) sha256_finish(&all, digest);
  sha256_to_hex(digest, d->sha256);
done:
  return status;
}

static Status read_files(DatasetBuild *build, Error *err) {
  Status status = STATUS_OK;
  Dataset *d = build->dataset;
  for (int64_t i = 0; i < d->n_files; i++) {
    DatasetFile *file = &d->files[i];
    TRY(dataset_read_file(build, file, err));
    if (file->items == 0) {
      TRY(error_set(err, STATUS_DATA, "%s: expected items to learn from, found none", file->path));
    }
    d->stats.items += file->items;
  }
done:
  return status;
}

// From the files: encoded, and counted.
static Status encode_files(DatasetBuild *build, const char *paths, Error *err) {
  Status status = STATUS_OK;
  const Dataset *d = build->dataset;
  TRY(read_files(build, err));
  if (d->n == 0) {
    TRY(error_set(err, STATUS_DATA,
                  "%s: no example is left of all %lld items: in %lld the prompt fills "
                  "data.cutoff_len = %lld tokens, or there is no answer to learn; %lld are longer "
                  "and were dropped",
                  paths, (long long)d->stats.items, (long long)d->stats.no_label,
                  (long long)build->options->cutoff_len, (long long)d->stats.dropped));
  }
  TRY(dataset_count(build->dataset, err));
done:
  return status;
}

static Status check_template(const Tokenizer *tokenizer, const Template *template, Error *err) {
  Status status = template_check(tokenizer, template, err);
  if (status != STATUS_OK) error_prefix(err, "the template %s", template->name);
  return status;
}

Status dataset_load(Dataset *dataset, const char *paths, const Tokenizer *tokenizer,
                    const DatasetOptions *options, Error *err) {
  Status status = STATUS_OK;
  DatasetBuild build = {.dataset = dataset, .options = options, .tokenizer = tokenizer};
  DatasetCache cache = {0};
  int64_t bytes = 0;
  *dataset = (Dataset){0};
  TRY(check_template(tokenizer, options->template, err));
  TRY(list_files(dataset, paths, err));
  TRY(hash_files(dataset, &bytes, err));
  dataset_cache_open(&cache, options->cache_dir, dataset, bytes, tokenizer, options);
  if (!dataset_cache_read(&cache, dataset)) {
    TRY(encode_files(&build, paths, err));
    if (!options->reads_cache_only) dataset_cache_write(&cache, dataset);
  }
done:
  dataset_cache_close(&cache);
  if (status != STATUS_OK) dataset_free(dataset);
  return status;
}

void dataset_free(Dataset *dataset) {
  for (int64_t i = 0; i < dataset->n_files; i++) free(dataset->files[i].path);
  free(dataset->files);
  free(dataset->tokens);
  free(dataset->examples);
  *dataset = (Dataset){0};
}

const DatasetFile *dataset_file_of(const Dataset *dataset, int64_t example) {
  for (int64_t i = 0; i < dataset->n_files; i++) {
    const DatasetFile *file = &dataset->files[i];
    if (example >= file->first && example < file->first + file->examples) return file;
  }
  return NULL;
}

void dataset_mark(Dataset *dataset, int64_t example, int32_t start) {
  Example *e = &dataset->examples[example];
  int32_t *tokens = dataset->tokens + e->first;
  if (start < 1) start = 1; // no row stands before the first token
  for (int32_t i = 0; i < e->n; i++) {
    tokens[i] = token_id(tokens[i]) | (i >= start ? TOKEN_LABEL : 0);
  }
  e->n_labels = e->n > start ? e->n - start : 0;
}
