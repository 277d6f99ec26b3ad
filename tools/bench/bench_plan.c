// The plan's step time against the measured one: SmolLM2-135M's sizes with weights of one value,
// LoRA and full fine-tuning, f32 and bf16, 512 and 2,048 tokens a step. Each case in a process of
// its own.
//
//   bench_plan [case=N] [key=value ...]      bench_plan train.threads=1
//
// With one thread both times are the process's CPU time, which other processes do not disturb; with
// more they are the wall's.
#include "plan.h"
#include "rng.h"
#include "thread_wait.h"
#include "train_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENGTH = 256, TOKENS_MOST = 2048, STEPS = 4 };

typedef struct Case {
  Method method;
  DType dtype;
  int64_t tokens;
  const char *extra; // "" or "key=value"
} Case;

static const Case cases[] = {
    {METHOD_LORA, DT_F32, 512, ""},
    {METHOD_LORA, DT_BF16, 512, ""},
    {METHOD_LORA, DT_F32, 2048, ""},
    {METHOD_LORA, DT_BF16, 2048, ""},
    {METHOD_LORA, DT_BF16, 512, "lora.targets=all-linear"},
    {METHOD_LORA, DT_BF16, 2048, "train.checkpointing=on"},
    {METHOD_FULL, DT_F32, 512, ""},
    {METHOD_FULL, DT_BF16, 512, ""},
    {METHOD_FULL, DT_F32, 2048, ""},
    {METHOD_FULL, DT_BF16, 2048, ""},
};

static double now(const RunConfig *c) {
  struct timespec t;
  clock_gettime(c->train.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static Dataset random_data(int64_t tokens, int64_t vocab) {
  static int32_t ids[TOKENS_MOST];
  static Example examples[TOKENS_MOST / LENGTH];
  Dataset d = {.tokens = ids, .n_tokens = tokens, .examples = examples, .n = tokens / LENGTH};
  Rng rng = {.key = 1};
  for (int64_t i = 0; i < tokens; i++) ids[i] = (int32_t)rng_below(&rng, (uint64_t)vocab);
  for (int64_t i = 0; i < d.n; i++) {
    examples[i] = (Example){.first = i * LENGTH, .n = LENGTH, .item = (int32_t)i};
    dataset_mark(&d, i, 0);
  }
  return d;
}

// The best of some steps, and what its kinds of ops took.
static Status best_step(double *best, OpCost *kinds, Trainer *t, Error *err) {
  int32_t batch[TOKENS_MOST / LENGTH];
  StepResult result;
  for (int32_t i = 0; i < t->data->n; i++) batch[i] = i;
  *best = INFINITY;
  for (int step = 0; step < STEPS; step++) {
    backend_costs_clear(t->ctx.be);
    double start = now(t->config);
    Status status = trainer_step(t, batch, t->data->n, step + 1, 1e-5, &result, err);
    if (status != STATUS_OK) return status;
    double seconds = now(t->config) - start;
    if (step == 0 || seconds >= *best) continue; // the first one makes primitives and scratch
    *best = seconds;
    for (int kind = 0; kind < OP_KINDS; kind++) kinds[kind] = backend_costs(t->ctx.be)[kind];
  }
  return STATUS_OK;
}

static void show_kinds(const RunPlan *plan, const OpCost *measured) {
  for (int kind = 0; kind < OP_KINDS; kind++) {
    double planned = plan->time.step[kind].seconds, took = measured[kind].seconds;
    if (took < 0.01 * plan->time.one_step) continue;
    printf("        %-16s %7.3f s  %7.3f s  %+5.1f %%\n", op_kind_name((OpKind)kind), planned, took,
           100 * (planned / took - 1));
  }
}

static Status bench(const RunConfig *config, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig llama;
  Llama model = {0};
  Trainer trainer = {0};
  Backend *be = NULL, *meter = NULL;
  Memory memory = {0};
  Device device;
  RunPlan plan;
  double seconds;
  OpCost kinds[OP_KINDS];
  CpuOptions options = {.threads = (int)config->train.threads};
  TRY(llama_config_preset(&llama, NULL, "smollm2-135m", err));
  TRY(train_model_declare(&model, &llama, config, err));
  Dataset data = random_data(config->train.micro_tokens, llama.vocab);
  DataOutline outline = data_outline(config, &data);
  TRY(backend_cpu_open(&be, &options, err));
  double start = now(config);
  TRY(device_measure(&device, be, config, &llama, &outline, err));
  double measuring = now(config) - start;
  TRY(plan_make(&plan, config, &llama, &outline, &device, err));
  trainer_init(&trainer, config, &data, &model);
  clockid_t clock = config->train.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
  TRY(backend_meter_open(&meter, be, clock, err));
  TRY(memory_open(&memory, meter, &plan.arenas, err));
  trainer_place(&trainer, meter, &memory);
  for (int64_t i = 0; i < model.params.n; i++) be->fill(be, model.params.items[i].value.t, 0.01);
  TRY(best_step(&seconds, kinds, &trainer, err));
  printf("%-5s %-5s %5lld tokens %-24s planned %7.3f s  measured %7.3f s  %+5.1f %%   (%.2f s to "
         "measure the rates)\n",
         config->method == METHOD_LORA ? "lora" : "full", dtype_info(config->model.dtype)->name,
         (long long)config->train.micro_tokens, be->gemm_path, plan.time.one_step, seconds,
         100 * (plan.time.one_step / seconds - 1), measuring);
  show_kinds(&plan, kinds);
done:
  trainer_free(&trainer);
  memory_close(&memory);
  if (meter != NULL) meter->close(meter);
  if (be != NULL) be->close(be);
  if (model.blocks != NULL) llama_free(&model);
  return status;
}

static Status run_case(const Case *c, int argc, char **argv, Error *err) {
  static RunConfig config;
  Status status = STATUS_OK;
  config_defaults(&config);
  config.method = c->method;
  config.model.dtype = c->dtype;
  config.train.batch_size = c->tokens / LENGTH;
  config.train.micro_tokens = c->tokens;
  if (c->extra[0] != '\0') TRY(config_override(&config, c->extra, err));
  for (int i = 1; i < argc; i++) TRY(config_override(&config, argv[i], err));
  TRY(bench(&config, err));
done:
  return status;
}

int main(int argc, char **argv) {
  thread_wait_asleep(argv);
  static Error err;
  int worst = 0;
  long only = -1;
  if (argc > 1 && strncmp(argv[1], "case=", 5) == 0) {
    only = strtol(argv[1] + 5, NULL, 10);
    argc--;
    argv++;
  }
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (only >= 0 && only != (long)i) continue;
    pid_t child = fork();
    if (child == 0) {
      Status status = run_case(&cases[i], argc, argv, &err);
      if (status != STATUS_OK) fprintf(stderr, "bench_plan: %s\n", err.message);
      fflush(stdout);
      _exit((int)status);
    }
    int result = 0;
    if (child < 0 || waitpid(child, &result, 0) != child) return STATUS_FAILED;
    int status = WIFEXITED(result) ? WEXITSTATUS(result) : STATUS_FAILED;
    if (status > worst) worst = status;
  }
  return worst;
}
