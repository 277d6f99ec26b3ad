// A run from its beginning to its end.
#include "run.h"

#include "checkpoint_folder.h"
#include "run_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void close_run(Run *run) {
  metrics_close(&run->metrics);
  if (run->lock >= 0) close(run->lock);
  trainer_free(&run->trainer);
  memory_close(&run->memory);
  if (run->be != NULL) run->be->close(run->be);
  if (run->model.blocks != NULL) llama_free(&run->model);
  dataset_split_free(&run->split);
  dataset_free(&run->data);
  peft_adapter_free(&run->initial);
  tokenizer_close(run->tokenizer);
  template_free(run->own_template);
  store_close(run->store);
  free(run->order);
  free(run->batch);
  free(run->resume_path);
  free(run->checkpoints);
  free(run);
}

Status train_run(const RunConfig *config, const volatile sig_atomic_t *stop, Error *err) {
  Status status = STATUS_OK;
  Run *run = calloc(1, sizeof *run); // with two configs in it: too large for a stack
  if (run == NULL) return error_set(err, STATUS_MEMORY, "no memory");
  run->config = *config;
  run->stop = stop;
  standard_time(run->started);
  run->saved = run->order_epoch = -1;
  run->first_eval = run->last_eval = NAN;
  run->metrics.fd = run->lock = -1;
  run->checkpoints = text_format("%s/checkpoints", config->output.dir);
  TRY(run_check_here(config, err));
  TRY(run_find_checkpoint(run, err));
  TRY(run_claim_output(run, err));
  TRY(run_open_model(run, err));
  TRY(run_load_data(run, err));
  TRY(run_plan_course(run, err));
  TRY(show_config(config, err));
  print_data(run, stdout);
  printf("\n");
  fflush(stdout);
  TRY(run_open_backend(run, err));
  TRY(run_make_trainer(run, err));
  TRY(run_fill_model(run, err));
  TRY(run_open_output(run, err));
  TRY(run_loop(run, err));
  TRY(run_write_result(run, err));
done:
  if (status != STATUS_OK) progress_end(&run->progress);
  status = run_end(run, status, err);
  close_run(run);
  return status;
}
