// The QKV split with its rotation, the one attention in all its uses, and a tape over two streams,
// against central differences.
#include "grad_check.h"
#include "test.h"

enum { H = 4, K = 2, D = 8, B = 3, RQ = 9, RK = 11 };

static const int32_t cu_q[] = {0, 1, 6, 9}, cu_k[] = {0, 4, 5, 11};

static Ctx *ctx_of(GradCheck *g) {
  return &g->rig.ctx;
}

static void put(GradCheck *g, Value *v) {
  g->out[g->n_out++] = v;
}

// ---- rope_split ----

static void rope_setup(GradCheck *g) {
  grad_leaf(g, 5, (H + 2 * K) * D, 1);
  grad_ints(g, 5, (int32_t[]){0, 1, 2, 0, 40});
  grad_param(g, 0, D / 2, false, 0.3, 0.2); // inv_freq
}

static RopeArgs rope_args(GradCheck *g) {
  return (RopeArgs){.n_heads = H,
                    .n_kv_heads = K,
                    .head_dim = D,
                    .positions = g->ints[0],
                    .inv_freq = g->p[0]->value.t};
}

static void rope_build(GradCheck *g) {
  RopeArgs args = rope_args(g);
  Qkv s = op_rope_split(ctx_of(g), g->x[0], &args, TENSOR_NONE, TENSOR_NONE);
  put(g, s.q), put(g, s.k), put(g, s.v);
}

static void split_build(GradCheck *g) {
  RopeArgs args = rope_args(g);
  args.inv_freq = args.positions = TENSOR_NONE;
  Qkv s = op_rope_split(ctx_of(g), g->x[0], &args, TENSOR_NONE, TENSOR_NONE);
  put(g, s.q), put(g, s.k), put(g, s.v);
}

// ---- attention ----

static void qkv_leaves(GradCheck *g, int64_t keys) {
  grad_leaf(g, RQ, H * D, 1);
  grad_leaf(g, keys, K * D, 1);
  grad_leaf(g, keys, K * D, 1);
}

static AttentionArgs args_of(const GradCheck *g, int64_t max_k) {
  return (AttentionArgs){.n_heads = H,
                         .n_kv_heads = K,
                         .head_dim = D,
                         .scale = 0.35f,
                         .n_seqs = B,
                         .max_q = 5,
                         .max_k = max_k,
                         .cu_q = g->ints[0],
                         .cu_k = g->ints[0]};
}

static void attend(GradCheck *g, const AttentionArgs *args, Param *bias) {
  put(g, op_attention(ctx_of(g), g->x[0], g->x[1], g->x[2], bias, args));
}

static void self_setup(GradCheck *g) {
  qkv_leaves(g, RQ);
  grad_ints(g, B + 1, cu_q);
}

static void causal_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 5);
  attend(g, &args, NULL);
}

static void prefix_setup(GradCheck *g) {
  self_setup(g);
  grad_ints(g, B, (int32_t[]){0, 3, 2});
}

static void full_setup(GradCheck *g) {
  self_setup(g);
  grad_ints(g, B, (int32_t[]){1, 5, 3});
}

static void prefix_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 5);
  args.prefix = g->ints[1];
  attend(g, &args, NULL);
}

static void scale_one_build(GradCheck *g) { // Pix2Struct
  AttentionArgs args = args_of(g, 5);
  args.prefix = g->ints[1];
  args.scale = 1;
  attend(g, &args, NULL);
}

static void cross_setup(GradCheck *g) {
  qkv_leaves(g, RK);
  grad_ints(g, B + 1, cu_q);
  grad_ints(g, B + 1, cu_k);
  grad_ints(g, B, (int32_t[]){4, 1, 6});
  grad_ints(g, B, (int32_t[]){3, 1, 5}); // fewer keys than rows: the rest is out of sight
}

static void cross_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 6);
  args.cu_k = g->ints[1];
  args.prefix = g->ints[2];
  attend(g, &args, NULL);
}

static void own_lengths_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 6);
  args.cu_k = g->ints[1];
  args.prefix = g->ints[2];
  args.k_lens = g->ints[3];
  attend(g, &args, NULL);
}

static void offset_setup(GradCheck *g) { // queries that go on after 3, 0 and 3 keys
  static const int32_t cu_keys[] = {0, 4, 9, 15};
  qkv_leaves(g, 15);
  grad_ints(g, B + 1, cu_q);
  grad_ints(g, B + 1, cu_keys);
  grad_ints(g, B, (int32_t[]){3, 0, 3});
}

static void offset_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 6);
  args.cu_k = g->ints[1];
  args.offset = g->ints[2];
  attend(g, &args, NULL);
}

static void bias_setup(GradCheck *g) {
  self_setup(g);
  grad_param(g, 4, H, true, 0, 1);
}

static void frozen_bias_setup(GradCheck *g) {
  self_setup(g);
  grad_param(g, 4, H, false, 0, 1);
}

static void bias_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 5);
  args.bias_max_distance = 4;
  attend(g, &args, g->p[0]);
}

// Keys and values that need no gradient: only the queries have one.
static void queries_only_setup(GradCheck *g) {
  grad_leaf(g, RQ, H * D, 1);
  grad_ints(g, B + 1, cu_q);
  grad_param(g, RQ, K * D, false, 0, 1);
  grad_param(g, RQ, K * D, false, 0, 1);
}

static void queries_only_build(GradCheck *g) {
  AttentionArgs args = args_of(g, 5);
  Value *k = value_wrap(ctx_of(g), g->p[0]->value.t, false),
        *v = value_wrap(ctx_of(g), g->p[1]->value.t, false);
  put(g, op_attention(ctx_of(g), g->x[0], k, v, NULL, &args));
}

// ---- two streams: an encoder over rows of keys, a decoder over rows of queries that reads it ----

enum { C = 16, HEAD = 8, LAYERS = 2 };

// Weights: encoder 0 norm, 1 norm bias, 2 qkv, 3 out; decoder 4 norm, 5 qkv, 6 out, 7 norm, 8 cross
// q, 9 cross kv, 10 cross out. Both layers of a stream share them: gradients add up.
static void streams_setup(GradCheck *g) {
  grad_leaf(g, RK, C, 1);
  grad_leaf(g, RQ, C, 1);
  grad_param(g, 0, C, true, 1, 0.2);
  grad_param(g, 0, C, true, 0, 0.2);
  grad_param(g, 3 * C, C, true, 0, 0.3);
  grad_param(g, C, C, true, 0, 0.3);
  grad_param(g, 0, C, true, 1, 0.2);
  grad_param(g, 2 * C, C, true, 0, 0.3);
  grad_param(g, C, C, true, 0, 0.3);
  grad_param(g, 0, C, true, 1, 0.2);
  grad_param(g, C, C, true, 0, 0.3);
  grad_param(g, 2 * C, C, true, 0, 0.3);
  grad_param(g, C, C, true, 0, 0.3);
  grad_ints(g, B + 1, cu_q);
  grad_ints(g, B + 1, cu_k);
  grad_ints(g, B, (int32_t[]){4, 1, 6});
  grad_ints(g, RQ, (int32_t[]){0, 0, 1, 2, 3, 4, 0, 1, 2});
  grad_ints(g, RQ, (int32_t[]){0, 1, 1, 1, 1, 1, 2, 2, 2});
}

typedef struct LayerArgs {
  GradCheck *g;
  Value *x, *memory, *out;
} LayerArgs;

static Value *plain(GradCheck *g, int weight, Value *x) {
  Linear *made = arena_alloc(ctx_of(g)->host, ARENA_LOW, sizeof *made, "linear");
  *made = (Linear){0};
  linear_add_part(made, g->p[weight], NULL);
  return op_linear(ctx_of(g), made, x, NULL, KEEP);
}

static void encoder_layer(Ctx *ctx, void *arguments) {
  LayerArgs *a = arguments;
  GradCheck *g = a->g;
  Value *h = op_layernorm(ctx, a->x, g->p[0], g->p[1], 1e-2f, KEEP);
  RopeArgs split = {.n_heads = 2, .n_kv_heads = 2, .head_dim = HEAD};
  Qkv s = op_rope_split(ctx, plain(g, 2, h), &split, TENSOR_NONE, TENSOR_NONE);
  AttentionArgs full = {.n_heads = 2,
                        .n_kv_heads = 2,
                        .head_dim = HEAD,
                        .scale = 0.35f,
                        .n_seqs = B,
                        .max_q = 6,
                        .max_k = 6,
                        .cu_q = g->ints[1],
                        .cu_k = g->ints[1],
                        .prefix = g->ints[2]};
  Value *d = plain(g, 3, op_attention(ctx, s.q, s.k, s.v, NULL, &full));
  op_add(ctx, a->out, a->x, d, KEEP);
}

static void decoder_layer(Ctx *ctx, void *arguments) {
  LayerArgs *a = arguments;
  GradCheck *g = a->g;
  Value *h = op_rmsnorm(ctx, a->x, g->p[4], 1e-2f, KEEP), *z;
  RopeArgs split = {.n_heads = 2, .n_kv_heads = 1, .head_dim = HEAD};
  AttentionArgs args = {.n_heads = 2,
                        .n_kv_heads = 1,
                        .head_dim = HEAD,
                        .scale = 0.35f,
                        .n_seqs = B,
                        .max_q = 5,
                        .max_k = 6,
                        .cu_q = g->ints[0],
                        .cu_k = g->ints[0]};
  Qkv s = op_rope_split(ctx, plain(g, 5, h), &split, TENSOR_NONE, TENSOR_NONE);
  Value *d = plain(g, 6, op_attention(ctx, s.q, s.k, s.v, NULL, &args));
  d = op_dropout(ctx, d, 0.2f, 5, g->ints[4], g->ints[3], KEEP);
  h = op_add_rmsnorm(ctx, &z, a->x, d, g->p[7], 1e-2f, KEEP);
  // Cross-attention: q of this stream, k and v of the other, which both layers read.
  Value *kv = plain(g, 9, a->memory), *q = plain(g, 8, h);
  Value *k = op_glu(ctx, kv, ACT_QUICK_GELU, KEEP), *v = op_glu(ctx, kv, ACT_GELU, KEEP);
  args.n_kv_heads = 2;
  args.cu_k = g->ints[1];
  args.prefix = g->ints[2];
  d = plain(g, 10, op_attention(ctx, q, k, v, NULL, &args));
  op_add(ctx, a->out, z, d, KEEP);
}

static Value *layer(GradCheck *g, void (*run)(Ctx *, void *), Value *x, Value *memory) {
  Ctx *ctx = ctx_of(g);
  LayerArgs *args = arena_alloc(ctx->host, ARENA_LOW, sizeof *args, "layer arguments");
  Value *out = value_new(ctx, KEEP, x->t.rows, C, "layer output");
  *args = (LayerArgs){.g = g, .x = x, .memory = memory, .out = out};
  tape_segment(ctx, &(Segment){.run = run,
                               .args = args,
                               .in = {x, memory},
                               .n_in = memory != NULL ? 2 : 1,
                               .out = {out},
                               .n_out = 1,
                               .checkpoint = g->checkpoint,
                               .residual = true});
  return out;
}

static void streams_build(GradCheck *g) {
  Value *memory = g->x[0], *x = g->x[1];
  for (int i = 0; i < LAYERS; i++) memory = layer(g, encoder_layer, memory, NULL);
  for (int i = 0; i < LAYERS; i++) x = layer(g, decoder_layer, x, memory);
  put(g, x);
}

static void run_all(const GradCase *cases, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int before = test_failures;
    grad_run(&cases[i]);
    printf("  %-58s %s\n", cases[i].name, test_failures == before ? "ok" : "FAILED");
  }
}

static void rope(void) {
  static const GradCase cases[] = {
      {"rope_split", rope_setup, rope_build},
      {"rope_split without positions", rope_setup, split_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

static void attention(void) {
  static const GradCase cases[] = {
      {"causal", self_setup, causal_build},
      {"prefix", prefix_setup, prefix_build},
      {"full", full_setup, prefix_build},
      {"full, scale 1", full_setup, scale_one_build},
      {"cross", cross_setup, cross_build},
      {"cross, own key lengths", cross_setup, own_lengths_build},
      {"causal after cached keys", offset_setup, offset_build},
      {"causal with a relative bias", bias_setup, bias_build},
      {"causal with a frozen relative bias", frozen_bias_setup, bias_build},
      {"causal, keys and values without a gradient", queries_only_setup, queries_only_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

static void two_streams(void) {
  static const GradCase c = {"encoder and decoder", streams_setup, streams_build};
  grad_run_checkpoint(&c);
}

int main(void) {
  RUN(rope);
  RUN(attention);
  RUN(two_streams);
  return test_done();
}
