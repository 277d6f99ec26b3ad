// config.yaml: the config of a run with all that it left open settled, so that it can be given back
// to repeat the run to the same bits.
#include "run_parts.h"

#include "check.h"
#include "checkpoint_folder.h"
#include "mapped_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int choice_of(const char *const *names, int n, const char *name, size_t length) {
  for (int i = 0; i < n; i++) {
    if (names[i] != NULL && strlen(names[i]) == length && strncmp(names[i], name, length) == 0)
      return i;
  }
  return 0; // auto
}

// "onednn-bf16/avx512bf16": the GEMM, and the instruction set of all other ops.
static void record_gemm(RunConfig *config, const char *gemm_path) {
  size_t length = strcspn(gemm_path, "/");
  const char *isa = gemm_path[length] == '/' ? gemm_path + length + 1 : "";
  config->train.gemm = (GemmChoice)choice_of(run_gemm_names, GEMM_CHOICES, gemm_path, length);
  config->train.isa = (IsaChoice)choice_of(run_isa_names, ISA_CHOICES, isa, strlen(isa));
}

RunConfig run_record(const Run *run) {
  RunConfig record = run->config;
  record_gemm(&record, run->be->gemm_path);
  record.train.threads = run_threads(&run->config);
  if (strcmp(record.train.device, "auto") == 0) {
    snprintf(record.train.device, sizeof record.train.device, "%s",
             run->be->device != NULL ? "cuda" : "cpu");
  }
  if (record.train.checkpointing == CHECKPOINTING_AUTO) {
    record.train.checkpoint_blocks = run->model.checkpoint_blocks;
    record.train.checkpointing =
        run->model.checkpoint_blocks > 0 ? CHECKPOINTING_ON : CHECKPOINTING_OFF;
  }
  snprintf(record.model.hash, sizeof record.model.hash, "%s", run->base_hash);
  snprintf(record.data.sha256, sizeof record.data.sha256, "%s", run->data.sha256);
  const char *template = run->own_template != NULL ? run->template_sha256 : "";
  snprintf(record.data.template_sha256, sizeof record.data.template_sha256, "%s", template);
  // Where a run went on from is no part of it: all of it is repeated.
  memset(record.resume, 0, sizeof record.resume);
  return record;
}

Status run_write_record(const Run *run, Error *err) {
  RunConfig *record = malloc(sizeof *record);
  CHECK(record != NULL, "no memory for a config");
  *record = run_record(run);
  char *text = config_dump(record, false);
  char *path = text_format("%s/config.yaml", run->config.output.dir);
  Status status = text != NULL ? file_write(path, text, (int64_t)strlen(text), err)
                               : error_set(err, STATUS_MEMORY, "no memory for the config's text");
  free(record);
  free(text);
  free(path);
  return status;
}

static void warn_of_change(const char *key, const char *path, const char *expected,
                           const char *found) {
  if (expected[0] == '\0' || strcmp(expected, found) == 0) return;
  fprintf(stderr,
          "vma-train: warning: %s: the content of %s is not what it was (%.16s..., now %.16s...): "
          "the numbers will not be those of the run that this config was made by\n",
          key, path, expected, found);
}

void run_check_record(const Run *run) {
  const RunConfig *c = &run->config;
  warn_of_change("model.hash", c->model.path, c->model.hash, run->base_hash);
  warn_of_change("data.sha256", c->data.path, c->data.sha256, run->data.sha256);
  warn_of_change("data.template_sha256", run_template(run)->name, c->data.template_sha256,
                 run->template_sha256);
}
