// Training tiny models as transformers, PEFT and torch's AdamW do: the first step's loss and every
// gradient by name, and ten steps of AdamW with decay groups, clipping and warm-up; LoRA+ with
// PEFT's own optimizer.
#include "optimizer.h"
#include "schedule.h"
#include "test.h"
#include "tiny.h"

#include <math.h>

enum { STEPS = 10, WARMUP = 2 };

static const OptimizerOptions reference_options = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};

// What a run may do otherwise than the reference, to see that the comparison notices.
typedef struct Run {
  OptimizerOptions options;
  int lr_late; // steps
} Run;

static const Run right = {.options = reference_options, .lr_late = 0};
static const Run right_plus = {.options = {.beta1 = 0.9,
                                           .beta2 = 0.999,
                                           .eps = 1e-8,
                                           .weight_decay = 0.1,
                                           .clip = 1,
                                           .plus_ratio = 16}};

// The file's name of a weight: PEFT puts a prefix before an adapter's.
static const char *file_prefix(const Param *p) {
  return p->adapter ? "base_model.model." : "";
}

static void compare_gradients(Tiny *tiny, const Safetensors *file, const char *what) {
  int64_t compared = 0;
  for (int64_t i = 0; i < tiny->model.params.n; i++) {
    const Param *p = &tiny->model.params.items[i];
    if (!p->trainable) continue;
    int64_t n;
    const float *expected = golden_f32(file, &n, "grad.%s%s", file_prefix(p), p->name);
    EXPECT(n == tensor_count(p->value.grad), "%s %s", what, p->name);
    float *found = tiny_read(tiny, p->value.grad);
    double norm = tiny_distance(expected, NULL, n), d = tiny_distance(found, expected, n);
    EXPECT(d <= 1e-4 * norm, "%s: gradient of %s off by %g of its norm", what, p->name, d / norm);
    free(found);
    compared++;
  }
  int64_t in_file = 0;
  for (int64_t i = 0; i < file->n_tensors; i++)
    in_file += strncmp(file->tensors[i].name, "grad.", 5) == 0;
  EXPECT(compared == in_file, "%s: %lld gradients of %lld", what, (long long)compared,
         (long long)in_file);
}

// The largest ||w - final|| / ||final - initial|| of all trained weights.
static double compare_weights(Tiny *tiny, const Safetensors *file, float **initial,
                              char worst_name[PARAM_NAME_MAX]) {
  double worst = 0;
  for (int64_t i = 0; i < tiny->model.params.n; i++) {
    const Param *p = &tiny->model.params.items[i];
    if (!p->trainable) continue;
    int64_t n;
    const float *final = golden_f32(file, &n, "final.%s%s", file_prefix(p), p->name);
    float *found = tiny_read(tiny, p->value.t);
    double d = tiny_distance(found, final, n) / tiny_distance(final, initial[i], n);
    if (!(d <= worst)) {
      worst = d;
      snprintf(worst_name, PARAM_NAME_MAX, "%s", p->name);
    }
    free(found);
  }
  return worst;
}

// The batches and first gradients of a training file, and what ten steps on them gave: mostly of
// the same file.
typedef struct Reference {
  const Safetensors *batches, *results;
} Reference;

static void one_step(Tiny *tiny, Optimizer *optimizer, const Reference *reference, int k,
                     const Run *run, const char *what) {
  bool check = run == &right || run == &right_plus;
  const Safetensors *file = reference->results;
  const float *losses = golden_f32(file, NULL, "loss"),
              *norms = golden_f32(file, NULL, "grad_norm"), *rates = golden_f32(file, NULL, "lr");
  TinyBatch batch = tiny_train_batch(reference->batches, k);
  double loss = 0;
  param_zero_grads(&tiny->model.params, tiny->rig.ctx.be);
  tiny_loss(tiny, &batch, 1 / (float)batch.batch.n_labels, true, &loss);
  loss /= (double)batch.batch.n_labels;
  if (check && k == 0) compare_gradients(tiny, reference->batches, what);
  double norm = optimizer_norm_end(optimizer, optimizer_norm_begin(optimizer, TENSOR_NONE)),
         lr = 1e-3 * schedule_factor(SCHEDULE_LINEAR, k - run->lr_late, WARMUP, STEPS);
  if (k < run->lr_late) lr = 0;
  if (check) {
    // Ten steps apart in the last place: the losses stay within a few units of it.
    EXPECT(fabs(loss - (double)losses[k]) <= 2e-5, "%s step %d: loss %.7g, expected %.7g", what, k,
           loss, (double)losses[k]);
    EXPECT(fabs(norm / (double)norms[k] - 1) <= 1e-4, "%s step %d: norm %.7g, expected %.7g", what,
           k, norm, (double)norms[k]);
    EXPECT((float)lr == rates[k], "%s step %d: rate %.9g, expected %.9g", what, k, lr,
           (double)rates[k]);
  }
  optimizer_update(optimizer, lr, k + 1);
  tiny_batch_free(&batch);
}

// Ten steps; returns compare_weights.
static double train(Tiny *tiny, const Reference *reference, const Run *run, const char *what,
                    char worst_name[PARAM_NAME_MAX]) {
  ParamTable *params = &tiny->model.params;
  Optimizer optimizer;
  optimizer_place(&optimizer, &run->options, params, tiny->rig.ctx.be, &tiny->rig.memory.state);
  float **initial = calloc((size_t)params->n, sizeof *initial);
  for (int64_t i = 0; i < params->n; i++) {
    initial[i] = tiny_read(tiny, params->items[i].value.t);
  }
  for (int k = 0; k < STEPS; k++) one_step(tiny, &optimizer, reference, k, run, what);
  double d = compare_weights(tiny, reference->results, initial, worst_name);
  for (int64_t i = 0; i < params->n; i++) free(initial[i]);
  free(initial);
  return d;
}

static double train_variant(Backend *be, const char *variant, const Run *run,
                            char worst_name[PARAM_NAME_MAX]) {
  Tiny tiny;
  Safetensors file;
  char path[200];
  snprintf(path, sizeof path, "tiny_llama/%s/train.safetensors", variant);
  golden_open(&file, path);
  tiny_open(&tiny, be, &(TinyOptions){.variant = variant, .train_all = true});
  double d = train(&tiny, &(Reference){&file, &file}, run, variant, worst_name);
  tiny_close(&tiny);
  safetensors_close(&file);
  return d;
}

static void all_weights(void) {
  // What moving all weights by one unit in the last place does to the changes after ten steps:
  // 1e-5 of them, and 1.3e-4 in biases, whose gradients are small differences.
  static const char *const variants[] = {"mha", "gqa", "biases"};
  for (int b = 0; b < TINY_BACKENDS; b++) {
    for (int v = 0; v < 3; v++) {
      char name[PARAM_NAME_MAX] = "";
      double d = train_variant(tiny_backend(b), variants[v], &right, name);
      EXPECT(d <= 1e-3, "%s: %s off by %g of its change", variants[v], name, d);
      printf("  %-8s %-10s %-48s %.2g\n", variants[v], tiny_backend(b)->gemm_path, name, d);
    }
  }
}

static double train_adapter(Backend *be, const char *name, const Run *run,
                            char worst_name[PARAM_NAME_MAX]) {
  Tiny tiny;
  Safetensors file, plus = {0};
  PeftAdapter adapter;
  Error err;
  char path[200];
  snprintf(path, sizeof path, "tiny_lora/%s/expected.safetensors", name);
  golden_open(&file, path);
  snprintf(path, sizeof path, "tests/golden/tiny_lora/%s", name);
  EXPECT(peft_adapter_read(&adapter, path, &err) == STATUS_OK, "%s", err.message);
  LoraSpec spec = lora_spec_of(&adapter);
  spec.plus = run->options.plus_ratio != 0;
  if (spec.plus) {
    snprintf(path, sizeof path, "tiny_lora/%s/plus.safetensors", name);
    golden_open(&plus, path);
  }
  tiny_open(&tiny, be, &(TinyOptions){.variant = "gqa", .lora = {&spec}, .train_lora = true});
  EXPECT(lora_load(&tiny.model.params, be, &adapter, 0, &err) == STATUS_OK, "%s", err.message);
  double d = train(&tiny, &(Reference){&file, spec.plus ? &plus : &file}, run, name, worst_name);
  tiny_close(&tiny);
  peft_adapter_free(&adapter);
  safetensors_close(&file);
  safetensors_close(&plus);
  return d;
}

static void adapters_only(void) {
  static const char *const names[] = {"qv", "all", "ranks"};
  for (int b = 0; b < TINY_BACKENDS; b++) {
    for (int i = 0; i < 3; i++) {
      char name[PARAM_NAME_MAX] = "";
      double d = train_adapter(tiny_backend(b), names[i], &right, name);
      EXPECT(d <= 1e-3, "%s: %s off by %g of its change", names[i], name, d);
      printf("  lora %-5s %-10s %-48s %.2g\n", names[i], tiny_backend(b)->gemm_path, name, d);
    }
  }
}

static void lora_plus(void) {
  for (int b = 0; b < TINY_BACKENDS; b++) {
    char name[PARAM_NAME_MAX] = "";
    double d = train_adapter(tiny_backend(b), "all", &right_plus, name);
    EXPECT(d <= 1e-3, "%s off by %g of its change", name, d);
    printf("  lora+    %-10s %-48s %.2g\n", tiny_backend(b)->gemm_path, name, d);
  }
  Run other = right_plus;
  other.options.plus_ratio = 15;
  char name[PARAM_NAME_MAX] = "";
  double d = train_adapter(tiny_backend(0), "all", &other, name);
  EXPECT(d >= 30e-3, "another ratio moves the weights' changes by %g only", d);
}

static void faults_are_seen(void) {
  Run no_decay = right, no_clip = right, late = right, other_beta = right;
  no_decay.options.weight_decay = 0;
  no_clip.options.clip = 0;
  late.lr_late = 1;
  other_beta.options.beta1 = 0.8;
  const struct {
    const char *what;
    const Run *run;
  } faults[] = {{"no decay", &no_decay},
                {"no clipping", &no_clip},
                {"rates one step late", &late},
                {"beta1 0.8", &other_beta}};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    char name[PARAM_NAME_MAX] = "";
    double d = train_variant(tiny_backend(0), "gqa", faults[i].run, name);
    EXPECT(d >= 30e-3, "%s moves the weights' changes by %g only", faults[i].what, d);
    printf("  %-24s %.2g\n", faults[i].what, d);
  }
}

int main(void) {
  RUN(all_weights);
  RUN(adapters_only);
  RUN(lora_plus);
  RUN(faults_are_seen);
  return test_done();
}
