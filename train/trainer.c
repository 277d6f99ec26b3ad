#include "trainer.h"

#include "check.h"
#include "generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int descending(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x < y) - (x > y);
}

// The sum of the k largest, when each of the n values is there `copies` times.
static int64_t sum_of_largest(int32_t *values, int64_t n, int64_t copies, int64_t k) {
  qsort(values, (size_t)n, sizeof *values, descending);
  int64_t sum = 0;
  for (int64_t i = 0; i < n * copies && i < k; i++) sum += values[i / copies];
  return sum;
}

// How often an epoch, and so a batch, may hold one example.
static int64_t most_copies(const ConfigReals *weights) {
  double most = 1;
  for (int i = 0; i < weights->n; i++) most = fmax(most, weights->values[i]);
  return (int64_t)ceil(most);
}

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Sequences of a global batch that one rank works on.
static int64_t rank_batch(const RunConfig *config) {
  return (config->train.batch_size + config->dist.ranks - 1) / config->dist.ranks;
}

DataOutline data_outline(const RunConfig *config, const Dataset *data) {
  CHECK(data->n > 0, "no examples");
  int64_t batch = rank_batch(config), copies = most_copies(&config->data.weights), labelled = 0;
  int32_t *lengths = malloc((size_t)data->n * sizeof *lengths);
  int32_t *labels = malloc((size_t)data->n * sizeof *labels);
  CHECK(lengths != NULL && labels != NULL, "no memory for %lld lengths", (long long)data->n);
  for (int64_t i = 0; i < data->n; i++) {
    lengths[i] = data->examples[i].n;
    labels[i] = data->examples[i].n_labels;
    labelled += labels[i];
  }
  DataOutline o = {.train = data->n,
                   .examples = data->n,
                   .mean_len = (double)data->n_tokens / (double)data->n,
                   .mean_labels = (double)labelled / (double)data->n,
                   .batch_tokens = sum_of_largest(lengths, data->n, copies, batch),
                   .batch_labels = sum_of_largest(labels, data->n, copies, batch)};
  o.longest = lengths[0];
  o.shortest = lengths[data->n - 1];
  free(lengths);
  free(labels);
  return o;
}

int64_t trainer_sample_len(const RunConfig *config, const DataOutline *o) {
  bool none = !config->output.report || config->output.samples == 0 || o->held_out == 0;
  return none ? 0 : smaller(o->longest, SAMPLE_PROMPT_MAX) + SAMPLE_NEW_TOKENS;
}

BatchBounds batch_bounds(const DataOutline *o, const RunConfig *config) {
  int64_t micro = config->train.micro_tokens;
  BatchBounds b = {.longest = o->longest};
  b.rows = smaller(o->batch_tokens, micro > o->longest ? micro : o->longest);
  b.labels = smaller(b.rows, o->batch_labels);
  b.seqs = smaller(rank_batch(config), b.rows / o->shortest);
  return b;
}

int64_t trainer_checkpoint_blocks(const RunConfig *config, int64_t layers) {
  int64_t blocks = config->train.checkpoint_blocks;
  if (config->train.checkpointing == CHECKPOINTING_OFF) return 0;
  return blocks > 0 && blocks < layers ? blocks : layers;
}

void trainer_init_dry(Trainer *t, const RunConfig *config, const DataOutline *outline,
                      Llama *model) {
  *t = (Trainer){.config = config, .model = model, .bounds = batch_bounds(outline, config)};
  t->sample_len = trainer_sample_len(config, outline);
  model->checkpoint_blocks = trainer_checkpoint_blocks(config, model->config.layers);
}

void trainer_init(Trainer *t, const RunConfig *config, const Dataset *data, Llama *model) {
  DataOutline outline = data_outline(config, data);
  trainer_init_dry(t, config, &outline, model);
  t->data = data;
  packed_batch_init(&t->packed, t->bounds.rows, t->bounds.seqs);
  size_t batch = (size_t)config->train.batch_size;
  t->lengths = calloc(batch, sizeof *t->lengths);
  t->ends = calloc(batch, sizeof *t->ends);
  CHECK(t->lengths != NULL && t->ends != NULL, "no memory for a batch of %zu", batch);
}

void trainer_free(Trainer *t) {
  if (t->config == NULL) return;
  packed_batch_free(&t->packed);
  free(t->lengths);
  free(t->ends);
  *t = (Trainer){0};
}

void trainer_place(Trainer *t, Backend *be, Memory *memory) {
  const RunConfig *c = t->config;
  llama_place(t->model, be, &memory->weights, &memory->state);
  OptimizerOptions options = {.beta1 = c->train.beta1,
                              .beta2 = c->train.beta2,
                              .eps = c->train.eps,
                              .weight_decay = c->train.weight_decay,
                              .clip = c->train.clip,
                              .plus_ratio = c->lora.plus_ratio};
  optimizer_place(&t->optimizer, &options, &t->model->params, be, &memory->state);
  t->inv_count = arena_tensor(&memory->state, ARENA_LOW, DT_F32, 1, 1, "1 / labels");
  t->loss = arena_tensor(&memory->state, ARENA_LOW, DT_F64, 1, 1, "loss");
  t->ctx = (Ctx){.be = be,
                 .step = &memory->step,
                 .host = &memory->host,
                 .dtype = t->model->dtype,
                 .dropout_seed = (uint64_t)c->train.seed};
  t->ctx.dropout_step = arena_tensor(&memory->state, ARENA_LOW, DT_I32, 1, 1, "dropout step");
}

// Loss (and gradients) of one micro-batch, added to what is there.
static void run_micro_batch(Trainer *t, const Batch *batch, bool train) {
  Ctx *ctx = &t->ctx;
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  ctx->recording = ctx->training = train;
  DeviceBatch on_device;
  device_batch_make(ctx, batch, NULL, &on_device);
  llama_loss(ctx, t->model, &on_device, t->inv_count, t->loss);
  if (train) tape_backward(ctx);
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
}

// ---- the memory plan ----

void trainer_drill(Trainer *t, const BatchBounds *shape, bool train) {
  BatchBounds b = *shape;
  CHECK(b.seqs >= 1 && b.seqs <= b.rows && b.labels <= b.rows, "%lld sequences in %lld rows",
        (long long)b.seqs, (long long)b.rows);
  int32_t *rows = calloc((size_t)b.rows, sizeof *rows), *zeros = calloc((size_t)b.rows + 1, 4);
  int32_t *cu = calloc((size_t)b.seqs + 1, sizeof *cu);
  CHECK(rows != NULL && zeros != NULL && cu != NULL, "no memory for a rehearsal");
  for (int64_t i = 0; i < b.rows; i++) rows[i] = (int32_t)i;
  int64_t first = smaller(b.longest, b.rows - (b.seqs - 1)), rest = b.rows - first;
  for (int64_t s = 1; s <= b.seqs; s++)
    cu[s] = (int32_t)(first + (b.seqs > 1 ? rest * (s - 1) / (b.seqs - 1) : 0));
  Batch batch = {.tokens = {.n_seqs = b.seqs,
                            .n_rows = b.rows,
                            .cu_seqlens = cu,
                            .positions = zeros,
                            .ids = zeros},
                 .n_labels = b.labels,
                 .label_rows = rows,
                 .label_ids = zeros,
                 .global_index = zeros};
  run_micro_batch(t, &batch, train);
  free(rows);
  free(zeros);
  free(cu);
}

void trainer_drill_update(Trainer *t) {
  param_zero_grads(&t->model->params, t->ctx.be);
  int64_t norm = optimizer_norm_begin(&t->optimizer, t->loss);
  optimizer_update(&t->optimizer, 0, 1);
  (void)optimizer_norm_end(&t->optimizer, norm);
}

static void drill_sample(Trainer *t, Arena *cache) {
  Ctx ctx = t->ctx;
  DecoderSize size = {.max_len = t->sample_len, .chunk = SAMPLE_PROMPT_MAX};
  ctx.recording = ctx.training = false;
  decoder_rehearse(&ctx, t->model, cache, &size);
}

Status trainer_plan(Trainer *t, MemoryPlan *plan, double *flops, Error *err) {
  Status status = STATUS_OK;
  Backend *be = NULL;
  Memory memory = {0};
  TRY(backend_null_open(&be, err));
  be->shadow = t->shadow;
  be->row_multiple = t->shadow != NULL ? t->shadow->row_multiple : 0;
  be->few_rows = t->shadow != NULL ? t->shadow->few_rows : 0;
  TRY(memory_open_rehearsal(&memory, be, err));
  trainer_place(t, be, &memory);
  trainer_drill(t, &t->bounds, true);
  double counted = be->counts.flops;
  trainer_drill_update(t);
  trainer_drill(t, &t->bounds, false);
  if (t->sample_len > 0) drill_sample(t, &memory.cache);
  *plan = memory_peak(&memory);
  if (flops != NULL) *flops = counted;
done:
  memory_close(&memory);
  if (be != NULL) be->close(be);
  return status;
}

// ---- steps ----

static int64_t run_global_batch(Trainer *t, const int32_t *examples, int64_t n, bool train) {
  int64_t labels = 0;
  for (int64_t i = 0; i < n; i++) t->lengths[i] = t->data->examples[examples[i]].n;
  int64_t runs = pack_runs(t->ends, t->lengths, n, t->config->train.micro_tokens);
  for (int64_t run = 0, i = 0; run < runs; run++) {
    packed_batch_clear(&t->packed);
    for (; i < t->ends[run]; i++) packed_batch_add(&t->packed, t->data, examples[i], (int32_t)i);
    labels += t->packed.batch.n_labels;
    run_micro_batch(t, &t->packed.batch, train);
  }
  return labels;
}

static void count_batch(const Trainer *t, const int32_t *examples, int64_t n, int64_t *tokens,
                        int64_t *labels) {
  for (int64_t i = 0; i < n; i++) {
    const Example *e = &t->data->examples[examples[i]];
    *tokens += e->n;
    *labels += e->n_labels;
  }
}

// "items 3, 9 of a.jsonl; items 1 of b.jsonl", to be freed. Data made by hand have no files.
static char *name_items(const Trainer *t, const int32_t *examples, int64_t n) {
  enum { NAMED_MAX = 20 };
  const Dataset *d = t->data;
  char *text = NULL;
  size_t size;
  int64_t named = 0;
  FILE *to = open_memstream(&text, &size);
  CHECK(to != NULL, "no memory for a message");
  for (int64_t f = 0; f < d->n_files || f == 0; f++) {
    const DatasetFile *file = d->n_files > 0 ? &d->files[f] : NULL;
    const char *before = named > 0 ? "; items " : "items ";
    int64_t named_before = named;
    for (int64_t i = 0; i < n && named < NAMED_MAX; i++) {
      if (dataset_file_of(d, examples[i]) != file) continue;
      fprintf(to, "%s%d", before, d->examples[examples[i]].item);
      before = ", ";
      named++;
    }
    if (named > named_before)
      fprintf(to, " of %s", file != NULL ? file->path : t->config->data.path);
  }
  fputs(named < n ? "; ..." : "", to);
  CHECK(fclose(to) == 0, "no memory for a message");
  return text;
}

static Status refuse_not_finite(const Trainer *t, const int32_t *examples, int64_t n, int64_t step,
                                const StepResult *r, Error *err) {
  char *items = name_items(t, examples, n);
  Status status =
      error_set(err, STATUS_FAILED,
                "step %lld: the loss is %g and the norm of the gradients %g: not finite; weights "
                "and moments stay as they were. The batch: %s",
                (long long)step, r->loss, r->grad_norm, items);
  free(items);
  return status;
}

Status trainer_step(Trainer *t, const int32_t *examples, int64_t n, int64_t step, double lr,
                    StepResult *result, Error *err) {
  CHECK(n >= 1 && n <= t->config->train.batch_size, "a batch of %lld", (long long)n);
  Backend *be = t->ctx.be;
  *result = (StepResult){0};
  count_batch(t, examples, n, &result->tokens, &result->label_tokens);
  float inv_count = result->label_tokens > 0 ? 1.0f / (float)result->label_tokens : 0.0f;
  int32_t number = (int32_t)step;
  be->copy_in(be, t->inv_count, &inv_count);
  be->copy_in(be, t->ctx.dropout_step, &number);
  be->fill(be, t->loss, 0);
  param_zero_grads(&t->model->params, be);
  int64_t labels = run_global_batch(t, examples, n, true);
  CHECK(labels == result->label_tokens, "%lld labels were packed, %lld counted", (long long)labels,
        (long long)result->label_tokens);
  // All of the step is queued before the host looks at it: where loss or norm are not finite, the
  // device itself leaves weights and moments alone.
  double sum = 0;
  int64_t loss = be->read_begin(be, t->loss);
  int64_t norm = optimizer_norm_begin(&t->optimizer, t->loss);
  optimizer_update(&t->optimizer, lr, step - t->skipped);
  be->read_end(be, &sum, loss);
  result->grad_norm = optimizer_norm_end(&t->optimizer, norm);
  result->loss = labels > 0 ? sum / (double)labels : 0;
  if (isfinite(result->loss) && isfinite(result->grad_norm)) return STATUS_OK;
  result->skipped = true;
  return refuse_not_finite(t, examples, n, step, result, err);
}

EvalResult trainer_evaluate(Trainer *t, const int32_t *examples, int64_t n) {
  Backend *be = t->ctx.be;
  EvalResult result = {0};
  int64_t batch = t->config->train.batch_size;
  be->fill(be, t->loss, 0);
  for (int64_t i = 0; i < n; i += batch) {
    if (t->stop != NULL && *t->stop) {
      result.stopped = true;
      return result;
    }
    int64_t size = smaller(batch, n - i);
    run_global_batch(t, examples + i, size, false);
    count_batch(t, examples + i, size, &result.tokens, &result.label_tokens);
  }
  double sum = 0;
  be->copy_out(be, &sum, t->loss);
  if (result.label_tokens > 0) result.loss = sum / (double)result.label_tokens;
  return result;
}
