#include "dry_run.h"

#include "check.h"
#include "mapped_file.h"
#include "run_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what the plan is made from ----

static bool from_preset(const RunConfig *c) {
  return c->model.preset[0] != '\0' && (c->model.path[0] == '\0' || !file_exists(c->model.path));
}

static Status model_inputs(PlanInputs *in, const RunConfig *c, Error *err) {
  TensorStore *store = NULL;
  if (from_preset(c)) return llama_config_preset(&in->llama, NULL, c->model.preset, err);
  Status status = store_open(&store, c->model.path, err);
  if (status == STATUS_OK) status = llama_config_load(&in->llama, store, err);
  if (status == STATUS_OK) in->forms = weight_forms(store, &in->llama, c->model.dtype);
  store_close(store);
  return status;
}

static Status data_inputs(DataOutline *outline, const RunConfig *c, Error *err) {
  Status status = STATUS_OK;
  Tokenizer *tokenizer = NULL;
  Dataset data = {0};
  DatasetSplit split = {0};
  *outline = plan_assumed_data(c);
  bool there = c->data.path[0] != '\0' && file_exists(c->data.path);
  if (from_preset(c) || (c->model.preset[0] != '\0' && !there) || c->data.path[0] == '\0')
    return STATUS_OK;
  TRY(tokenizer_open(&tokenizer, c->model.path, err));
  TRY(run_read_data(&data, &split, c, tokenizer, false, err));
  *outline = data_outline(c, &data);
  TRY(dataset_epoch_size(&outline->train, &split, &data, &c->data.weights, err));
  outline->held_out = split.n_held_out;
done:
  dataset_split_free(&split);
  dataset_free(&data);
  tokenizer_close(tokenizer);
  return status;
}

static Status device_inputs(PlanInputs *in, const RunConfig *c, Error *err) {
  Status status = STATUS_OK;
  if (!device_is_cpu(c->plan.device)) {
    status = device_find(&in->device, c->plan.device, err);
    if (status == STATUS_OK) status = backend_cuda_shadow_open(&in->be, err);
    in->device.shadow = in->be;
    return status;
  }
  status = device_name_check(c->train.device, err);
  if (status == STATUS_OK) {
    bool cpu = strcmp(c->plan.device, "cpu") == 0;
    status = device_open_cuda(&in->be, cpu ? "cpu" : c->train.device, NULL, err);
  }
  if (status != STATUS_OK) {
    error_prefix(err, "train.device");
    return status;
  }
  if (in->be != NULL) {
    device_of_gpu(&in->device, in->be);
    return STATUS_OK;
  }
  CpuOptions options = run_cpu_options(c);
  status = backend_cpu_open(&in->be, &options, err);
  if (status != STATUS_OK) return status;
  return device_measure(&in->device, in->be, c, &in->llama, &in->data, err);
}

void plan_inputs_free(PlanInputs *in) {
  if (in->be != NULL) in->be->close(in->be);
  *in = (PlanInputs){0};
}

Status plan_inputs(PlanInputs *in, const RunConfig *config, Error *err) {
  Status status = STATUS_OK;
  *in = (PlanInputs){0};
  TRY(model_inputs(in, config, err));
  TRY(data_inputs(&in->data, config, err));
  TRY(device_inputs(in, config, err));
done:
  if (status != STATUS_OK) plan_inputs_free(in);
  return status;
}

// ---- what to change ----

typedef struct Change {
  char words[160]; // "key=value key=value"
} Change;

// Appends "key=value" and sets it.
static void change(Change *to, RunConfig *c, const char *key, const char *value) {
  Error err;
  char word[96];
  snprintf(word, sizeof word, "%s=%s", key, value);
  Status status = config_override(c, word, &err);
  CHECK(status == STATUS_OK, "%s", err.message);
  size_t used = strlen(to->words);
  snprintf(to->words + used, sizeof to->words - used, "%s%s", used > 0 ? " " : "", word);
}

// Whether the config fits; the numbers are in *plan.
static bool try_plan(RunPlan *plan, const RunConfig *c, const PlanInputs *in) {
  Error err;
  return plan_make(plan, c, &in->llama, &in->data, &in->device, &err) == STATUS_OK && plan->fits;
}

static void propose(const Change *how, const RunPlan *plan, const RunPlan *now) {
  double slower = 100 * (plan->time.one_step / now->time.one_step - 1);
  printf("  %-60s %6.2f GiB, %+.0f %% time a step\n", how->words,
         (double)plan->device_bytes / (1 << 30), slower);
}

// The largest power of two of tokens that fits, below what is set.
static bool fewer_tokens(Change *how, RunConfig *c, RunPlan *plan, const PlanInputs *in) {
  Change before = *how;
  int64_t tokens = 1;
  while (2 * tokens < c->train.micro_tokens && 2 * tokens < plan->bounds.rows) tokens *= 2;
  int64_t least = in->data.longest < 256 ? in->data.longest : 256;
  for (bool last = false; !last && tokens >= least; tokens /= 2) {
    last = tokens <= in->data.longest; // fewer do not help: one sequence is not cut
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, tokens);
    *how = before;
    change(how, c, "train.micro_tokens", value);
    if (try_plan(plan, c, in)) return true;
  }
  return false;
}

typedef struct Setting {
  const char *key, *value;
} Setting;

// Tries the settings, and with fewer tokens where they do not do; shows what fits.
static bool try_settings(const Setting *settings, int n, const RunConfig *config,
                         const PlanInputs *in, const RunPlan *now) {
  RunConfig *c = malloc(sizeof *c);
  RunPlan *plan = malloc(sizeof *plan);
  CHECK(c != NULL && plan != NULL, "no memory for a plan");
  Change how = {""};
  *c = *config;
  for (int i = 0; i < n; i++) change(&how, c, settings[i].key, settings[i].value);
  *plan = *now;
  bool fits = (n > 0 && try_plan(plan, c, in)) || fewer_tokens(&how, c, plan, in);
  if (fits) propose(&how, plan, now);
  free(c);
  free(plan);
  return fits;
}

static void advise(const RunConfig *c, const PlanInputs *in, const RunPlan *now) {
  printf("what would fit:\n");
  bool any = try_settings(NULL, 0, c, in, now);
  if (c->train.checkpointing != CHECKPOINTING_ON)
    any |= try_settings((Setting[]){{"train.checkpointing", "on"}}, 1, c, in, now);
  if (c->model.dtype == DT_F32)
    any |= try_settings((Setting[]){{"model.dtype", "bf16"}}, 1, c, in, now);
  if (!any && c->method == METHOD_FULL && c->model.dtype == DT_BF16 &&
      c->train.grad_dtype == DT_F32)
    any = try_settings((Setting[]){{"train.grad_dtype", "bf16"}}, 1, c, in, now);
  for (int64_t ranks = 2; !any && ranks <= 64 && c->method == METHOD_FULL; ranks *= 2) {
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, ranks);
    if (ranks < c->dist.ranks) continue;
    const char *const shards[] = {"optimizer", "gradients", "weights"};
    for (int i = 0; !any && i < 3; i++) {
      any = try_settings((Setting[]){{"dist.ranks", value}, {"dist.shard", shards[i]}}, 2, c, in,
                         now);
    }
  }
  if (!any && c->method == METHOD_FULL)
    any = try_settings((Setting[]){{"method", "lora"}, {"dist.ranks", "1"}}, 2, c, in, now);
  if (!any) {
    printf("  nothing that was tried: a device with more memory (plan.device), a smaller model, or "
           "a\n  smaller data.cutoff_len\n");
  }
}

Status dry_run(const RunConfig *config, bool *fits, Error *err) {
  Status status = STATUS_OK;
  PlanInputs *in = calloc(1, sizeof *in);
  RunPlan *plan = calloc(1, sizeof *plan);
  CHECK(in != NULL && plan != NULL, "no memory for a plan");
  TRY(plan_inputs(in, config, err));
  TRY(plan_make(plan, config, &in->llama, &in->data, &in->device, err));
  plan->forms = in->forms;
  plan_show(plan, config);
  if (!plan->fits) advise(config, in, plan);
  *fits = plan->fits;
done:
  plan_inputs_free(in);
  free(in);
  free(plan);
  return status;
}
