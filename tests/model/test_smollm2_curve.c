// labels: weights
// Fifty LoRA steps on SmolLM2 against transformers and PEFT with the same batches, initial adapter,
// schedule and clipping (tests/golden/smollm2/curve.safetensors; tools/reference/smollm2_lora.py
// says how it was made): the loss of every step, in f32 to 0.005, in bf16 to 0.02 of what torch
// gets by autocast over f32 weights. VMA_CURVE_CSV=FILE writes both curves there.
#include "check.h"
#include "golden.h"
#include "rng.h"
#include "schedule.h"
#include "test.h"
#include "trainer.h"

#include <math.h>

enum { STEPS = 50, WARMUP = 5, TOKENS = 512, SEED = 7 };
#define LEARNING_RATE 1e-3

static Safetensors golden;
static Dataset data;

static void must(Status status, const Error *err) {
  CHECK(status == STATUS_OK, "%s", err->message);
}

// The golden file's sequences as a data set, in the order in which the steps take them.
static void make_dataset(void) {
  int64_t n;
  const int32_t *lengths = golden_i32(&golden, &n, "lengths");
  const int32_t *starts = golden_i32(&golden, NULL, "label_start");
  data = (Dataset){.n = n};
  const int32_t *ids = golden_i32(&golden, &data.n_tokens, "ids");
  data.tokens = calloc((size_t)data.n_tokens, sizeof *data.tokens);
  data.examples = calloc((size_t)n, sizeof *data.examples);
  CHECK(data.tokens != NULL && data.examples != NULL, "no memory");
  memcpy(data.tokens, ids, (size_t)data.n_tokens * sizeof *ids);
  int64_t first = 0;
  for (int64_t i = 0; i < n; i++) {
    data.examples[i] = (Example){.first = first, .n = lengths[i], .item = (int32_t)i};
    dataset_mark(&data, i, starts[i]);
    first += lengths[i];
  }
  CHECK(first == data.n_tokens, "the lengths do not add up");
}

// fnv1a32 of the tensor's name in adapter_model.safetensors: "base_model.model." + ours.
static uint32_t name_hash(const char *name) {
  const char *parts[] = {"base_model.model.", name};
  uint32_t h = 0x811C9DC5u;
  for (int i = 0; i < 2; i++)
    for (const char *c = parts[i]; *c != '\0'; c++) h = (h ^ (unsigned char)*c) * 0x01000193u;
  return h;
}

// A as tools/reference/refcommon.py draws it, B = 0.
static void set_initial_adapter(ParamTable *table, Backend *be) {
  for (int64_t i = 0; i < table->n; i++) {
    Param *p = &table->items[i];
    if (!p->adapter) continue;
    Tensor t = p->value.t;
    float *values = calloc((size_t)tensor_count(t), sizeof *values);
    CHECK(values != NULL, "no memory");
    if (strstr(p->name, ".lora_A.") != NULL) {
      Rng rng = {.key = (uint64_t)SEED << 32 | name_hash(p->name)};
      for (int64_t k = 0; k < tensor_count(t); k++)
        values[k] = (float)((2.0 * rng_uniform(&rng) - 1.0) / sqrt((double)t.cols));
    }
    be->copy_in(be, t, values);
    free(values);
  }
}

static RunConfig curve_config(DType dtype) {
  RunConfig config;
  config_defaults(&config);
  config.model.dtype = dtype;
  config.method = METHOD_LORA;
  config.train.batch_size = data.n; // a step takes as many as fit in TOKENS
  config.train.micro_tokens = TOKENS;
  config.train.weight_decay = 0;
  config.train.beta1 = 0.9;
  config.train.beta2 = 0.999;
  config.train.eps = 1e-8;
  config.train.clip = 1.0;
  config.train.checkpointing = CHECKPOINTING_OFF;
  return config;
}

// Runs the steps; losses and norms [STEPS]. A step whose loss is more than `far` off ends it: how
// many steps were done.
static int train(DType dtype, const float *expected, double far, double *losses, double *norms) {
  RunConfig config = curve_config(dtype);
  Error err;
  TensorStore *store = NULL;
  LlamaConfig model_config;
  must(store_open(&store, test_small_model(), &err), &err);
  must(llama_config_load(&model_config, store, &err), &err);
  Llama model;
  llama_init(&model, &model_config, dtype);
  LoraSpec lora = {
      .r = 8, .alpha = 16, .n_targets = 2, .targets = (const char *const[]){"q_proj", "v_proj"}};
  must(llama_attach_lora(&model, &lora, 0, true, &err), &err);
  param_make_buckets(&model.params);
  Trainer trainer;
  trainer_init(&trainer, &config, &data, &model);
  MemoryPlan plan;
  must(trainer_plan(&trainer, &plan, NULL, &err), &err);
  Backend *be = NULL;
  must(backend_cpu_open(&be, &(CpuOptions){0}, &err), &err);
  Memory memory;
  must(memory_open(&memory, be, &plan, &err), &err);
  trainer_place(&trainer, be, &memory);
  must(llama_load(&model, be, store, &err), &err);
  set_initial_adapter(&model.params, be);
  printf("%s, %s, GEMM %s\n", dtype_info(dtype)->name, be->name, be->gemm_path);

  const int32_t *step_seqs = golden_i32(&golden, NULL, "step_seqs");
  int32_t examples[TOKENS], next = 0;
  int done = 0;
  for (bool near = true; near && done < STEPS; done++) {
    const int k = done;
    for (int32_t i = 0; i < step_seqs[k]; i++) examples[i] = next++;
    double lr = LEARNING_RATE * schedule_factor(SCHEDULE_LINEAR, k, WARMUP, STEPS);
    StepResult result;
    must(trainer_step(&trainer, examples, step_seqs[k], k + 1, lr, &result, &err), &err);
    losses[k] = result.loss;
    norms[k] = result.grad_norm;
    near = fabs(losses[k] - (double)expected[k]) <= far;
  }
  memory_close(&memory);
  be->close(be);
  trainer_free(&trainer);
  llama_free(&model);
  store_close(store);
  return done;
}

static void write_csv(const char *dtype, int n, const double *losses, const float *expected) {
  const char *path = getenv("VMA_CURVE_CSV");
  FILE *file = path != NULL ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  for (int k = 0; k < n; k++)
    fprintf(file, "%s,%d,%.6f,%.6f\n", dtype, k, losses[k], (double)expected[k]);
  fclose(file);
}

static void compare(DType dtype, double tolerance, double norm_tolerance) {
  const char *name = dtype_info(dtype)->name;
  const float *expected = golden_f32(&golden, NULL, "%s.loss", name);
  const float *expected_norm = golden_f32(&golden, NULL, "%s.grad_norm", name);
  const float *rates = golden_f32(&golden, NULL, "lr");
  double losses[STEPS], norms[STEPS], worst = 0, worst_norm = 0;
  int n = train(dtype, expected, 4 * tolerance, losses, norms);
  EXPECT(n == STEPS, "ended after %d steps, far from the reference", n);
  for (int k = 0; k < n; k++) {
    double lr = LEARNING_RATE * schedule_factor(SCHEDULE_LINEAR, k, WARMUP, STEPS);
    EXPECT(fabs(lr - (double)rates[k]) <= 1e-7 * LEARNING_RATE, "rate of step %d: %g, %g", k, lr,
           (double)rates[k]);
    double d = fabs(losses[k] - (double)expected[k]);
    EXPECT(d <= tolerance, "step %d: loss %.5f, reference %.5f", k, losses[k], (double)expected[k]);
    if (!(d <= worst)) worst = d;
    double dn = fabs(norms[k] - (double)expected_norm[k]) / (double)expected_norm[k];
    EXPECT(dn <= norm_tolerance, "step %d: gradient norm %.5f, reference %.5f", k, norms[k],
           (double)expected_norm[k]);
    if (!(dn <= worst_norm)) worst_norm = dn;
  }
  printf("%d LoRA steps, %s: max |d loss| %.1e (at most %g), gradient norms to %.1e\n", n, name,
         worst, tolerance, worst_norm);
  write_csv(name, n, losses, expected);
}

static void f32_follows_the_reference(void) {
  compare(DT_F32, 0.005, 0.02);
}

static void bf16_follows_autocast(void) {
  compare(DT_BF16, 0.02, 0.1);
}

int main(void) {
  if (test_small_model() == NULL) TEST_SKIP("no small model");
  golden_open(&golden, "smollm2/curve.safetensors");
  make_dataset();
  RUN(f32_follows_the_reference);
  RUN(bf16_follows_autocast);
  free(data.examples);
  safetensors_close(&golden);
  return test_done();
}
