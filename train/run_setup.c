// Setting a run up: its files opened, its data read, its memory planned and filled.
#include "run_parts.h"

#include "check.h"
#include "schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status run_check_here(const RunConfig *config, Error *err) {
  if (config->dist.ranks > 1) {
    return error_set(err, STATUS_USAGE,
                     "dist.ranks: this version trains in one process, not in %" PRId64
                     "; --dry-run shows what they would take, dist.ranks=1 trains here",
                     config->dist.ranks);
  }
  if (!device_is_cpu(config->plan.device)) {
    return error_set(err, STATUS_USAGE,
                     "plan.device: %s is what --dry-run plans for; a run takes a device of this "
                     "machine, by train.device: leave plan.device empty to train here",
                     config->plan.device);
  }
  Status status = device_name_check(config->train.device, err);
  if (status != STATUS_OK) error_prefix(err, "train.device");
  return status;
}

static Status check_ids(const Run *run, Error *err) {
  for (int64_t i = 0; i < run->data.n_tokens; i++) {
    if (token_id(run->data.tokens[i]) >= run->model.config.vocab) {
      return error_set(err, STATUS_DATA,
                       "%s: the tokenizer gives id %d, the model has %" PRId64
                       " embeddings: they do not belong together",
                       run->config.model.path, token_id(run->data.tokens[i]),
                       run->model.config.vocab);
    }
  }
  return STATUS_OK;
}

static void warn_of_cache(const char *message) {
  fprintf(stderr, "vma-train: warning: %s\n", message);
}

Status run_read_data(Dataset *data, DatasetSplit *split, const RunConfig *c,
                     const Tokenizer *tokenizer, bool writes_cache, Error *err) {
  Status status = STATUS_OK;
  Template *own = NULL;
  if (c->data.template_file[0] != '\0') TRY(template_load(&own, c->data.template_file, err));
  DatasetOptions options = {.template = own != NULL ? own : template_builtin(c->data.template_kind),
                            .format = c->data.format,
                            .cutoff_len = c->data.cutoff_len,
                            .over_length = c->data.over_length,
                            .cache_dir = c->data.cache_dir,
                            .reads_cache_only = !writes_cache,
                            .warn = warn_of_cache,
                            .train_on_inputs = c->data.train_on_inputs};
  TRY(dataset_load(data, c->data.path, tokenizer, &options, err));
  TRY(dataset_split(split, data, c->data.val_set_size, (uint64_t)c->train.seed, err));
done:
  template_free(own);
  return status;
}

const Template *run_template(const Run *run) {
  if (run->own_template != NULL) return run->own_template;
  return template_builtin(run->config.data.template_kind);
}

static void hash_template(Run *run) {
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  const char *text = template_identity(run_template(run));
  sha256_init(&sha);
  sha256_add(&sha, text, (int64_t)strlen(text));
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, run->template_sha256);
}

Status run_load_data(Run *run, Error *err) {
  Status status = STATUS_OK;
  const char *own = run->config.data.template_file;
  if (own[0] != '\0') TRY(template_load(&run->own_template, own, err));
  hash_template(run);
  TRY(run_read_data(&run->data, &run->split, &run->config, run->tokenizer, true, err));
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

Status run_plan_course(Run *run, Error *err) {
  const RunConfig *c = &run->config;
  int64_t batch = c->train.batch_size;
  Status status =
      dataset_epoch_size(&run->epoch_size, &run->split, &run->data, &c->data.weights, err);
  if (status != STATUS_OK) return status;
  run->per_epoch = (run->epoch_size + batch - 1) / batch;
  run->total = c->train.max_steps > 0 ? c->train.max_steps : c->train.epochs * run->per_epoch;
  if (run->total > INT32_MAX) {
    return error_set(err, STATUS_USAGE, "train.epochs: %" PRId64 " steps in all; at most %d are",
                     run->total, INT32_MAX);
  }
  bool never = run->split.n_held_out == 0 || c->train.eval_steps == 0;
  if (c->train.early_stop > 0 && never) {
    return error_set(err, STATUS_USAGE, "train.early_stop: %s: there is no held-out loss to go by",
                     run->split.n_held_out == 0 ? "data.val_set_size holds nothing out"
                                                : "train.eval_steps is 0");
  }
  run->warmup = schedule_warmup(c->train.warmup_steps, c->train.warmup_ratio, run->total);
  run->order = malloc((size_t)run->epoch_size * sizeof *run->order);
  run->batch = malloc((size_t)batch * sizeof *run->batch);
  CHECK(run->order != NULL && run->batch != NULL, "no memory for %lld examples",
        (long long)run->epoch_size);
  return STATUS_OK;
}

const char *const run_gemm_names[GEMM_CHOICES] = {[GEMM_CHOICE_OWN] = "own",
                                                  [GEMM_CHOICE_ONEDNN_F32] = "onednn-f32",
                                                  [GEMM_CHOICE_ONEDNN_BF16] = "onednn-bf16"};
const char *const run_isa_names[ISA_CHOICES] = {[ISA_CHOICE_BASE] = "base",
                                                [ISA_CHOICE_AVX2] = "avx2",
                                                [ISA_CHOICE_AVX512] = "avx512",
                                                [ISA_CHOICE_AVX512BF16] = "avx512bf16"};

CpuOptions run_cpu_options(const RunConfig *config) {
  return (CpuOptions){.threads = (int)config->train.threads,
                      .gemm = run_gemm_names[config->train.gemm],
                      .isa = run_isa_names[config->train.isa]};
}

static bool was_on_gpu(const Run *run) {
  return strncmp(run->resumed.gemm_path, "cublaslt", 8) == 0;
}

// The GEMM is measured at start-up, and its choice decides the bits: a run that goes on takes what
// it had before ("onednn-bf16/avx512bf16": the GEMM, and the instruction set of all other ops), and
// one that repeats another what its config.yaml says.
static Status open_cpu(Run *run, Error *err) {
  CpuOptions options = run_cpu_options(&run->config);
  char gemm[64], *isa = NULL;
  bool named = options.gemm != NULL || options.isa != NULL;
  if (run->resume_path != NULL && !was_on_gpu(run)) {
    snprintf(gemm, sizeof gemm, "%s", run->resumed.gemm_path);
    isa = strchr(gemm, '/');
    if (isa != NULL) *isa++ = '\0';
    if (options.gemm == NULL) options.gemm = gemm;
    if (options.isa == NULL) options.isa = isa;
  }
  Status status = backend_cpu_open(&run->be, &options, err);
  if (status != STATUS_USAGE || (options.gemm == NULL && options.isa == NULL)) return status;
  // What a checkpoint had is compared with what is taken later.
  if (named) {
    fprintf(stderr,
            "vma-train: warning: train.gemm=%s train.isa=%s: %s. The best that is here is taken: "
            "results differ by rounding\n",
            options.gemm != NULL ? options.gemm : "auto",
            options.isa != NULL ? options.isa : "auto", err->message);
  }
  options.gemm = options.isa = NULL;
  return backend_cpu_open(&run->be, &options, err);
}

// A run that goes on stays on the kind of device that it was on, unless its config names one.
Status run_open_backend(Run *run, Error *err) {
  const char *name = run->config.train.device;
  char why[DEVICE_WHY_BYTES];
  bool found = strcmp(name, "auto") == 0;
  bool stays = found && run->resume_path != NULL && !was_on_gpu(run);
  Status status = device_open_cuda(&run->be, stays ? "cpu" : name, why, err);
  if (status != STATUS_OK) {
    error_prefix(err, "train.device=%s", name);
    return status;
  }
  if (run->be == NULL) status = open_cpu(run, err);
  if (status != STATUS_OK) return status;
  const char *device = run->be->device != NULL ? run->be->device : "this machine's CPU";
  if (stays) {
    snprintf(why, sizeof why, "as before");
  } else if (found && why[0] == '\0') {
    snprintf(why, sizeof why, "a GPU that can be used");
  }
  printf("# device: %s%s%s%s\n", device, found ? " (train.device=auto: " : "", found ? why : "",
         found ? ")" : "");
  return STATUS_OK;
}

Status run_open_model(Run *run, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig llama;
  TRY(store_open(&run->store, run->config.model.path, err));
  TRY(llama_config_load(&llama, run->store, err));
  TRY(train_model_initial(&run->initial, &run->config, err));
  TRY(train_model_declare(&run->model, &llama, &run->config, err));
  TRY(train_model_check_initial(&run->model, &run->config, &run->initial, err));
  TRY(tokenizer_open(&run->tokenizer, run->config.model.path, err));
done:
  return status;
}

// Both before any memory is taken: the device's is what is free now.
static int64_t dataset_bytes(const Dataset *data) {
  return data->n_tokens * (int64_t)sizeof *data->tokens + data->n * (int64_t)sizeof *data->examples;
}

// A GPU has no memory to fall back on: said before a weight is read.
static Status refuse_size(const RunPlan *plan, Error *err) {
  const Device *d = &plan->device;
  int64_t others = d->others > 0 ? d->others : 0, used = d->context + others;
  return error_set(err, STATUS_MEMORY,
                   "the run takes %.2f GiB of %s, which has %.2f, %.2f of them in use already: it "
                   "is not begun. --dry-run says what would fit (train.micro_tokens, "
                   "train.checkpointing, model.dtype)",
                   (double)(plan->device_bytes - used) / (1 << 30), d->title,
                   (double)plan->limit / (1 << 30), (double)used / (1 << 30));
}

static Status make_plan(Run *run, Error *err) {
  Status status = STATUS_OK;
  Device device;
  DataOutline outline = data_outline(&run->config, &run->data);
  outline.train = run->epoch_size;
  outline.held_out = run->split.n_held_out;
  if (run->be->mem_info != NULL) {
    device_of_gpu(&device, run->be);
  } else {
    TRY(device_measure(&device, run->be, &run->config, &run->model.config, &outline, err));
    device.process -= dataset_bytes(&run->data); // it has its own line
  }
  TRY(plan_make(&run->plan, &run->config, &run->model.config, &outline, &device, err));
  run->plan.forms = weight_forms(run->store, &run->model.config, run->config.model.dtype);
  printf("# backend: %s, %s\n", run->be->name, run->be->gemm_path);
  plan_show(&run->plan, &run->config);
  if (!run->plan.fits && device.gpu) TRY(refuse_size(&run->plan, err));
  if (!run->plan.fits) {
    fprintf(
        stderr,
        "vma-train: warning: the plan takes %.2f GiB, of which %.2f are free: the system may end "
        "the run when it runs out; --dry-run says what would fit\n",
        (double)run->plan.device_bytes / (1 << 30), (double)run->plan.limit / (1 << 30));
  }
  if (run->config.train.checkpointing == CHECKPOINTING_AUTO)
    plan_set_recomputed(&run->config, run->plan.recomputed); // as config.yaml will say
done:
  return status;
}

Status run_make_trainer(Run *run, Error *err) {
  Status status = STATUS_OK;
  TRY(make_plan(run, err));
  trainer_init(&run->trainer, &run->config, &run->data, &run->model);
  run->trainer.stop = run->stop;
  TRY(memory_open(&run->memory, run->be, &run->plan.arenas, err));
  trainer_place(&run->trainer, run->be, &run->memory);
done:
  return status;
}

// Settings that say something and change nothing, since another one is what it is.
static void warn_of_idle_settings(const RunConfig *c) {
  const char *const form = "vma-train: warning: %s comes to nothing without %s\n";
  bool half = c->method == METHOD_FULL && c->model.dtype == DT_BF16;
  if (c->train.grad_dtype == DT_BF16 && !half)
    fprintf(stderr, form, "train.grad_dtype=bf16", "method=full and model.dtype=bf16");
  if (c->train.checkpoint_blocks > 0 && c->train.checkpointing != CHECKPOINTING_ON)
    fprintf(stderr, form, "train.checkpoint_blocks", "train.checkpointing=on");
  if (c->dist.shard != SHARD_NONE) // several ranks do not train yet
    fprintf(stderr, form, "dist.shard", "dist.ranks above 1");
}

Status run_fill_model(Run *run, Error *err) {
  Status status = STATUS_OK;
  TRY(train_model_fill(&run->model, run->be, run->store, &run->config, &run->initial, err));
  TRY(store_hash(run->store, run->base_hash, err));
  TRY(run_check_checkpoint(run, err)); // an error stands alone: before the warnings
  run_check_record(run);
  warn_of_idle_settings(&run->config);
  if (run->initial.base_hash != NULL && strcmp(run->initial.base_hash, run->base_hash) != 0) {
    fprintf(stderr, "vma-train: warning: %s was trained on other base weights than %s\n",
            run->config.lora.init_from, run->config.model.path);
  }
  const char *before = run->initial.template_name;
  if (before != NULL && strcmp(before, template_identity(run_template(run))) != 0) {
    fprintf(stderr, "vma-train: warning: %s was trained with data.template=%s, this run has %s\n",
            run->config.lora.init_from, before[0] == '{' ? "a file of its own" : before,
            run_template(run)->name);
  }
  if (run->resume_path != NULL) {
    TRY(checkpoint_restore(run->resume_path, &run->model.params, run->be, err));
    run->step = run->saved = run->resumed.step;
    run->trainer.skipped = run->resumed.skipped;
    run->skipped_in_row = run->resumed.skipped_in_row;
    run->best = (RunBest){.loss = run->resumed.best_loss,
                          .step = run->resumed.best_step,
                          .waited = run->resumed.waited};
    printf("going on from %s\n", run->resume_path);
  }
  store_close(run->store);
  run->store = NULL;
  peft_adapter_free(&run->initial);
done:
  return status;
}
