// The course of a run: steps, evaluations, checkpoints.
#include "run_parts.h"

#include "schedule.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool stop_wanted(const Run *run) {
  return run->stop != NULL && *run->stop;
}

static bool eval_due(const Run *run) {
  int64_t every = run->config.train.eval_steps;
  if (run->split.n_held_out == 0) return false;
  return run->step == 0 || run->step == run->total || (every > 0 && run->step % every == 0);
}

static bool save_due(const Run *run) {
  int64_t every = run->config.output.save_steps;
  return run->step == run->total || (every > 0 && run->step % every == 0);
}

static Status evaluate(Run *run, Error *err) {
  double start = clock_seconds();
  EvalResult result = trainer_evaluate(&run->trainer, run->split.held_out, run->split.n_held_out);
  if (result.stopped) return STATUS_OK;
  double seconds = clock_seconds() - start;
  run->evaluated = true;
  if (run->step == 0) run->first_eval = result.loss;
  run->last_eval = result.loss;
  progress_note(&run->progress,
                "step %" PRId64 "/%" PRId64 "  held-out loss %.4f over %" PRId64
                " labels of %" PRId64 " examples  (%.1f s)",
                run->step, run->total, result.loss, result.label_tokens, run->split.n_held_out,
                seconds);
  return metrics_eval(&run->metrics, run->step, &result, seconds, err);
}

static Status save(Run *run, Error *err) {
  Status status = STATUS_OK;
  PeftAdapter adapter = {0};
  CheckpointState state = {.step = run->step,
                           .epoch = run->step / run->per_epoch,
                           .in_epoch = run->step % run->per_epoch,
                           .threads = run_threads(&run->config),
                           .config = run->config};
  snprintf(state.gemm_path, sizeof state.gemm_path, "%s", run->be->gemm_path);
  memcpy(state.data_sha256, run->data.sha256, sizeof state.data_sha256);
  memcpy(state.base_hash, run->base_hash, sizeof state.base_hash);
  TRY(metrics_sync(&run->metrics, err));
  TRY(train_model_adapter(&adapter, &run->model, run->be, &run->config, run->base_hash, err));
  TRY(checkpoint_save(run->checkpoints, &state, &run->model.params, run->be, &run->buffer, &adapter,
                      run->config.output.keep, err));
  run->saved = run->step;
done:
  peft_adapter_free(&adapter);
  return status;
}

// The examples of the next global batch; the last one of an epoch may be smaller.
static int64_t next_batch(Run *run) {
  int64_t epoch = run->step / run->per_epoch, size = run->config.train.batch_size;
  int64_t first = run->step % run->per_epoch * size, n = run->split.n_train - first;
  if (epoch != run->order_epoch) {
    dataset_epoch_order(run->order, run->split.n_train, run->config.data.shuffle,
                        (uint64_t)run->config.train.seed, epoch);
    run->order_epoch = epoch;
  }
  if (n > size) n = size;
  for (int64_t i = 0; i < n; i++) run->batch[i] = run->split.train[run->order[first + i]];
  return n;
}

static Status one_step(Run *run, Error *err) {
  Status status = STATUS_OK;
  StepResult result;
  double start = clock_seconds();
  double lr = run->config.train.lr *
              schedule_factor(run->config.train.schedule, run->step, run->warmup, run->total);
  int64_t n = next_batch(run);
  TRY(trainer_step(&run->trainer, run->batch, n, run->step + 1, lr, &result, err));
  run->step++;
  run->evaluated = false;
  double seconds = clock_seconds() - start;
  progress_step(&run->progress, run->step, &result, lr, seconds);
  TRY(metrics_step(&run->metrics, run->step, &result, lr, seconds, err));
done:
  return status;
}

static Status stopped(Run *run, Error *err) {
  if (run->step == 0) return error_set(err, STATUS_TEMPORARY, "stopped by a signal before step 1");
  if (run->saved != run->step) {
    Status status = save(run, err);
    if (status != STATUS_OK) return status;
  }
  return error_set(err, STATUS_TEMPORARY,
                   "stopped by a signal after step %" PRId64 " of %" PRId64
                   "; saved in %s; run again with resume=auto to go on",
                   run->step, run->total, run->checkpoints);
}

Status run_loop(Run *run, Error *err) {
  Status status = STATUS_OK;
  progress_start(&run->progress, run->step, run->total, run->per_epoch);
  if (eval_due(run) && !run->evaluated) TRY(evaluate(run, err));
  while (run->step < run->total && !stop_wanted(run)) {
    TRY(one_step(run, err));
    if (eval_due(run)) TRY(evaluate(run, err));
    if (save_due(run)) TRY(save(run, err));
  }
  progress_end(&run->progress);
  bool complete = run->step == run->total && (!eval_due(run) || run->evaluated);
  if (!complete) return stopped(run, err);
done:
  return status;
}
