// metrics.jsonl: one line a step
//
//   {"step": 1, "loss": ..., "grad_norm": ..., "lr": ..., "tokens": ..., "label_tokens": ...,
//    "seconds": ...}
//
// (loss: mean over the labels of the step's batch; grad_norm: before clipping; lr: of this step;
// tokens: of the batch) and one an evaluation: {"step": 0, "eval_loss": ..., "eval_perplexity":
// ..., "eval_tokens": ..., "eval_label_tokens": ..., "seconds": ...}. The line of a step that was
// not finite has null for what is not a number and, before "seconds", "skipped": true, "items":
// {FILE: [...]}: for each file of the data the places in it, from 0, of what was in the batch. A
// line is there whole or not at all.
#ifndef VMA_METRICS_H
#define VMA_METRICS_H

#include "trainer.h"

typedef struct Metrics {
  char *path;
  int fd;
} Metrics;

// What the lines that stay say about evaluations.
typedef struct KeptEvals {
  bool evaluated;             // at step `keep`
  double at_start, at_newest; // losses before step 1 and of the last line; NAN: none
} KeptEvals;

// Opens the file for adding to it. Of what it holds the lines up to and with step `keep` stay
// (keep < 0: none); torn lines go.
Status metrics_open(Metrics *metrics, const char *path, int64_t keep, KeptEvals *evals, Error *err);

// Also right for a zero-initialised struct.
void metrics_close(Metrics *metrics);

Status metrics_step(Metrics *metrics, int64_t step, const StepResult *result, double lr,
                    double seconds, Error *err);

// The batch of a step that was not finite.
typedef struct SkippedItems {
  const Dataset *dataset;
  const int32_t *examples; // [n]
  int64_t n;
} SkippedItems;
Status metrics_skip(Metrics *metrics, int64_t step, const StepResult *result, double lr,
                    const SkippedItems *items, double seconds, Error *err);

Status metrics_eval(Metrics *metrics, int64_t step, const EvalResult *result, double seconds,
                    Error *err);

// Makes the lines durable: before a checkpoint counts on them.
Status metrics_sync(Metrics *metrics, Error *err);

#endif
