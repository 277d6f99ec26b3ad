// What must not change a result: how a batch is split, what is recomputed, which adapters share a
// batch, and that a rehearsal without arithmetic takes the memory of the real step.
#include "optimizer.h"
#include "test.h"
#include "tiny.h"

#include <math.h>

static PeftAdapter adapter_read(const char *name) {
  PeftAdapter adapter;
  Error err;
  char path[200];
  snprintf(path, sizeof path, "tests/golden/tiny_lora/%s", name);
  if (peft_adapter_read(&adapter, path, &err) != STATUS_OK) {
    printf("%s\n", err.message);
    exit(1);
  }
  return adapter;
}

static void load(Tiny *tiny, const PeftAdapter *adapter, int index) {
  Error err;
  Status status = lora_load(&tiny->model.params, tiny->rig.ctx.be, adapter, index, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
}

static Safetensors train_file(void) {
  Safetensors file;
  golden_open(&file, "tiny_llama/gqa/train.safetensors");
  return file;
}

// All gradients, bucket by bucket, as the backend holds them.
typedef struct Bits {
  int64_t bytes;
  char *data;
} Bits;

static Bits gradient_bits(Tiny *tiny) {
  const ParamTable *t = &tiny->model.params;
  Bits bits = {0};
  for (int64_t i = 0; i < t->n_buckets; i++) bits.bytes += tensor_bytes(t->buckets[i].g);
  bits.data = malloc((size_t)bits.bytes);
  int64_t at = 0;
  for (int64_t i = 0; i < t->n_buckets; i++) {
    tiny->rig.ctx.be->copy_out(tiny->rig.ctx.be, bits.data + at, t->buckets[i].g);
    at += tensor_bytes(t->buckets[i].g);
  }
  return bits;
}

// ---- checkpointing ----

enum { MOST_BLOCKS = 4 };

// The first n blocks recomputed, for every n.
static void any_number_of_blocks(const TinyOptions *options, Backend *be,
                                 const PeftAdapter *adapter, const TinyBatch *batch) {
  Tiny tiny;
  tiny_open(&tiny, be, options);
  if (adapter != NULL) load(&tiny, adapter, 0);
  Bits bits[MOST_BLOCKS + 1];
  double loss[MOST_BLOCKS + 1] = {0};
  int64_t peak[MOST_BLOCKS + 1], layers = tiny.model.config.layers;
  EXPECT(layers >= 2 && layers <= MOST_BLOCKS);
  for (int64_t on = 0; on <= layers; on++) {
    tiny.model.checkpoint_blocks = on;
    tiny.rig.memory.step.peak = 0;
    param_zero_grads(&tiny.model.params, be);
    tiny_loss(&tiny, batch, 1 / (float)batch->batch.n_labels, true, &loss[on]);
    bits[on] = gradient_bits(&tiny);
    peak[on] = tiny.rig.memory.step.peak;
  }
  const char *dtype = dtype_info(options->dtype)->name;
  EXPECT(loss[0] > 0);
  for (int64_t n = 1; n <= layers; n++) {
    EXPECT(loss[0] == loss[n], "%s: losses %.17g and %.17g", dtype, loss[0], loss[n]);
    EXPECT(memcmp(bits[0].data, bits[n].data, (size_t)bits[0].bytes) == 0,
           "%s: gradients differ with %lld blocks", dtype, (long long)n);
    EXPECT(peak[n] <= peak[n - 1], "%s: %lld blocks take %lld bytes, one fewer %lld", dtype,
           (long long)n, (long long)peak[n], (long long)peak[n - 1]);
  }
  double sum = 0;
  for (int64_t i = 0; i < bits[0].bytes; i++) sum += bits[0].data[i] != 0;
  EXPECT(sum > 1000, "%s: no gradients", dtype);
  EXPECT(peak[layers] < peak[0], "%s: recomputing takes %lld bytes, keeping %lld", dtype,
         (long long)peak[layers], (long long)peak[0]);
  for (int64_t n = 0; n <= layers; n++) free(bits[n].data);
  tiny_close(&tiny);
}

static void checkpointing_changes_no_bit(void) {
  static const DType dtypes[] = {DT_F32, DT_BF16};
  Safetensors file = train_file();
  TinyBatch batch = tiny_train_batch(&file, 0);
  PeftAdapter adapter = adapter_read("all");
  LoraSpec spec = lora_spec_of(&adapter);
  spec.dropout = 0.05f;
  for (int b = 0; b < TINY_BACKENDS; b++) {
    for (int d = 0; d < 2; d++) {
      TinyOptions all = {.variant = "gqa", .dtype = dtypes[d], .train_all = true},
                  lora = {.variant = "gqa",
                          .dtype = dtypes[d],
                          .lora = {&spec},
                          .train_lora = true},
                  wide = {.variant = "wide", .dtype = dtypes[d], .train_all = true};
      any_number_of_blocks(&all, tiny_backend(b), NULL, &batch);
      any_number_of_blocks(&lora, tiny_backend(b), &adapter, &batch);
      any_number_of_blocks(&wide, tiny_backend(b), NULL, &batch);
    }
  }
  peft_adapter_free(&adapter);
  tiny_batch_free(&batch);
  safetensors_close(&file);
}

// ---- micro-batches ----

static float *gradients_of(Tiny *tiny, int64_t *n) {
  const Bucket *b = &tiny->model.params.buckets[0];
  float *values = malloc((size_t)b->count * sizeof *values);
  param_read(tiny->rig.ctx.be, values, b->g);
  *n = b->count;
  return values;
}

// Relative distance of the first bucket's gradients.
static double apart(const float *a, const float *b, int64_t n) {
  double d = 0, norm = 0;
  for (int64_t i = 0; i < n; i++) {
    d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    norm += (double)a[i] * (double)a[i];
  }
  return sqrt(d / norm);
}

// The batch one sequence at a time; `local` numbers each from 0, which is the mistake.
static double split_loss(Tiny *tiny, const TinyBatch *batch, bool local) {
  double loss = 0;
  param_zero_grads(&tiny->model.params, tiny->rig.ctx.be);
  for (int64_t s = 0; s < batch->batch.tokens.n_seqs; s++) {
    TinyBatch part = tiny_split(batch, s);
    if (local) part.global_index[0] = 0;
    tiny_loss(tiny, &part, 1 / (float)batch->batch.n_labels, true, &loss);
    tiny_batch_free(&part);
  }
  return loss;
}

static void a_split_changes_rounding_only(void) {
  Safetensors file = train_file();
  PeftAdapter adapter = adapter_read("all");
  LoraSpec spec = lora_spec_of(&adapter);
  spec.dropout = 0.05f;
  for (int b = 0; b < TINY_BACKENDS; b++) {
    Tiny tiny;
    tiny_open(&tiny, tiny_backend(b),
              &(TinyOptions){.variant = "gqa", .lora = {&spec}, .train_lora = true});
    load(&tiny, &adapter, 0);
    for (int k = 0; k < 3; k++) {
      TinyBatch batch = tiny_train_batch(&file, k);
      double whole = 0;
      int64_t n;
      param_zero_grads(&tiny.model.params, tiny.rig.ctx.be);
      tiny_loss(&tiny, &batch, 1 / (float)batch.batch.n_labels, true, &whole);
      float *expected = gradients_of(&tiny, &n);
      double parts = split_loss(&tiny, &batch, false);
      float *found = gradients_of(&tiny, &n);
      // f32 sums in another order: a few units of 6e-8.
      EXPECT(fabs(parts - whole) <= 1e-6 * whole, "loss %.9g split, %.9g whole", parts, whole);
      EXPECT(apart(expected, found, n) <= 1e-5, "gradients differ by %g",
             apart(expected, found, n));
      double wrong = split_loss(&tiny, &batch, true);
      EXPECT(fabs(wrong - whole) >= 1e-4 * whole, "masks hang on the split: not seen");
      free(expected);
      free(found);
      tiny_batch_free(&batch);
    }
    tiny_close(&tiny);
  }
  peft_adapter_free(&adapter);
  safetensors_close(&file);
}

// Dropout is on in training only, changes with the step, and repeats with it.
static void dropout_follows_the_step(void) {
  Safetensors file = train_file();
  PeftAdapter adapter = adapter_read("qv");
  LoraSpec spec = lora_spec_of(&adapter);
  TinyBatch batch = tiny_train_batch(&file, 1);
  double plain[2] = {0, 0}, dropped[3] = {0, 0, 0};
  for (int with = 0; with < 2; with++) {
    Tiny tiny;
    spec.dropout = with == 1 ? 0.1f : 0;
    tiny_open(&tiny, tiny_backend(1),
              &(TinyOptions){.variant = "gqa", .lora = {&spec}, .train_lora = true});
    load(&tiny, &adapter, 0);
    tiny_loss(&tiny, &batch, 1, false, &plain[with]);
    for (int k = 0; with == 1 && k < 3; k++) {
      tiny.rig.step = k == 1 ? 2 : 1;
      tiny.rig.ctx.be->copy_in(tiny.rig.ctx.be, tiny.rig.ctx.dropout_step, &tiny.rig.step);
      tiny_loss(&tiny, &batch, 1, true, &dropped[k]);
    }
    tiny_close(&tiny);
  }
  EXPECT(plain[0] == plain[1], "dropout without training");
  EXPECT(dropped[0] != plain[0] && dropped[0] != dropped[1], "masks do not change");
  EXPECT(dropped[0] == dropped[2], "masks do not repeat");
  tiny_batch_free(&batch);
  peft_adapter_free(&adapter);
  safetensors_close(&file);
}

// ---- adapters ----

// Logits of PEFT with adapter qv for one sequence, with adapter all for another, and of the bare
// model for the third, from one batch.
static void adapters_share_a_batch(void) {
  PeftAdapter qv = adapter_read("qv"), all = adapter_read("all");
  LoraSpec qv_spec = lora_spec_of(&qv), all_spec = lora_spec_of(&all);
  static const char *const files[] = {"tiny_lora/all/expected.safetensors",
                                      "tiny_llama/gqa/expected.safetensors",
                                      "tiny_lora/qv/expected.safetensors"};
  static const int32_t adapters[] = {1, -1, 0};
  for (int b = 0; b < TINY_BACKENDS; b++) {
    Tiny tiny;
    tiny_open(&tiny, tiny_backend(b),
              &(TinyOptions){.variant = "gqa", .lora = {&qv_spec, &all_spec}});
    load(&tiny, &qv, 0);
    load(&tiny, &all, 1);
    Safetensors file[3];
    const int32_t *ids[3];
    int64_t lengths[3], V = tiny.model.config.vocab;
    for (int s = 0; s < 3; s++) {
      golden_open(&file[s], files[s]);
      ids[s] = golden_i32(&file[s], &lengths[s], "seq2.ids");
    }
    TinyBatch batch = tiny_batch(3, ids, lengths);
    memcpy(batch.adapters, adapters, sizeof adapters);
    batch.batch.adapters = batch.adapters;
    float *logits = tiny_logits(&tiny, &batch, NULL);
    for (int s = 0; s < 3; s++) {
      const float *expected = golden_f32(&file[s], NULL, "seq2.logits");
      double worst = 0;
      for (int64_t i = 0; i < lengths[s] * V; i++) {
        worst = fmax(worst, fabs((double)expected[i] - (double)logits[batch.cu[s] * V + i]));
      }
      EXPECT(worst <= 1e-4, "%s: off by %g", files[s], worst);
    }
    free(logits);
    tiny_batch_free(&batch);
    for (int s = 0; s < 3; s++) safetensors_close(&file[s]);
    tiny_close(&tiny);
  }
  peft_adapter_free(&qv);
  peft_adapter_free(&all);
}

// Without a list by row, adapter 0 serves all rows: PEFT's logits for each adapter alone.
static void one_adapter_serves_all_rows(void) {
  static const char *const names[] = {"qv", "all", "ranks"};
  for (int i = 0; i < 3; i++) {
    PeftAdapter adapter = adapter_read(names[i]);
    LoraSpec spec = lora_spec_of(&adapter);
    Tiny tiny;
    tiny_open(&tiny, tiny_backend(1), &(TinyOptions){.variant = "gqa", .lora = {&spec}});
    load(&tiny, &adapter, 0);
    Safetensors file;
    char path[200];
    snprintf(path, sizeof path, "tiny_lora/%s/expected.safetensors", names[i]);
    golden_open(&file, path);
    for (int s = 0; s < 3; s++) {
      int64_t length, V = tiny.model.config.vocab;
      const int32_t *ids = golden_i32(&file, &length, "seq%d.ids", s);
      const float *expected = golden_f32(&file, NULL, "seq%d.logits", s);
      TinyBatch batch = tiny_batch(1, &ids, &length);
      float *logits = tiny_logits(&tiny, &batch, NULL);
      double worst = 0;
      for (int64_t k = 0; k < length * V; k++) {
        worst = fmax(worst, fabs((double)expected[k] - (double)logits[k]));
      }
      EXPECT(worst <= 1e-4, "%s seq %d: off by %g", names[i], s, worst);
      free(logits);
      tiny_batch_free(&batch);
    }
    safetensors_close(&file);
    tiny_close(&tiny);
    peft_adapter_free(&adapter);
  }
}

// ---- rehearsal ----

// A training step (two micro-batches, norm, update) and an evaluation, in the given arenas.
static void whole_step(Llama *m, Memory *memory, const TinyBatch *batch) {
  Backend *be = memory->be;
  Optimizer optimizer;
  OptimizerOptions options = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1};
  llama_place(m, be, &memory->weights, &memory->state);
  optimizer_place(&optimizer, &options, &m->params, be, &memory->state);
  Ctx ctx = {.be = be, .step = &memory->step, .host = &memory->host, .dtype = m->dtype};
  ctx.dropout_step = arena_tensor(&memory->state, ARENA_LOW, DT_I32, 1, 1, "step number");
  for (int k = 0; k < 3; k++) { // the last one is an evaluation
    ArenaMark step = arena_mark(ctx.step), host = arena_mark(ctx.host);
    ctx.recording = ctx.training = k < 2;
    DeviceBatch on_device;
    device_batch_make(&ctx, &batch->batch, NULL, &on_device);
    Tensor inv = ctx_tensor(&ctx, KEEP, DT_F32, 1, 1, "inv_count"),
           loss = ctx_tensor(&ctx, KEEP, DT_F64, 1, 1, "loss");
    be->fill(be, inv, 1);
    be->fill(be, loss, 0);
    llama_loss(&ctx, m, &on_device, inv, loss);
    if (k < 2) tape_backward(&ctx);
    arena_release(ctx.step, step);
    arena_release(ctx.host, host);
  }
  optimizer_norm_end(&optimizer, optimizer_norm_begin(&optimizer, TENSOR_NONE));
  optimizer_update(&optimizer, 1e-3, 1);
  EXPECT(memory->step.low == 0 && memory->step.high == 0 && memory->host.low == 0);
}

static void rehearse(const TinyOptions *o, bool checkpointing, const TinyBatch *batch) {
  Error err;
  Backend *null;
  TensorStore *store;
  LlamaConfig config;
  Llama m;
  EXPECT(backend_null_open(&null, &err) == STATUS_OK);
  EXPECT(store_open(&store, "tests/golden/tiny_llama/gqa", &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_config_load(&config, store, &err) == STATUS_OK, "%s", err.message);
  llama_init(&m, &config, o->dtype);
  m.checkpoint_blocks = checkpointing ? config.layers : 0;
  if (o->train_all) llama_train_all(&m);
  if (o->lora[0] != NULL) {
    EXPECT(llama_attach_lora(&m, o->lora[0], 0, true, &err) == STATUS_OK, "%s", err.message);
  }
  param_make_buckets(&m.params);
  Memory memory;
  EXPECT(memory_open_rehearsal(&memory, null, &err) == STATUS_OK, "%s", err.message);
  whole_step(&m, &memory, batch);
  MemoryPlan plan = memory_peak(&memory), peak;
  int64_t weights, state;
  llama_plan(&m, &weights, &state);
  EXPECT(plan.weights == weights && plan.state > state && plan.step > 0 && plan.host > 0);
  EXPECT(null->counts.launches > 100 && null->counts.flops > 1e6 && null->counts.bytes > 1e6);
  int64_t launches = null->counts.launches;
  memory_close(&memory);
  null->close(null);

  for (int b = 0; b < TINY_BACKENDS; b++) { // arenas of just this size: one byte more would end it
    Backend *be = tiny_backend(b);
    int64_t before = be->counts.launches;
    EXPECT(memory_open(&memory, be, &plan, &err) == STATUS_OK, "%s", err.message);
    memory.step.poison = memory.host.poison = true;
    whole_step(&m, &memory, batch);
    peak = memory_peak(&memory);
    EXPECT(memcmp(&peak, &plan, sizeof plan) == 0, "step %lld of %lld bytes, host %lld of %lld",
           (long long)peak.step, (long long)plan.step, (long long)peak.host, (long long)plan.host);
    EXPECT(be->counts.launches - before == launches, "%s: %lld launches, rehearsed %lld", be->name,
           (long long)(be->counts.launches - before), (long long)launches);
    memory_close(&memory);
  }
  llama_free(&m);
  store_close(store);
}

static void a_rehearsal_takes_the_memory_of_the_step(void) {
  static const char *const targets[] = {"q_proj", "v_proj", "down_proj"};
  LoraSpec spec = {.r = 4, .alpha = 8, .dropout = 0.05f, .n_targets = 3, .targets = targets};
  Safetensors file = train_file();
  TinyBatch batch = tiny_train_batch(&file, 0);
  for (int on = 0; on < 2; on++) {
    rehearse(&(TinyOptions){.train_all = true}, on == 1, &batch);
    rehearse(&(TinyOptions){.lora = {&spec}}, on == 1, &batch);
    rehearse(&(TinyOptions){.dtype = DT_BF16, .lora = {&spec}}, on == 1, &batch);
  }
  tiny_batch_free(&batch);
  safetensors_close(&file);
}

// A batch without any label: no loss, no gradient, no harm.
static void no_labels(void) {
  Safetensors file = train_file();
  TinyBatch batch = tiny_train_batch(&file, 0);
  batch.batch.n_labels = 0;
  for (int given = 0; given < 2; given++) {
    if (given == 1) batch.batch.label_rows = batch.batch.label_ids = NULL;
    Tiny tiny;
    tiny_open(&tiny, tiny_backend(1), &(TinyOptions){.variant = "gqa", .train_all = true});
    double loss = 0;
    tiny_loss(&tiny, &batch, 1, true, &loss);
    Bits bits = gradient_bits(&tiny);
    EXPECT(loss == 0, "%g", loss);
    for (int64_t i = 0; i < bits.bytes; i++) {
      if (bits.data[i] == 0) continue;
      EXPECT(false, "a gradient without labels");
      break;
    }
    free(bits.data);
    tiny_close(&tiny);
  }
  tiny_batch_free(&batch);
  safetensors_close(&file);
}

int main(void) {
  RUN(checkpointing_changes_no_bit);
  RUN(a_split_changes_rounding_only);
  RUN(dropout_follows_the_step);
  RUN(adapters_share_a_batch);
  RUN(one_adapter_serves_all_rows);
  RUN(a_rehearsal_takes_the_memory_of_the_step);
  RUN(no_labels);
  return test_done();
}
