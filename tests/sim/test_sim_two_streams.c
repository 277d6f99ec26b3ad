// labels: sim
// A toy of two streams, an encoder of values and a decoder of tokens, on the simulated device
// against the CPU: bidirectional attention by prefix, causal attention with a T5 bias table and its
// gradient, cross-attention whose keys have borders of their own. Loss, every gradient, ten
// optimizer steps and greedy text, in f32 and bf16; checkpointing changes no bit.
#include "greedy.h"
#include "ops.h"
#include "optimizer.h"
#include "rig.h"
#include "rng.h"
#include "sim_module.h"
#include "test.h"
#include "tiny.h"

#include <math.h>

enum { C = 32, H = 4, K = 2, D = 8, F = 48, V = 53, BUCKETS = 8, SEQS = 3, PARAMS = 32 };
enum { STEPS = 10, NEW = 4 };

// Lengths of the encoder's and the decoder's sequences: one token, unlike, longer than a warp.
static const int32_t cu_enc[SEQS + 1] = {0, 1, 10, 47}, cu_dec[SEQS + 1] = {0, 7, 8, 24};
static const int32_t prefix_enc[SEQS] = {1, 9, 37};
enum { R_ENC = 47, R_DEC = 24 };

typedef struct Toy {
  Rig rig;
  ParamTable params;
  Optimizer optimizer;
  ArenaMark step, host; // where a batch begins
  bool checkpoint;
  Linear qkv_enc, o_enc, up_enc, down_enc, qkv, o, q_cross, k_cross, v_cross, o_cross, gate_up,
      down, head;
  Param *norms[6], *shifts[2], *embed, *bias;
  double losses[STEPS];
} Toy;

static Param *declare(Toy *t, DType dtype, int64_t rows, int64_t cols, const char *name) {
  int64_t shape[] = {rows, cols};
  Param *p = param_declare(&t->params, dtype, 0, 0, true, cols > 0 ? 2 : 1, shape, "%s", name);
  p->trainable = true;
  return p;
}

static void declare_linear(Toy *t, DType dtype, Linear *l, int64_t out, int64_t in, bool biased,
                           const char *name) {
  char bias_name[64];
  Param *w = declare(t, dtype, out, in, name), *b = NULL;
  snprintf(bias_name, sizeof bias_name, "%s.bias", name);
  if (biased) b = declare(t, dtype, out, 0, bias_name);
  linear_add_part(l, w, b);
}

static void declare_all(Toy *t, DType dtype) {
  param_table_init(&t->params, PARAMS);
  t->embed = declare(t, dtype, V, C, "embed");
  t->bias = declare(t, dtype, BUCKETS, H, "bias table");
  for (int i = 0; i < 6; i++) {
    char name[24];
    snprintf(name, sizeof name, "norm %d", i);
    t->norms[i] = declare(t, dtype, C, 0, name);
  }
  for (int i = 0; i < 2; i++)
    t->shifts[i] = declare(t, dtype, C, 0, i == 0 ? "shift 0" : "shift 1");
  declare_linear(t, dtype, &t->qkv_enc, (H + 2 * K) * D, C, true, "encoder qkv");
  declare_linear(t, dtype, &t->o_enc, C, H * D, true, "encoder o");
  declare_linear(t, dtype, &t->up_enc, F, C, true, "encoder up");
  declare_linear(t, dtype, &t->down_enc, C, F, false, "encoder down");
  declare_linear(t, dtype, &t->qkv, (H + 2 * K) * D, C, false, "qkv");
  declare_linear(t, dtype, &t->o, C, H * D, false, "o");
  declare_linear(t, dtype, &t->q_cross, H * D, C, false, "cross q");
  declare_linear(t, dtype, &t->k_cross, K * D, C, false, "cross k");
  declare_linear(t, dtype, &t->v_cross, K * D, C, false, "cross v");
  declare_linear(t, dtype, &t->o_cross, C, H * D, false, "cross o");
  declare_linear(t, dtype, &t->gate_up, 2 * F, C, false, "gate up");
  declare_linear(t, dtype, &t->down, C, F, false, "down");
  declare_linear(t, dtype, &t->head, V, C, false, "head");
  param_make_buckets(&t->params);
}

// Values that bf16 holds, so that every run begins with the same weights.
static float drawn(Rng *rng, double scale, double centre) {
  float x = (float)(rng_normal(rng) * scale + centre);
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xffff0000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void fill(Toy *t) {
  Backend *be = t->rig.ctx.be;
  for (int64_t i = 0; i < t->params.n; i++) {
    Param *p = &t->params.items[i];
    int64_t n = tensor_count(p->value.t);
    float *values = malloc((size_t)n * sizeof *values);
    Rng rng = {.key = (uint64_t)i + 1};
    bool norm = strncmp(p->name, "norm", 4) == 0;
    for (int64_t k = 0; k < n; k++) values[k] = drawn(&rng, 0.3, norm ? 1 : 0);
    param_write(be, tensor_given(p->master) ? p->master : p->value.t, values);
    free(values);
  }
  param_round_masters(&t->params, be);
}

// What the decoder reads and is to say.
typedef struct Texts {
  int32_t cu[SEQS + 1];
  int32_t ids[SEQS * 37];
} Texts;

// Both streams of a batch on the device; arguments of the two segments.
typedef struct Streams {
  Toy *toy;
  Tensor cu_e, cu_d, whole, at_e, at_d;
  int64_t max_q;
  Value *pixels, *encoded, *words, *out;
} Streams;

static const AttentionArgs heads = {.n_heads = H,
                                    .n_kv_heads = K,
                                    .head_dim = D,
                                    .scale = 0.35f,
                                    .n_seqs = SEQS,
                                    .max_q = 37,
                                    .max_k = 37,
                                    .bias_max_distance = 16};

static void encode(Ctx *ctx, void *arguments) {
  const Streams *s = arguments;
  const Toy *t = s->toy;
  RopeArgs split = {
      .n_heads = H, .n_kv_heads = K, .head_dim = D, .positions = s->at_e, .max_position = 37};
  AttentionArgs args = heads;
  args.cu_q = args.cu_k = s->cu_e;
  args.prefix = s->whole;
  Value *x = s->pixels;
  Value *h = op_layernorm(ctx, x, t->norms[0], t->shifts[0], 1e-5f, KEEP);
  Qkv p = op_rope_split(ctx, op_linear(ctx, &t->qkv_enc, h, NULL, KEEP), &split, TENSOR_NONE,
                        TENSOR_NONE);
  Value *o = op_attention(ctx, p.q, p.k, p.v, NULL, &args), *z;
  Value *d = op_linear(ctx, &t->o_enc, o, NULL, KEEP);
  h = op_add_layernorm(ctx, &z, x, d, t->norms[1], t->shifts[1], 1e-5f, KEEP);
  Value *a = op_act(ctx, op_linear(ctx, &t->up_enc, h, NULL, KEEP), ACT_GELU, KEEP);
  op_add(ctx, s->encoded, z, op_linear(ctx, &t->down_enc, a, NULL, KEEP), KEEP);
}

static void decode(Ctx *ctx, void *arguments) {
  const Streams *s = arguments;
  const Toy *t = s->toy;
  Value *x = s->words, *z;
  RopeArgs split = {
      .n_heads = H, .n_kv_heads = K, .head_dim = D, .positions = s->at_d, .max_position = 37};
  AttentionArgs self = heads, cross = heads;
  self.max_q = self.max_k = cross.max_q = s->max_q;
  self.cu_q = self.cu_k = cross.cu_q = s->cu_d;
  cross.cu_k = s->cu_e;
  cross.prefix = s->whole;
  Value *h = op_rmsnorm(ctx, x, t->norms[2], 1e-5f, KEEP);
  Qkv p =
      op_rope_split(ctx, op_linear(ctx, &t->qkv, h, NULL, KEEP), &split, TENSOR_NONE, TENSOR_NONE);
  Value *d = op_linear(ctx, &t->o, op_attention(ctx, p.q, p.k, p.v, t->bias, &self), NULL, KEEP);
  h = op_add_rmsnorm(ctx, &z, x, d, t->norms[3], 1e-5f, KEEP);
  Value *q = op_linear(ctx, &t->q_cross, h, NULL, KEEP),
        *k = op_linear(ctx, &t->k_cross, s->encoded, NULL, KEEP),
        *v = op_linear(ctx, &t->v_cross, s->encoded, NULL, KEEP), *y;
  d = op_linear(ctx, &t->o_cross, op_attention(ctx, q, k, v, NULL, &cross), NULL, KEEP);
  h = op_add_rmsnorm(ctx, &y, z, d, t->norms[4], 1e-5f, KEEP);
  Value *g = op_glu(ctx, op_linear(ctx, &t->gate_up, h, NULL, KEEP), ACT_GELU_TANH, KEEP);
  op_add(ctx, s->out, y, op_linear(ctx, &t->down, g, NULL, KEEP), KEEP);
}

// The decoder's last values [R,C] of a new batch.
static Value *forward(Toy *t, const Texts *texts) {
  Ctx *ctx = &t->rig.ctx;
  double values[R_ENC * C];
  int32_t at_e[R_ENC], at_d[SEQS * 37];
  int64_t rows = texts->cu[SEQS];
  Rng rng = {.key = 77};
  arena_release(ctx->step, t->step);
  arena_release(ctx->host, t->host);
  Streams *s = arena_alloc(ctx->host, ARENA_LOW, sizeof *s, "streams");
  *s = (Streams){.toy = t};
  for (int i = 0; i < R_ENC * C; i++) values[i] = (double)drawn(&rng, 1, 0);
  for (int n = 0; n < SEQS; n++) {
    for (int r = cu_enc[n]; r < cu_enc[n + 1]; r++) at_e[r] = r - cu_enc[n];
    for (int r = texts->cu[n]; r < texts->cu[n + 1]; r++) at_d[r] = r - texts->cu[n];
    int64_t length = texts->cu[n + 1] - texts->cu[n];
    if (length > s->max_q) s->max_q = length;
  }
  s->cu_e = rig_ints(&t->rig, 1, SEQS + 1, cu_enc);
  s->cu_d = rig_ints(&t->rig, 1, SEQS + 1, texts->cu);
  s->whole = rig_ints(&t->rig, 1, SEQS, prefix_enc);
  s->at_e = rig_ints(&t->rig, 1, R_ENC, at_e);
  s->at_d = rig_ints(&t->rig, 1, rows, at_d);
  s->pixels = value_wrap(ctx, rig_tensor(&t->rig, ctx->dtype, R_ENC, C, values), false);
  s->encoded = value_new(ctx, KEEP, R_ENC, C, "encoded");
  tape_segment(ctx, &(Segment){.run = encode,
                               .args = s,
                               .in = {s->pixels},
                               .n_in = 1,
                               .out = {s->encoded},
                               .n_out = 1,
                               .checkpoint = t->checkpoint});
  s->words = op_embedding(ctx, t->embed, rig_ints(&t->rig, 1, rows, texts->ids), KEEP);
  s->out = value_new(ctx, KEEP, rows, C, "decoded");
  tape_segment(ctx, &(Segment){.run = decode,
                               .args = s,
                               .in = {s->words, s->encoded},
                               .n_in = 2,
                               .out = {s->out},
                               .n_out = 1,
                               .checkpoint = t->checkpoint,
                               .residual = true});
  return s->out;
}

// One optimizer step on the same batch, `step` counted from 0.
static void take_step(Toy *t, int step) {
  Ctx *ctx = &t->rig.ctx;
  Backend *be = ctx->be;
  Texts texts;
  int32_t rows[R_DEC - SEQS], labels[R_DEC - SEQS];
  Rng rng = {.key = 78};
  int n = 0;
  memcpy(texts.cu, cu_dec, sizeof cu_dec);
  for (int i = 0; i < R_DEC; i++) texts.ids[i] = (int32_t)rng_below(&rng, V);
  for (int s = 0; s < SEQS; s++) {
    for (int r = cu_dec[s]; r + 1 < cu_dec[s + 1]; r++) {
      rows[n] = r;
      labels[n++] = texts.ids[r + 1];
    }
  }
  float inv_count = 1.0f / (float)n;
  param_zero_grads(&t->params, be);
  ctx->recording = true;
  Value *out = forward(t, &texts);
  Tensor label_rows = rig_ints(&t->rig, 1, n, rows), label_ids = rig_ints(&t->rig, 1, n, labels);
  Tensor inv = ctx_tensor(ctx, KEEP, DT_F32, 1, 1, "inv"),
         loss = ctx_tensor(ctx, KEEP, DT_F64, 1, 1, "loss");
  be->copy_in(be, inv, &inv_count);
  be->fill(be, loss, 0);
  Value *last = op_gather_rows(ctx, out, label_rows, KEEP);
  Value *h = op_rmsnorm(ctx, last, t->norms[5], 1e-5f, KEEP);
  op_linear_cross_entropy(ctx, &t->head, h, label_ids, inv, 0.1f, loss);
  int64_t sum = be->read_begin(be, loss); // the memory behind a segment goes in the backward
  tape_backward(ctx);
  int64_t norm = optimizer_norm_begin(&t->optimizer, TENSOR_NONE);
  optimizer_update(&t->optimizer, 3e-3, step + 1);
  be->read_end(be, &t->losses[step], sum);
  EXPECT(isfinite(optimizer_norm_end(&t->optimizer, norm)));
  t->losses[step] /= n;
}

// Of each text's next token. Freed by free().
static float *next_logits(Toy *t, const Texts *texts) {
  Ctx *ctx = &t->rig.ctx;
  Backend *be = ctx->be;
  int32_t rows[SEQS];
  ctx->recording = false;
  Value *out = forward(t, texts);
  for (int s = 0; s < SEQS; s++) rows[s] = texts->cu[s + 1] - 1;
  Value *last = op_gather_rows(ctx, out, rig_ints(&t->rig, 1, SEQS, rows), TEMP);
  Value *h = op_rmsnorm(ctx, last, t->norms[5], 1e-5f, TEMP);
  Tensor logits = ctx_tensor(ctx, TEMP, DT_F32, SEQS, V, "logits");
  be->linear(be, logits, h->t, t->head.parts[0].weight->value.t, TENSOR_NONE, false);
  float *values = malloc((size_t)(SEQS * V) * sizeof *values);
  be->copy_out(be, values, logits);
  return values;
}

static Toy *open_toy(Backend *be, DType dtype) {
  Toy *t = calloc(1, sizeof *t);
  // An eps of a gradient's size: AdamW else makes whole steps of what is rounding and nothing else,
  // the gradient of a key's bias.
  OptimizerOptions options = {
      .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-3, .weight_decay = 0.1, .clip = 1};
  rig_open(&t->rig, be, dtype, 8);
  declare_all(t, dtype);
  param_place(&t->params, &t->rig.memory.weights, &t->rig.memory.state);
  optimizer_place(&t->optimizer, &options, &t->params, be, &t->rig.memory.state);
  fill(t);
  t->step = arena_mark(t->rig.ctx.step);
  t->host = arena_mark(t->rig.ctx.host);
  return t;
}

static void close_toy(Toy *t) {
  Backend *be = t->rig.ctx.be;
  param_table_free(&t->params);
  rig_close(&t->rig);
  be->close(be);
  free(t);
}

typedef enum What { GRADIENT, WEIGHT } What;

static float *read_param(const Toy *t, int64_t i, What what) {
  const Param *p = &t->params.items[i];
  Tensor from = what == GRADIENT ? p->value.grad : tensor_given(p->master) ? p->master : p->value.t;
  float *values = malloc((size_t)tensor_count(from) * sizeof *values);
  param_read(t->rig.ctx.be, values, from);
  return values;
}

// The toy on the device, on the CPU in the same dtype, and by the plain C variants in f32.
typedef struct Three {
  Toy *device, *cpu, *f32;
} Three;

static Toy *open_cpu(DType dtype, bool reference) {
  Error err;
  Backend *be = NULL;
  CpuOptions options = {.threads = 1, .gemm = "own", .reference = reference};
  test_must(backend_cpu_open(&be, &options, &err), &err);
  return open_toy(be, dtype);
}

static Three open_three(DType dtype) {
  return (Three){open_toy(sim_module_open(), dtype), open_cpu(dtype, false),
                 open_cpu(DT_F32, true)};
}

static void close_three(Three *t) {
  sim_module_expect_clean();
  close_toy(t->device);
  close_toy(t->cpu);
  close_toy(t->f32);
}

// The device is as near to f32 as the CPU, within twice its distance and a share of the norm.
static void compare(const Three *t, What what, double share) {
  for (int64_t i = 0; i < t->f32->params.n; i++) {
    const char *name = t->f32->params.items[i].name;
    int64_t n = tensor_count(t->f32->params.items[i].value.t);
    float *x = read_param(t->device, i, what), *y = read_param(t->cpu, i, what),
          *z = read_param(t->f32, i, what);
    double norm = tiny_distance(z, NULL, n), ours = tiny_distance(x, z, n),
           theirs = tiny_distance(y, z, n);
    EXPECT(norm > 1e-4, "%s: nothing in it", name);
    EXPECT(ours <= 2 * theirs + share * norm, "%s of %s is off by %.3g of its norm, the CPU's %.3g",
           what == GRADIENT ? "the gradient" : "the weight", name, ours / norm, theirs / norm);
    free(x);
    free(y);
    free(z);
  }
}

static void trains_as_the_cpu(DType dtype, double share, double share_of_weights) {
  Three t = open_three(dtype);
  Toy *all[] = {t.device, t.cpu, t.f32};
  for (int i = 0; i < 3; i++) take_step(all[i], 0);
  compare(&t, GRADIENT, share);
  for (int step = 1; step < STEPS; step++) {
    for (int i = 0; i < 3; i++) take_step(all[i], step);
  }
  for (int step = 0; step < STEPS; step++) {
    double exact = t.f32->losses[step], ours = fabs(t.device->losses[step] - exact),
           theirs = fabs(t.cpu->losses[step] - exact);
    EXPECT(ours <= 2 * theirs + share * exact, "step %d: loss %.9g, the CPU's %.9g, f32 %.9g",
           step + 1, t.device->losses[step], t.cpu->losses[step], exact);
  }
  EXPECT(t.f32->losses[0] > 1 && t.f32->losses[STEPS - 1] < 0.8 * t.f32->losses[0], "%g to %g",
         t.f32->losses[0], t.f32->losses[STEPS - 1]);
  compare(&t, WEIGHT, share_of_weights);
  close_three(&t);
}

static void trains_in_f32(void) {
  trains_as_the_cpu(DT_F32, 1e-5, 1e-5); // of a norm: rounding of f32 sums
}

static void trains_in_bf16(void) {
  trains_as_the_cpu(DT_BF16, 2e-3, 2e-3); // half a unit of bf16
}

// Texts go on from two tokens each, by the CPU's choice; the device makes the same ones.
static void says_what_the_cpu_says(DType dtype) {
  Three t = open_three(dtype);
  Texts texts = {.cu = {0, 2, 4, 6}, .ids = {5, 17, 40, 3, 29, 29}};
  Greedy greedy = {.vocab = V, .exact = dtype == DT_F32};
  for (int k = 0; k < NEW; k++) {
    float *device = next_logits(t.device, &texts), *cpu = next_logits(t.cpu, &texts),
          *f32 = next_logits(t.f32, &texts);
    Texts next = texts;
    for (int s = 0; s < SEQS; s++) {
      int32_t id = greedy_pick(cpu + s * V, V);
      greedy_compare(&greedy, greedy_pick(device + s * V, V), cpu + s * V, f32 + s * V);
      int from = texts.cu[s], n = texts.cu[s + 1] - from;
      next.cu[s + 1] = next.cu[s] + n + 1;
      memcpy(next.ids + next.cu[s], texts.ids + from, (size_t)n * sizeof *next.ids);
      next.ids[next.cu[s] + n] = id;
    }
    texts = next;
    free(device);
    free(cpu);
    free(f32);
  }
  greedy_expect(&greedy, SEQS * NEW, dtype == DT_F32 ? "f32" : "bf16");
  close_three(&t);
}

static void greedy_text(void) {
  says_what_the_cpu_says(DT_F32);
  says_what_the_cpu_says(DT_BF16);
}

static void checkpointing_changes_no_bit(void) {
  Toy *plain = open_toy(sim_module_open(), DT_BF16), *again = open_toy(sim_module_open(), DT_BF16);
  again->checkpoint = true;
  for (int step = 0; step < 2; step++) {
    take_step(plain, step);
    take_step(again, step);
  }
  EXPECT(memcmp(plain->losses, again->losses, sizeof plain->losses) == 0, "other losses");
  for (int64_t i = 0; i < plain->params.n; i++) {
    float *x = read_param(plain, i, WEIGHT), *y = read_param(again, i, WEIGHT);
    size_t bytes = (size_t)tensor_count(plain->params.items[i].value.t) * sizeof *x;
    EXPECT(memcmp(x, y, bytes) == 0, "other bits in %s", plain->params.items[i].name);
    free(x);
    free(y);
  }
  sim_module_expect_clean();
  close_toy(plain);
  close_toy(again);
}

int main(void) {
  sim_module_control();
  RUN(trains_in_f32);
  RUN(trains_in_bf16);
  RUN(greedy_text);
  RUN(checkpointing_changes_no_bit);
  return test_done();
}
