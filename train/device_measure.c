// The rates of this machine's CPU: a small model of the run's widths takes a step on the run's own
// backend, metered by kinds of ops.
#include "devices.h"

#include "check.h"
#include "free_memory.h"
#include "progress.h"
#include "train_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  LAYERS = 1,
  VOCAB_MOST = 4096,
  WIDTH_MOST = 1024, // wider products are no faster
  REPEATS_LEAST = 3, // the first one, which makes primitives and scratch, does not count
  REPEATS_MOST = 8,
  ROWS_LEAST = 64,
};
// Of one repeat: some hundred rows, as products of few rows are slower.
static const double flops_wanted = 2e10;
static const double seconds_enough = 0.4;

// The run's model with few layers and tokens; a very wide one narrowed in all its parts alike.
static LlamaConfig small_model(const LlamaConfig *llama) {
  LlamaConfig c = *llama;
  if (c.layers > LAYERS) c.layers = LAYERS;
  if (c.vocab > VOCAB_MOST) c.vocab = VOCAB_MOST;
  while (c.hidden > WIDTH_MOST && c.kv_heads % 2 == 0) {
    c.hidden /= 2;
    c.ffn /= 2;
    c.heads /= 2;
    c.kv_heads /= 2;
  }
  return c;
}

// Without what speaks of single layers, which may not be there.
static Status declare_small(Llama *model, const LlamaConfig *small, RunConfig *c, Error *err) {
  Status status = train_model_declare(model, small, c, err);
  if (status != STATUS_USAGE || c->method != METHOD_LORA) return status;
  c->lora.targets = (ConfigWords){.n = 1, .words = {"all-linear"}};
  return train_model_declare(model, small, c, err);
}

static void small_config(RunConfig *c, const RunConfig *config) {
  *c = *config;
  c->lora.rank_pattern.n = c->lora.alpha_pattern.n = c->train.freeze.n = 0;
  c->dist.ranks = 1;
}

static DataOutline small_outline(const RunConfig *config, const LlamaConfig *llama,
                                 const DataOutline *outline) {
  double block = (double)llama->hidden *
                 (2.0 * (double)(llama->heads + llama->kv_heads) * (double)llama->head_dim +
                  3.0 * (double)llama->ffn);
  double weights = block * (double)llama->layers + (double)(llama->vocab * llama->hidden);
  int64_t rows = (int64_t)(flops_wanted / (6 * weights)) / ROWS_LEAST * ROWS_LEAST;
  if (rows > config->train.micro_tokens) rows = config->train.micro_tokens;
  if (rows > outline->batch_tokens) rows = outline->batch_tokens;
  if (rows < ROWS_LEAST) rows = ROWS_LEAST;
  int64_t length = (int64_t)outline->mean_len;
  if (length > rows) length = rows;
  if (length < 1) length = 1;
  return (DataOutline){.train = 1,
                       .mean_len = (double)length,
                       .longest = length,
                       .shortest = length,
                       .batch_tokens = rows,
                       .batch_labels = rows};
}

// Zeros would be read from one page.
static void fill_weights(Llama *model, Backend *be) {
  for (int64_t i = 0; i < model->params.n; i++) be->fill(be, model->params.items[i].value.t, 0.01);
}

static void take_rates(OpRates *rates, const OpCost best[OP_KINDS]) {
  for (int kind = 0; kind < OP_KINDS; kind++) {
    const OpCost *c = &best[kind];
    OpRate *r = &rates->kind[kind];
    if (c->seconds <= 0) continue;
    if (c->flops > 0) {
      r->flops[0] = r->flops[1] = c->flops / c->seconds;
    } else {
      r->bytes = c->bytes / c->seconds;
    }
  }
  // Ops that this run does not have may still be asked about.
  if (best[OP_GEMM_BACK_W].seconds <= 0) rates->kind[OP_GEMM_BACK_W] = rates->kind[OP_GEMM];
}

static Status drill(OpRates *rates, Trainer *trainer, Backend *meter, Error *err) {
  Status status = STATUS_OK;
  Memory memory = {0};
  MemoryPlan plan;
  OpCost best[OP_KINDS];
  TRY(trainer_plan(trainer, &plan, NULL, err));
  TRY(memory_open(&memory, meter, &plan, err));
  trainer_place(trainer, meter, &memory);
  fill_weights(trainer->model, meter);
  double began = clock_seconds();
  for (int i = 0; i < REPEATS_MOST; i++) {
    if (i >= REPEATS_LEAST && clock_seconds() - began > seconds_enough) break;
    backend_costs_clear(meter);
    trainer_drill(trainer, &trainer->bounds, true);
    trainer_drill_update(trainer);
    const OpCost *costs = backend_costs(meter);
    for (int kind = 0; kind < OP_KINDS; kind++) {
      if (i <= 1 || costs[kind].seconds < best[kind].seconds) best[kind] = costs[kind];
    }
  }
  take_rates(rates, best);
done:
  memory_close(&memory);
  return status;
}

Status device_measure(Device *device, Backend *be, const RunConfig *config,
                      const LlamaConfig *llama, const DataOutline *outline, Error *err) {
  Status status = STATUS_OK;
  Backend *meter = NULL;
  Llama model = {0};
  Trainer trainer = {0};
  LlamaConfig small = small_model(llama);
  RunConfig *c = malloc(sizeof *c);
  CHECK(c != NULL, "no memory for a config");
  small_config(c, config);
  *device = (Device){.name = "cpu",
                     .title = "this machine's CPU",
                     .gib = (double)free_memory_bytes("") / (1 << 30),
                     .measured = true,
                     .shadow = be->shadow};
  clockid_t clock = config->train.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
  TRY(backend_meter_open(&meter, be, clock, err));
  TRY(declare_small(&model, &small, c, err));
  DataOutline shape = small_outline(c, &small, outline);
  trainer_init_dry(&trainer, c, &shape, &model);
  trainer.bounds.seqs = trainer.bounds.rows / shape.longest;
  TRY(drill(&device->rates, &trainer, meter, err));
  // Now its code and the threads' stacks have been used.
  device->process = process_memory_bytes() - be->counts.scratch;
done:
  trainer_free(&trainer);
  if (model.blocks != NULL) llama_free(&model);
  if (meter != NULL) meter->close(meter);
  free(c);
  return status;
}
