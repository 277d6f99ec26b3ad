// What a run leaves behind.
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "llama_save.h"
#include "run_samples.h"
#include "tokenizer_save.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static Status write_adapter(const Run *run, const char *folder, Error *err) {
  Status status = STATUS_OK;
  PeftAdapter adapter = {0};
  TRY(train_model_adapter(&adapter, &run->model, run->be, &run->config, run_template(run),
                          run->base_hash, err));
  TRY(peft_adapter_write(&adapter, folder, err));
done:
  peft_adapter_free(&adapter);
  return status;
}

// In the dtype that was trained in: bf16 weights are their masters rounded.
static Status write_model(const Run *run, const char *folder, Error *err) {
  const RunConfig *c = &run->config;
  bool text = c->data.format == DATA_FORMAT_TEXT;
  LlamaSave save = {.dtype = c->model.dtype,
                    .base = c->model.path,
                    .about = "All weights were trained by vma-train (method: full).",
                    .template_name = text ? NULL : template_identity(run_template(run)),
                    .add_files = tokenizer_save_base,
                    .add_context = (void *)(uintptr_t)c->model.path}; // read only
  return llama_save(&run->model, run->be, folder, &save, err);
}

Status run_write_weights(const Run *run, const char *folder, Error *err) {
  return run->config.method == METHOD_FULL ? write_model(run, folder, err)
                                           : write_adapter(run, folder, err);
}

// A model's folder is never written into: a run that goes on after its end replaces it.
static Status replace_model(const Run *run, const char *path, Error *err) {
  Status status = STATUS_OK;
  char *temp = text_format("%s/.new-model", run->config.output.dir);
  TRY(folder_remove(temp, err));
  TRY(write_model(run, temp, err));
  TRY(folder_replace(temp, path, err));
done:
  if (status != STATUS_OK) folder_remove(temp, NULL);
  free(temp);
  return status;
}

static void show_end(const Run *run) {
  const RunBest *best = &run->best;
  if (!isnan(run->first_eval) && !isnan(run->last_eval)) {
    printf("held-out loss: %.4f before, %.4f after %" PRId64 " steps\n", run->first_eval,
           run->last_eval, run->step);
  } else if (!isnan(run->last_eval)) {
    printf("held-out loss: %.4f after %" PRId64 " steps\n", run->last_eval, run->step);
  }
  if (run->step < run->total && run_stops_early(run)) {
    printf("early stop: %" PRId64 " evaluations in a row were not better than step %" PRId64
           "; %" PRId64 " of %" PRId64 " steps done\n",
           best->waited, best->step, run->step, run->total);
  }
  if (run->trainer.skipped > 0)
    printf("skipped: %" PRId64 " steps that were not finite\n", run->trainer.skipped);
}

// The weights after the last step are the result; the best ones lie beside them.
Status run_write_result(Run *run, Error *err) {
  Status status = STATUS_OK;
  const RunBest *best = &run->best;
  const char *dir = run->config.output.dir;
  bool full = run->config.method == METHOD_FULL;
  const char *what = full ? "model" : "adapter";
  char *path = text_format("%s/%s", dir, what);
  TRY(full ? replace_model(run, path, err) : write_adapter(run, path, err));
  TRY(run_answer_samples(run, true, err));
  show_end(run);
  printf("%s: %s (the weights after step %" PRId64 ")\n", what, path, run->step);
  if (best->lost) {
    fprintf(stderr,
            "vma-train: warning: the best held-out loss, %.4f of step %" PRId64
            ", came before the checkpoint that this run went on from, and its weights were not "
            "found: nothing is kept in %s/best\n",
            best->loss, best->step, dir);
  } else if (best->step > 0 && run->config.output.best) {
    printf("best: %s/best (step %" PRId64 ", held-out loss %.4f)\n", dir, best->step, best->loss);
  }
  if (run->config.output.report) printf("report: %s/report.html\n", dir);
  PlanUse use = plan_use(&run->memory);
  int64_t steps = run->step - run->progress.first; // of this process
  if (steps > 0) use.step_seconds = run->progress.seconds / (double)steps;
  plan_show_use(&run->plan, &use);
done:
  free(path);
  return status;
}
