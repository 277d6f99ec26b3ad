// The plan of a run: each arena's high-water mark after real steps equals it to the byte; what
// ranks share; the recipes' devices; and what is proposed where a plan does not fit.
#include "dry_run.h"
#include "rng.h"
#include "test.h"
#include "train_model.h"

#include <math.h>

enum { VOCAB = 61, BATCH = 3 };

static const LlamaConfig tiny = {.hidden = 24,
                                 .ffn = 40,
                                 .layers = 3,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .vocab = VOCAB,
                                 .rms_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .max_positions = 64,
                                 .tied = true};

// ---- to the byte ----

// Sequences of one length, so that the largest micro-batch that the plan is made for is one that
// comes.
static Dataset make_data(int32_t length) {
  Dataset d = {.n = BATCH, .n_tokens = (int64_t)BATCH * length};
  Rng rng = {.key = 3};
  d.examples = calloc(BATCH, sizeof *d.examples);
  d.tokens = calloc((size_t)d.n_tokens, sizeof *d.tokens);
  for (int64_t k = 0; k < d.n_tokens; k++) d.tokens[k] = (int32_t)rng_below(&rng, VOCAB);
  for (int i = 0; i < BATCH; i++) {
    d.examples[i] = (Example){.first = (int64_t)i * length, .n = length};
    dataset_mark(&d, i, 2);
  }
  return d;
}

typedef struct Case {
  Method method;
  DType dtype;
  Checkpointing checkpointing;
  int32_t length;
  int64_t micro_tokens;
  bool ranks; // all linear layers, ranks by module, LoRA+
} Case;

static void fill_weights(Llama *model, Backend *be) {
  for (int64_t i = 0; i < model->params.n; i++) be->fill(be, model->params.items[i].value.t, 0.01);
}

static void train(const RunConfig *config, const Dataset *data, const MemoryPlan *arenas,
                  MemoryPlan *peak) {
  Error err;
  Llama model;
  Trainer trainer;
  Memory memory;
  Backend *be = NULL;
  StepResult result;
  const int32_t examples[BATCH] = {2, 0, 1};
  CpuOptions options = {.threads = 1};
  test_must(backend_cpu_open(&be, &options, &err), &err);
  test_must(train_model_declare(&model, &tiny, config, &err), &err);
  trainer_init(&trainer, config, data, &model);
  test_must(memory_open(&memory, be, arenas, &err), &err);
  trainer_place(&trainer, be, &memory);
  fill_weights(&model, be);
  for (int step = 1; step <= 2; step++) {
    test_must(trainer_step(&trainer, examples, BATCH, step, 1e-3, &result, &err), &err);
    trainer_evaluate(&trainer, examples, BATCH);
  }
  *peak = memory_peak(&memory);
  trainer_free(&trainer);
  memory_close(&memory);
  be->close(be);
  llama_free(&model);
}

static void check_case(const Case *c) {
  Error err;
  RunConfig config;
  Device device;
  RunPlan plan;
  MemoryPlan peak;
  config_defaults(&config);
  config.method = c->method;
  config.model.dtype = c->dtype;
  config.lora.r = 4;
  config.train.batch_size = BATCH;
  config.train.micro_tokens = c->micro_tokens;
  config.train.checkpointing = c->checkpointing;
  if (c->ranks) {
    test_must(config_override(&config, "lora.targets=all-linear", &err), &err);
    test_must(config_override(&config, "lora.rank_pattern=down_proj=9,layers.0.*=2", &err), &err);
    test_must(config_override(&config, "lora.plus_ratio=16", &err), &err);
  }
  Dataset data = make_data(c->length);
  DataOutline outline = data_outline(&config, &data);
  test_must(device_find(&device, "h100", &err), &err);
  test_must(plan_make(&plan, &config, &tiny, &outline, &device, &err), &err);
  train(&config, &data, &plan.arenas, &peak);
#define SAME(arena)                                                                                \
  EXPECT(peak.arena == plan.arenas.arena,                                                          \
         "%s, %s, checkpointing %d, %d tokens: %s: %lld, not %lld",                                \
         c->method == METHOD_LORA ? "lora" : "full", dtype_info(c->dtype)->name,                   \
         (int)c->checkpointing, c->length, #arena, (long long)peak.arena,                          \
         (long long)plan.arenas.arena)
  SAME(weights);
  SAME(state);
  SAME(step);
  SAME(cache);
  SAME(host);
  dataset_free(&data);
}

// However often an epoch takes them.
static void the_data_are_in_memory_once(void) {
  Error err;
  RunConfig config;
  Device device;
  RunPlan plan;
  config_defaults(&config);
  Dataset data = make_data(7);
  DataOutline outline = data_outline(&config, &data);
  outline.train = 5 * data.n;
  outline.held_out = 0;
  test_must(device_find(&device, "h100", &err), &err);
  test_must(plan_make(&plan, &config, &tiny, &outline, &device, &err), &err);
  int64_t bytes = data.n_tokens * (int64_t)sizeof *data.tokens;
  EXPECT(plan_line(&plan, "data")->bytes == bytes + data.n * (int64_t)sizeof *data.examples,
         "%lld bytes", (long long)plan_line(&plan, "data")->bytes);
  dataset_free(&data);
}

static void high_water_marks_are_the_plan(void) {
  for (int i = 0; i < 16;
       i++) { // LoRA and full, f32 and bf16, checkpointing off and on, two lengths
    Method method = i & 1 ? METHOD_FULL : METHOD_LORA;
    Checkpointing checkpointing = i & 2 ? CHECKPOINTING_ON : CHECKPOINTING_OFF;
    int32_t length = i & 4 ? 40 : 7;
    check_case(
        &(Case){method, i & 8 ? DT_BF16 : DT_F32, checkpointing, length, BATCH * length, false});
  }
  check_case(&(Case){METHOD_LORA, DT_BF16, CHECKPOINTING_OFF, 16, 32, false}); // two packs a step
  check_case(&(Case){METHOD_FULL, DT_BF16, CHECKPOINTING_OFF, 16, 32, false});
  check_case(&(Case){METHOD_LORA, DT_BF16, CHECKPOINTING_OFF, 16, 32, true});
}

// ---- plans without files ----

static void plan_of(RunPlan *plan, RunConfig *c, const char *const *words, int n) {
  Error err;
  LlamaConfig llama;
  Device device;
  config_defaults(c);
  for (int i = 0; i < n; i++) test_must(config_override(c, words[i], &err), &err);
  test_must(llama_config_preset(&llama, NULL, c->model.preset, &err), &err);
  test_must(device_find(&device, c->plan.device, &err), &err);
  DataOutline outline = plan_assumed_data(c);
  test_must(plan_make(plan, c, &llama, &outline, &device, &err), &err);
}
#define PLAN_OF(plan, c, ...)                                                                      \
  plan_of(plan, c, (const char *const[]){__VA_ARGS__},                                             \
          sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static int64_t bytes_of(const RunPlan *plan, const char *name) {
  const PlanLine *line = plan_line(plan, name);
  EXPECT(line != NULL, "no line %s", name);
  return line != NULL ? line->bytes : 0;
}

static void lines_add_up(void) {
  RunConfig c;
  RunPlan plan;
  PLAN_OF(&plan, &c, "model.preset=smollm2-135m", "plan.device=rtx-3090");
  int64_t sum = 0, arenas = plan.arenas.weights + plan.arenas.state + plan.arenas.step;
  arenas += plan.arenas.cache; // of sample answers
  for (int i = 0; i < plan.n_lines; i++) sum += plan.lines[i].on_device ? plan.lines[i].bytes : 0;
  EXPECT(sum == plan.device_bytes && plan.fits && plan.limit == INT64_C(23) << 30);
  EXPECT(bytes_of(&plan, "weights") == plan.arenas.weights);
  EXPECT(bytes_of(&plan, "gradients") + bytes_of(&plan, "optimizer") == plan.arenas.state);
  EXPECT(bytes_of(&plan, "gradients") == 30 * 16384 * 4); // 15,360 a block, padded
  EXPECT(sum - arenas == bytes_of(&plan, "context") + bytes_of(&plan, "workspace") +
                             bytes_of(&plan, "graphs") + bytes_of(&plan, "granularity"));
  EXPECT(bytes_of(&plan, "workspace") == backend_cuda_fixed_bytes());
  EXPECT(plan_line(&plan, "context")->estimate && !plan_line(&plan, "weights")->estimate);
  EXPECT(plan_line(&plan, "collectives") == NULL);
  PLAN_OF(&plan, &c, "model.preset=llama-7b", "plan.device=h100",
          "lora.rank_pattern=v_proj=16,layers.3?.*=2");
  EXPECT(plan.trained == 32 * 16 * 8192 + 30 * 8 * 8192 + 2 * 2 * 8192, "%lld",
         (long long)plan.trained); // layers 30 and 31 have 2 in q
}

// Steps, evaluations and checkpoints of a run by hand; time that follows the device's rates.
static void time_is_counted(void) {
  RunConfig c;
  RunPlan plan, slow, twice;
  PLAN_OF(&plan, &c, "model.preset=smollm2-135m", "plan.device=a100-80", "plan.examples=1100",
          "data.val_set_size=100", "train.epochs=2", "train.batch_size=300", "train.eval_steps=3",
          "output.save_steps=5", "plan.mean_len=100", "train.micro_tokens=1000");
  const PlanTime *t = &plan.time;
  EXPECT(t->steps == 8 && t->evaluations == 4 && t->checkpoints == 2, "%lld %lld %lld",
         (long long)t->steps, (long long)t->evaluations, (long long)t->checkpoints);
  EXPECT(t->tokens == 30000 && fabs(t->micro_batches - (30000 / 950.0 + 0.5)) < 1e-9);
  // 4 flops a token for each weight of a matrix product: embedding lookups are none, the tied head
  // is
  double products = 0;
  for (int kind = OP_GEMM; kind <= OP_GEMM_BACK_W; kind++) products += t->step[kind].flops;
  EXPECT(fabs(products / (4.0 * 30000 * 134479872) - 1) < 0.01, "%g", products);
  double sum = t->start + 8 * t->one_step + 4 * t->one_evaluation + 2 * t->one_checkpoint;
  EXPECT(fabs(sum / t->total - 1) < 1e-12);
  PLAN_OF(&slow, &c, "model.preset=smollm2-135m", "plan.device=a100-80", "plan.examples=1100",
          "data.val_set_size=100", "train.batch_size=300", "train.micro_tokens=1000",
          "plan.mean_len=100", "model.dtype=f32");
  EXPECT(slow.time.one_step > 5 * t->one_step, "f32 has a sixteenth of the peak");
  PLAN_OF(&twice, &c, "model.preset=smollm2-135m", "plan.device=a100-80", "plan.examples=1100",
          "data.val_set_size=100", "train.batch_size=600", "train.micro_tokens=1000",
          "plan.mean_len=100");
  EXPECT(fabs(twice.time.one_step / t->one_step - 2) < 0.05);
}

// The micro-batches of a step, against packing drawn lengths.
static void packs_are_as_many_as_planned(void) {
  enum { SEQUENCES = 64, STEPS = 300 };
  Rng rng = {.key = 5};
  for (int64_t micro = 512; micro <= 16384; micro *= 2) {
    int64_t packs = 0, tokens = 0, ends[SEQUENCES];
    for (int step = 0; step < STEPS; step++) {
      int32_t lengths[SEQUENCES];
      for (int i = 0; i < SEQUENCES; i++) {
        double drawn = exp(5.2 + 0.6 * rng_normal(&rng)); // mean about 217, as instructions have it
        lengths[i] = drawn < 20 ? 20 : drawn > 512 ? 512 : (int32_t)drawn;
        tokens += lengths[i];
      }
      packs += pack_runs(ends, lengths, SEQUENCES, micro);
    }
    double mean = (double)packs / STEPS;
    char mean_len[48], micro_tokens[48];
    snprintf(mean_len, sizeof mean_len, "plan.mean_len=%lld",
             (long long)(tokens / (STEPS * SEQUENCES)));
    snprintf(micro_tokens, sizeof micro_tokens, "train.micro_tokens=%lld", (long long)micro);
    RunConfig c;
    RunPlan plan;
    PLAN_OF(&plan, &c, "model.preset=smollm2-135m", "plan.device=h100", "train.batch_size=64",
            mean_len, micro_tokens);
    EXPECT(fabs(plan.time.micro_batches / mean - 1) < 0.15, "%lld: %.2f planned, %.2f packed",
           (long long)micro, plan.time.micro_batches, mean);
  }
}

static void ranks_share(void) {
  static const char *const shards[] = {"none", "optimizer", "gradients", "weights"};
  RunConfig c;
  RunPlan one, of_four[4];
  PLAN_OF(&one, &c, "model.preset=llama-7b", "plan.device=a100-80", "train.batch_size=128");
  for (int i = 0; i < 4; i++) {
    char word[32];
    snprintf(word, sizeof word, "dist.shard=%s", shards[i]);
    PLAN_OF(&of_four[i], &c, "model.preset=llama-7b", "plan.device=a100-80", "train.batch_size=128",
            "dist.ranks=4", word);
    const RunPlan *p = &of_four[i];
    int64_t gradients = bytes_of(&one, "gradients"), moments = 2 * gradients;
    int64_t scalars = bytes_of(&one, "optimizer") - moments;
    EXPECT(bytes_of(p, "gradients") == gradients / (i >= SHARD_GRADIENTS ? 4 : 1), "%s", shards[i]);
    EXPECT(bytes_of(p, "optimizer") == scalars + moments / (i >= SHARD_OPTIMIZER ? 4 : 1), "%s",
           shards[i]);
    // Of adapters only: 32 blocks, all alike; the gather buffer holds two of them.
    int64_t adapters = one.trained * 4, weights = bytes_of(&one, "weights");
    EXPECT(bytes_of(p, "weights") == weights - (i >= SHARD_WEIGHTS ? adapters / 4 * 3 : 0), "%s",
           shards[i]);
    EXPECT((plan_line(p, "reduce") != NULL) == (i >= SHARD_GRADIENTS), "%s", shards[i]);
    EXPECT((plan_line(p, "gather") != NULL) == (i >= SHARD_WEIGHTS), "%s", shards[i]);
    if (i == SHARD_WEIGHTS) EXPECT(bytes_of(p, "gather") == 2 * adapters / 32);
    EXPECT(plan_line(p, "collectives")->estimate && p->time.collectives > 0);
    EXPECT(p->time.one_step < one.time.one_step / 3.5, "a quarter of the batch each");
  }
}

// LLaMA-7B on four ranks in GB (1e9 bytes), as worked out by hand: 6.738 billion weights of 2
// bytes, gradients of 2 or 4, moments and masters of 12.
static void full_states_of_four_ranks(void) {
  static const struct {
    const char *shard, *grads;
    double gb;
  } known[] = {{"none", "bf16", 107.8},
               {"optimizer", "bf16", 47.2},
               {"optimizer", "f32", 60.6},
               {"gradients", "bf16", 37.1},
               {"weights", "bf16", 27.0}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    RunConfig c;
    RunPlan p;
    char shard[32], grads[32];
    snprintf(shard, sizeof shard, "dist.shard=%s", known[i].shard);
    snprintf(grads, sizeof grads, "train.grad_dtype=%s", known[i].grads);
    PLAN_OF(&p, &c, "model.preset=llama-7b", "plan.device=a100-80", "method=full", "dist.ranks=4",
            shard, grads);
    double bytes =
        (double)(bytes_of(&p, "weights") + bytes_of(&p, "gradients") + bytes_of(&p, "optimizer"));
    EXPECT(fabs(bytes * 1e-9 / known[i].gb - 1) < 0.002, "%s, %s: %.2f GB", shard, grads,
           bytes * 1e-9);
    EXPECT(strstr(plan_line(&p, "gradients")->what, known[i].grads) != NULL, "%s",
           plan_line(&p, "gradients")->what);
  }
}

// What a published recipe says of itself.
static void recipe_fits(const char *path, double gib, double at_least) {
  RunConfig c;
  RunPlan plan;
  LlamaConfig llama;
  Device device;
  Error err;
  test_must(config_load(&c, path, NULL, 0, &err), &err);
  test_must(llama_config_preset(&llama, NULL, c.model.preset, &err), &err);
  test_must(device_find(&device, c.plan.device, &err), &err);
  DataOutline outline = plan_assumed_data(&c);
  test_must(plan_make(&plan, &c, &llama, &outline, &device, &err), &err);
  EXPECT(plan.fits && plan.device_bytes <= (int64_t)(gib * (1 << 30)), "%s takes %.2f GiB", path,
         (double)plan.device_bytes / (1 << 30));
  EXPECT(plan.device_bytes > (int64_t)(at_least * (1 << 30)), "%s takes only %.2f GiB", path,
         (double)plan.device_bytes / (1 << 30));
}

static void recipes_fit(void) {
  recipe_fits("configs/lora_3090.yaml", 23.0, 20.0);
  recipe_fits("configs/lora_3090_best.yaml", 23.0, 20.0);
  recipe_fits("configs/full_a100x4.yaml", 78.0, 35.0);
  recipe_fits("configs/full_a100x4_best.yaml", 78.0, 70.0);
}

static void unknown_devices_are_told_apart(void) {
  Device device;
  Error err;
  EXPECT(device_find(&device, "rtx-309", &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "did you mean 'rtx-3090'?") != NULL, "%s", err.message);
  EXPECT(device_find(&device, "a very large abacus", &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "a100-40") != NULL && strstr(err.message, "h200") != NULL, "%s",
         err.message);
}

// A measurement gives a rate for every kind that a run of the same config asks about.
static void a_cpu_is_measured(void) {
  RunConfig c;
  Error err;
  Backend *be = NULL;
  Device device;
  RunPlan plan;
  config_defaults(&c);
  DataOutline outline = plan_assumed_data(&c);
  CpuOptions options = {.threads = 1};
  test_must(backend_cpu_open(&be, &options, &err), &err);
  test_must(device_measure(&device, be, &c, &tiny, &outline, &err), &err);
  EXPECT(device.measured && !device.gpu && device.gib > 0);
  test_must(plan_make(&plan, &c, &tiny, &outline, &device, &err), &err);
  for (int kind = 0; kind < OP_KINDS; kind++) {
    const OpCost *cost = &plan.time.step[kind];
    EXPECT((cost->bytes > 0) == (cost->seconds > 0), "%s", op_kind_name((OpKind)kind));
  }
  EXPECT(plan.time.one_step > 0 && plan_line(&plan, "context") == NULL);
  EXPECT(plan_line(&plan, "host")->on_device, "the CPU's memory is the process's");
  EXPECT(plan_line(&plan, "scratch")->bytes == be->shadow->counts.scratch);
  be->close(be);
}

// The model that is measured has one block: what a config says of others does not matter.
static void layers_of_their_own_are_measured(void) {
  RunConfig c;
  Error err;
  Backend *be = NULL;
  Device device;
  config_defaults(&c);
  test_must(
      config_override(&c, "lora.targets=layers.2.self_attn.q_proj,layers.1.mlp.down_proj", &err),
      &err);
  test_must(config_override(&c, "lora.rank_pattern=layers.2.self_attn.q_proj=2", &err), &err);
  DataOutline outline = plan_assumed_data(&c);
  CpuOptions options = {.threads = 1};
  test_must(backend_cpu_open(&be, &options, &err), &err);
  test_must(device_measure(&device, be, &c, &tiny, &outline, &err), &err);
  EXPECT(device.rates.kind[OP_LORA].flops[DT_BF16] > 0);
  // Many sequences of one token in few rows.
  c.train.micro_tokens = 24;
  outline.mean_len = outline.mean_labels = 1;
  test_must(device_measure(&device, be, &c, &tiny, &outline, &err), &err);
  be->close(be);
}

int main(void) {
  RUN(high_water_marks_are_the_plan);
  RUN(the_data_are_in_memory_once);
  RUN(lines_add_up);
  RUN(time_is_counted);
  RUN(packs_are_as_many_as_planned);
  RUN(ranks_share);
  RUN(full_states_of_four_ranks);
  RUN(recipes_fit);
  RUN(unknown_devices_are_told_apart);
  RUN(a_cpu_is_measured);
  RUN(layers_of_their_own_are_measured);
  return test_done();
}
