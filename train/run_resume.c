// Going on from a checkpoint: which one, and whether it fits.
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "mapped_file.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t run_threads(const RunConfig *config) {
  if (config->train.threads > 0) return config->train.threads;
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

// The newest checkpoint that is whole; run->resume_path stays NULL when there is none at all.
static Status find_newest(Run *run, const char *folder, Error *err) {
  Status status = STATUS_OK;
  int64_t *steps = NULL, n = 0;
  TRY(checkpoint_list(folder, &steps, &n, err));
  for (int64_t i = 0; i < n; i++) {
    char *path = checkpoint_path(folder, steps[i]);
    status = checkpoint_read(&run->resumed, path, err);
    if (status == STATUS_OK && run->resumed.step != steps[i]) {
      status = error_set(err, STATUS_DATA, "%s: holds step %" PRId64, path, run->resumed.step);
    }
    if (status == STATUS_OK) {
      run->resume_path = path;
      break;
    }
    free(path);
    if (i + 1 < n) {
      fprintf(stderr, "vma-train: warning: %s; the checkpoint before it is taken\n", err->message);
    } else {
      error_prefix(err, "resume: no checkpoint in %s is whole; the oldest", folder);
    }
  }
done:
  free(steps);
  return status;
}

Status run_find_checkpoint(Run *run, Error *err) {
  const char *resume = run->config.resume;
  ConfigDifference texts;
  Status status = STATUS_OK;
  char *inner = NULL;
  if (resume[0] == '\0') return STATUS_OK;
  if (strcmp(resume, "auto") == 0) {
    TRY(find_newest(run, run->checkpoints, err));
    if (run->resume_path == NULL) return STATUS_OK;
  } else if (inner = text_format("%s/checkpoints", resume), file_is_folder(inner)) {
    TRY(find_newest(run, inner, err)); // the folder of a run
    if (run->resume_path == NULL)
      TRY(error_set(err, STATUS_NO_INPUT, "resume: %s: there is no checkpoint in it", inner));
  } else {
    if (!file_is_folder(resume))
      TRY(error_set(err, STATUS_NO_INPUT, "resume: %s: there is no such folder", resume));
    TRY(checkpoint_read(&run->resumed, resume, err));
    run->resume_path = text_format("%s", resume);
  }
  const char *key = config_difference(&run->resumed.config, &run->config, &texts);
  if (key != NULL) {
    TRY(error_set(
        err, STATUS_USAGE,
        "resume: %s was %s in %s and is %s now; it decides the run's numbers: set it back, "
        "or start a new run in another output.dir",
        key, texts.before, run->resume_path, texts.now));
  }
done:
  free(inner);
  return status;
}

Status run_check_checkpoint(const Run *run, Error *err) {
  const CheckpointState *before = &run->resumed;
  if (run->resume_path == NULL) return STATUS_OK;
  if (strcmp(before->data_sha256, run->data.sha256) != 0) {
    return error_set(
        err, STATUS_USAGE, "resume: %s is not the data that %s was trained on (SHA-256 %s, was %s)",
        run->config.data.path, run->resume_path, run->data.sha256, before->data_sha256);
  }
  const char *template = before->template_sha256;
  if (template[0] != '\0' && strcmp(template, run->template_sha256) != 0) {
    bool own = run->own_template != NULL;
    return error_set(err, STATUS_USAGE,
                     "resume: %s: %s is not the template that %s was trained with (SHA-256 %s, was "
                     "%s)%s",
                     own ? "data.template_file" : "data.template", run_template(run)->name,
                     run->resume_path, run->template_sha256, template,
                     own ? "; the run's own is template.json in its folder" : "");
  }
  if (strcmp(before->base_hash, run->base_hash) != 0) {
    return error_set(
        err, STATUS_USAGE,
        "resume: the weights in %s are not those that %s was trained on (hash %s, was %s)",
        run->config.model.path, run->resume_path, run->base_hash, before->base_hash);
  }
  if (before->step > run->total) {
    return error_set(err, STATUS_USAGE, "resume: %s is of step %" PRId64 ", the run has %" PRId64,
                     run->resume_path, before->step, run->total);
  }
  if (strcmp(before->gemm_path, run->be->gemm_path) != 0) {
    fprintf(stderr,
            "vma-train: warning: the GEMM was %s and is %s: results will differ by rounding from a "
            "run that was not stopped\n",
            before->gemm_path, run->be->gemm_path);
  }
  if (run->be->device == NULL && before->threads != run_threads(&run->config)) {
    fprintf(stderr,
            "vma-train: warning: %" PRId64 " threads before, %" PRId64
            " now: results may differ by rounding from a run that was not stopped\n",
            before->threads, run_threads(&run->config));
  }
  return STATUS_OK;
}
