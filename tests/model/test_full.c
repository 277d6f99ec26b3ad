// Training all weights, or all but frozen ones: when the tape says that a bucket's gradients are
// finished, what freezing saves and leaves alone, f32 masters of bf16 weights, and the gradients'
// dtype.
#include "bf16.h"
#include "check.h"
#include "optimizer.h"
#include "test.h"
#include "tiny.h"

#include <math.h>

// ---- the signal of a finished bucket ----

enum { SIGNALS_MAX = 16 };

typedef struct Signals {
  Tiny *tiny;
  int n, number[SIGNALS_MAX];
  float *grads[SIGNALS_MAX]; // as they were when the signal came
} Signals;

static float *bucket_grads(Tiny *tiny, int number) {
  const Bucket *b = param_bucket(&tiny->model.params, number);
  CHECK(b != NULL, "a signal of bucket %d, in which nothing is trained", number);
  float *values = malloc((size_t)b->count * sizeof *values);
  param_read(tiny->rig.ctx.be, values, b->g);
  return values;
}

static void signalled(void *user, int number) {
  Signals *s = user;
  CHECK(s->n < SIGNALS_MAX, "too many signals");
  s->grads[s->n] = bucket_grads(s->tiny, number);
  s->number[s->n++] = number;
}

static double norm_of(const float *values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)values[i] * (double)values[i];
  return sqrt(sum);
}

static void signals_of(const TinyOptions *options, int checkpoint_blocks, const int *expected,
                       int n) {
  char what[64];
  snprintf(what, sizeof what, "%s, %d blocks recomputed", options->variant, checkpoint_blocks);
  Safetensors file;
  Tiny tiny;
  golden_open(&file, "tiny_llama/gqa/train.safetensors");
  tiny_open(&tiny, tiny_backend(1), options);
  tiny.model.checkpoint_blocks = checkpoint_blocks;
  if (options->train_lora) lora_init_weights(&tiny.model.params, tiny.rig.ctx.be, 0, 1);
  Signals s = {.tiny = &tiny};
  tiny.rig.ctx.bucket_done = signalled;
  tiny.rig.ctx.bucket_user = &s;
  TinyBatch batch = tiny_train_batch(&file, 1);
  double loss = 0;
  tiny_loss(&tiny, &batch, 0.1f, true, &loss);
  EXPECT(s.n == n, "%s: %d signals, expected %d", what, s.n, n);
  for (int i = 0; i < s.n; i++) {
    const Bucket *b = param_bucket(&tiny.model.params, s.number[i]);
    EXPECT(i < n && s.number[i] == expected[i], "%s: signal %d is of bucket %d", what, i,
           s.number[i]);
    float *last = bucket_grads(&tiny, s.number[i]);
    EXPECT(memcmp(last, s.grads[i], (size_t)b->count * sizeof *last) == 0,
           "%s: bucket %d was written after its signal", what, s.number[i]);
    EXPECT(norm_of(last, b->count) > 1e-4, "%s: bucket %d has no gradient", what, s.number[i]);
    free(last);
    free(s.grads[i]);
  }
  // A forward alone, and a backward that nobody listens to.
  int before = s.n;
  tiny_loss(&tiny, &batch, 0.1f, false, &loss);
  tiny.rig.ctx.bucket_done = NULL;
  tiny_loss(&tiny, &batch, 0.1f, true, &loss);
  EXPECT(s.n == before, "%s: signals without a listener", what);
  tiny_batch_free(&batch);
  tiny_close(&tiny);
  safetensors_close(&file);
}

static void buckets_are_signalled_once_and_finished(void) {
  const LoraSpec lora = {
      .r = 2, .alpha = 4, .n_targets = 1, .targets = (const char *const[]){"v_proj"}};
  for (int blocks = 0; blocks <= 2; blocks++) {
    // The norm (and an untied head), the blocks, the embedding.
    signals_of(&(TinyOptions){.variant = "gqa", .train_all = true}, blocks, (int[]){2, 1, 0, -1},
               4);
    signals_of(&(TinyOptions){.variant = "mha", .train_all = true}, blocks, (int[]){2, 1, 0, -1},
               4);
    signals_of(&(TinyOptions){.variant = "biases", .train_all = true}, blocks, (int[]){2, 1, 0, -1},
               4);
    signals_of(&(TinyOptions){.variant = "gqa",
                              .train_all = true,
                              .freeze = {"model.embed_tokens.*", "model.layers.0.*"}},
               blocks, (int[]){2, 1}, 2);
    signals_of(&(TinyOptions){.variant = "gqa", .train_all = true, .freeze = {"*.layers.1.*"}},
               blocks, (int[]){2, 0, -1}, 3);
    signals_of(&(TinyOptions){.variant = "gqa", .train_all = true, .dtype = DT_BF16}, blocks,
               (int[]){2, 1, 0, -1}, 4);
    signals_of(&(TinyOptions){.variant = "mha", .lora = {&lora}, .train_lora = true}, blocks,
               (int[]){1, 0}, 2);
  }
}

// ---- freezing ----

static double flops_of(int layers, const char *const *freeze, int n, bool train, int checkpoint,
                       int64_t *step_bytes) {
  LlamaConfig config = {.hidden = 24,
                        .ffn = 40,
                        .layers = layers,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_dim = 8,
                        .vocab = 61,
                        .rms_eps = 1e-5,
                        .rope_theta = 10000,
                        .max_positions = 64};
  Error err;
  Backend *null;
  Rig rig;
  Llama model;
  CHECK(backend_null_open(&null, &err) == STATUS_OK, "%s", err.message);
  llama_init(&model, &config, DT_F32);
  llama_train_all(&model);
  CHECK(param_freeze(&model.params, freeze, n, &err) == STATUS_OK, "%s", err.message);
  param_make_buckets(&model.params);
  rig_open(&rig, null, DT_F32, 16);
  llama_place(&model, null, &rig.memory.weights, &rig.memory.state);
  model.checkpoint_blocks = checkpoint;
  int64_t length = 9;
  int32_t ids[9] = {0};
  const int32_t *rows[] = {ids};
  TinyBatch batch = tiny_batch(1, rows, &length);
  DeviceBatch on_device;
  rig.ctx.recording = rig.ctx.training = train;
  device_batch_make(&rig.ctx, &batch.batch, NULL, &on_device);
  Tensor inv = rig_tensor(&rig, DT_F32, 1, 1, (double[]){1}),
         sum = rig_tensor(&rig, DT_F64, 1, 1, (double[]){0});
  null->counts.flops = 0;
  llama_loss(&rig.ctx, &model, &on_device, inv, sum);
  if (train) tape_backward(&rig.ctx);
  double flops = null->counts.flops;
  if (step_bytes != NULL) *step_bytes = rig.memory.step.peak;
  tiny_batch_free(&batch);
  llama_free(&model);
  rig_close(&rig);
  null->close(null);
  return flops;
}

// Three blocks of which the lower two are frozen cost what one trained block costs and the forward
// of two, recomputed or not; frozen blocks above trained ones still carry the gradient down.
static void frozen_blocks_get_no_backward(void) {
  static const char *const lower[] = {"model.embed_tokens.weight", "model.layers.0.*",
                                      "model.layers.1.*"};
  static const char *const upper[] = {"model.layers.1.*", "model.layers.2.*"};
  int64_t all_bytes, lower_bytes;
  double forward1 = flops_of(1, NULL, 0, false, 0, NULL),
         forward3 = flops_of(3, NULL, 0, false, 0, NULL),
         embed_frozen1 = flops_of(1, lower, 1, true, 0, NULL),
         all3 = flops_of(3, NULL, 0, true, 0, &all_bytes);
  double two_forward = forward3 - forward1;
  EXPECT(two_forward > 0 && embed_frozen1 > forward1);
  double lower3 = flops_of(3, lower, 3, true, 0, &lower_bytes);
  EXPECT(lower3 == embed_frozen1 + two_forward, "%g flops, expected %g", lower3,
         embed_frozen1 + two_forward);
  EXPECT(lower3 < all3 && lower_bytes < all_bytes, "%g of %g flops, %lld of %lld bytes", lower3,
         all3, (long long)lower_bytes, (long long)all_bytes);
  double recomputed = flops_of(3, lower, 3, true, 2, NULL);
  EXPECT(recomputed == lower3, "frozen blocks are recomputed: %g flops, not %g", recomputed,
         lower3);
  double upper3 = flops_of(3, upper, 2, true, 0, NULL);
  EXPECT(upper3 > lower3 && upper3 < all3, "%g of %g flops", upper3, all3);
}

// What is trained gets the same gradient whatever else is frozen: to the bit, unless a part of what
// is one matrix product else (q|k|v, gate|up) is frozen: then its sums are taken in another order.
static void freezing_changes_no_other_gradient(void) {
  static const struct {
    const char *freeze[4];
    double tolerance;
  } cases[] = {{{"model.embed_tokens.weight", "model.layers.0.*"}, 0},
               {{"*norm.weight"}, 0},
               {{"model.layers.?.self_attn.*", "*.embed*"}, 0},
               {{"*.q_proj.*", "*.up_proj.weight"}, 1e-5}};
  static const char *const variants[] = {"biases", "mha"};
  Safetensors file;
  golden_open(&file, "tiny_llama/gqa/train.safetensors");
  for (int v = 0; v < 2; v++) {
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
      Tiny all, some;
      TinyOptions options = {.variant = variants[v], .train_all = true};
      tiny_open(&all, tiny_backend(0), &options);
      memcpy(options.freeze, cases[k].freeze, sizeof options.freeze);
      tiny_open(&some, tiny_backend(0), &options);
      TinyBatch batch = tiny_train_batch(&file, 0);
      double loss = 0, loss2 = 0;
      tiny_loss(&all, &batch, 0.1f, true, &loss);
      tiny_loss(&some, &batch, 0.1f, true, &loss2);
      EXPECT(loss == loss2);
      int64_t frozen = 0;
      for (int64_t i = 0; i < all.model.params.n; i++) {
        const Param *p = &all.model.params.items[i], *q = &some.model.params.items[i];
        int64_t n = tensor_count(p->value.t);
        if (!q->trainable) {
          frozen++;
          EXPECT(!tensor_given(q->value.grad), "%s is frozen and has a gradient", q->name);
          continue;
        }
        float *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)n * sizeof *b);
        param_read(all.rig.ctx.be, a, p->value.grad);
        param_read(some.rig.ctx.be, b, q->value.grad);
        double norm = norm_of(a, n);
        for (int64_t j = 0; j < n; j++) b[j] -= a[j];
        double d = norm_of(b, n) / norm;
        EXPECT(d <= cases[k].tolerance, "%s, %s frozen: gradient of %s off by %g of its norm",
               variants[v], cases[k].freeze[0], p->name, d);
        free(a);
        free(b);
      }
      EXPECT(frozen > 0 && frozen < all.model.params.n);
      tiny_batch_free(&batch);
      tiny_close(&all);
      tiny_close(&some);
    }
  }
  safetensors_close(&file);
}

static void freeze_refuses(const char *const *patterns, int n, const char *part) {
  static const LlamaConfig config = {.hidden = 24,
                                     .ffn = 40,
                                     .layers = 2,
                                     .heads = 4,
                                     .kv_heads = 2,
                                     .head_dim = 8,
                                     .vocab = 61,
                                     .rms_eps = 1e-5,
                                     .rope_theta = 10000,
                                     .tied = true};
  Llama model;
  Error err;
  llama_init(&model, &config, DT_F32);
  llama_train_all(&model);
  EXPECT(param_freeze(&model.params, patterns, n, &err) == STATUS_USAGE, "%s", patterns[0]);
  EXPECT(strstr(err.message, part) != NULL, "no '%s' in: %s", part, err.message);
  llama_free(&model);
}

static void wrong_patterns_are_refused(void) {
  freeze_refuses((const char *[]){"*.norm.*", "model.layer.0.*"}, 2,
                 "'model.layer.0.*' matches no weight of the model; the nearest names: "
                 "model.layers.0.input_layernorm.weight, ");
  freeze_refuses((const char *[]){"*.gate_prj.weight"}, 1,
                 "model.layers.0.mlp.gate_proj.weight, model.layers.1.mlp.gate_proj.weight");
  freeze_refuses((const char *[]){"lm_head.weight"}, 1, "nearest names: model.");
  freeze_refuses((const char *[]){""}, 1, "'' matches no weight");
  freeze_refuses((const char *[]){"model.norm.weigh?t"}, 1, "names: model.norm.weight");
  freeze_refuses((const char *[]){"model.*"}, 1, "none is left to train");
}

// ---- bf16 weights ----

static float *read_all(Tiny *tiny, Tensor t) {
  float *values = malloc((size_t)tensor_count(t) * sizeof *values);
  param_read(tiny->rig.ctx.be, values, t);
  return values;
}

// Masters hold the file's f32 values to the bit; weights are their rounding, after loading and
// after an update too.
static void expect_rounded(Tiny *tiny, const char *when) {
  for (int64_t i = 0; i < tiny->model.params.n; i++) {
    const Param *p = &tiny->model.params.items[i];
    float *w = read_all(tiny, p->value.t), *master = read_all(tiny, p->master);
    int64_t wrong = 0;
    for (int64_t k = 0; k < tensor_count(p->value.t); k++)
      wrong += w[k] != bf16_to_f32(bf16_from_f32(master[k]));
    EXPECT(wrong == 0, "%s: %lld values of %s are not their masters rounded", when,
           (long long)wrong, p->name);
    free(w);
    free(master);
  }
}

static void masters_hold_the_file(void) {
  for (int b = 0; b < 2; b++) {
    Tiny exact, half, frozen;
    tiny_open(&exact, tiny_backend(b), &(TinyOptions){.variant = "gqa"});
    tiny_open(&half, tiny_backend(b),
              &(TinyOptions){.variant = "gqa", .dtype = DT_BF16, .train_all = true});
    int64_t more_than_bf16 = 0;
    for (int64_t i = 0; i < exact.model.params.n; i++) {
      const Param *p = &exact.model.params.items[i], *q = &half.model.params.items[i];
      EXPECT(q->master.dtype == DT_F32 && q->value.t.dtype == DT_BF16 &&
             q->value.grad.dtype == DT_F32);
      float *values = read_all(&exact, p->value.t), *master = read_all(&half, q->master);
      int64_t n = tensor_count(p->value.t);
      EXPECT(memcmp(values, master, (size_t)n * sizeof *values) == 0, "%s", p->name);
      for (int64_t k = 0; k < n; k++)
        more_than_bf16 += values[k] != bf16_to_f32(bf16_from_f32(values[k]));
      free(values);
      free(master);
    }
    EXPECT(more_than_bf16 > 1000, "the file has no more than bf16");
    expect_rounded(&half, "loaded");
    Optimizer optimizer;
    OptimizerOptions options = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .plus_ratio = 1};
    optimizer_place(&optimizer, &options, &half.model.params, half.rig.ctx.be,
                    &half.rig.memory.state);
    for (int64_t i = 0; i < half.model.params.n_buckets; i++)
      half.rig.ctx.be->fill(half.rig.ctx.be, half.model.params.buckets[i].g, 0.25);
    optimizer_norm_end(&optimizer, optimizer_norm_begin(&optimizer, TENSOR_NONE));
    optimizer_update(&optimizer, 1e-5, 1);
    expect_rounded(&half, "updated");
    // 1e-5 is less than half a unit in the last bf16 place of a norm's weight near 1: only the
    // master has moved.
    const Param *norm = param_find(&half.model.params, "model.layers.0.input_layernorm.weight");
    float *w = read_all(&half, norm->value.t), *master = read_all(&half, norm->master),
          *was = tiny_weight(&exact, norm->name);
    int64_t still = 0, n = tensor_count(norm->value.t);
    for (int64_t k = 0; k < n; k++) {
      still += w[k] == bf16_to_f32(bf16_from_f32(was[k]));
      EXPECT(fabs((double)(was[k] - master[k]) - 1e-5) < 2e-7, "%g", (double)(was[k] - master[k]));
    }
    EXPECT(still > n * 3 / 4, "%lld of %lld weights did not move", (long long)still, (long long)n);
    free(w);
    free(master);
    free(was);
    // Frozen weights have no master.
    tiny_open(
        &frozen, tiny_backend(b),
        &(TinyOptions){
            .variant = "gqa", .dtype = DT_BF16, .train_all = true, .freeze = {"model.layers.*"}});
    const Param *q = param_find(&frozen.model.params, "model.layers.0.self_attn.q_proj.weight");
    EXPECT(!tensor_given(q->master) && !tensor_given(q->value.grad));
    tiny_close(&exact);
    tiny_close(&half);
    tiny_close(&frozen);
  }
}

// Gradients in bf16 are those in f32 but for their rounding.
static void gradients_in_bf16(void) {
  Safetensors file;
  golden_open(&file, "tiny_llama/gqa/train.safetensors");
  for (int b = 0; b < 2; b++) {
    Tiny wide, narrow;
    TinyOptions options = {.variant = "biases", .dtype = DT_BF16, .train_all = true};
    tiny_open(&wide, tiny_backend(b), &options);
    options.grad_dtype = DT_BF16;
    tiny_open(&narrow, tiny_backend(b), &options);
    TinyBatch batch = tiny_train_batch(&file, 0);
    double loss = 0, loss2 = 0, worst = 0;
    tiny_loss(&wide, &batch, 0.02f, true, &loss);
    tiny_loss(&narrow, &batch, 0.02f, true, &loss2);
    EXPECT(loss == loss2);
    for (int64_t i = 0; i < wide.model.params.n; i++) {
      const Param *p = &wide.model.params.items[i], *q = &narrow.model.params.items[i];
      EXPECT(p->value.grad.dtype == DT_F32 && q->value.grad.dtype == DT_BF16);
      int64_t n = tensor_count(p->value.t);
      float *x = read_all(&wide, p->value.grad), *y = read_all(&narrow, q->value.grad);
      double norm = norm_of(x, n);
      for (int64_t k = 0; k < n; k++) y[k] -= x[k];
      double d = norm_of(y, n) / norm;
      EXPECT(d <= 0.004, "gradient of %s off by %g of its norm", p->name, d);
      worst = fmax(worst, d);
      free(x);
      free(y);
    }
    EXPECT(worst > 1e-4, "nothing was rounded");
    tiny_batch_free(&batch);
    tiny_close(&wide);
    tiny_close(&narrow);
  }
  safetensors_close(&file);
}

// The gradient of an attention's relative bias, weight and gradient of the given dtypes, of two
// backwards together.
enum { BIAS_ROWS = 8, BIAS_HEADS = 2, BIAS_DIM = 8, BIAS_BUCKETS = 4 };

static void bias_gradient(Backend *be, DType dtype, DType grad_dtype, float *out) {
  Rig rig;
  ParamTable table;
  int64_t shape[] = {BIAS_BUCKETS, BIAS_HEADS}, width = BIAS_HEADS * BIAS_DIM;
  double values[BIAS_ROWS * BIAS_HEADS * BIAS_DIM];
  rig_open(&rig, be, dtype, 1);
  param_table_init(&table, 1);
  Param *bias = param_declare(&table, dtype, 0, 0, true, 2, shape, "relative_attention_bias");
  bias->trainable = true;
  table.grad_dtype = grad_dtype;
  param_make_buckets(&table);
  param_place(&table, &rig.memory.weights, &rig.memory.state);
  param_write(be, bias->value.t,
              (float[BIAS_BUCKETS * BIAS_HEADS]){0.5f, -1, 0.25f, 0, 1, 0, 0, 2});
  param_zero_grads(&table, be);
  for (int time = 0; time < 2; time++) {
    Value *qkv[3];
    for (int i = 0; i < 3; i++) {
      rig_draw(values, BIAS_ROWS * width, (uint64_t)(3 * time + i), 1);
      for (int64_t k = 0; k < BIAS_ROWS * width; k++) // exact in bf16
        values[k] = (double)bf16_to_f32(bf16_from_f32((float)values[k]));
      Tensor t = rig_tensor(&rig, dtype, BIAS_ROWS, width, values);
      qkv[i] = value_wrap(&rig.ctx, t, i == 0);
    }
    Tensor cu = rig_ints(&rig, 1, 2, (int32_t[]){0, BIAS_ROWS});
    AttentionArgs args = {.n_heads = BIAS_HEADS,
                          .n_kv_heads = BIAS_HEADS,
                          .head_dim = BIAS_DIM,
                          .scale = 0.35f,
                          .n_seqs = 1,
                          .max_q = BIAS_ROWS,
                          .max_k = BIAS_ROWS,
                          .cu_q = cu,
                          .cu_k = cu,
                          .bias_max_distance = 16};
    rig.ctx.recording = true;
    Value *o = op_attention(&rig.ctx, qkv[0], qkv[1], qkv[2], bias, &args);
    rig_draw(values, BIAS_ROWS * width, 7, 1);
    be->copy_in(be, value_grad(&rig.ctx, o),
                rig_tensor(&rig, dtype, BIAS_ROWS, width, values).data);
    tape_backward(&rig.ctx);
  }
  param_read(be, out, bias->value.grad);
  param_table_free(&table);
  rig_close(&rig);
}

static void a_relative_bias_in_bf16(void) {
  enum { N = BIAS_BUCKETS * BIAS_HEADS };
  for (int b = 0; b < 2; b++) {
    float exact[N], wide[N], narrow[N];
    Backend *be = tiny_backend(b);
    bias_gradient(be, DT_F32, DT_F32, exact);
    bias_gradient(be, DT_BF16, DT_F32, wide);
    bias_gradient(be, DT_BF16, DT_BF16, narrow);
    double norm = norm_of(exact, N);
    for (int i = 0; i < N; i++) {
      EXPECT(fabs((double)(wide[i] - exact[i])) <= 0.02 * norm, "%g, f32 %g", (double)wide[i],
             (double)exact[i]);
      EXPECT(fabs((double)(narrow[i] - wide[i])) <= 0.01 * norm, "%g, in bf16 %g", (double)wide[i],
             (double)narrow[i]);
      EXPECT(narrow[i] == bf16_to_f32(bf16_from_f32(narrow[i])));
    }
    EXPECT(norm > 0.1, "%g", norm);
  }
}

int main(void) {
  RUN(buckets_are_signalled_once_and_finished);
  RUN(frozen_blocks_get_no_backward);
  RUN(freezing_changes_no_other_gradient);
  RUN(wrong_patterns_are_refused);
  RUN(masters_hold_the_file);
  RUN(gradients_in_bf16);
  RUN(a_relative_bias_in_bf16);
  return test_done();
}
