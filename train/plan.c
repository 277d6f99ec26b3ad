#include "plan.h"

#include "check.h"
#include "checkpoint.h"
#include "schedule.h"
#include "train_model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Assumed until they are measured.
static const double disk_bytes_per_second = 1e9;
static const int64_t collectives_bytes = 400 << 20;
enum { ASSUMED_SHORTEST = 32 };

DataOutline plan_assumed_data(const RunConfig *config) {
  int64_t n = config->plan.examples, ranks = config->dist.ranks;
  int64_t held = config->data.val_set_size.fraction > 0
                     ? llround((double)n * config->data.val_set_size.fraction)
                     : config->data.val_set_size.count;
  int64_t batch = (config->train.batch_size + ranks - 1) / ranks, cutoff = config->data.cutoff_len;
  if (held >= n) held = n - 1;
  if (batch > n) batch = n;
  double mean = fmin((double)config->plan.mean_len, (double)cutoff);
  return (DataOutline){.train = n - held,
                       .examples = n,
                       .held_out = held,
                       .mean_len = mean,
                       .mean_labels = mean,
                       .longest = cutoff,
                       .shortest = cutoff < ASSUMED_SHORTEST ? cutoff : ASSUMED_SHORTEST,
                       .batch_tokens = batch * cutoff,
                       .batch_labels = batch * cutoff,
                       .assumed = true};
}

// ---- lines ----

PlanLine *plan_add(RunPlan *plan, const char *name, int64_t bytes, bool on_device, bool estimate) {
  CHECK(plan->n_lines < PLAN_LINES_MAX, "more than %d lines", PLAN_LINES_MAX);
  PlanLine *line = &plan->lines[plan->n_lines++];
  *line = (PlanLine){.name = name,
                     .bytes = bytes,
                     .on_device = on_device || !plan->device.gpu,
                     .estimate = estimate};
  if (line->on_device) plan->device_bytes += bytes;
  plan->fits = plan->device_bytes <= plan->limit;
  return line;
}

const PlanLine *plan_line(const RunPlan *plan, const char *name) {
  for (int i = 0; i < plan->n_lines; i++) {
    if (strcmp(plan->lines[i].name, name) == 0) return &plan->lines[i];
  }
  return NULL;
}

__attribute__((format(printf, 2, 3))) static void describe(PlanLine *line, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(line->what, sizeof line->what, fmt, args);
  va_end(args);
}

// ---- what ranks share ----

typedef struct BucketSums {
  int64_t weights, grads, state; // bytes of all buckets
  int64_t largest_weights, largest_grads;
} BucketSums;

static int64_t bytes_of(Tensor t) {
  return tensor_given(t) ? dtype_bytes(t.dtype, t.rows * t.cols) : 0;
}

static BucketSums sum_buckets(const ParamTable *table) {
  BucketSums s = {0};
  for (int64_t i = 0; i < table->n_buckets; i++) {
    const Bucket *b = &table->buckets[i];
    int64_t weights = bytes_of(b->w), grads = bytes_of(b->g);
    s.weights += weights;
    s.grads += grads;
    s.state += bytes_of(b->m) + bytes_of(b->v) + bytes_of(b->master);
    if (weights > s.largest_weights) s.largest_weights = weights;
    if (grads > s.largest_grads) s.largest_grads = grads;
  }
  return s;
}

// Buckets are padded to 2,048 elements whatever the ranks; a rank's part is rounded up.
static int64_t part(int64_t bytes, int64_t ranks) {
  return (bytes + ranks - 1) / ranks;
}

static const char *short_dtype(DType dtype) {
  return dtype == DT_BF16 ? "bf16" : "f32";
}

static void add_weights(RunPlan *plan, const RunConfig *c, const BucketSums *s) {
  int64_t ranks = c->dist.ranks, bytes = plan->arenas.weights;
  bool shared = ranks > 1 && c->dist.shard == SHARD_WEIGHTS;
  const char *dtype = short_dtype(c->model.dtype);
  if (shared) bytes += part(s->weights, ranks) - s->weights;
  PlanLine *line = plan_add(plan, "weights", bytes, true, shared);
  if (c->method == METHOD_LORA) {
    describe(line, "frozen weights in %s, adapters in f32", dtype);
  } else {
    describe(line, "in %s%s", dtype, shared ? ", a part for each rank" : "");
  }
  if (!shared) return;
  line = plan_add(plan, "gather", 2 * s->largest_weights, true, true);
  describe(line, "two blocks' whole weights: one at work, one on its way");
}

static void add_gradients(RunPlan *plan, const RunConfig *c, const BucketSums *s) {
  int64_t ranks = c->dist.ranks;
  bool shared = ranks > 1 && c->dist.shard >= SHARD_GRADIENTS;
  const char *dtype = short_dtype(
      c->method == METHOD_FULL && c->model.dtype == DT_BF16 ? c->train.grad_dtype : DT_F32);
  PlanLine *line =
      plan_add(plan, "gradients", shared ? part(s->grads, ranks) : s->grads, true, shared);
  describe(line, "in %s%s", dtype, shared ? ", a part for each rank" : "");
  if (!shared) return;
  line = plan_add(plan, "reduce", 2 * s->largest_grads, true, true);
  describe(line, "two blocks' whole gradients: one at work, one on its way");
}

static void add_optimizer(RunPlan *plan, const RunConfig *c, const BucketSums *s) {
  int64_t ranks = c->dist.ranks;
  bool shared = ranks > 1 && c->dist.shard >= SHARD_OPTIMIZER;
  int64_t rest = plan->arenas.state - s->grads; // moments, masters, and some scalars
  if (shared) rest += part(s->state, ranks) - s->state;
  PlanLine *line = plan_add(plan, "optimizer", rest, true, shared);
  bool masters = c->method == METHOD_FULL && c->model.dtype == DT_BF16;
  describe(line, "moments%s in f32%s", masters ? " and master weights" : "",
           shared ? ", a part for each rank" : "");
}

// What is taken up to the next multiple of what the device hands out.
static int64_t granules(int64_t bytes) {
  return (bytes + CUDA_GRANULE - 1) / CUDA_GRANULE * CUDA_GRANULE - bytes;
}

// What a GPU holds besides the arenas. Of one that is here: all that was in use when the backend
// had been opened, but for what has lines of its own, so that what is left is what is free.
static void add_device(RunPlan *plan) {
  const MemoryPlan *a = &plan->arenas;
  const Device *d = &plan->device;
  PlanLine *line = plan_add(plan, "workspace", backend_cuda_fixed_bytes(), true, false);
  describe(line, "of the matrix product's library, and the ring that copies go through");
  line = plan_add(plan, "graphs", 0, true, false);
  describe(line, "none are recorded");
  int64_t rounded = granules(a->weights) + granules(a->state) + granules(a->step) +
                    granules(a->cache) + granules(a->scratch);
  line = plan_add(plan, "granularity", rounded, true, false);
  describe(line, "the device hands out pieces of %d MiB", CUDA_GRANULE >> 20);
  int64_t assumed = (int64_t)(DEVICE_CONTEXT_GIB * (1 << 30));
  line = plan_add(plan, "context", d->here ? d->context : assumed, true, !d->here);
  if (!d->here) {
    describe(line, "the device's context and the libraries' code");
  } else if (d->others < 0) {
    describe(line, "context, libraries' code and all that other programs hold: measured at start");
  } else {
    describe(line, "the device's context and the libraries' code: measured at start");
    line = plan_add(plan, "others", d->others, true, false);
    describe(line, "what other programs hold: measured at start");
  }
  if (d->here) { // the context's assumed size has it
    line = plan_add(plan, "code", MEMORY_LATE_CODE, true, true);
    describe(line, "kernels, which are loaded where they are first launched");
  }
}

static void add_step(RunPlan *plan, const RunConfig *c) {
  const BatchBounds *b = &plan->bounds;
  PlanLine *line = plan_add(plan, "step", plan->arenas.step, true, false);
  if (plan->recomputed > 0) {
    describe(line, "activations of %lld tokens at most; %lld of %lld blocks are recomputed",
             (long long)b->rows, (long long)plan->recomputed, (long long)plan->blocks);
  } else {
    describe(line, "activations of %lld tokens at most, logits among them", (long long)b->rows);
  }
  if (plan->arenas.cache > 0) {
    line = plan_add(plan, "cache", plan->arenas.cache, true, false);
    describe(line, "keys and values of generation");
  }
  if (plan->device.gpu) {
    add_device(plan);
  }
  if (c->dist.ranks > 1) {
    line = plan_add(plan, "collectives", collectives_bytes, true, true);
    describe(line, "buffers of what %lld ranks exchange", (long long)c->dist.ranks);
  }
}

static void add_host(RunPlan *plan, const RunConfig *c) {
  enum { CHUNK = 4 << 20 }; // safetensors_write.c
  PlanLine *line = plan_add(plan, "host", plan->arenas.host, false, false);
  describe(line, "the tape's records");
  if (plan->arenas.scratch > 0) {
    line = plan_add(plan, "scratch", plan->arenas.scratch, true, false);
    describe(line, plan->device.gpu ? "partial sums and expanded operands of the backend's ops"
                                    : "packed panels and tiles of the backend's ops");
  }
  int64_t examples = plan->data.examples;
  double tokens = plan->data.mean_len * (double)examples;
  line = plan_add(plan, "data", (int64_t)(tokens + 0.5) * 4 + examples * (int64_t)sizeof(Example),
                  false, plan->data.assumed);
  describe(line, "token ids");
  bool lora = c->method == METHOD_LORA; // copied out, mapped to be read back, and read
  line = plan_add(plan, "saving", (lora ? 3 * 4 * plan->trained : 0) + CHUNK, false, false);
  describe(line,
           lora ? "the adapter's copy and what is read back to check it" : "a piece of a file");
  if (plan->device.process > 0) {
    line = plan_add(plan, "process", plan->device.process, false, false);
    describe(line, "the program, its libraries and the tokenizer: measured");
  }
}

static void fill_lines(RunPlan *plan, const RunConfig *c, const ParamTable *table) {
  BucketSums sums = sum_buckets(table);
  add_weights(plan, c, &sums);
  add_gradients(plan, c, &sums);
  add_optimizer(plan, c, &sums);
  add_step(plan, c);
  add_host(plan, c);
}

// ---- time ----

static double seconds_of(const Backend *be) {
  double seconds = 0;
  for (int i = 0; i < OP_KINDS; i++) seconds += backend_costs(be)[i].seconds;
  return seconds;
}

static void add_costs(OpCost *sum, const Backend *be, double times) {
  for (int i = 0; i < OP_KINDS; i++) {
    const OpCost *c = &backend_costs(be)[i];
    sum[i].launches += (int64_t)((double)c->launches * times + 0.5);
    sum[i].flops += c->flops * times;
    sum[i].bytes += c->bytes * times;
    sum[i].seconds += c->seconds * times;
    sum[i].compute_seconds += c->compute_seconds * times;
  }
}

// How many micro-batches a rank's part of a batch makes: packs end where the next sequence would
// not fit, half a sequence early on average.
static double micro_batches(const RunConfig *c, const DataOutline *o, double tokens) {
  double micro = (double)c->train.micro_tokens, full = micro - o->mean_len / 2;
  double sequences = tokens / o->mean_len;
  if (tokens <= 0.9 * micro || (double)o->batch_tokens <= micro) return 1;
  if (full < o->mean_len) return sequences;
  return fmin(sequences, fmax(1, tokens / full + 0.5));
}

static BatchBounds average_shape(const DataOutline *o, double tokens) {
  BatchBounds b = {.rows = llround(fmax(1, tokens))};
  b.longest = llround(fmin(fmax(1, o->mean_len), (double)b.rows));
  b.seqs = llround(fmax(1, tokens / o->mean_len));
  if (b.seqs > b.rows) b.seqs = b.rows;
  b.labels = llround(tokens * o->mean_labels / o->mean_len);
  if (b.labels > b.rows) b.labels = b.rows;
  return b;
}

static int64_t count_steps(const RunConfig *c, const DataOutline *o) {
  int64_t per_epoch = (o->train + c->train.batch_size - 1) / c->train.batch_size;
  return c->train.max_steps > 0 ? c->train.max_steps : c->train.epochs * per_epoch;
}

// What ranks exchange: gradients are summed and shared out, new weights gathered; with shared
// weights every micro-batch gathers them twice and reduces once.
static double collective_seconds(const RunPlan *plan, const RunConfig *c, const BucketSums *s,
                                 double micro) {
  double ranks = (double)c->dist.ranks, link = plan->device.link * 1e9;
  if (ranks < 2 || link <= 0) return 0;
  double times = c->dist.shard == SHARD_WEIGHTS ? micro : 1;
  double gathers = c->dist.shard == SHARD_WEIGHTS ? 2 : 1;
  double reduces = c->dist.shard >= SHARD_GRADIENTS ? micro : 1;
  double bytes = times * gathers * (double)s->weights + reduces * (double)s->grads;
  return bytes * (ranks - 1) / ranks / link;
}

static void fill_time(RunPlan *plan, const RunConfig *c, Trainer *t) {
  const DataOutline *o = &plan->data;
  PlanTime *time = &plan->time;
  Backend *be = t->ctx.be;
  BucketSums sums = sum_buckets(&t->model->params);
  double examples = fmin((double)c->train.batch_size, (double)o->train);
  double of_rank = fmax(1, examples / (double)c->dist.ranks) * o->mean_len;
  time->tokens = examples * o->mean_len;
  time->micro_batches = micro_batches(c, o, of_rank);
  time->steps = count_steps(c, o);
  BatchBounds shape = average_shape(o, of_rank / time->micro_batches);
  backend_null_price(be, &plan->device.rates);

  backend_costs_clear(be);
  trainer_drill(t, &shape, true);
  add_costs(time->step, be, time->micro_batches);
  time->one_step = seconds_of(be) * time->micro_batches;
  backend_costs_clear(be);
  trainer_drill_update(t);
  double share = c->dist.ranks > 1 && c->dist.shard >= SHARD_OPTIMIZER ? (double)c->dist.ranks : 1;
  add_costs(time->step, be, 1 / share);
  time->update = seconds_of(be) / share;
  time->collectives = collective_seconds(plan, c, &sums, time->micro_batches);
  time->one_step += time->update + time->collectives;
  for (int i = 0; i < OP_KINDS; i++) {
    time->flops += time->step[i].flops;
    time->bytes += time->step[i].bytes;
  }

  backend_costs_clear(be);
  trainer_drill(t, &shape, false);
  double packs = (double)o->held_out * o->mean_len / (double)shape.rows / (double)c->dist.ranks;
  time->one_evaluation = o->held_out > 0 ? seconds_of(be) * fmax(1, packs) : 0;
  int64_t every = c->train.eval_steps, saves = c->output.save_steps;
  if (o->held_out > 0) time->evaluations = 2 + (every > 0 ? (time->steps - 1) / every : 0);
  time->checkpoints = 1 + (saves > 0 ? (time->steps - 1) / saves : 0);
  time->one_checkpoint = (double)(plan->trained * 12) / disk_bytes_per_second;
  time->start = (double)plan->arenas.weights / disk_bytes_per_second;
  time->total = time->start + (double)time->steps * time->one_step +
                (double)time->evaluations * time->one_evaluation +
                (double)time->checkpoints * time->one_checkpoint;
}

// ---- the plan ----

static Status rehearse(RunPlan *plan, const RunConfig *config, Llama *model, Error *err) {
  Status status = STATUS_OK;
  Backend *be = NULL;
  Memory memory = {0};
  Trainer trainer;
  trainer_init_dry(&trainer, config, &plan->data, model);
  trainer.shadow = plan->device.shadow;
  if (trainer.shadow != NULL) trainer.shadow->forget(trainer.shadow);
  plan->bounds = trainer.bounds;
  plan->blocks = model->config.layers;
  plan->recomputed = model->checkpoint_blocks;
  TRY(trainer_plan(&trainer, &plan->arenas, &plan->micro_flops, err));
  TRY(backend_null_open(&be, err));
  be->row_multiple = trainer.shadow != NULL ? trainer.shadow->row_multiple : 0;
  be->few_rows = trainer.shadow != NULL ? trainer.shadow->few_rows : 0;
  TRY(memory_open_rehearsal(&memory, be, err));
  trainer_place(&trainer, be, &memory);
  fill_lines(plan, config, &model->params);
  fill_time(plan, config, &trainer);
done:
  memory_close(&memory);
  if (be != NULL) be->close(be);
  return status;
}

// With train.checkpointing as it is.
static Status make_as_set(RunPlan *plan, const RunConfig *config, const LlamaConfig *llama,
                          const DataOutline *data, const Device *device, Error *err) {
  Llama model = {0};
  *plan = (RunPlan){.device = *device, .data = *data};
  plan->limit = (int64_t)(device->gib * (1 << 30));
  Status status = train_model_declare(&model, llama, config, err);
  if (status != STATUS_OK) return status;
  plan->trained = param_count(&model.params, true);
  plan->weights = param_count(&model.params, false);
  status = rehearse(plan, config, &model, err);
  llama_free(&model);
  return status;
}

// Recomputing one block more never takes more memory, so halving finds the fewest. They are worked
// out last: the shadow's notes are those of the plan that stays.
static Status make_auto(RunPlan *plan, RunConfig *config, const LlamaConfig *llama,
                        const DataOutline *data, const Device *device, Error *err) {
  int64_t least = 0, most = llama->layers; // the answer lies in between
  while (least < most) {
    int64_t tried = least + (most - least) / 2;
    plan_set_recomputed(config, tried);
    Status status = make_as_set(plan, config, llama, data, device, err);
    if (status != STATUS_OK) return status;
    if (plan->fits) {
      most = tried;
    } else {
      least = tried + 1;
    }
  }
  plan_set_recomputed(config, least);
  return make_as_set(plan, config, llama, data, device, err);
}

void plan_set_recomputed(RunConfig *config, int64_t blocks) {
  config->train.checkpointing = blocks > 0 ? CHECKPOINTING_ON : CHECKPOINTING_OFF;
  config->train.checkpoint_blocks = blocks;
}

Status plan_make(RunPlan *plan, const RunConfig *config, const LlamaConfig *llama,
                 const DataOutline *data, const Device *device, Error *err) {
  if (config->train.checkpointing != CHECKPOINTING_AUTO)
    return make_as_set(plan, config, llama, data, device, err);
  RunConfig *copy = malloc(sizeof *copy);
  if (copy == NULL) return error_set(err, STATUS_MEMORY, "no memory for a plan");
  *copy = *config;
  Status status = make_auto(plan, copy, llama, data, device, err);
  free(copy);
  return status;
}
