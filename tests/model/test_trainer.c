// The trainer on a tiny model with drawn weights and ids: the cut into micro-batches, block
// checkpointing, going on from a checkpoint, losses that are not finite, batches without labels.
#include "checkpoint.h"
#include "checkpoint_folder.h"
#include "rng.h"
#include "test.h"
#include "train_model.h"
#include "trainer.h"

#include <math.h>
#include <unistd.h>

enum { EXAMPLES = 11, VOCAB = 61, BATCH = 4, PER_EPOCH = (EXAMPLES + BATCH - 1) / BATCH };

static const LlamaConfig tiny = {.hidden = 24,
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

static void make_config(RunConfig *c) {
  config_defaults(c);
  c->model.dtype = DT_F32;
  c->lora.r = 4;
  c->lora.dropout = 0.2;
  c->train.batch_size = BATCH;
  c->train.micro_tokens = 24;
  c->train.weight_decay = 0.1;
  c->train.clip = 0.5;
  c->train.seed = 7;
}

// Lengths from 2 to 17 tokens, prompts of a third of them.
static Dataset make_data(void) {
  Dataset d = {.n = EXAMPLES};
  Rng rng = {.key = 3};
  d.examples = calloc(EXAMPLES, sizeof *d.examples);
  d.tokens = calloc(EXAMPLES * 17, sizeof *d.tokens);
  for (int i = 0; i < EXAMPLES; i++) {
    int32_t n = 2 + (int32_t)rng_below(&rng, 16);
    d.examples[i] = (Example){.first = d.n_tokens, .n = n, .item = i};
    for (int32_t k = 0; k < n; k++) d.tokens[d.n_tokens++] = (int32_t)rng_below(&rng, VOCAB);
    dataset_mark(&d, i, n / 3);
  }
  return d;
}

// The ways to train: adapters; all weights in f32; in bf16 with masters; with gradients in bf16 too
// and frozen parts.
enum { FORMS = 4, LORA = 0 };
static const char *const form_names[FORMS] = {"lora", "full f32", "full bf16",
                                              "full bf16, bf16 gradients, frozen parts"};

static void make_form(RunConfig *c, int form) {
  make_config(c);
  if (form == LORA) return;
  c->method = METHOD_FULL;
  if (form >= 2) c->model.dtype = DT_BF16;
  if (form < 3) return;
  c->train.grad_dtype = DT_BF16;
  c->train.freeze.n = 2;
  snprintf(c->train.freeze.words[0], sizeof c->train.freeze.words[0], "*.q_proj.weight");
  snprintf(c->train.freeze.words[1], sizeof c->train.freeze.words[1], "model.layers.1.mlp.*");
}

typedef struct Fixture {
  RunConfig config;
  Dataset data;
  Llama model;
  Backend *be;
  Memory memory;
  Trainer trainer;
} Fixture;

// Weights of a standard deviation that makes attention and logits far from uniform; B of the
// adapters is drawn too, so that every gradient is there from the first step.
static void fill_weights(Fixture *f) {
  for (int64_t i = 0; i < f->model.params.n; i++) {
    const Param *p = &f->model.params.items[i];
    int64_t n = tensor_count(p->value.t);
    float *values = malloc((size_t)n * sizeof *values);
    Rng rng = {.key = (uint64_t)i + 100};
    for (int64_t k = 0; k < n; k++)
      values[k] = (float)(rng_normal(&rng) * 0.3 + (p->n_dims == 1 ? 1 : 0));
    param_write(f->be, tensor_given(p->master) ? p->master : p->value.t, values);
    free(values);
  }
  param_round_masters(&f->model.params, f->be);
}

static int64_t row_multiple; // of the backends of the fixtures that are opened

static Fixture *open_fixture(const RunConfig *config) {
  Error err;
  MemoryPlan plan;
  Fixture *f = calloc(1, sizeof *f);
  f->config = *config;
  f->data = make_data();
  bool ok = train_model_declare(&f->model, &tiny, &f->config, &err) == STATUS_OK;
  // Named, because what a start-up measures may differ from one fixture to the next.
  CpuOptions options = {.threads = 1, .gemm = "own"};
  ok = ok && backend_cpu_open(&f->be, &options, &err) == STATUS_OK;
  if (ok) trainer_init(&f->trainer, &f->config, &f->data, &f->model);
  if (ok && row_multiple > 0) { // as a backend that wants it has it
    f->be->row_multiple = f->be->shadow->row_multiple = row_multiple;
    f->trainer.shadow = f->be->shadow;
  }
  ok = ok && trainer_plan(&f->trainer, &plan, NULL, &err) == STATUS_OK &&
       memory_open(&f->memory, f->be, &plan, &err) == STATUS_OK;
  if (!ok) {
    printf("%s\n", err.message);
    exit(1);
  }
  f->memory.host.poison = f->memory.step.poison = true;
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

// Steps (first, last] in an order that depends on the epoch.
static Status run_steps(Fixture *f, int64_t first, int64_t last, double *losses, Error *err) {
  for (int64_t step = first; step < last; step++) {
    int32_t order[EXAMPLES];
    StepResult r;
    int64_t at = step % PER_EPOCH * BATCH, n = EXAMPLES - at < BATCH ? EXAMPLES - at : BATCH;
    dataset_epoch_order(order, EXAMPLES, true, 7, step / PER_EPOCH);
    Status status = trainer_step(&f->trainer, order + at, n, step + 1, 0.01, &r, err);
    if (status != STATUS_OK) return status;
    if (losses != NULL) losses[step] = r.loss;
  }
  return STATUS_OK;
}

// All trainable weights and moments, one after the other.
static float *state_of(Fixture *f, int64_t *n) {
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

static bool same_state(Fixture *a, Fixture *b) {
  int64_t n, m;
  float *x = state_of(a, &n), *y = state_of(b, &m);
  bool same = n == m && memcmp(x, y, (size_t)n * sizeof *x) == 0;
  free(x);
  free(y);
  return same;
}

// The largest difference of the weights and moments, relative to the largest value.
static double state_difference(Fixture *a, Fixture *b) {
  int64_t n, m;
  float *x = state_of(a, &n), *y = state_of(b, &m);
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < n; i++) {
    worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    largest = fmax(largest, fabs((double)x[i]));
  }
  free(x);
  free(y);
  return worst / largest;
}

enum { STEPS = 2 * PER_EPOCH + 1 }; // into the third epoch

// One sequence at a time, or a whole batch at once, with dropout: rounding only.
static void micro_batches_of(int form) {
  static RunConfig config;
  Error err;
  double one[STEPS], all[STEPS];
  make_form(&config, form);
  config.train.micro_tokens = 1;
  Fixture *a = open_fixture(&config);
  config.train.micro_tokens = 1000;
  Fixture *b = open_fixture(&config);
  EXPECT(a->trainer.bounds.rows < b->trainer.bounds.rows);
  test_must(run_steps(a, 0, STEPS, one, &err), &err);
  test_must(run_steps(b, 0, STEPS, all, &err), &err);
  for (int i = 0; i < STEPS; i++)
    EXPECT(fabs(one[i] - all[i]) <= 1e-5 * fabs(one[i]), "step %d: %.9g, %.9g", i + 1, one[i],
           all[i]);
  EXPECT(all[0] != all[1] && all[0] > 0.1, "losses say nothing: %g, %g", all[0], all[1]);
  double d = state_difference(a, b);
  EXPECT(d <= 1e-4, "weights and moments differ by %g", d); // AdamW's first steps amplify rounding
  close_fixture(a);
  close_fixture(b);
}

static void micro_batches(void) {
  micro_batches_of(LORA);
  micro_batches_of(1);
}

static void checkpointing_of(int form) {
  static RunConfig config;
  Error err;
  double on[STEPS], off[STEPS];
  make_form(&config, form);
  config.train.checkpointing = CHECKPOINTING_ON;
  Fixture *a = open_fixture(&config);
  config.train.checkpointing = CHECKPOINTING_OFF;
  Fixture *b = open_fixture(&config);
  EXPECT(a->memory.step.capacity < b->memory.step.capacity, "checkpointing saves no memory");
  test_must(run_steps(a, 0, STEPS, on, &err), &err);
  test_must(run_steps(b, 0, STEPS, off, &err), &err);
  EXPECT(memcmp(on, off, sizeof on) == 0);
  EXPECT(same_state(a, b));
  config.train.checkpointing = CHECKPOINTING_ON;
  config.train.checkpoint_blocks = 1;
  Fixture *c = open_fixture(&config);
  EXPECT(c->model.checkpoint_blocks == 1 && a->model.checkpoint_blocks == 2);
  test_must(run_steps(c, 0, STEPS, on, &err), &err);
  EXPECT(memcmp(on, off, sizeof on) == 0 && same_state(c, b));
  close_fixture(c);
  close_fixture(a);
  close_fixture(b);
}

static void checkpointing(void) {
  for (int form = 0; form < FORMS; form++) {
    int before = test_failures;
    checkpointing_of(form);
    if (test_failures != before) printf("  with %s\n", form_names[form]);
  }
}

static CheckpointState state_at(const Fixture *f, int64_t step) {
  CheckpointState s = {.step = step, .threads = 1, .config = f->config};
  memset(s.data_sha256, 'a', 64);
  memset(s.base_hash, 'b', 64);
  snprintf(s.gemm_path, sizeof s.gemm_path, "%s", f->be->gemm_path);
  snprintf(s.config.model.path, sizeof s.config.model.path, "m");
  snprintf(s.config.data.path, sizeof s.config.data.path, "d");
  snprintf(s.config.output.dir, sizeof s.config.output.dir, "o");
  return s;
}

// Stopped after every number of steps (within an epoch and at its end) and gone on from the file.
static void resume_of(int form, const char *folder) {
  static RunConfig config;
  static CheckpointState state;
  Error err;
  make_form(&config, form);
  Fixture *whole = open_fixture(&config);
  test_must(run_steps(whole, 0, STEPS, NULL, &err), &err);
  for (int64_t stop = 1; stop < STEPS; stop++) {
    char *path = checkpoint_path(folder, stop);
    Fixture *first = open_fixture(&config), *second = open_fixture(&config);
    test_must(run_steps(first, 0, stop, NULL, &err), &err);
    state = state_at(first, stop);
    test_must(checkpoint_save(folder, &state, &first->model.params, first->be, NULL, 3, &err),
              &err);
    test_must(checkpoint_read(&state, path, &err), &err);
    EXPECT(state.step == stop && config_difference(&state.config, &config, NULL) == NULL);
    EXPECT(!same_state(second, first));
    test_must(checkpoint_restore(path, &second->model.params, second->be, &err), &err);
    EXPECT(same_state(second, first), "step %d", (int)stop);
    test_must(run_steps(second, stop, STEPS, NULL, &err), &err);
    EXPECT(same_state(second, whole), "stopped after step %d", (int)stop);
    free(path);
    close_fixture(first);
    close_fixture(second);
  }
  int64_t *steps, n;
  test_must(checkpoint_list(folder, &steps, &n, &err), &err);
  EXPECT(n == 3 && steps[0] == STEPS - 1 && steps[2] == STEPS - 3, "%d are kept", (int)n);
  free(steps);
  close_fixture(whole);
}

static void resume(void) {
  for (int form = 0; form < FORMS; form++) {
    int before = test_failures;
    char *folder = form == LORA ? text_format("%s", test_tmp_dir())
                                : text_format("%s/form-%d", test_tmp_dir(), form);
    resume_of(form, folder);
    if (test_failures != before) printf("  with %s\n", form_names[form]);
    free(folder);
  }
}

// A flipped bit, a cut file and a missing one are seen before anything is taken from them.
static void damaged(void) {
  static CheckpointState state;
  static RunConfig config;
  Error err;
  make_config(&config);
  Fixture *f = open_fixture(&config);
  char *path = checkpoint_path(test_tmp_dir(), STEPS - 1);
  char *file = text_format("%s/trainer.safetensors", path);
  test_must(checkpoint_read(&state, path, &err), &err);
  FILE *handle = fopen(file, "r+b");
  fseek(handle, -5, SEEK_END);
  int byte = fgetc(handle);
  fseek(handle, -5, SEEK_END);
  fputc(byte ^ 1, handle);
  fclose(handle);
  EXPECT(checkpoint_read(&state, path, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, path) != NULL && strstr(err.message, "damaged") != NULL, "%s",
         err.message);
  EXPECT(truncate(file, 100) == 0);
  EXPECT(checkpoint_read(&state, path, &err) == STATUS_DATA, "%s", err.message);
  EXPECT(checkpoint_restore(path, &f->model.params, f->be, &err) == STATUS_DATA);
  unlink(file);
  EXPECT(checkpoint_read(&state, path, &err) == STATUS_NO_INPUT, "%s", err.message);
  free(file);
  free(path);
  close_fixture(f);
}

// A checkpoint of another rank does not fit, and says so.
static void other_shape(void) {
  static RunConfig config;
  Error err;
  make_config(&config);
  config.lora.r = 3;
  Fixture *f = open_fixture(&config);
  char *path = checkpoint_path(test_tmp_dir(), STEPS - 2);
  EXPECT(checkpoint_restore(path, &f->model.params, f->be, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "lora_") != NULL, "%s", err.message);
  free(path);
  close_fixture(f);
}

static void not_finite(void) {
  static RunConfig config;
  Error err = {0};
  StepResult r;
  make_config(&config);
  config.lora.dropout = 0; // which hangs on the step's number
  Fixture *a = open_fixture(&config), *b = open_fixture(&config);
  const Param *norm = param_find(&a->model.params, "model.layers.1.input_layernorm.weight");
  a->be->fill(a->be, norm->value.t, INFINITY);
  EXPECT(trainer_step(&a->trainer, (int32_t[]){2, 5}, 2, 1, 0.01, &r, &err) == STATUS_FAILED);
  EXPECT(strstr(err.message, "step 1") != NULL && strstr(err.message, "items 2, 5") != NULL, "%s",
         err.message);
  EXPECT(r.skipped && same_state(a, b), "weights or moments were touched");
  // Past it: the next step is AdamW's first.
  fill_weights(a);
  a->trainer.skipped++;
  test_must(trainer_step(&a->trainer, (int32_t[]){2, 5}, 2, 2, 0.01, &r, &err), &err);
  test_must(trainer_step(&b->trainer, (int32_t[]){2, 5}, 2, 1, 0.01, &r, &err), &err);
  EXPECT(!r.skipped && same_state(a, b), "a skipped step counts");
  close_fixture(a);
  close_fixture(b);
}

static void no_labels(void) {
  static RunConfig config;
  Error err;
  StepResult r;
  make_config(&config);
  config.train.weight_decay = 0;
  Fixture *a = open_fixture(&config), *b = open_fixture(&config);
  dataset_mark(&a->data, 3, a->data.examples[3].n);
  test_must(trainer_step(&a->trainer, (int32_t[]){3}, 1, 1, 0.01, &r, &err), &err);
  EXPECT(r.loss == 0 && r.grad_norm == 0 && r.label_tokens == 0, "%g, %g", r.loss, r.grad_norm);
  EXPECT(same_state(a, b));
  EvalResult e = trainer_evaluate(&a->trainer, (int32_t[]){3}, 1);
  EXPECT(e.loss == 0 && e.label_tokens == 0 && e.tokens == a->data.examples[3].n);
  close_fixture(a);
  close_fixture(b);
}

// An evaluation leaves no trace, does not depend on the cut, and is without dropout: the loss of a
// step whose dropout is off.
static void evaluation(void) {
  static RunConfig config;
  Error err;
  StepResult r;
  int32_t all[] = {1, 2, 3, 5, 7, 8, 10};
  make_config(&config);
  Fixture *a = open_fixture(&config), *b = open_fixture(&config);
  EvalResult e = trainer_evaluate(&a->trainer, all, 7);
  EXPECT(same_state(a, b));
  config.train.batch_size = EXAMPLES;
  config.train.micro_tokens = 1000;
  config.lora.dropout = 0;
  Fixture *c = open_fixture(&config);
  test_must(trainer_step(&c->trainer, all, 7, 1, 0.01, &r, &err), &err);
  EXPECT(e.label_tokens == r.label_tokens && e.tokens == r.tokens);
  EXPECT(fabs(e.loss - r.loss) <= 1e-6 * r.loss, "%.9g, %.9g", e.loss, r.loss);
  test_must(trainer_step(&b->trainer, all, BATCH, 1, 0.01, &r, &err), &err);
  e = trainer_evaluate(&a->trainer, all, BATCH);
  EXPECT(fabs(e.loss - r.loss) > 1e-4, "dropout changes nothing: %.9g, %.9g", e.loss, r.loss);
  close_fixture(a);
  close_fixture(b);
  close_fixture(c);
}

// Rows of no sequence and without a label change nothing, whatever is trained: the same bits, but
// where the few rows that have a label are multiplied by a kernel of their own, and are no longer
// few: in f32 its sums are cut elsewhere (bf16's rounding hides that).
static void rows_rounded_up(void) {
  for (int form = 0; form < FORMS; form++) {
    static RunConfig config;
    Error err;
    double plain[STEPS], rounded[STEPS];
    make_form(&config, form);
    row_multiple = 0;
    Fixture *a = open_fixture(&config);
    row_multiple = 128;
    Fixture *b = open_fixture(&config);
    row_multiple = 0;
    EXPECT(a->memory.step.capacity < b->memory.step.capacity, "no rows were added");
    test_must(run_steps(a, 0, STEPS, plain, &err), &err);
    test_must(run_steps(b, 0, STEPS, rounded, &err), &err);
    double off = state_difference(a, b), share = config.model.dtype == DT_BF16 ? 0 : 1e-6;
    bool bits = memcmp(plain, rounded, sizeof plain) == 0 && same_state(a, b);
    EXPECT(share > 0 ? off < share : bits, "%s: another %g", form_names[form], off);
    EvalResult x = trainer_evaluate(&a->trainer, (int32_t[]){1, 2, 3}, 3);
    EvalResult y = trainer_evaluate(&b->trainer, (int32_t[]){1, 2, 3}, 3);
    EXPECT(fabs(x.loss - y.loss) <= share * y.loss, "%s: %.17g, %.17g", form_names[form], x.loss,
           y.loss);
    close_fixture(a);
    close_fixture(b);
  }
}

int main(void) {
  RUN(rows_rounded_up);
  RUN(micro_batches);
  RUN(checkpointing);
  RUN(resume);
  RUN(damaged);
  RUN(other_shape);
  RUN(not_finite);
  RUN(no_labels);
  RUN(evaluation);
  return test_done();
}
