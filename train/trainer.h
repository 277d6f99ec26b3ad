// What a run computes: a global batch of examples becomes gradients and one AdamW step; a set of
// examples becomes a held-out loss. Files, order of the data and messages are run.h's.
//
// A global batch is cut into packed micro-batches of at most `micro_tokens` tokens. Gradients and
// loss are sums over all of its labels divided by their number, and dropout masks hang on an
// example's place in the global batch, so the cut changes results by rounding only.
//
// Memory: one worst-case micro-batch is rehearsed on the null backend, evaluation included;
// after trainer_place nothing is allocated.
#ifndef VMA_TRAINER_H
#define VMA_TRAINER_H

#include "config.h"
#include "dataset.h"
#include "llama.h"
#include "memory.h"
#include "optimizer.h"

#include <signal.h>

// What a plan has to know of the data.
typedef struct DataOutline {
  int64_t train, held_out;      // examples of an epoch, and held out
  int64_t examples;             // in memory: data.weights may take some more often than once
  double mean_len, mean_labels; // tokens of an example
  int64_t longest, shortest;
  // The most that the sequences of one rank's part of a global batch can have together.
  int64_t batch_tokens, batch_labels;
  bool assumed; // there is no data
} DataOutline;

// Tokens of a sample answer (run_samples.h) and its prompt, at most: what the cache has to hold; 0:
// the run makes none.
enum { SAMPLE_PROMPT_MAX = 256, SAMPLE_NEW_TOKENS = 64 };
int64_t trainer_sample_len(const RunConfig *config, const DataOutline *outline);

// Of all examples, counted as `train`: the caller knows the split.
DataOutline data_outline(const RunConfig *config, const Dataset *data);

// The largest micro-batch that the data can make.
typedef struct BatchBounds {
  int64_t rows, seqs, labels, longest;
} BatchBounds;

BatchBounds batch_bounds(const DataOutline *outline, const RunConfig *config);

typedef struct Trainer {
  const RunConfig *config;
  const Dataset *data;
  Llama *model;
  BatchBounds bounds;
  int64_t sample_len; // trainer_sample_len
  Backend *shadow;    // of the backend that will run it: its scratch is planned too; NULL: not
  PackedBatch packed;
  int32_t *lengths; // [batch_size]
  int64_t *ends;    // [batch_size]
  Ctx ctx;
  Optimizer optimizer;
  Tensor inv_count; // f32 [1,1] 1 / labels of the global batch
  Tensor loss;      // f64 [1,1] sum over the labels
  int64_t skipped;  // steps that the caller went past as not finite: AdamW's t does not count them
  // Set by a signal's handler, looked at between the batches of an evaluation; may be NULL.
  const volatile sig_atomic_t *stop;
} Trainer;

// How many of the model's blocks, from the first, a run recomputes: none with checkpointing off.
// The first, because the peak lies at the end of the forward, before the last blocks have given
// back theirs: what is recomputed then costs nothing yet.
int64_t trainer_checkpoint_blocks(const RunConfig *config, int64_t layers);

// `config`, `data` and `model` outlive the trainer. The model's weights are declared, its buckets
// made.
void trainer_init(Trainer *trainer, const RunConfig *config, const Dataset *data, Llama *model);
// Without data: for rehearsals.
void trainer_init_dry(Trainer *trainer, const RunConfig *config, const DataOutline *outline,
                      Llama *model);
void trainer_free(Trainer *trainer);

// Rehearses training, evaluation and sample answers on the null backend: what memory_open has to be
// asked for. flops, if not NULL: of the forward and backward of that micro-batch.
Status trainer_plan(Trainer *trainer, MemoryPlan *plan, double *flops, Error *err);

// Gives weights, gradients, moments and scalars their memory on `be`. Weights are not set yet,
// moments are zero.
void trainer_place(Trainer *trainer, Backend *be, Memory *memory);

// After placing: one micro-batch of that shape, forward and (to train) backward; and what a step
// does besides its micro-batches. What is computed means nothing; the null backend counts it, and a
// meter measures it.
void trainer_drill(Trainer *trainer, const BatchBounds *shape, bool train);
void trainer_drill_update(Trainer *trainer);

typedef struct StepResult {
  double loss;      // mean over the labels of the global batch
  double grad_norm; // before clipping
  int64_t tokens, label_tokens;
  bool skipped; // loss or norm is not finite
} StepResult;

// One optimizer step, `step` counted from 1, over the n <= batch_size examples (indices into the
// data set). A loss or norm that is not finite is STATUS_FAILED with the batch named; weights and
// moments are then as they were, and the next step may be taken. A batch without labels has loss 0
// and no gradient.
Status trainer_step(Trainer *trainer, const int32_t *examples, int64_t n, int64_t step, double lr,
                    StepResult *result, Error *err);

typedef struct EvalResult {
  double loss; // mean over all labels
  int64_t tokens, label_tokens;
  bool stopped; // by a signal: the rest is not there
} EvalResult;

// The mean loss over the labels of n examples, without dropout.
EvalResult trainer_evaluate(Trainer *trainer, const int32_t *examples, int64_t n);

#endif
