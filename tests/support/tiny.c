#include "tiny.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- models ----

void tiny_open(Tiny *tiny, Backend *be, const TinyOptions *o) {
  Error err;
  char path[200];
  LlamaConfig config;
  *tiny = (Tiny){0};
  snprintf(path, sizeof path, "tests/golden/tiny_llama/%s", o->path == NULL ? o->variant : "");
  CHECK(store_open(&tiny->store, o->path == NULL ? path : o->path, &err) == STATUS_OK, "%s",
        err.message);
  CHECK(llama_config_load(&config, tiny->store, &err) == STATUS_OK, "%s", err.message);
  if (o->change_config != NULL) o->change_config(&config);
  Llama *m = &tiny->model;
  llama_init(m, &config, o->dtype);
  if (o->train_all) llama_train_all(m);
  m->params.grad_dtype = o->grad_dtype;
  for (int i = 0; i < 4 && o->freeze[i] != NULL; i++)
    CHECK(param_freeze(&m->params, &o->freeze[i], 1, &err) == STATUS_OK, "%s", err.message);
  for (int i = 0; i < 2; i++) {
    if (o->lora[i] == NULL) continue;
    bool trained = o->train_lora && i == 0;
    CHECK(llama_attach_lora(m, o->lora[i], i, trained, &err) == STATUS_OK, "%s", err.message);
  }
  param_make_buckets(&m->params);
  rig_open(&tiny->rig, be, o->dtype, o->mib > 0 ? o->mib : 16);
  llama_place(m, be, &tiny->rig.memory.weights, &tiny->rig.memory.state);
  CHECK(llama_load(m, be, tiny->store, &err) == STATUS_OK, "%s", err.message);
  param_zero_grads(&m->params, be);
  tiny->step = arena_mark(tiny->rig.ctx.step);
  tiny->host = arena_mark(tiny->rig.ctx.host);
}

void tiny_close(Tiny *tiny) {
  llama_free(&tiny->model);
  store_close(tiny->store);
  rig_close(&tiny->rig);
}

static Param *param_named(Tiny *tiny, const char *name) {
  Param *p = param_find(&tiny->model.params, name);
  CHECK(p != NULL, "no weight %s", name);
  return p;
}

float *tiny_weight(Tiny *tiny, const char *name) {
  Param *p = param_named(tiny, name);
  float *values = malloc((size_t)tensor_count(p->value.t) * sizeof *values);
  CHECK(values != NULL, "no memory");
  param_read(tiny->rig.ctx.be, values, p->value.t);
  return values;
}

void tiny_set_weight(Tiny *tiny, const char *name, const float *values) {
  param_write(tiny->rig.ctx.be, param_named(tiny, name)->value.t, values);
}

void tiny_release(Tiny *tiny) {
  arena_release(tiny->rig.ctx.step, tiny->step);
  arena_release(tiny->rig.ctx.host, tiny->host);
}

// ---- batches ----

static int32_t *ints(int64_t n) {
  int32_t *memory = calloc((size_t)n + 1, sizeof *memory);
  CHECK(memory != NULL, "no memory");
  return memory;
}

static TinyBatch batch_make(int64_t n_seqs, int64_t n_rows) {
  TinyBatch b = {.cu = ints(n_seqs + 1),
                 .positions = ints(n_rows),
                 .ids = ints(n_rows),
                 .label_rows = ints(n_rows),
                 .label_ids = ints(n_rows),
                 .global_index = ints(n_seqs),
                 .adapters = ints(n_seqs)};
  b.batch = (Batch){.tokens = {.n_seqs = n_seqs,
                               .n_rows = n_rows,
                               .cu_seqlens = b.cu,
                               .positions = b.positions,
                               .ids = b.ids},
                    .label_rows = b.label_rows,
                    .label_ids = b.label_ids,
                    .global_index = b.global_index};
  for (int64_t s = 0; s < n_seqs; s++) b.global_index[s] = (int32_t)s;
  return b;
}

static void add_label(TinyBatch *b, int32_t row, int32_t id) {
  b->label_rows[b->batch.n_labels] = row;
  b->label_ids[b->batch.n_labels++] = id;
}

static void count_positions(TinyBatch *b) {
  for (int64_t s = 0; s < b->batch.tokens.n_seqs; s++) {
    for (int32_t r = b->cu[s]; r < b->cu[s + 1]; r++) b->positions[r] = r - b->cu[s];
  }
}

TinyBatch tiny_batch(int64_t n, const int32_t *const *ids, const int64_t *lengths) {
  int64_t rows = 0;
  for (int64_t s = 0; s < n; s++) rows += lengths[s];
  TinyBatch b = batch_make(n, rows);
  for (int64_t s = 0; s < n; s++) {
    int32_t first = b.cu[s];
    b.cu[s + 1] = first + (int32_t)lengths[s];
    memcpy(b.ids + first, ids[s], (size_t)lengths[s] * sizeof(int32_t));
    for (int32_t r = first; r + 1 < b.cu[s + 1]; r++) add_label(&b, r, b.ids[r + 1]);
  }
  count_positions(&b);
  return b;
}

TinyBatch tiny_train_batch(const Safetensors *file, int k) {
  int64_t n_rows, n_borders;
  const int32_t *ids = golden_i32(file, &n_rows, "step%d.ids", k),
                *labels = golden_i32(file, NULL, "step%d.labels", k),
                *cu = golden_i32(file, &n_borders, "step%d.cu_seqlens", k);
  TinyBatch b = batch_make(n_borders - 1, n_rows);
  memcpy(b.ids, ids, (size_t)n_rows * sizeof *ids);
  memcpy(b.cu, cu, (size_t)n_borders * sizeof *cu);
  count_positions(&b);
  for (int64_t s = 0; s + 1 < n_borders; s++) {
    for (int32_t r = cu[s]; r + 1 < cu[s + 1]; r++) {
      if (labels[r + 1] != -100) add_label(&b, r, labels[r + 1]);
    }
  }
  return b;
}

TinyBatch tiny_split(const TinyBatch *from, int64_t s) {
  int32_t first = from->cu[s], length = from->cu[s + 1] - first;
  TinyBatch b = batch_make(1, length);
  b.cu[1] = length;
  memcpy(b.ids, from->ids + first, (size_t)length * sizeof *b.ids);
  b.global_index[0] = from->global_index[s];
  for (int64_t l = 0; l < from->batch.n_labels; l++) {
    int32_t row = from->label_rows[l] - first;
    if (row >= 0 && row < length) add_label(&b, row, from->label_ids[l]);
  }
  count_positions(&b);
  return b;
}

void tiny_batch_free(TinyBatch *b) {
  int32_t *all[] = {b->cu,        b->positions,    b->ids,     b->label_rows,
                    b->label_ids, b->global_index, b->adapters};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

// ---- running ----

float *tiny_logits(Tiny *tiny, const TinyBatch *batch, KvCache *cache) {
  Ctx *ctx = &tiny->rig.ctx;
  int64_t n = batch->batch.tokens.n_rows, vocab = tiny->model.config.vocab;
  ctx->recording = ctx->training = false;
  DeviceBatch on_device;
  device_batch_make(ctx, &batch->batch, cache, &on_device);
  int32_t *rows = ints(n);
  for (int64_t r = 0; r < n; r++) rows[r] = (int32_t)r;
  Tensor all = rig_ints(&tiny->rig, 1, n, rows);
  Value *trunk = llama_trunk(ctx, &tiny->model, &on_device, cache);
  Tensor logits = llama_logits(ctx, &tiny->model, trunk, all);
  float *out = malloc((size_t)(n * vocab) * sizeof *out);
  CHECK(out != NULL, "no memory");
  param_read(ctx->be, out, logits);
  free(rows);
  tiny_release(tiny);
  return out;
}

void tiny_loss(Tiny *tiny, const TinyBatch *batch, float inv_count, bool training, double *loss) {
  Ctx *ctx = &tiny->rig.ctx;
  ctx->recording = ctx->training = training;
  DeviceBatch on_device;
  device_batch_make(ctx, &batch->batch, NULL, &on_device);
  Tensor inv = rig_tensor(&tiny->rig, DT_F32, 1, 1, (double[]){(double)inv_count}),
         sum = rig_tensor(&tiny->rig, DT_F64, 1, 1, loss);
  llama_loss(ctx, &tiny->model, &on_device, inv, sum);
  if (training) tape_backward(ctx);
  rig_read(&tiny->rig, loss, sum);
  tiny_release(tiny);
}

// ---- backends ----

Backend *tiny_backend(int i) {
  static Backend *opened[TINY_BACKENDS];
  Error err;
  static const char *const gemms[TINY_BACKENDS] = {NULL, NULL, "own", "onednn-f32"};
  CpuOptions options = {.reference = i == 0, .gemm = gemms[i]};
  if (opened[i] == NULL) {
    CHECK(backend_cpu_open(&opened[i], &options, &err) == STATUS_OK, "%s", err.message);
  }
  return opened[i];
}

float *tiny_read(Tiny *tiny, Tensor t) {
  float *values = malloc((size_t)tensor_count(t) * sizeof *values);
  param_read(tiny->rig.ctx.be, values, t);
  return values;
}

double tiny_distance(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)a[i] - (b != NULL ? (double)b[i] : 0);
    sum += d * d;
  }
  return sqrt(sum);
}
