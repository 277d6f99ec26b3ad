// Checkpoints of a run: folders "step-NNNNNN" in one folder, each with
//
//   adapter_config.json, adapter_model.safetensors   the adapter, ready for use (LoRA)
//   trainer.safetensors   f32: for each trainable weight NAME itself (of a bf16 weight the master)
//                         and its two moments, as "w:NAME[first:end]", "m:...", "v:..." (ranges of
//                         the flat weight)
//   state.json            the step, and what the run's numbers hang on; SHA-256 of
//   trainer.safetensors
//
// A checkpoint is written under a hidden temporary name, made durable and renamed: a folder of the
// final name is whole. Where a run stands follows from its step alone: the order of an epoch
// depends on (seed, epoch) and dropout on (seed, step), so no state of a generator is kept.
#ifndef VMA_CHECKPOINT_H
#define VMA_CHECKPOINT_H

#include "config.h"
#include "optimizer.h"
#include "peft_adapter.h"

enum { CHECKPOINT_NAME_BYTES = 64 };

typedef struct CheckpointState {
  int64_t step;     // steps done
  int64_t epoch;    // of the next step
  int64_t in_epoch; // batches of that epoch done
  int64_t threads;
  bool evaluated; // at that step
  // Steps whose loss or gradients were not finite: so far, and without one that was in between.
  int64_t skipped, skipped_in_row;
  // The best held-out loss so far and its step, 0: none; evaluations since then without a better.
  double best_loss;
  int64_t best_step, waited;
  // Of the template's text, of a built-in one its name; "": a checkpoint that does not say.
  char template_sha256[65];
  char data_sha256[65], base_hash[65];
  char gemm_path[64];
  RunConfig config;
} CheckpointState;

// Writes folder/step-NNNNNN (replacing one of that name), then removes the oldest ones before it so
// that `keep` are left (0: all). `adapter` may be NULL: a run that trains all weights. Tensors go
// from the backend to the file a few MiB at a time. On failure the checkpoints that were there are
// as they were.
Status checkpoint_save(const char *folder, const CheckpointState *state, const ParamTable *table,
                       Backend *be, const PeftAdapter *adapter, int64_t keep, Error *err);

// Reads and checks state.json and the hash of trainer.safetensors. STATUS_DATA names what is
// damaged.
Status checkpoint_read(CheckpointState *state, const char *path, Error *err);

// Sets the weights and moments of all trainable parameters; a missing or mis-shaped one is an
// error.
Status checkpoint_restore(const char *path, ParamTable *table, Backend *be, Error *err);

// Steps of the checkpoints in a folder, newest first, to be freed; none for a missing folder.
Status checkpoint_list(const char *folder, int64_t **steps, int64_t *n, Error *err);

// "folder/step-000012", to be freed by the caller.
char *checkpoint_path(const char *folder, int64_t step);

// Removes what a write that was cut short has left in the folder.
void checkpoint_sweep(const char *folder);

#endif
