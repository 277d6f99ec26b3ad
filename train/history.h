// metrics.jsonl (metrics.h) read back: the course of a run, whichever processes made it.
#ifndef VMA_HISTORY_H
#define VMA_HISTORY_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct StepPoint {
  int64_t step, tokens;
  double loss, grad_norm, lr, seconds; // NAN for null
  bool skipped;
} StepPoint;

typedef struct EvalPoint {
  int64_t step;
  double loss, seconds; // NAN for null
} EvalPoint;

typedef struct History {
  StepPoint *steps; // [n_steps]
  EvalPoint *evals; // [n_evals]
  int64_t n_steps, n_evals, n_skipped;
} History;

// Lines that are not whole or say nothing of a step are passed over. On failure it is empty.
Status history_read(History *history, const char *path, Error *err);

// The first and the last finite loss of its steps; NAN where there is none.
double history_first_loss(const History *history);
double history_last_loss(const History *history);

// Also right for a zero-initialised struct.
void history_free(History *history);

#endif
