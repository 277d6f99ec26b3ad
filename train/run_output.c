// The output folder of a run: whether it may be used, and by nobody else.
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "mapped_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char *const run_files[] = {"metrics.jsonl", "checkpoints", "adapter", "model", "best"};

// With resume=auto and no checkpoint a run begins afresh, over what an earlier one left behind:
// only a finished result is too good for that.
static Status check_output(const Run *run, Error *err) {
  const RunConfig *config = &run->config;
  bool begins_again = config->resume[0] != '\0';
  if (run->resume_path != NULL) return STATUS_OK;
  for (int i = 0; i < (int)(sizeof run_files / sizeof *run_files); i++) {
    char *path = text_format("%s/%s", config->output.dir, run_files[i]);
    bool there = file_exists(path);
    free(path);
    bool result = strcmp(run_files[i], "adapter") == 0 || strcmp(run_files[i], "model") == 0;
    if (begins_again && there && result) {
      return error_set(err, STATUS_USAGE,
                       "resume: %s holds a finished %s but no checkpoint to go on from: for a new "
                       "run give another output.dir or remove this one",
                       config->output.dir, run_files[i]);
    }
    if (there && !begins_again) {
      return error_set(
          err, STATUS_USAGE,
          "output.dir: %s holds a run already (%s): resume=auto goes on with it; for a "
          "new run give another folder or remove this one",
          config->output.dir, run_files[i]);
    }
  }
  return STATUS_OK;
}

// Two runs in one folder would replace each other's files.
static Status lock_output(Run *run, Error *err) {
  const char *dir = run->config.output.dir;
  if (run->lock >= 0) return check_output(run, err);
  run->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Some network file systems know no locks.
  if (run->lock < 0 || flock(run->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
    return check_output(run, err);
  return error_set(err, STATUS_USAGE,
                   "output.dir: %s: another vma-train is at work in it: wait for it, or give "
                   "another folder",
                   dir);
}

// The folder in which a new output.dir would be made: the nearest above it that exists.
static void nearest_folder(char *path) {
  while (!file_exists(path)) {
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
      snprintf(path, 2, "%s", slash == NULL ? "." : "/");
      return;
    }
    *slash = '\0';
  }
}

Status run_claim_output(Run *run, Error *err) {
  const char *dir = run->config.output.dir;
  Status status = check_output(run, err);
  if (status != STATUS_OK) return status;
  char *folder = text_format("%s", dir);
  nearest_folder(folder);
  if (access(folder, W_OK | X_OK) != 0 || !file_is_folder(folder)) {
    const char *why = file_is_folder(folder) ? strerror(errno) : "it is no folder";
    status =
        error_set(err, STATUS_IO, "output.dir: %s: nothing can be written there: %s%s%s", dir,
                  file_is_folder(folder) ? "" : folder, file_is_folder(folder) ? "" : ": ", why);
  } else if (file_exists(dir)) {
    status = lock_output(run, err);
  }
  free(folder);
  return status;
}

// What an adapter carries too; a trained model's folder has no place for it.
static Status write_template(const Run *run, Error *err) {
  const char *text = run->own_template->source;
  char *path = text_format("%s/template.json", run->config.output.dir);
  Status status = file_write(path, text, (int64_t)strlen(text), err);
  free(path);
  return status;
}

// What killed processes left half made: whole models, of which nobody would ever hear again.
// run_restore_best looks at the best weights that were being replaced.
static void sweep_output(const char *dir) {
  static const char *const made[] = {".new-model", ".new-best", ".old-model"};
  DIR *folder = opendir(dir);
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
      if (strncmp(entry->d_name, made[i], strlen(made[i])) != 0) continue;
      char *path = text_format("%s/%s", dir, entry->d_name);
      folder_remove(path, NULL);
      free(path);
      break;
    }
  }
  if (folder != NULL) closedir(folder);
}

Status run_open_output(Run *run, Error *err) {
  Status status = STATUS_OK;
  const char *dir = run->config.output.dir;
  char *metrics = text_format("%s/metrics.jsonl", dir);
  KeptEvals kept;
  TRY(file_make_folders(dir, err));
  TRY(lock_output(run, err));
  checkpoint_sweep(run->checkpoints);
  sweep_output(dir);
  if (run->own_template != NULL) TRY(write_template(run, err));
  TRY(run_restore_best(run, err));
  TRY(run_write_record(run, err));
  TRY(metrics_open(&run->metrics, metrics, run->resume_path != NULL ? run->step : -1, &kept, err));
  run->evaluated = kept.evaluated;
  run->first_eval = kept.at_start;
  run->last_eval = kept.at_newest;
  run->opened = true;
  TRY(run_write_manifest(run, "running", "", err));
done:
  free(metrics);
  return status;
}
