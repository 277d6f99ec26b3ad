#include "dataset_cache.h"

#include "dataset_build.h"
#include "mapped_file.h"
#include "sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Changes whenever the same data would become other tokens, or the file another form.
#define FORM "vma tokens 2\n"

enum {
  LEAST_BYTES = 1 << 20, // of data that is cached without being asked for
  STEP = 4 << 20,
};

// As it stands in the file, in this machine's byte order (the magic tells another one's).
typedef struct CacheHeader {
  char form[16];
  uint64_t one; // 1
  int64_t n, n_tokens, n_files;
  DatasetStats stats;
} CacheHeader;

typedef struct CacheFile {
  int64_t format, first, examples, items, tokens, label_tokens;
} CacheFile;

// ---- the key ----

static void add_number(Sha256 *sha, int64_t value) {
  sha256_add(sha, &value, sizeof value);
}

static void add_text(Sha256 *sha, const char *text) {
  int64_t size = (int64_t)strlen(text);
  add_number(sha, size);
  sha256_add(sha, text, size);
}

static void add_template(Sha256 *sha, const Template *t) {
  const char *texts[] = {t->system[0],     t->system[1],     t->no_system, t->no_system_input,
                         t->next,          t->user[0],       t->user[1],   t->user_input[0],
                         t->user_input[1], t->user_input[2], t->answer[0], t->answer[1],
                         t->answer[2]};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) add_text(sha, texts[i]);
  add_number(sha, t->end_if_room);
  add_number(sha, t->trims);
}

static void make_key(char hex[SHA256_HEX], const Dataset *d, const Tokenizer *tokenizer,
                     const DatasetOptions *o) {
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  sha256_init(&sha);
  add_text(&sha, FORM);
  add_number(&sha, (int64_t)sizeof(Example));
  add_text(&sha, d->sha256);
  add_number(&sha, d->n_files);
  for (int64_t i = 0; i < d->n_files; i++)
    add_number(&sha, dataset_is_plain_name(d->files[i].path));
  tokenizer_identify(tokenizer, &sha);
  add_template(&sha, o->template);
  add_number(&sha, (int64_t)o->format);
  add_number(&sha, o->cutoff_len);
  add_number(&sha, (int64_t)o->over_length);
  add_number(&sha, o->train_on_inputs);
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
}

// ---- the folder ----

static char *default_folder(void) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char *folder = NULL;
  int n = -1;
  if (base != NULL && base[0] == '/') {
    n = asprintf(&folder, "%s/vma", base);
  } else if (home != NULL && home[0] == '/') {
    n = asprintf(&folder, "%s/.cache/vma", home);
  }
  return n >= 0 ? folder : NULL;
}

void dataset_cache_open(DatasetCache *cache, const char *folder, const Dataset *dataset,
                        int64_t bytes, const Tokenizer *tokenizer, const DatasetOptions *options) {
  char hex[SHA256_HEX];
  *cache = (DatasetCache){.warn = options->warn};
  if (folder == NULL || strcmp(folder, "off") == 0) return;
  if (folder[0] == '\0' && bytes < LEAST_BYTES) return;
  cache->private = folder[0] == '\0';
  char *chosen = cache->private ? default_folder() : strdup(folder);
  if (chosen == NULL) return;
  make_key(hex, dataset, tokenizer, options);
  if (asprintf(&cache->path, "%s/%s.tokens", chosen, hex) < 0) cache->path = NULL;
  free(chosen);
}

void dataset_cache_close(DatasetCache *cache) {
  free(cache->path);
  *cache = (DatasetCache){0};
}

static void warn(const DatasetCache *cache, const char *what) {
  char message[1400];
  snprintf(message, sizeof message, "%s; the data are encoded afresh", what);
  if (cache->warn != NULL) cache->warn(message);
}

// ---- reading ----

// What stands behind the header, and how many bytes of it.
typedef struct Sizes {
  int64_t files, examples, tokens, all;
} Sizes;

static bool find_sizes(Sizes *s, const CacheHeader *h, const Dataset *d, int64_t bytes) {
  char form[16] = FORM;
  if (memcmp(h->form, form, sizeof form) != 0 || h->one != 1) return false;
  if (h->n < 1 || h->n > INT32_MAX || h->n_files != d->n_files) return false;
  if (h->n_tokens < h->n || h->n_tokens > bytes) return false;
  s->files = h->n_files * (int64_t)sizeof(CacheFile);
  s->examples = h->n * (int64_t)sizeof(Example);
  s->tokens = h->n_tokens * (int64_t)sizeof(int32_t);
  s->all = (int64_t)sizeof *h + s->files + s->examples + s->tokens + SHA256_BYTES;
  return s->all == bytes;
}

// Copies file[at, at + bytes), hashing it and giving its pages back.
static void take(const MappedFile *file, int64_t *at, void *to, int64_t bytes, Sha256 *sha) {
  for (int64_t done = 0; done < bytes;) {
    int64_t n = bytes - done < STEP ? bytes - done : STEP;
    memcpy((char *)to + done, file->data + *at, (size_t)n);
    sha256_add(sha, (char *)to + done, n);
    file_release_pages(file, *at, n);
    *at += n;
    done += n;
  }
}

static bool examples_fit(const Dataset *d) {
  int64_t first = 0;
  for (int64_t i = 0; i < d->n; i++) {
    const Example *e = &d->examples[i];
    if (e->first != first || e->n < 1 || e->n_labels < 1 || e->n_labels >= e->n) return false;
    first += e->n;
  }
  return first == d->n_tokens;
}

// The content of a sound file; false when it is not.
static bool read_file(const MappedFile *file, Dataset *d) {
  CacheHeader h;
  Sizes s;
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  int64_t at = 0;
  if (file->size < (int64_t)sizeof h) return false;
  memcpy(&h, file->data, sizeof h);
  if (!find_sizes(&s, &h, d, file->size)) return false;
  CacheFile *files = malloc((size_t)s.files);
  d->examples = malloc((size_t)s.examples);
  d->tokens = malloc((size_t)s.tokens);
  bool sound = files != NULL && d->examples != NULL && d->tokens != NULL;
  if (sound) {
    sha256_init(&sha);
    take(file, &at, &h, sizeof h, &sha);
    take(file, &at, files, s.files, &sha);
    take(file, &at, d->examples, s.examples, &sha);
    take(file, &at, d->tokens, s.tokens, &sha);
    sha256_finish(&sha, digest);
    sound =
        memcmp(digest, file->data + at, SHA256_BYTES) == 0 && file_check(file, NULL) == STATUS_OK;
  }
  d->n = h.n;
  d->n_tokens = h.n_tokens;
  d->stats = h.stats;
  for (int64_t i = 0; sound && i < d->n_files; i++) {
    const CacheFile *f = &files[i];
    DatasetFile *to = &d->files[i];
    *to = (DatasetFile){to->path,  (DataFormat)f->format, f->first, f->examples, f->items,
                        f->tokens, f->label_tokens};
  }
  free(files);
  return sound && examples_fit(d);
}

bool dataset_cache_read(const DatasetCache *cache, Dataset *d) {
  MappedFile file = {0};
  Error err = {0};
  if (cache->path == NULL || !file_exists(cache->path)) return false;
  d->cached = file_map(&file, cache->path, &err) == STATUS_OK && read_file(&file, d);
  file_unmap(&file);
  if (d->cached) return true;
  char what[1300];
  snprintf(what, sizeof what, "%s", err.message);
  if (err.status == STATUS_OK) snprintf(what, sizeof what, "%s: damaged", cache->path);
  warn(cache, what);
  free(d->examples);
  free(d->tokens);
  d->examples = NULL;
  d->tokens = NULL;
  d->n = d->n_tokens = 0;
  d->stats = (DatasetStats){0};
  return false;
}

// ---- writing ----

static Status put(FileWriter *writer, Sha256 *sha, const void *data, int64_t bytes, Error *err) {
  sha256_add(sha, data, bytes);
  return file_writer_put(writer, data, bytes, err);
}

static Status write_file(FileWriter *writer, const Dataset *d, Error *err) {
  Status status = STATUS_OK;
  uint8_t digest[SHA256_BYTES];
  Sha256 sha;
  CacheHeader h;
  sha256_init(&sha);
  memset(&h, 0, sizeof h); // padding too
  memcpy(h.form, FORM, sizeof FORM);
  h.one = 1;
  h.n = d->n;
  h.n_tokens = d->n_tokens;
  h.n_files = d->n_files;
  h.stats = d->stats;
  TRY(put(writer, &sha, &h, sizeof h, err));
  for (int64_t i = 0; i < d->n_files; i++) {
    const DatasetFile *f = &d->files[i];
    CacheFile file = {(int64_t)f->format, f->first,  f->examples,
                      f->items,           f->tokens, f->label_tokens};
    TRY(put(writer, &sha, &file, sizeof file, err));
  }
  TRY(put(writer, &sha, d->examples, d->n * (int64_t)sizeof *d->examples, err));
  TRY(put(writer, &sha, d->tokens, d->n_tokens * (int64_t)sizeof *d->tokens, err));
  sha256_finish(&sha, digest);
  TRY(file_writer_put(writer, digest, SHA256_BYTES, err));
done:
  return status;
}

void dataset_cache_write(const DatasetCache *cache, const Dataset *dataset) {
  Status status = STATUS_OK;
  Error err = {0};
  FileWriter writer = {0};
  if (cache->path == NULL) return;
  char *slash = strrchr(cache->path, '/');
  *slash = '\0';
  status = file_make_folders(cache->path, &err);
  *slash = '/';
  if (status != STATUS_OK) goto done;
  TRY(file_writer_open(&writer, cache->path, &err));
  if (cache->private) fchmod(writer.fd, S_IRUSR | S_IWUSR);
  TRY(write_file(&writer, dataset, &err));
  TRY(file_writer_commit(&writer, &err));
done:
  file_writer_abort(&writer);
  if (status != STATUS_OK && cache->warn != NULL) {
    error_prefix(&err, "data.cache_dir: token ids are not kept");
    cache->warn(err.message);
  }
}
