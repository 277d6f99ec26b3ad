// Models written as Hugging Face folders, from a backend and from files with adapters folded in:
// read again they are the same to the bit, a merged model's logits are those of PEFT, and nothing
// stays behind when the writing fails.
#include "bf16.h"
#include "llama_save.h"
#include "mapped_file.h"
#include "test.h"
#include "tiny.h"
#include "tmp_file.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static const char *const variants[] = {"mha", "gqa", "llama3", "linear", "biases", "wide", "odd80"};
enum { VARIANTS = 7 };

// The same values as `dtype`, and the same number of tensors.
static void expect_same_weights(const char *name, TensorStore *before, const char *folder,
                                DType dtype, bool tied) {
  Error err = {0};
  TensorStore *after = NULL;
  EXPECT(store_open(&after, folder, &err) == STATUS_OK, "%s", err.message);
  if (after == NULL) return;
  int64_t expected = 0;
  for (int64_t i = 0; i < store_count(before); i++) {
    const StoreTensor *a = store_at(before, i), *b = store_find(after, a->name);
    if (tied && strcmp(a->name, "lm_head.weight") == 0) continue;
    expected++;
    EXPECT(b != NULL && b->ndim == a->ndim && b->rows == a->rows && b->cols == a->cols &&
               b->dtype == dtype,
           "%s %s", name, a->name);
    if (b == NULL) continue;
    size_t bytes = (size_t)dtype_bytes(dtype, a->rows * a->cols);
    void *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    EXPECT(store_read_rows(before, a, 0, a->rows, dtype, x, a->cols, &err) == STATUS_OK);
    EXPECT(store_read_rows(after, b, 0, b->rows, dtype, y, b->cols, &err) == STATUS_OK);
    EXPECT(memcmp(x, y, bytes) == 0, "%s %s", name, a->name);
    free(x);
    free(y);
  }
  EXPECT(store_count(after) == expected, "%s: %lld", name, (long long)store_count(after));
  store_close(after);
}

static void expect_same_config(const char *name, const LlamaConfig *a, const char *folder) {
  Error err = {0};
  LlamaConfig b;
  float x[LLAMA_HEAD_DIM_MAX / 2], y[LLAMA_HEAD_DIM_MAX / 2];
  EXPECT(llama_config_from_folder(&b, folder, &err) == STATUS_OK, "%s", err.message);
  llama_config_inv_freq(a, x);
  llama_config_inv_freq(&b, y);
  EXPECT(memcmp(x, y, (size_t)a->head_dim / 2 * sizeof *x) == 0, "%s", name);
  EXPECT(memcmp(a, &b, sizeof b) == 0, "%s", name); // both began as the same defaults
}

static void expect_no_trace(const char *folder, const char *what) {
  DIR *dir = opendir(folder);
  EXPECT(dir != NULL, "%s", folder);
  for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
    EXPECT(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0, "%s: %s is left",
           what, entry->d_name);
  if (dir != NULL) closedir(dir);
}

// The index names the file of each tensor, and the files together have its size.
static void expect_index(const char *folder, int64_t tensors, bool sharded) {
  char path[1000];
  snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
  EXPECT(file_exists(path) == sharded, "%s", path);
  if (!sharded) return;
  json_t *root = json_load_file(path, 0, NULL), *value;
  const char *name, *last = "";
  json_t *map = json_object_get(root, "weight_map");
  EXPECT((int64_t)json_object_size(map) == tensors);
  int64_t bytes = 0;
  json_object_foreach(map, name, value) {
    char file[1400];
    Error err = {0};
    Safetensors st = {0};
    EXPECT(strcmp(last, name) < 0, "%s", name);
    last = name;
    snprintf(file, sizeof file, "%s/%s", folder, json_string_value(value));
    EXPECT(safetensors_open(&st, file, &err) == STATUS_OK, "%s", err.message);
    const SafeTensor *t = safetensors_find(&st, name);
    EXPECT(t != NULL, "%s is not in %s", name, file);
    EXPECT(safetensors_metadata(&st, "format") != NULL &&
           safetensors_metadata(&st, "vma_version") != NULL);
    if (t != NULL) bytes += t->bytes;
    safetensors_close(&st);
  }
  json_t *total = json_object_get(json_object_get(root, "metadata"), "total_size");
  EXPECT(json_integer_value(total) == bytes, "%lld", (long long)bytes);
  json_decref(root);
}

typedef struct Progress {
  int64_t done, calls;
} Progress;

static void count_progress(void *context, int64_t done, int64_t all) {
  Progress *p = context;
  EXPECT(done > p->done && done <= all);
  p->done = done;
  p->calls++;
}

static void test_round_trip(void) {
  for (int i = 0; i < VARIANTS; i++) {
    for (int kind = 0; kind < (i < 2 ? 4 : 1); kind++) { // f32, bf16, and in shards
      Error err = {0};
      Tiny tiny;
      Progress progress = {0};
      tiny_open(&tiny, tiny_backend(0), &(TinyOptions){.variant = variants[i], .dtype = DT_F32});
      LlamaSave save = {.dtype = kind % 2 == 0 ? DT_F32 : DT_BF16,
                        .shard_bytes = kind < 2 ? 0 : 50000,
                        .progress = count_progress,
                        .progress_context = &progress};
      char folder[600], name[40];
      snprintf(name, sizeof name, "%s-%d", variants[i], kind);
      snprintf(folder, sizeof folder, "%s", tmp_path(name));
      Status status = llama_save(&tiny.model, tiny.rig.ctx.be, folder, &save, &err);
      EXPECT(status == STATUS_OK, "%s", err.message);
      expect_same_weights(name, tiny.store, folder, save.dtype, tiny.model.config.tied);
      expect_same_config(name, &tiny.model.config, folder);
      expect_index(folder, tiny.model.params.n, kind >= 2);
      EXPECT(progress.calls >= tiny.model.params.n, "%lld", (long long)progress.calls);
      tiny_close(&tiny);
    }
  }
}

// bf16 weights are exact in f32.
static void test_wider(void) {
  Error err = {0};
  Tiny tiny;
  tiny_open(&tiny, tiny_backend(0), &(TinyOptions){.variant = "gqa", .dtype = DT_BF16});
  LlamaSave save = {.dtype = DT_F32};
  EXPECT(llama_save(&tiny.model, tiny.rig.ctx.be, tmp_path("wider"), &save, &err) == STATUS_OK,
         "%s", err.message);
  TensorStore *store;
  EXPECT(store_open(&store, tmp_path("wider"), &err) == STATUS_OK, "%s", err.message);
  static const char name[] = "model.layers.1.mlp.down_proj.weight";
  const StoreTensor *t = store_find(store, name);
  float *values = tiny_weight(&tiny, name), *read = malloc((size_t)t->bytes);
  EXPECT(store_read_rows(store, t, 0, t->rows, DT_F32, read, t->cols, &err) == STATUS_OK);
  EXPECT(t->dtype == DT_F32 && memcmp(values, read, (size_t)t->bytes) == 0);
  free(values);
  free(read);
  store_close(store);
  tiny_close(&tiny);
}

// What trains in bf16 is written in f32 from its masters, which hold the file's values.
static void test_masters(void) {
  Error err = {0};
  Tiny tiny;
  tiny_open(&tiny, tiny_backend(0),
            &(TinyOptions){.variant = "gqa", .dtype = DT_BF16, .train_all = true});
  LlamaSave save = {.dtype = DT_F32};
  EXPECT(llama_save(&tiny.model, tiny.rig.ctx.be, tmp_path("masters"), &save, &err) == STATUS_OK,
         "%s", err.message);
  expect_same_weights("masters", tiny.store, tmp_path("masters"), DT_F32, true);
  tiny_close(&tiny);
}

// ---- merging ----

static TensorStore *open_base(const char *variant) {
  char path[200];
  Error err = {0};
  TensorStore *store = NULL;
  snprintf(path, sizeof path, "tests/golden/tiny_llama/%s", variant);
  if (store_open(&store, path, &err) != STATUS_OK) {
    printf("%s\n", err.message);
    exit(1);
  }
  return store;
}

// max |d logits| of a merged folder and of PEFT's adapter over the base.
static double merged_distance(const char *folder, const char *adapter) {
  Tiny tiny;
  Safetensors expected;
  char path[200];
  double worst = 0;
  tiny_open(&tiny, tiny_backend(0), &(TinyOptions){.path = folder, .dtype = DT_F32});
  snprintf(path, sizeof path, "tiny_lora/%s/expected.safetensors", adapter);
  golden_open(&expected, path);
  for (int s = 0; s < 3; s++) {
    int64_t length, n;
    const int32_t *ids = golden_i32(&expected, &length, "seq%d.ids", s);
    const float *logits = golden_f32(&expected, &n, "seq%d.logits", s);
    TinyBatch batch = tiny_batch(1, &ids, &length);
    float *found = tiny_logits(&tiny, &batch, NULL);
    for (int64_t k = 0; k < n; k++) {
      double d = fabs((double)found[k] - logits[k]);
      if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    free(found);
    tiny_batch_free(&batch);
    tiny_release(&tiny);
  }
  safetensors_close(&expected);
  tiny_close(&tiny);
  return worst;
}

static void test_merge(void) {
  static const char *const names[] = {"qv", "all", "ranks"};
  for (int i = 0; i < 3; i++) {
    Error err = {0};
    PeftAdapter adapter;
    char path[200];
    TensorStore *base = open_base("gqa");
    snprintf(path, sizeof path, "tests/golden/tiny_lora/%s", names[i]);
    EXPECT(peft_adapter_read(&adapter, path, &err) == STATUS_OK, "%s", err.message);
    LlamaSave save = {.dtype = DT_F32, .shard_bytes = 30000};
    snprintf(path, sizeof path, "%s",
             tmp_path(i == 0   ? "merged-qv"
                      : i == 1 ? "merged-all"
                               : "merged-ranks"));
    EXPECT(llama_merge(base, &adapter, 1, path, &save, &err) == STATUS_OK, "%s", err.message);
    double d = merged_distance(path, names[i]);
    EXPECT(d <= 1e-4, "%s: %g", names[i], d);
    printf("merged %s: max |d logits| %.2g\n", names[i], d);
    // Without the adapter the logits are elsewhere: the comparison sees it.
    if (i == 0) EXPECT(merged_distance("tests/golden/tiny_llama/gqa", "qv") > 0.05);
    peft_adapter_free(&adapter);
    store_close(base);
  }
}

// Two adapters, in bf16: the sums in f64, rounded once.
static void test_merge_two(void) {
  Error err = {0};
  PeftAdapter adapters[2];
  TensorStore *base = open_base("gqa"), *merged;
  EXPECT(peft_adapter_read(&adapters[0], "tests/golden/tiny_lora/qv", &err) == STATUS_OK);
  EXPECT(peft_adapter_read(&adapters[1], "tests/golden/tiny_lora/all", &err) == STATUS_OK);
  LlamaSave save = {.dtype = DT_BF16, .base = "/somewhere/\"base\"", .template_name = "alpaca"};
  EXPECT(llama_merge(base, adapters, 2, tmp_path("two"), &save, &err) == STATUS_OK, "%s",
         err.message);
  EXPECT(store_open(&merged, tmp_path("two"), &err) == STATUS_OK, "%s", err.message);
  int terms = 0;
  for (int64_t i = 0; i < store_count(base); i++) {
    const StoreTensor *t = store_at(base, i), *u = store_find(merged, t->name);
    int64_t n = t->rows * t->cols;
    float *w = malloc((size_t)n * sizeof *w), *found = malloc((size_t)n * sizeof *found);
    double *sum = malloc((size_t)n * sizeof *sum);
    EXPECT(store_read_rows(base, t, 0, t->rows, DT_F32, w, t->cols, &err) == STATUS_OK);
    EXPECT(store_read_rows(merged, u, 0, u->rows, DT_F32, found, u->cols, &err) == STATUS_OK);
    for (int64_t k = 0; k < n; k++) sum[k] = w[k];
    for (int a = 0; a < 2; a++) {
      for (int64_t p = 0; p < adapters[a].n_pairs; p++) {
        const PeftPair *pair = &adapters[a].pairs[p];
        char name[200];
        snprintf(name, sizeof name, "%s.weight", pair->module);
        if (strcmp(name, t->name) != 0) continue;
        terms++;
        for (int64_t k = 0; k < n; k++) {
          double product = 0;
          for (int64_t j = 0; j < 4; j++)
            product += (double)pair->b[k / t->cols * 4 + j] * pair->a[j * t->cols + k % t->cols];
          sum[k] += 2.0 * product; // alpha 8, r 4
        }
      }
    }
    for (int64_t k = 0; k < n; k++) {
      float expected = bf16_to_f32(bf16_from_f32((float)sum[k]));
      EXPECT(found[k] == expected, "%s [%lld]: %g, not %g", t->name, (long long)k, (double)found[k],
             (double)expected);
    }
    free(w);
    free(found);
    free(sum);
  }
  EXPECT(terms == 2 * 2 + 2 * 7, "%d", terms);
  char *card = NULL;
  int64_t size;
  EXPECT(file_read_all(&card, &size, tmp_path("two/README.md"), 1 << 16, &err) == STATUS_OK);
  EXPECT(strstr(card, "---\nbase_model: \"\\\"base\\\"\"\n") == card &&
             strstr(card, "alpaca") != NULL,
         "%s", card);
  free(card);
  store_close(merged);
  store_close(base);
  peft_adapter_free(&adapters[0]);
  peft_adapter_free(&adapters[1]);
}

static float value_at(const char *name, int64_t k) {
  return (float)((k * 37 + name[14] * 11 + name[strlen(name) - 12]) % 101 - 50) / 64;
}

static Status fill_value(void *context, int64_t item, int64_t first, int64_t count, void *dst,
                         Error *err) {
  (void)err;
  const char *name = ((const SafetensorsItem *)context)[item].name;
  for (int64_t k = 0; k < count; k++) ((float *)dst)[k] = value_at(name, first + k);
  return STATUS_OK;
}

// A base whose feed-forward matrices take several ranges each.
enum { WIDE_F = 20011, WIDE_C = 64, WIDE_R = 3 };

static void put_wide_base(const char *folder) {
  Error err = {0};
  LlamaConfig config = {.hidden = WIDE_C,
                        .ffn = WIDE_F,
                        .layers = 1,
                        .heads = 8,
                        .kv_heads = 8,
                        .head_dim = 8,
                        .vocab = 8,
                        .rms_eps = 1e-5,
                        .rope_theta = 10000,
                        .max_positions = 64,
                        .tied = true,
                        .bos_id = -1,
                        .pad_id = -1};
  Llama model;
  SafetensorsItem items[16] = {0};
  llama_init(&model, &config, DT_F32);
  for (int64_t i = 0; i < model.params.n; i++) {
    const Param *p = &model.params.items[i];
    items[i] = (SafetensorsItem){.name = p->name, .dtype = DT_F32, .ndim = p->n_dims};
    for (int d = 0; d < p->n_dims; d++) items[i].shape[d] = p->shape[d];
  }
  ModelFolder wide = {.config = &config,
                      .dtype = DT_F32,
                      .items = items,
                      .n_items = model.params.n,
                      .fill = fill_value,
                      .fill_context = items,
                      .card = "a card"};
  EXPECT(model_folder_write(folder, &wide, &err) == STATUS_OK, "%s", err.message);
  llama_free(&model);
}

static void test_merge_ranges(void) {
  Error err = {0};
  TensorStore *base = NULL, *merged = NULL;
  char gate[] = "model.layers.0.mlp.gate_proj", down[] = "model.layers.0.mlp.down_proj";
  float *small = malloc(WIDE_R * WIDE_C * sizeof *small),
        *large = malloc(WIDE_R * WIDE_F * sizeof *large);
  for (int64_t k = 0; k < WIDE_R * WIDE_C; k++) small[k] = (float)(k % 7 - 3) / 8;
  for (int64_t k = 0; k < WIDE_R * WIDE_F; k++) large[k] = (float)(k % 13 - 6) / 16;
  PeftPair pairs[] = {
      {.module = down, .in = WIDE_F, .out = WIDE_C, .r = WIDE_R, .a = large, .b = small},
      {.module = gate, .in = WIDE_C, .out = WIDE_F, .r = WIDE_R, .a = small, .b = large}};
  PeftAdapter adapter = {.r = WIDE_R, .alpha = 6, .n_pairs = 2, .pairs = pairs};
  LlamaSave save = {.dtype = DT_F32};
  put_wide_base(tmp_path("wide-base"));
  EXPECT(store_open(&base, tmp_path("wide-base"), &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_merge(base, &adapter, 1, tmp_path("wide-out"), &save, &err) == STATUS_OK, "%s",
         err.message);
  EXPECT(store_open(&merged, tmp_path("wide-out"), &err) == STATUS_OK, "%s", err.message);
  for (int i = 0; i < 2; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s.weight", pairs[i].module);
    const StoreTensor *t = store_find(merged, name);
    const float *found = (const float *)(const void *)store_bytes(merged, t);
    int64_t wrong = 0;
    for (int64_t k = 0; k < t->rows * t->cols; k++) {
      double sum = 0; // all sums are exact in f32: small multiples of 1/128
      for (int64_t j = 0; j < WIDE_R; j++)
        sum += (double)pairs[i].b[k / t->cols * WIDE_R + j] * pairs[i].a[j * t->cols + k % t->cols];
      wrong += found[k] != (float)(value_at(name, k) + 2 * sum);
    }
    EXPECT(wrong == 0, "%s: %lld values", name, (long long)wrong);
  }
  store_close(base);
  store_close(merged);
  free(small);
  free(large);
}

// ---- failures ----

static void expect_merge_refused(const char *variant, PeftAdapter *adapter, const LlamaSave *save,
                                 Status status, const char *message) {
  Error err = {0};
  TensorStore *base = open_base(variant);
  tmp_folder("f");
  Status found = llama_merge(base, adapter, adapter != NULL, tmp_path("f/out"), save, &err);
  EXPECT(found == status, "%d: %s", (int)found, err.message);
  EXPECT(strstr(err.message, message) != NULL, "found: %s", err.message);
  EXPECT(strchr(err.message, '\n') == NULL);
  expect_no_trace(tmp_path("f"), message);
  store_close(base);
}

static Status add_and_fail(void *context, const char *folder, Error *err) {
  char path[700];
  snprintf(path, sizeof path, "%s/tokenizer.json", folder);
  EXPECT(file_write(path, "{}", 2, err) == STATUS_OK);
  return error_set(err, STATUS_DATA, "no tokenizer in %s", (const char *)context);
}

static void test_faults(void) {
  Error err = {0};
  PeftAdapter adapter;
  LlamaSave save = {.dtype = DT_F32}, adds = save;
  EXPECT(peft_adapter_read(&adapter, "tests/golden/tiny_lora/all", &err) == STATUS_OK);
  expect_merge_refused("mha", &adapter, &save, STATUS_DATA,
                       "self_attn.k_proj is for a weight of [16, 48], the base has [48, 48]");
  char *module = adapter.pairs[0].module;
  adapter.pairs[0].module = "model.layers.7.self_attn.q_proj";
  expect_merge_refused("gqa", &adapter, &save, STATUS_DATA,
                       "module model.layers.7.self_attn.q_proj does not exist in this base");
  adapter.pairs[0].module = "lm_head";
  expect_merge_refused("gqa", &adapter, &save, STATUS_DATA, "lm_head is tied to the embedding");
  adapter.pairs[0].module = module;
  float kept = adapter.pairs[0].b[1];
  adapter.pairs[0].b[1] = INFINITY;
  expect_merge_refused("gqa", &adapter, &save, STATUS_FAILED, "is not finite");
  adapter.pairs[0].b[1] = kept;
  adds.add_files = add_and_fail;
  adds.add_context = "this base";
  expect_merge_refused("gqa", NULL, &adds, STATUS_DATA, "no tokenizer in this base");
  // A full disk, as a limit on the size of files: in the weights, and in a small file.
  static const int64_t limits[] = {2000, 40000, 100};
  struct rlimit before, limit;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &before);
  for (int i = 0; i < 3; i++) {
    limit = before;
    limit.rlim_cur = (rlim_t)limits[i];
    setrlimit(RLIMIT_FSIZE, &limit);
    expect_merge_refused("gqa", &adapter, &save, STATUS_IO, "cannot be written");
    setrlimit(RLIMIT_FSIZE, &before);
  }
  // What is there already stays as it is; a place where nothing can be made.
  TensorStore *base = open_base("gqa");
  tmp_folder("there");
  EXPECT(llama_merge(base, NULL, 0, tmp_path("there/"), &save, &err) == STATUS_USAGE, "%s",
         err.message);
  EXPECT(strstr(err.message, "exists already") != NULL, "%s", err.message);
  expect_no_trace(tmp_path("there"), "an existing folder");
  EXPECT(llama_merge(base, NULL, 0, "/proc/out", &save, &err) == STATUS_IO, "%s", err.message);
  EXPECT(llama_merge(base, NULL, 0, "/dev/null/out", &save, &err) == STATUS_IO, "%s", err.message);
  store_close(base);
  // A base without its config.
  tmp_folder("bare");
  Safetensors st;
  golden_open(&st, "tiny_llama/gqa/model.safetensors");
  tmp_put("bare/model.safetensors", st.data, st.size);
  safetensors_close(&st);
  EXPECT(store_open(&base, tmp_path("bare"), &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_merge(base, NULL, 0, tmp_path("out"), &save, &err) == STATUS_NO_INPUT, "%s",
         err.message);
  EXPECT(strstr(err.message, "bare/config.json") != NULL && !file_exists(tmp_path("out")), "%s",
         err.message);
  store_close(base);
  peft_adapter_free(&adapter);
}

// The weights of a run that has diverged are not written.
static void test_not_finite(void) {
  Error err = {0};
  Tiny tiny;
  tiny_open(&tiny, tiny_backend(0), &(TinyOptions){.variant = "gqa", .dtype = DT_F32});
  static const char name[] = "model.layers.1.post_attention_layernorm.weight";
  float *values = tiny_weight(&tiny, name);
  values[3] = NAN;
  tiny_set_weight(&tiny, name, values);
  LlamaSave save = {.dtype = DT_F32};
  tmp_folder("n");
  EXPECT(llama_save(&tiny.model, tiny.rig.ctx.be, tmp_path("n/out"), &save, &err) == STATUS_FAILED);
  EXPECT(strstr(err.message, name) != NULL && strstr(err.message, "element 3") != NULL, "%s",
         err.message);
  expect_no_trace(tmp_path("n"), "NaN");
  free(values);
  tiny_close(&tiny);
}

int main(void) {
  RUN(test_round_trip);
  RUN(test_wider);
  RUN(test_masters);
  RUN(test_merge);
  RUN(test_merge_two);
  RUN(test_merge_ranges);
  RUN(test_faults);
  RUN(test_not_finite);
  return test_done();
}
