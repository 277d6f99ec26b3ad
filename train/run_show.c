// What a run shows before its first step.
#include "run_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

Status show_config(const RunConfig *config, Error *err) {
  char *text = config_dump(config, false);
  if (text == NULL) return error_set(err, STATUS_MEMORY, "no memory for the config's text");
  printf("# config\n%s\n", text);
  fflush(stdout);
  free(text);
  return STATUS_OK;
}

void show_data(const Run *run) {
  const DatasetStats *s = &run->data.stats;
  printf("# data: %s\n", run->config.data.path);
  printf("items            %" PRId64 " (%" PRId64 " with an input)\n", s->items, s->with_input);
  printf("examples         %" PRId64 ": %" PRId64 " to train on, %" PRId64 " held out\n",
         s->examples, run->split.n_train, run->split.n_held_out);
  printf("cut              %" PRId64 " at %" PRId64 " tokens\n", s->cut,
         run->config.data.cutoff_len);
  printf("without a label  %" PRId64 " (left out)\n", s->no_label);
  printf("tokens           %" PRId64 ", of which %" PRId64 " are labels\n", s->tokens,
         s->label_tokens);
  printf("length           shortest %d, median %d, 90 %% %d, 99 %% %d, longest %d\n", s->shortest,
         s->median, s->p90, s->p99, s->longest);
  printf("steps            %" PRId64 ", %" PRId64 " an epoch, %" PRId64 " of warm-up\n\n",
         run->total, run->per_epoch, run->warmup);
  fflush(stdout);
}

static void memory_line(const char *name, int64_t bytes, int64_t total, const char *what) {
  printf("%-11s %12.1f MiB  %5.1f %%  %s\n", name, (double)bytes / (1 << 20),
         total > 0 ? 100.0 * (double)bytes / (double)total : 0.0, what);
}

void show_memory(const Run *run, const MemoryPlan *p, double flops) {
  const BatchBounds *b = &run->trainer.bounds;
  int64_t copy = run->buffer.count * (int64_t)sizeof(float);
  int64_t data = run->data.n_ids * 4 + run->data.n * (int64_t)sizeof(Example);
  int64_t total = p->weights + p->state + p->step + p->cache + p->host + copy + data;
  printf("# memory: %s (%s), micro-batches of at most %" PRId64 " tokens, %" PRId64
         " sequences, %" PRId64 " labels; %.3g FLOPs each\n",
         run->be->name, run->be->gemm_path, b->rows, b->seqs, b->labels, flops);
  memory_line("weights", p->weights, total, "base weights and adapters");
  memory_line("state", p->state, total, "gradients and moments");
  memory_line("step", p->step, total, "activations");
  memory_line("cache", p->cache, total, "keys and values of generation");
  memory_line("host", p->host, total, "the tape's records");
  memory_line("checkpoint", copy, total, "the copy that checkpoints are written from");
  memory_line("data", data, total, "token ids");
  memory_line("total", total, total, "");
  printf("trained: %" PRId64 " of %" PRId64 " weights\n\n", param_count(&run->model.params, true),
         param_count(&run->model.params, false));
  fflush(stdout);
}
