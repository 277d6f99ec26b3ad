// The course of a run: steps, evaluations, checkpoints.
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "run_samples.h"
#include "schedule.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Steps in a row that are not finite after which a run ends: nothing will get better by itself.
enum { SKIPPED_IN_ROW_MAX = 10 };

// A file that is made in output.dir to ask for something; it is gone when it has been seen.
static bool take_switch(const Run *run, const char *name) {
  char *path = text_format("%s/%s", run->config.output.dir, name);
  bool there = unlink(path) == 0;
  free(path);
  return there;
}

static bool stop_wanted(Run *run) {
  if (run->stop != NULL && *run->stop) return true;
  if (!run->file_stop) run->file_stop = take_switch(run, "STOP");
  return run->file_stop;
}

static bool run_ends(const Run *run) {
  return run->step == run->total || run_stops_early(run);
}

static bool eval_due(const Run *run) {
  int64_t every = run->config.train.eval_steps;
  if (run->split.n_held_out == 0) return false;
  return run->step == 0 || run->step == run->total || (every > 0 && run->step % every == 0);
}

static bool save_due(const Run *run) {
  int64_t every = run->config.output.save_steps;
  bool asked = take_switch(run, "SAVE"); // taken away also where the step is saved anyway
  return asked || run_ends(run) || (every > 0 && run->step % every == 0);
}

static Status evaluate(Run *run, Error *err) {
  double start = clock_seconds();
  EvalResult result = trainer_evaluate(&run->trainer, run->split.held_out, run->split.n_held_out);
  if (result.stopped) return STATUS_OK;
  double seconds = clock_seconds() - start;
  run->evaluated = true;
  run->progress.evaluations.seconds = seconds;
  if (run->step == 0) run->first_eval = result.loss;
  run->last_eval = result.loss;
  progress_note(&run->progress,
                "step %" PRId64 "/%" PRId64 "  held-out loss %.4f (perplexity %.4g) over %" PRId64
                " labels of %" PRId64 " examples  (%.1f s)",
                run->step, run->total, result.loss, exp(result.loss), result.label_tokens,
                run->split.n_held_out, seconds);
  Status status = metrics_eval(&run->metrics, run->step, &result, seconds, err);
  // When going on in another folder, the checkpoint has counted this one already.
  bool counted =
      run->resume_path != NULL && run->step == run->resumed.step && run->resumed.evaluated;
  return status == STATUS_OK && !counted ? run_consider_best(run, result.loss, err) : status;
}

static Status save(Run *run, Error *err) {
  Status status = STATUS_OK;
  double start = clock_seconds();
  PeftAdapter adapter = {0};
  CheckpointState state = {.step = run->step,
                           .epoch = run->step / run->per_epoch,
                           .in_epoch = run->step % run->per_epoch,
                           .threads = run_threads(&run->config),
                           .evaluated = run->evaluated,
                           .skipped = run->trainer.skipped,
                           .skipped_in_row = run->skipped_in_row,
                           .best_loss = run->best.loss,
                           .best_step = run->best.step,
                           .waited = run->best.waited,
                           .config = run->config};
  snprintf(state.gemm_path, sizeof state.gemm_path, "%s", run->be->gemm_path);
  memcpy(state.data_sha256, run->data.sha256, sizeof state.data_sha256);
  memcpy(state.template_sha256, run->template_sha256, sizeof state.template_sha256);
  memcpy(state.base_hash, run->base_hash, sizeof state.base_hash);
  TRY(metrics_sync(&run->metrics, err));
  bool lora = run->config.method == METHOD_LORA;
  if (lora)
    TRY(train_model_adapter(&adapter, &run->model, run->be, &run->config, run_template(run),
                            run->base_hash, err));
  TRY(checkpoint_save(run->checkpoints, &state, &run->model.params, run->be, lora ? &adapter : NULL,
                      run->config.output.keep, err));
  run->saved = run->step;
  run->progress.checkpoints.seconds = clock_seconds() - start;
done:
  peft_adapter_free(&adapter);
  return status;
}

// The examples of the next global batch; the last one of an epoch may be smaller.
static int64_t next_batch(Run *run) {
  int64_t epoch = run->step / run->per_epoch, size = run->config.train.batch_size;
  int64_t first = run->step % run->per_epoch * size, n = run->epoch_size - first;
  if (epoch != run->order_epoch) {
    run_epoch_order(run->order, run->epoch_size, &run->config, &run->data, &run->split, epoch,
                    run->config.data.group_by_length);
    run->order_epoch = epoch;
  }
  if (n > size) n = size;
  for (int64_t i = 0; i < n; i++) run->batch[i] = run->order[first + i];
  return n;
}

// A step that was not finite, by train.on_nonfinite. err says which, and becomes a warning or the
// end of the run.
static Status skip_step(Run *run, const StepResult *result, int64_t n, double lr, double seconds,
                        Error *err) {
  Error why = *err;
  if (run->config.train.on_nonfinite == ON_NONFINITE_STOP) {
    bool saves = run->step > 0 && run->saved != run->step;
    Status status = saves ? save(run, err) : STATUS_OK; // what went before is sound
    if (status != STATUS_OK) return status;
    return error_set(err, STATUS_FAILED,
                     "%s. A smaller train.lr or model.dtype=f32 may help; with "
                     "train.on_nonfinite=skip%s such a step is passed over",
                     why.message, run->step > 0 ? " resume=auto" : "");
  }
  SkippedItems skipped = {.dataset = &run->data, .examples = run->batch, .n = n};
  run->step++;
  run->trainer.skipped++;
  run->skipped_in_row++;
  run->evaluated = false;
  Status status = metrics_skip(&run->metrics, run->step, result, lr, &skipped, seconds, err);
  if (status != STATUS_OK) return status;
  if (run->skipped_in_row >= SKIPPED_IN_ROW_MAX) {
    return error_set(err, STATUS_FAILED, "%s. It was the last of %d in a row: the run ends",
                     why.message, SKIPPED_IN_ROW_MAX);
  }
  progress_end(&run->progress);
  fprintf(stderr, "vma-train: warning: skipped %s\n", why.message);
  return STATUS_OK;
}

static Status one_step(Run *run, Error *err) {
  StepResult result;
  double start = clock_seconds();
  double lr = run->config.train.lr *
              schedule_factor(run->config.train.schedule, run->step, run->warmup, run->total);
  int64_t n = next_batch(run);
  Status status = trainer_step(&run->trainer, run->batch, n, run->step + 1, lr, &result, err);
  double seconds = clock_seconds() - start;
  if (result.skipped) return skip_step(run, &result, n, lr, seconds, err);
  if (status != STATUS_OK) return status;
  run->step++;
  run->skipped_in_row = 0;
  run->evaluated = false;
  progress_step(&run->progress, run->step, &result, lr, seconds);
  return metrics_step(&run->metrics, run->step, &result, lr, seconds, err);
}

static Status stopped(Run *run, Error *err) {
  const char *by = run->file_stop ? "the file STOP" : "a signal";
  if (run->step == 0) return error_set(err, STATUS_TEMPORARY, "stopped by %s before step 1", by);
  if (run->saved != run->step) {
    Status status = save(run, err);
    if (status != STATUS_OK) return status;
  }
  return error_set(err, STATUS_TEMPORARY,
                   "stopped by %s after step %" PRId64 " of %" PRId64
                   "; saved in %s; run again with resume=auto to go on",
                   by, run->step, run->total, run->checkpoints);
}

Status run_loop(Run *run, Error *err) {
  Status status = STATUS_OK;
  progress_start(&run->progress, run->step, run->total, run->per_epoch);
  run->progress.evaluations.every = run->config.train.eval_steps;
  run->progress.checkpoints.every = run->config.output.save_steps;
  if (run->step == 0) TRY(run_answer_samples(run, false, err));
  if (eval_due(run) && !run->evaluated) TRY(evaluate(run, err));
  while (!run_ends(run) && !stop_wanted(run)) {
    TRY(one_step(run, err));
    if (eval_due(run)) TRY(evaluate(run, err));
    if (save_due(run)) TRY(save(run, err));
  }
  progress_end(&run->progress);
  bool complete = run_ends(run) && (!eval_due(run) || run->evaluated);
  if (!complete) return stopped(run, err);
done:
  return status;
}
