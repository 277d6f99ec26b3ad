// labels: sim
// The trainer on the simulated device against the CPU, on a tiny model: loss, every gradient and
// ten optimizer steps in every way to train; checkpointing and another order of blocks and warps
// change no bit; products have few shapes; the host waits for nothing inside a step, not even to
// skip one whose gradients are not finite; the plan is what the device hands out.
#include "bf16.h"
#include "plan.h"
#include "rng.h"
#include "sim_module.h"
#include "test.h"
#include "tiny.h"
#include "train_model.h"
#include "trainer.h"

#include <math.h>

enum { EXAMPLES = 7, VOCAB = 61, BATCH = 4, LONGEST = 17, STEPS = 10 };

static const LlamaConfig tiny = {.hidden = 32,
                                 .ffn = 40,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .vocab = VOCAB,
                                 .rms_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .max_positions = 64,
                                 .tied = true};

// The ways to train.
enum { FORMS = 4, LORA = 0, FULL_F32 = 1, FULL_BF16 = 2, LORA_BF16 = 3 };
static const char *const form_names[FORMS] = {"lora f32", "full f32", "full bf16 with masters",
                                              "lora bf16"};

static bool is_bf16(int form) {
  return form >= FULL_BF16;
}

static void make_form(RunConfig *c, int form) {
  config_defaults(c);
  c->model.dtype = is_bf16(form) ? DT_BF16 : DT_F32;
  c->method = form == FULL_F32 || form == FULL_BF16 ? METHOD_FULL : METHOD_LORA;
  c->lora.r = 4;
  c->lora.dropout = 0.2;
  c->lora.targets = (ConfigWords){.n = 1, .words = {"all-linear"}};
  c->train.batch_size = BATCH;
  c->train.micro_tokens = 34;
  c->train.weight_decay = 0.1;
  c->train.clip = 0.5;
  c->train.seed = 7;
}

static Dataset make_data(void) {
  Dataset d = {.n = EXAMPLES};
  Rng rng = {.key = 3};
  d.examples = calloc(EXAMPLES, sizeof *d.examples);
  d.tokens = calloc(EXAMPLES * LONGEST, sizeof *d.tokens);
  for (int i = 0; i < EXAMPLES; i++) {
    int32_t n = 2 + (int32_t)rng_below(&rng, LONGEST - 1);
    d.examples[i] = (Example){.first = d.n_tokens, .n = n, .item = i};
    for (int32_t k = 0; k < n; k++) d.tokens[d.n_tokens++] = (int32_t)rng_below(&rng, VOCAB);
    dataset_mark(&d, i, i == 5 ? n : n / 3); // one without a label
  }
  return d;
}

typedef struct Fixture {
  RunConfig config;
  Dataset data;
  Llama model;
  Backend *be;
  Memory memory;
  RunPlan plan;
  Trainer trainer;
  double losses[STEPS];
} Fixture;

// Values that attention and logits are far from uniform with; those of bf16 weights in every form,
// so that an f32 model is the reference of a bf16 one.
static void fill_weights(Fixture *f) {
  for (int64_t i = 0; i < f->model.params.n; i++) {
    const Param *p = &f->model.params.items[i];
    int64_t n = tensor_count(p->value.t);
    float *values = malloc((size_t)n * sizeof *values);
    Rng rng = {.key = (uint64_t)i + 100};
    for (int64_t k = 0; k < n; k++)
      values[k] =
          bf16_to_f32(bf16_from_f32((float)(rng_normal(&rng) * 0.3 + (p->n_dims == 1 ? 1 : 0))));
    param_write(f->be, tensor_given(p->master) ? p->master : p->value.t, values);
    free(values);
  }
  param_round_masters(&f->model.params, f->be);
}

typedef enum Where { CPU, PLAIN_C, SIMULATED } Where;

static Fixture *open_fixture(const RunConfig *config, Where where) {
  Error err;
  Device device = {.name = "cpu", .title = "the CPU", .gib = 8};
  Fixture *f = calloc(1, sizeof *f);
  f->config = *config;
  f->data = make_data();
  CpuOptions options = {.threads = 1, .gemm = "own", .reference = where == PLAIN_C};
  if (where == SIMULATED) {
    f->be = sim_module_open();
    device_of_gpu(&device, f->be);
  } else {
    test_must(backend_cpu_open(&f->be, &options, &err), &err);
    device.shadow = f->be->shadow;
  }
  DataOutline outline = data_outline(&f->config, &f->data);
  test_must(plan_make(&f->plan, &f->config, &tiny, &outline, &device, &err), &err);
  test_must(train_model_declare(&f->model, &tiny, &f->config, &err), &err);
  trainer_init(&f->trainer, &f->config, &f->data, &f->model);
  test_must(memory_open(&f->memory, f->be, &f->plan.arenas, &err), &err);
  f->memory.host.poison = true;
  trainer_place(&f->trainer, f->be, &f->memory);
  fill_weights(f);
  return f;
}

static void close_fixture(Fixture *f) {
  trainer_free(&f->trainer);
  memory_close(&f->memory);
  f->be->close(f->be);
  llama_free(&f->model);
  dataset_free(&f->data);
  free(f);
}

static void run_steps(Fixture *f, int first, int last) {
  Error err;
  static const int32_t order[] = {3, 0, 5, 1, 6, 2, 4, 3, 1, 0};
  for (int step = first; step < last; step++) {
    StepResult r;
    test_must(trainer_step(&f->trainer, order + step % BATCH, BATCH, step + 1, 1e-3, &r, &err),
              &err);
    f->losses[step] = r.loss;
  }
}

static float *read_tensor(const Fixture *f, Tensor t) {
  float *values = calloc((size_t)tensor_count(t), sizeof *values);
  param_read(f->be, values, t);
  return values;
}

typedef enum What { GRADIENT, WEIGHT } What;

static Tensor tensor_of(const Param *p, What what) {
  if (what == GRADIENT) return p->value.grad;
  return tensor_given(p->master) ? p->master : p->value.t;
}

// Of every trained weight: the device is as near to the plain C variants in f32 as the CPU is,
// within twice its distance and `share` of the norm.
static void compare(const Fixture *device, const Fixture *cpu, const Fixture *reference, What what,
                    double share, const char *form) {
  int64_t compared = 0;
  for (int64_t i = 0; i < cpu->model.params.n; i++) {
    const Param *p = &cpu->model.params.items[i];
    if (!p->trainable) continue;
    int64_t n = tensor_count(p->value.t);
    float *x = read_tensor(device, tensor_of(&device->model.params.items[i], what));
    float *y = read_tensor(cpu, tensor_of(p, what));
    float *z = read_tensor(reference, tensor_of(&reference->model.params.items[i], what));
    double norm = tiny_distance(z, NULL, n), ours = tiny_distance(x, z, n),
           theirs = tiny_distance(y, z, n);
    EXPECT(norm > 0, "%s: nothing in %s", form, p->name);
    EXPECT(ours <= 2 * theirs + share * norm,
           "%s: %s of %s is off by %.3g of its norm, the CPU's by %.3g", form,
           what == GRADIENT ? "the gradient" : "the weight", p->name, ours / norm, theirs / norm);
    free(x);
    free(y);
    free(z);
    compared++;
  }
  EXPECT(compared > 5);
}

static void follows_the_cpu(void) {
  static RunConfig config;
  for (int form = 0; form < FORMS; form++) {
    int before = test_failures;
    make_form(&config, form);
    Fixture *device = open_fixture(&config, SIMULATED), *cpu = open_fixture(&config, CPU);
    config.model.dtype = DT_F32;
    Fixture *reference = open_fixture(&config, PLAIN_C);
    Fixture *all[] = {device, cpu, reference};
    for (int i = 0; i < 3; i++) run_steps(all[i], 0, 1);
    compare(device, cpu, reference, GRADIENT, is_bf16(form) ? 1e-3 : 5e-6, form_names[form]);
    for (int i = 0; i < 3; i++) run_steps(all[i], 1, STEPS);
    for (int i = 0; i < STEPS; i++) {
      double theirs = fabs(cpu->losses[i] - reference->losses[i]);
      double ours = fabs(device->losses[i] - reference->losses[i]);
      // bf16: a step's rounding is one draw of an error, so it has the run's as its scale
      double share = is_bf16(form) ? 5e-3 : 1e-5;
      EXPECT(ours <= 2 * theirs + share * reference->losses[i],
             "%s: step %d: %.9g, the CPU %.9g, f32 %.9g", form_names[form], i + 1,
             device->losses[i], cpu->losses[i], reference->losses[i]);
    }
    EXPECT(device->losses[0] != device->losses[1] && device->losses[0] > 0.5);
    // Adam divides by the gradient's own size: rounding of near-zero gradients is amplified.
    compare(device, cpu, reference, WEIGHT, is_bf16(form) ? 1e-3 : 1e-5, form_names[form]);
    sim_module_expect_clean();
    for (int i = 0; i < 3; i++) close_fixture(all[i]);
    if (test_failures != before) printf("  with %s\n", form_names[form]);
  }
}

// ---- the same bits ----

static bool same_bits(const Fixture *a, const Fixture *b, int steps) {
  bool same = memcmp(a->losses, b->losses, (size_t)steps * sizeof *a->losses) == 0;
  for (int64_t i = 0; i < a->model.params.n; i++) {
    const Param *p = &a->model.params.items[i], *q = &b->model.params.items[i];
    if (!p->trainable) continue;
    float *x = read_tensor(a, tensor_of(p, WEIGHT)), *y = read_tensor(b, tensor_of(q, WEIGHT));
    same = same && memcmp(x, y, (size_t)tensor_count(p->value.t) * sizeof *x) == 0;
    free(x);
    free(y);
  }
  return same;
}

enum { FEW = 3 };

static void same_bits_of(int form) {
  static RunConfig config;
  const SimControl *sim = sim_module_control();
  make_form(&config, form);
  Fixture *plain = open_fixture(&config, SIMULATED);
  run_steps(plain, 0, FEW);
  config.train.checkpointing = CHECKPOINTING_ON;
  Fixture *again = open_fixture(&config, SIMULATED);
  EXPECT(again->memory.step.capacity < plain->memory.step.capacity, "checkpointing saves nothing");
  run_steps(again, 0, FEW);
  EXPECT(same_bits(plain, again, FEW), "%s: checkpointing changes bits", form_names[form]);
  close_fixture(again);
  config.train.checkpointing = CHECKPOINTING_OFF;
  sim->configure(NULL, 3, 4711, true); // few multiprocessors, another order
  again = open_fixture(&config, SIMULATED);
  run_steps(again, 0, FEW);
  EXPECT(same_bits(plain, again, FEW), "%s: the order or the device's size changes bits",
         form_names[form]);
  sim->configure("a100", 0, 1, true);
  close_fixture(again);
  close_fixture(plain);
  sim_module_expect_clean();
}

static void nothing_changes_bits(void) {
  same_bits_of(LORA);
  same_bits_of(FULL_BF16);
}

// ---- gradients that are not finite ----

// Weights, first and second moments of everything trained, one after the other. Freed by free().
static float *state_of(const Fixture *f, int64_t *n) {
  *n = 3 * param_count(&f->model.params, true);
  float *all = malloc((size_t)*n * sizeof *all), *at = all;
  for (int64_t i = 0; i < f->model.params.n; i++) {
    const Param *p = &f->model.params.items[i];
    for (int kind = 0; p->trainable && kind < STATE_KINDS; kind++) {
      Tensor t = optimizer_state(&f->model.params, p, (StateKind)kind);
      f->be->copy_out(f->be, at, t);
      at += t.cols;
    }
  }
  return all;
}

// A weight that no logit survives: the device itself leaves weights and moments alone, for the host
// has queued the update before it sees the loss; it waits as often as in any other step.
static void skipped_on_the_device(int form) {
  static RunConfig config;
  static const int32_t batch[] = {2, 5};
  const SimControl *sim = sim_module_control();
  StepResult r;
  Error err = {0};
  int64_t n, waits;
  make_form(&config, form);
  Fixture *f = open_fixture(&config, SIMULATED);
  run_steps(f, 0, 1);
  sim->clear();
  run_steps(f, 1, 2);
  waits = sim->host_waits();
  const Param *norm = param_find(&f->model.params, "model.layers.1.input_layernorm.weight");
  int64_t width = tensor_count(norm->value.t);
  float *whole = read_tensor(f, norm->value.t);
  float *broken = malloc((size_t)width * sizeof *broken);
  memcpy(broken, whole, (size_t)width * sizeof *broken);
  broken[width / 2] = INFINITY;
  param_write(f->be, norm->value.t, broken); // not its master: that is state
  float *before = state_of(f, &n);
  sim->clear();
  EXPECT(trainer_step(&f->trainer, batch, 2, 3, 1e-3, &r, &err) == STATUS_FAILED && r.skipped,
         "%s: a loss of %g", form_names[form], r.loss);
  EXPECT(sim->host_waits() == waits, "%s: %lld waits in the skipped step, %lld in another",
         form_names[form], (long long)sim->host_waits(), (long long)waits);
  EXPECT(strstr(err.message, "step 3") != NULL && strstr(err.message, "items 2, 5") != NULL, "%s",
         err.message);
  float *after = state_of(f, &n);
  EXPECT(memcmp(before, after, (size_t)n * sizeof *before) == 0,
         "%s: weights or moments were touched", form_names[form]);
  param_write(f->be, norm->value.t, whole);
  f->trainer.skipped++;
  test_must(trainer_step(&f->trainer, batch, 2, 4, 1e-3, &r, &err), &err);
  float *later = state_of(f, &n);
  EXPECT(!r.skipped && memcmp(later, after, (size_t)n * sizeof *later) != 0, "%s: no step after it",
         form_names[form]);
  sim_module_expect_clean();
  free(before);
  free(after);
  free(later);
  free(whole);
  free(broken);
  close_fixture(f);
}

static void not_finite(void) {
  skipped_on_the_device(LORA);
  skipped_on_the_device(FULL_BF16);
}

// ---- waits, copies, memory ----

static void a_step_waits_for_nothing(void) {
  static RunConfig config;
  const SimControl *sim = sim_module_control();
  int64_t waits[2];
  for (int many = 0; many < 2; many++) {
    make_form(&config, LORA);
    config.train.micro_tokens = many ? 1 : 1000;
    Fixture *f = open_fixture(&config, SIMULATED);
    run_steps(f, 0, 1); // kernels are loaded
    sim->clear();
    run_steps(f, 1, FEW);
    waits[many] = sim->host_waits();
    // Loss and norm are fetched when all of the step has been queued: the two that are left.
    EXPECT(waits[many] <= 2 * (FEW - 1), "%lld waits in %d steps", (long long)waits[many], FEW - 1);
    if (many && sim_module_simulated())
      EXPECT(sim->overlapped() > 0, "no copy of a next batch overlaps with kernels");
    sim_module_expect_clean();
    close_fixture(f);
  }
  EXPECT(waits[0] == waits[1], "waits hang on the micro-batches: %lld, %lld", (long long)waits[0],
         (long long)waits[1]);
}

// The host looks for an algorithm once for each product of a layer, whatever the batches' lengths:
// five products, each with its gradients.
static void products_have_few_shapes(void) {
  static RunConfig config;
  static const int64_t micro_tokens[] = {34, 1000}, expected[FORMS] = {10, 15, 15, 10};
  const SimControl *sim = sim_module_control();
  for (int form = LORA; form <= FULL_BF16 && sim_module_simulated(); form += FULL_BF16) {
    sim->clear();
    for (int i = 0; i < 2; i++) {
      make_form(&config, form);
      config.train.micro_tokens = micro_tokens[i];
      Fixture *f = open_fixture(&config, SIMULATED);
      run_steps(f, 0, 2);
      EvalResult e = trainer_evaluate(&f->trainer, (int32_t[]){6, 2, 4}, 3);
      EXPECT(e.loss > 0.5, "a loss of %g", e.loss);
      close_fixture(f);
    }
    EXPECT(sim->product_shapes() == expected[form], "%s: %lld different products, expected %lld",
           form_names[form], (long long)sim->product_shapes(), (long long)expected[form]);
    sim_module_expect_clean();
  }
}

static void the_plan_is_the_device_s(void) {
  static RunConfig config;
  const SimControl *sim = sim_module_control();
  for (int form = 0; form < FORMS; form++) {
    int64_t before = sim->device_bytes(), planned = 0;
    make_form(&config, form);
    Fixture *f = open_fixture(&config, SIMULATED);
    for (int i = 0; i < f->plan.n_lines; i++) {
      const PlanLine *line = &f->plan.lines[i];
      bool measured = strcmp(line->name, "context") == 0 || strcmp(line->name, "others") == 0 ||
                      strcmp(line->name, "granularity") == 0 || strcmp(line->name, "code") == 0;
      if (line->on_device && !measured) planned += line->bytes;
    }
    run_steps(f, 0, 1);
    EXPECT(sim->device_bytes() - before == planned || !sim_module_simulated(),
           "%s: %lld bytes are planned, %lld handed out", form_names[form], (long long)planned,
           (long long)(sim->device_bytes() - before));
    close_fixture(f);
    EXPECT(sim->device_bytes() == before, "%lld bytes are not given back",
           (long long)(sim->device_bytes() - before));
  }
}

int main(void) {
  sim_module_control();
  RUN(the_plan_is_the_device_s);
  RUN(products_have_few_shapes);
  RUN(a_step_waits_for_nothing);
  RUN(follows_the_cpu);
  RUN(nothing_changes_bits);
  RUN(not_finite);
  return test_done();
}
