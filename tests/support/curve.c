#include "curve.h"

#include "check.h"
#include "schedule.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Dataset curve_dataset(const Safetensors *file) {
  int64_t n, first = 0;
  const int32_t *lengths = golden_i32(file, &n, "lengths");
  const int32_t *starts = golden_i32(file, NULL, "label_start");
  Dataset data = {.n = n};
  const int32_t *ids = golden_i32(file, &data.n_tokens, "ids");
  data.tokens = calloc((size_t)data.n_tokens, sizeof *data.tokens);
  data.examples = calloc((size_t)n, sizeof *data.examples);
  CHECK(data.tokens != NULL && data.examples != NULL, "no memory");
  memcpy(data.tokens, ids, (size_t)data.n_tokens * sizeof *ids);
  for (int64_t i = 0; i < n; i++) {
    data.examples[i] = (Example){.first = first, .n = lengths[i], .item = (int32_t)i};
    dataset_mark(&data, i, starts[i]);
    first += lengths[i];
  }
  CHECK(first == data.n_tokens, "the lengths do not add up");
  return data;
}

static double rate(const Curve *c, int k) {
  return c->lr * schedule_factor(SCHEDULE_LINEAR, k, c->warmup, c->planned);
}

static RunConfig curve_config(const Curve *c, DType dtype) {
  RunConfig config;
  config_defaults(&config);
  config.model.dtype = dtype;
  config.train.batch_size = c->data->n; // a step takes as many as the file says
  config.train.micro_tokens = c->micro_tokens;
  config.train.weight_decay = c->weight_decay;
  config.train.beta1 = 0.9;
  config.train.beta2 = 0.999;
  config.train.eps = 1e-8;
  config.train.clip = 1.0;
  config.train.checkpointing = CHECKPOINTING_OFF;
  return config;
}

// The steps; how many were done before a loss was more than `far` off.
static int run_steps(const Curve *c, Trainer *trainer, const float *expected, double far,
                     double *losses, double *norms) {
  Error err;
  const int32_t *step_seqs = golden_i32(c->golden, NULL, "step_seqs");
  int32_t *examples = calloc((size_t)c->data->n, sizeof *examples), next = 0;
  int done = 0;
  CHECK(examples != NULL, "no memory");
  for (bool near = true; near && done < c->steps; done++) {
    const int k = done;
    StepResult result;
    for (int32_t i = 0; i < step_seqs[k]; i++) examples[i] = next++;
    test_must(trainer_step(trainer, examples, step_seqs[k], k + 1, rate(c, k), &result, &err),
              &err);
    losses[k] = result.loss;
    norms[k] = result.grad_norm;
    near = fabs(losses[k] - (double)expected[k]) <= far;
  }
  free(examples);
  return done;
}

static int train(const Curve *c, DType dtype, const float *expected, double far, double *losses,
                 double *norms) {
  RunConfig config = curve_config(c, dtype);
  Error err;
  TensorStore *store = NULL;
  LlamaConfig model_config;
  Llama model;
  Trainer trainer;
  MemoryPlan plan;
  Backend *be = NULL;
  Memory memory;
  test_must(store_open(&store, test_small_model(), &err), &err);
  test_must(llama_config_load(&model_config, store, &err), &err);
  llama_init(&model, &model_config, dtype);
  c->declare(&model);
  param_make_buckets(&model.params);
  trainer_init(&trainer, &config, c->data, &model);
  test_must(trainer_plan(&trainer, &plan, NULL, &err), &err);
  test_must(backend_cpu_open(&be, &(CpuOptions){0}, &err), &err);
  test_must(memory_open(&memory, be, &plan, &err), &err);
  trainer_place(&trainer, be, &memory);
  test_must(llama_load(&model, be, store, &err), &err);
  if (c->fill != NULL) c->fill(&model, be);
  printf("%s, %s, GEMM %s\n", dtype_info(dtype)->name, be->name, be->gemm_path);
  int done = run_steps(c, &trainer, expected, far, losses, norms);
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

void curve_compare(const Curve *c, DType dtype, const CurveTolerance *tolerance) {
  const char *name = dtype_info(dtype)->name;
  int64_t in_file;
  const float *expected = golden_f32(c->golden, &in_file, "%s.loss", name);
  const float *expected_norm = golden_f32(c->golden, NULL, "%s.grad_norm", name);
  const float *rates = golden_f32(c->golden, NULL, "lr");
  double *losses = calloc((size_t)c->steps, sizeof *losses), worst = 0, worst_norm = 0, sum = 0;
  double *norms = calloc((size_t)c->steps, sizeof *norms);
  CHECK(losses != NULL && norms != NULL && c->steps <= in_file, "%d steps", c->steps);
  int n = train(c, dtype, expected, 4 * tolerance->loss, losses, norms);
  EXPECT(n == c->steps, "ended after %d steps, far from the reference", n);
  for (int k = 0; k < n; k++) {
    EXPECT(fabs(rate(c, k) - (double)rates[k]) <= 1e-7 * c->lr, "rate of step %d: %g, %g", k,
           rate(c, k), (double)rates[k]);
    double d = fabs(losses[k] - (double)expected[k]);
    EXPECT(d <= tolerance->loss, "step %d: loss %.5f, reference %.5f", k, losses[k],
           (double)expected[k]);
    if (!(d <= worst)) worst = d;
    sum += losses[k] - (double)expected[k];
    double dn = fabs(norms[k] - (double)expected_norm[k]) / (double)expected_norm[k];
    EXPECT(dn <= tolerance->norm, "step %d: gradient norm %.5f, reference %.5f", k, norms[k],
           (double)expected_norm[k]);
    if (!(dn <= worst_norm)) worst_norm = dn;
  }
  EXPECT(fabs(sum / n) <= tolerance->mean, "mean difference %.2g", sum / n);
  printf(
      "%d steps of %s, %s: max |d loss| %.1e (at most %g), mean d %.1e, gradient norms to %.1e\n",
      n, c->what, name, worst, tolerance->loss, sum / n, worst_norm);
  write_csv(name, n, losses, expected);
  free(losses);
  free(norms);
}
