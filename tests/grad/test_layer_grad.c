// Every layer op of ops.h, and with it every backward op of backend.h, against central differences.
#include "grad_check.h"
#include "test.h"

enum { R = 7, C = 8 };

static Ctx *ctx_of(GradCheck *g) {
  return &g->rig.ctx;
}

static void put(GradCheck *g, Value *v) {
  g->out[g->n_out++] = v;
}

// ---- embedding, gather ----

static void embedding_setup(GradCheck *g) {
  grad_param(g, 5, C, true, 0, 1);
  grad_ints(g, R, (int32_t[]){3, 0, 3, 4, 3, 1, 0}); // repeated, and 2 never
}

static void embedding_build(GradCheck *g) {
  put(g, op_embedding(ctx_of(g), g->p[0], g->ints[0], KEEP));
}

static void gather_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_ints(g, 3, (int32_t[]){0, 2, 6});
}

static void gather_build(GradCheck *g) {
  put(g, op_gather_rows(ctx_of(g), g->x[0], g->ints[0], KEEP));
}

// ---- residual adds and norms ----

static void two_leaves(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_leaf(g, R, C, 1);
}

// The branch hangs on its own leaf and, through the norm before it, on the trunk.
static Value *branch(GradCheck *g, Value *x) {
  Value *h = op_rmsnorm(ctx_of(g), x, g->p[0], 1e-5f, KEEP);
  return op_act(ctx_of(g), h, ACT_GELU, KEEP);
}

static void add_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_param(g, 0, C, true, 1, 0.3);
}

static void add_build(GradCheck *g) {
  Value *d = branch(g, g->x[0]);
  put(g, op_add(ctx_of(g), NULL, g->x[0], d, KEEP));
}

static void norm_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, 0, C, true, 0, 0.3);
}

static void frozen_norm_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_param(g, 0, C, false, 1, 0.3);
  grad_param(g, 0, C, false, 0, 0.3);
}

static void rmsnorm_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_param(g, 0, C, true, 1, 0.3);
}

static void rmsnorm_build(GradCheck *g) {
  put(g, op_rmsnorm(ctx_of(g), g->x[0], g->p[0], 1e-2f, KEEP));
}

static void layernorm_build(GradCheck *g) {
  put(g, op_layernorm(ctx_of(g), g->x[0], g->p[0], g->p[1], 1e-2f, KEEP));
}

// The input needs no gradient: only the weights have one.
static void weights_only_setup(GradCheck *g) {
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, 0, C, true, 0, 0.3);
  grad_param(g, R, C, false, 0, 1);
}

static void weights_only_build(GradCheck *g) {
  Value *x = value_wrap(ctx_of(g), g->p[2]->value.t, false);
  put(g, op_layernorm(ctx_of(g), x, g->p[0], g->p[1], 1e-2f, KEEP));
  put(g, op_rmsnorm(ctx_of(g), x, g->p[0], 1e-2f, KEEP));
}

static void add_norm_setup(GradCheck *g) {
  two_leaves(g);
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, 0, C, true, 0, 0.3);
}

// z = x + d goes on to both a norm and the next add, as in a block.
static void add_rmsnorm_setup(GradCheck *g) {
  two_leaves(g);
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, 0, C, true, 1, 0.3);
}

static void add_rmsnorm_build(GradCheck *g) {
  Value *z, *d = branch(g, g->x[0]);
  Value *h = op_add_rmsnorm(ctx_of(g), &z, g->x[0], d, g->p[1], 1e-2f, KEEP);
  put(g, op_add(ctx_of(g), NULL, z, op_act(ctx_of(g), h, ACT_SILU, KEEP), KEEP));
  put(g, op_act(ctx_of(g), g->x[1], ACT_SILU, KEEP));
}

static void add_layernorm_build(GradCheck *g) {
  Value *z, *d = branch(g, g->x[0]);
  Value *h = op_add_layernorm(ctx_of(g), &z, g->x[0], d, g->p[1], g->p[2], 1e-2f, KEEP);
  put(g, op_add(ctx_of(g), NULL, z, op_act(ctx_of(g), h, ACT_SILU, KEEP), KEEP));
  put(g, op_act(ctx_of(g), g->x[1], ACT_SILU, KEEP));
}

// The trunk needs no gradient, the branch does.
static void frozen_trunk_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_param(g, 0, C, true, 1, 0.3);
  grad_param(g, R, C, false, 0, 1);
}

static void frozen_trunk_build(GradCheck *g) {
  Value *x = value_wrap(ctx_of(g), g->p[1]->value.t, false), *z;
  Value *d = op_act(ctx_of(g), g->x[0], ACT_GELU, KEEP);
  put(g, op_add_rmsnorm(ctx_of(g), &z, x, d, g->p[0], 1e-2f, KEEP));
}

// ---- scale, activations, gated units, dropout ----

// Scaled twice: both add to one gradient.
static void scale_build(GradCheck *g) {
  put(g, op_scale(ctx_of(g), g->x[0], g->inv_count, KEEP));
  Value *h = op_act(ctx_of(g), g->x[0], ACT_SILU, KEEP);
  put(g, op_scale(ctx_of(g), h, g->inv_count, KEEP));
}

static void act_setup(GradCheck *g) {
  grad_leaf(g, R, C, 2);
}

static void act_build(GradCheck *g) {
  for (int kind = ACT_SILU; kind <= ACT_QUICK_GELU; kind++) {
    put(g, op_act(ctx_of(g), g->x[0], (Activation)kind, KEEP)); // all add to one gradient
  }
}

static void glu_setup(GradCheck *g) {
  grad_leaf(g, R, 2 * C, 2);
}

static void glu_build(GradCheck *g) {
  for (int kind = ACT_SILU; kind <= ACT_QUICK_GELU; kind++) {
    put(g, op_glu(ctx_of(g), g->x[0], (Activation)kind, KEEP));
  }
}

static const int32_t rows_seq[R] = {4, 4, 4, 9, 9, 2, 2}, rows_pos[R] = {0, 1, 2, 0, 1, 0, 1};

static void dropout_setup(GradCheck *g) {
  grad_leaf(g, R, C, 1);
  grad_batch(g, R, rows_seq, rows_pos, NULL);
}

static void dropout_build(GradCheck *g) {
  put(g, op_dropout(ctx_of(g), g->x[0], 0.4f, 3, g->batch.sequences, g->batch.positions, KEEP));
  put(g, op_dropout(ctx_of(g), g->x[0], 0.0f, 3, g->batch.sequences, g->batch.positions, KEEP));
}

// ---- linear ----

static void parts(GradCheck *g, const bool *weights, const bool *biases) {
  static const int64_t rows[3] = {6, 3, 5};
  grad_leaf(g, R, C, 1);
  for (int i = 0; i < 3; i++) grad_group_param(g, 1, rows[i], C, weights[i]);
  for (int i = 0; i < 3; i++) grad_group_param(g, 2, 0, rows[i], biases[i]);
  for (int i = 0; i < 3; i++) linear_add_part(&g->linear[0], g->p[i], g->p[3 + i]);
}

static void linear_setup(GradCheck *g) {
  parts(g, (bool[]){true, true, true}, (bool[]){true, true, true});
}

static void linear_frozen_setup(GradCheck *g) {
  parts(g, (bool[]){false, false, false}, (bool[]){false, false, false});
}

static void linear_one_part_setup(GradCheck *g) { // k is trained alone: the parts lie apart
  parts(g, (bool[]){false, true, false}, (bool[]){false, false, false});
}

static void linear_bias_only_setup(GradCheck *g) {
  parts(g, (bool[]){false, false, false}, (bool[]){true, true, true});
}

static void linear_build(GradCheck *g) {
  put(g, op_linear(ctx_of(g), &g->linear[0], g->x[0], NULL, KEEP));
}

static void adapter(GradCheck *g, int part, int index, int64_t r, float dropout, bool trainable) {
  LinearPart *p = &g->linear[0].parts[part];
  p->adapters[index].a = grad_param(g, r, C, trainable, 0, 0.5);
  p->adapters[index].b = grad_param(g, p->weight->value.t.rows, r, trainable, 0, 0.5);
  p->adapters[index].scale = 1.5f;
  p->adapters[index].dropout = dropout;
  p->adapters[index].tensor_id = (uint32_t)(part + 1);
}

static void lora_setup(GradCheck *g) {
  linear_frozen_setup(g);
  adapter(g, 0, 0, 2, 0, true);
  adapter(g, 2, 0, 2, 0, true);
}

static void lora_over_trained_setup(GradCheck *g) {
  linear_setup(g);
  adapter(g, 1, 0, 2, 0, true);
}

static void lora_dropout_setup(GradCheck *g) {
  linear_frozen_setup(g);
  adapter(g, 0, 0, 2, 0.3f, true);
  adapter(g, 2, 0, 3, 0.5f, true);
  grad_batch(g, R, rows_seq, rows_pos, NULL);
}

static void lora_rows_setup(GradCheck *g) { // adapters by row; one is frozen, some rows have none
  linear_frozen_setup(g);
  adapter(g, 0, 0, 2, 0.3f, true);
  adapter(g, 0, 1, 3, 0, true);
  adapter(g, 2, 1, 3, 0, false);
  grad_batch(g, R, rows_seq, rows_pos, (int32_t[]){1, 1, 1, -1, -1, 0, 0});
}

static void lora_build(GradCheck *g) {
  const DeviceBatch *batch = g->batch.n_rows > 0 ? &g->batch : NULL;
  put(g, op_linear(ctx_of(g), &g->linear[0], g->x[0], batch, KEEP));
}

// ---- the output head ----

static void head_setup(GradCheck *g, int64_t rows, int64_t width, int64_t vocab, bool trainable) {
  grad_leaf(g, rows, width, 1);
  linear_add_part(&g->linear[0], grad_param(g, vocab, width, trainable, 0, 1), NULL);
  int32_t *ids = calloc((size_t)rows + 1, sizeof *ids);
  for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)((i * 5 + 2) % vocab);
  grad_ints(g, rows, ids);
  free(ids);
}

static void ce_setup(GradCheck *g) {
  head_setup(g, R, C, 11, true);
}

static void ce_frozen_setup(GradCheck *g) {
  head_setup(g, R, C, 11, false);
}

static void ce_chunks_setup(GradCheck *g) { // more rows than logits exist at a time, by one
  head_setup(g, 513, 2, 3, true);
}

static void ce_build(GradCheck *g) {
  op_linear_cross_entropy(ctx_of(g), &g->linear[0], g->x[0], g->ints[0], g->inv_count, 0, g->loss);
}

static void ce_smoothing_build(GradCheck *g) {
  op_linear_cross_entropy(ctx_of(g), &g->linear[0], g->x[0], g->ints[0], g->inv_count, 0.2f,
                          g->loss);
}

static void run_all(const GradCase *cases, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int before = test_failures;
    grad_run(&cases[i]);
    printf("  %-58s %s\n", cases[i].name, test_failures == before ? "ok" : "FAILED");
  }
}

static void rows_and_norms(void) {
  static const GradCase cases[] = {
      {"embedding", embedding_setup, embedding_build},
      {"gather_rows", gather_setup, gather_build},
      {"add", add_setup, add_build},
      {"rmsnorm", rmsnorm_setup, rmsnorm_build},
      {"layernorm", norm_setup, layernorm_build},
      {"layernorm, weights frozen", frozen_norm_setup, layernorm_build},
      {"norms, input without a gradient", weights_only_setup, weights_only_build},
      {"add_rmsnorm", add_rmsnorm_setup, add_rmsnorm_build},
      {"add_layernorm", add_norm_setup, add_layernorm_build},
      {"add_rmsnorm, trunk without a gradient", frozen_trunk_setup, frozen_trunk_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

static void elementwise(void) {
  static const GradCase cases[] = {
      {"scale", act_setup, scale_build},
      {"act, all kinds", act_setup, act_build},
      {"glu, all kinds", glu_setup, glu_build},
      {"dropout", dropout_setup, dropout_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

static void linear(void) {
  static const GradCase cases[] = {
      {"linear, three parts with biases", linear_setup, linear_build},
      {"linear, frozen", linear_frozen_setup, linear_build},
      {"linear, one part trained", linear_one_part_setup, linear_build},
      {"linear, biases trained", linear_bias_only_setup, linear_build},
      {"linear, adapters on two parts", lora_setup, lora_build},
      {"linear, trained under an adapter", lora_over_trained_setup, lora_build},
      {"linear, adapters with dropout", lora_dropout_setup, lora_build},
      {"linear, adapters by row", lora_rows_setup, lora_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

static void head(void) {
  static const GradCase cases[] = {
      {"linear_cross_entropy", ce_setup, ce_build},
      {"linear_cross_entropy, frozen head", ce_frozen_setup, ce_build},
      {"linear_cross_entropy, smoothing", ce_setup, ce_smoothing_build},
      {"linear_cross_entropy, chunks", ce_chunks_setup, ce_build},
  };
  run_all(cases, sizeof cases / sizeof *cases);
}

int main(void) {
  RUN(rows_and_norms);
  RUN(elementwise);
  RUN(linear);
  RUN(head);
  return test_done();
}
