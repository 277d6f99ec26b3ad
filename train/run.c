// Setting a run up, and its result.
#include "run.h"

#include "check.h"
#include "checkpoint_folder.h"
#include "mapped_file.h"
#include "run_parts.h"
#include "schedule.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char *const run_files[] = {"metrics.jsonl", "checkpoints", "adapter"};

// ---- the output folder ----

// With resume=auto and no checkpoint a run begins afresh, over what an earlier one left behind:
// only a finished adapter is too good for that.
static Status check_output(const Run *run, Error *err) {
  const RunConfig *config = &run->config;
  bool begins_again = config->resume[0] != '\0';
  if (run->resume_path != NULL) return STATUS_OK;
  for (int i = 0; i < (int)(sizeof run_files / sizeof *run_files); i++) {
    char *path = text_format("%s/%s", config->output.dir, run_files[i]);
    bool there = file_exists(path);
    free(path);
    if (begins_again && there && strcmp(run_files[i], "adapter") == 0) {
      return error_set(err, STATUS_USAGE,
                       "resume: %s holds a finished adapter but no checkpoint to go on from: for a "
                       "new run give another output.dir or remove this one",
                       config->output.dir);
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

// What would stop the run at its first file is found before any weight is loaded. Makes nothing.
static Status claim_output(Run *run, Error *err) {
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

static Status open_output(Run *run, Error *err) {
  Status status = STATUS_OK;
  const char *dir = run->config.output.dir;
  char *metrics = text_format("%s/metrics.jsonl", dir),
       *config = text_format("%s/config.yaml", dir);
  char *text = config_dump(&run->config, false);
  KeptEvals kept;
  if (text == NULL) TRY(error_set(err, STATUS_MEMORY, "no memory for the config's text"));
  TRY(file_make_folders(dir, err));
  TRY(lock_output(run, err));
  checkpoint_sweep(run->checkpoints);
  TRY(file_write(config, text, (int64_t)strlen(text), err));
  TRY(metrics_open(&run->metrics, metrics, run->resume_path != NULL ? run->step : -1, &kept, err));
  run->evaluated = kept.evaluated;
  run->first_eval = kept.at_start;
  run->last_eval = kept.at_newest;
done:
  free(text);
  free(metrics);
  free(config);
  return status;
}

// ---- the parts ----

static Status check_ids(const Run *run, Error *err) {
  for (int64_t i = 0; i < run->data.n_ids; i++) {
    if (run->data.ids[i] >= run->model.config.vocab) {
      return error_set(err, STATUS_DATA,
                       "%s: the tokenizer gives id %d, the model has %" PRId64
                       " embeddings: they do not belong together",
                       run->config.model.path, run->data.ids[i], run->model.config.vocab);
    }
  }
  return STATUS_OK;
}

static Status load_data(Run *run, Error *err) {
  Status status = STATUS_OK;
  const RunConfig *c = &run->config;
  DatasetOptions options = {.template_kind = c->data.template_kind,
                            .cutoff_len = c->data.cutoff_len,
                            .train_on_inputs = c->data.train_on_inputs};
  TRY(dataset_load(&run->data, c->data.path, run->tokenizer, &options, err));
  TRY(dataset_split(&run->split, &run->data, c->data.val_set_size, (uint64_t)c->train.seed, err));
  TRY(check_ids(run, err));
  if (run->data.stats.longest > run->model.config.max_positions) {
    fprintf(stderr,
            "vma-train: warning: the longest example has %d tokens, the model's context %" PRId64
            ": what lies beyond is not learnt well; data.cutoff_len=%" PRId64 " cuts there\n",
            run->data.stats.longest, run->model.config.max_positions,
            run->model.config.max_positions);
  }
done:
  return status;
}

static Status plan_course(Run *run, Error *err) {
  const RunConfig *c = &run->config;
  int64_t batch = c->train.batch_size;
  run->per_epoch = (run->split.n_train + batch - 1) / batch;
  run->total = c->train.max_steps > 0 ? c->train.max_steps : c->train.epochs * run->per_epoch;
  if (run->total > INT32_MAX) {
    return error_set(err, STATUS_USAGE, "train.epochs: %" PRId64 " steps in all; at most %d are",
                     run->total, INT32_MAX);
  }
  run->warmup = schedule_warmup(c->train.warmup_steps, c->train.warmup_ratio, run->total);
  run->order = malloc((size_t)run->split.n_train * sizeof *run->order);
  run->batch = malloc((size_t)batch * sizeof *run->batch);
  CHECK(run->order != NULL && run->batch != NULL, "no memory for %lld examples",
        (long long)run->split.n_train);
  return STATUS_OK;
}

static const char *const gemm_names[] = {[GEMM_CHOICE_AUTO] = NULL,
                                         [GEMM_CHOICE_OWN] = "own",
                                         [GEMM_CHOICE_ONEDNN_F32] = "onednn-f32",
                                         [GEMM_CHOICE_ONEDNN_BF16] = "onednn-bf16"};

// The GEMM is measured at start-up, and its choice decides the bits: a run that goes on takes what
// it had before ("onednn-bf16/avx512bf16": the GEMM, and the instruction set of all other ops).
static Status open_backend(Run *run, Error *err) {
  CpuOptions options = {.threads = (int)run->config.train.threads,
                        .gemm = gemm_names[run->config.train.gemm]};
  char gemm[64], *isa = NULL;
  if (run->resume_path != NULL && options.gemm == NULL) {
    snprintf(gemm, sizeof gemm, "%s", run->resumed.gemm_path);
    isa = strchr(gemm, '/');
    if (isa != NULL) *isa++ = '\0';
    CpuOptions before = {.threads = options.threads, .gemm = gemm, .isa = isa};
    if (backend_cpu_open(&run->be, &before, NULL) == STATUS_OK) return STATUS_OK;
  }
  return backend_cpu_open(&run->be, &options, err);
}

// Model files that can be refused are, before any time is spent.
static Status open_model(Run *run, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig llama;
  TRY(store_open(&run->store, run->config.model.path, err));
  TRY(llama_config_load(&llama, run->store, err));
  TRY(train_model_initial(&run->initial, &run->config, err));
  TRY(train_model_declare(&run->model, &llama, &run->config, err));
  TRY(tokenizer_open(&run->tokenizer, run->config.model.path, err));
done:
  return status;
}

static Status make_trainer(Run *run, Error *err) {
  Status status = STATUS_OK;
  MemoryPlan plan;
  double flops = 0;
  trainer_init(&run->trainer, &run->config, &run->data, &run->model);
  run->trainer.stop = run->stop;
  TRY(checkpoint_buffer_init(&run->buffer, &run->model.params, err));
  TRY(trainer_plan(&run->trainer, &plan, &flops, err));
  show_memory(run, &plan, flops);
  TRY(memory_open(&run->memory, run->be, &plan, err));
  trainer_place(&run->trainer, run->be, &run->memory);
done:
  return status;
}

static Status fill_model(Run *run, Error *err) {
  Status status = STATUS_OK;
  TRY(train_model_fill(&run->model, run->be, run->store, &run->config, &run->initial, err));
  TRY(store_hash(run->store, run->base_hash, err));
  TRY(run_check_checkpoint(run, err)); // an error stands alone: before the warnings
  if (run->initial.base_hash != NULL && strcmp(run->initial.base_hash, run->base_hash) != 0) {
    fprintf(stderr, "vma-train: warning: %s was trained on other base weights than %s\n",
            run->config.lora.init_from, run->config.model.path);
  }
  if (run->initial.template_name != NULL &&
      template_kind_from_name(run->initial.template_name) != run->config.data.template_kind) {
    fprintf(stderr, "vma-train: warning: %s was trained with data.template=%s, this run has %s\n",
            run->config.lora.init_from, run->initial.template_name,
            template_kind_name(run->config.data.template_kind));
  }
  if (run->resume_path != NULL) {
    TRY(checkpoint_restore(run->resume_path, &run->model.params, run->be, err));
    run->step = run->saved = run->resumed.step;
    printf("going on from %s\n", run->resume_path);
  }
  store_close(run->store);
  run->store = NULL;
  peft_adapter_free(&run->initial);
done:
  return status;
}

static Status write_result(Run *run, Error *err) {
  Status status = STATUS_OK;
  PeftAdapter adapter = {0};
  char *path = text_format("%s/adapter", run->config.output.dir);
  TRY(train_model_adapter(&adapter, &run->model, run->be, &run->config, run->base_hash, err));
  TRY(peft_adapter_write(&adapter, path, err));
  if (!isnan(run->first_eval) && !isnan(run->last_eval)) {
    printf("held-out loss: %.4f before, %.4f after %" PRId64 " steps\n", run->first_eval,
           run->last_eval, run->total);
  } else if (!isnan(run->last_eval)) {
    printf("held-out loss: %.4f after %" PRId64 " steps\n", run->last_eval, run->total);
  }
  printf("adapter: %s\n", path);
done:
  free(path);
  peft_adapter_free(&adapter);
  return status;
}

static void close_run(Run *run) {
  metrics_close(&run->metrics);
  if (run->lock >= 0) close(run->lock);
  trainer_free(&run->trainer);
  checkpoint_buffer_free(&run->buffer);
  memory_close(&run->memory);
  if (run->be != NULL) run->be->close(run->be);
  if (run->model.blocks != NULL) llama_free(&run->model);
  dataset_split_free(&run->split);
  dataset_free(&run->data);
  peft_adapter_free(&run->initial);
  tokenizer_close(run->tokenizer);
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
  run->saved = run->order_epoch = -1;
  run->first_eval = run->last_eval = NAN;
  run->metrics.fd = run->lock = -1;
  run->checkpoints = text_format("%s/checkpoints", config->output.dir);
  TRY(run_find_checkpoint(run, err));
  TRY(claim_output(run, err));
  TRY(open_model(run, err));
  TRY(load_data(run, err));
  TRY(plan_course(run, err));
  TRY(show_config(config, err));
  show_data(run);
  TRY(open_backend(run, err));
  TRY(make_trainer(run, err));
  TRY(fill_model(run, err));
  TRY(open_output(run, err));
  TRY(run_loop(run, err));
  TRY(write_result(run, err));
done:
  if (status != STATUS_OK) progress_end(&run->progress);
  close_run(run);
  return status;
}
