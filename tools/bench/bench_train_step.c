// Time and memory of a LoRA step: rank 8 on q and v, 4 sequences of 512 tokens, every token a
// label. Prints one line for f32 and one for bf16, each measured in a process of its own, so that
// the peak memory (resident set) is its own too.
//
//   bench_train_step MODEL [key=value ...]      bench_train_step m.gguf train.threads=2 lora.r=16
#include "rng.h"
#include "thread_wait.h"
#include "train_model.h"
#include "trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEQUENCES = 4, LENGTH = 512, WARM_STEPS = 1, STEPS = 5 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static Dataset random_data(int64_t vocab) {
  static int32_t tokens[SEQUENCES * LENGTH];
  static Example examples[SEQUENCES];
  Rng rng = {.key = 1};
  for (int i = 0; i < SEQUENCES * LENGTH; i++)
    tokens[i] = (int32_t)rng_below(&rng, (uint64_t)vocab);
  Dataset d = {
      .tokens = tokens, .n_tokens = SEQUENCES * LENGTH, .examples = examples, .n = SEQUENCES};
  for (int i = 0; i < SEQUENCES; i++) {
    examples[i] = (Example){.first = i * LENGTH, .n = LENGTH, .item = i};
    dataset_mark(&d, i, 0);
  }
  return d;
}

static Status time_steps(Trainer *trainer, double *seconds, double *loss, Error *err) {
  int32_t batch[SEQUENCES];
  StepResult result = {0};
  for (int i = 0; i < SEQUENCES; i++) batch[i] = i;
  for (int step = 0; step < WARM_STEPS + STEPS; step++) {
    double start = now();
    Status status = trainer_step(trainer, batch, SEQUENCES, step + 1, 1e-4, &result, err);
    if (status != STATUS_OK) return status;
    if (step >= WARM_STEPS) seconds[step - WARM_STEPS] = now() - start;
  }
  *loss = result.loss;
  return STATUS_OK;
}

static Status bench(const RunConfig *config, Error *err) {
  static double seconds[STEPS];
  Status status = STATUS_OK;
  TensorStore *store = NULL;
  LlamaConfig llama;
  Llama model = {0};
  Trainer trainer = {0};
  Backend *be = NULL;
  Memory memory = {0};
  MemoryPlan plan;
  PeftAdapter none = {0};
  Dataset data;
  double loss, flops;
  CpuOptions options = {.threads = (int)config->train.threads};
  TRY(store_open(&store, config->model.path, err));
  TRY(llama_config_load(&llama, store, err));
  TRY(train_model_declare(&model, &llama, config, err));
  data = random_data(llama.vocab);
  trainer_init(&trainer, config, &data, &model);
  TRY(trainer_plan(&trainer, &plan, &flops, err));
  TRY(backend_cpu_open(&be, &options, err));
  TRY(memory_open(&memory, be, &plan, err));
  trainer_place(&trainer, be, &memory);
  TRY(train_model_fill(&model, be, store, config, &none, err));
  store_close(store);
  store = NULL;
  TRY(time_steps(&trainer, seconds, &loss, err));
  qsort(seconds, STEPS, sizeof *seconds, ascending);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("%-5s %-14s step %.3f s (best %.3f)  %7.0f tokens/s  %5.1f GFLOP/s  plan %.0f MiB  "
         "peak %.0f MiB  loss %.4f\n",
         dtype_info(config->model.dtype)->name, be->gemm_path, seconds[STEPS / 2], seconds[0],
         SEQUENCES * LENGTH / seconds[STEPS / 2], flops / seconds[STEPS / 2] * 1e-9,
         (double)(plan.weights + plan.state + plan.step + plan.cache + plan.host) / (1 << 20),
         (double)usage.ru_maxrss / 1024, loss);
done:
  trainer_free(&trainer);
  memory_close(&memory);
  if (be != NULL) be->close(be);
  if (model.blocks != NULL) llama_free(&model);
  store_close(store);
  return status;
}

static Status configure(RunConfig *config, int argc, char **argv, DType dtype, Error *err) {
  Status status = STATUS_OK;
  config_defaults(config);
  snprintf(config->model.path, sizeof config->model.path, "%s", argv[1]);
  config->model.dtype = dtype;
  config->lora.r = 8;
  config->lora.dropout = 0; // as the peer: tools/reference/bench_peft.py
  config->train.batch_size = SEQUENCES;
  config->train.micro_tokens = SEQUENCES * LENGTH;
  for (int i = 2; i < argc; i++) TRY(config_override(config, argv[i], err));
done:
  return status;
}

int main(int argc, char **argv) {
  thread_wait_asleep(argv);
  static RunConfig config;
  static Error err;
  int worst = 0;
  if (argc < 2) {
    fprintf(stderr, "usage: bench_train_step MODEL [key=value ...]\n");
    return STATUS_USAGE;
  }
  const DType dtypes[] = {DT_F32, DT_BF16};
  for (int i = 0; i < 2; i++) {
    pid_t child = fork();
    if (child == 0) {
      Status status = configure(&config, argc, argv, dtypes[i], &err);
      if (status == STATUS_OK) status = bench(&config, &err);
      if (status != STATUS_OK) fprintf(stderr, "bench_train_step: %s\n", err.message);
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
