// The tape's rules: what a residual add may share, what segments give back, and the mistakes that
// end the program.
#include "ops.h"
#include "parity.h"
#include "rig.h"
#include "test.h"

enum { R = 4, C = 8 };

typedef struct Net {
  Rig rig;
  ParamTable params;
  Param *norm;
  Linear square;
} Net;

static void net_open(Net *n) {
  *n = (Net){0};
  rig_open(&n->rig, parity_reference(), DT_F32, 1);
  param_table_init(&n->params, 2);
  n->norm = param_declare(&n->params, DT_F32, 0, 0, false, 1, (int64_t[]){C}, "norm");
  linear_add_part(&n->square,
                  param_declare(&n->params, DT_F32, 0, 0, true, 2, (int64_t[]){C, C}, "square"),
                  NULL);
  n->norm->trainable = n->square.parts[0].weight->trainable = true;
  param_make_buckets(&n->params);
  param_place(&n->params, &n->rig.memory.weights, &n->rig.memory.state);
  double values[C * C];
  rig_draw(values, C * C, 1, 1);
  float weights[C * C];
  for (int i = 0; i < C * C; i++) weights[i] = (float)values[i];
  param_write(n->rig.ctx.be, n->norm->value.t, weights);
  param_write(n->rig.ctx.be, n->square.parts[0].weight->value.t, weights);
  n->rig.ctx.recording = true;
}

static void net_close(Net *n) {
  param_table_free(&n->params);
  rig_close(&n->rig);
}

static Value *input(Net *n) {
  double values[R * C];
  rig_draw(values, R * C, 2, 1);
  return value_wrap(&n->rig.ctx, rig_tensor(&n->rig, DT_F32, R, C, values), true);
}

// ---- residual adds ----

// z = x + W x: the backward of W reads dd while it adds to dx.
static void branch_of_one_op(void *user) {
  Net *n = user;
  Value *x = input(n);
  op_add(&n->rig.ctx, NULL, x, op_linear(&n->rig.ctx, &n->square, x, NULL, KEEP), KEEP);
}

static void trunk_read_before_the_add(void *user) {
  Net *n = user;
  Value *x = input(n), *h = op_rmsnorm(&n->rig.ctx, x, n->norm, 1e-5f, KEEP);
  Value *d = op_linear(&n->rig.ctx, &n->square, h, NULL, KEEP);
  op_act(&n->rig.ctx, x, ACT_SILU, KEEP);
  op_add(&n->rig.ctx, NULL, x, d, KEEP);
}

static void trunk_read_after_the_add(void *user) {
  Net *n = user;
  Ctx *ctx = &n->rig.ctx;
  Value *x = input(n), *z;
  Value *d = op_linear(ctx, &n->square, op_rmsnorm(ctx, x, n->norm, 1e-5f, KEEP), NULL, KEEP);
  op_add_rmsnorm(ctx, &z, x, d, n->norm, 1e-5f, KEEP);
  value_grad(ctx, op_act(ctx, x, ACT_SILU, KEEP));
  value_grad(ctx, z);
  tape_backward(ctx);
}

static void branch_read_twice(void *user) {
  Net *n = user;
  Ctx *ctx = &n->rig.ctx;
  Value *x = input(n);
  Value *d = op_linear(ctx, &n->square, op_rmsnorm(ctx, x, n->norm, 1e-5f, KEEP), NULL, KEEP);
  op_act(ctx, d, ACT_SILU, KEEP);
  op_add(ctx, NULL, x, d, KEEP);
}

static void branch_read_after_the_add(void *user) {
  Net *n = user;
  Ctx *ctx = &n->rig.ctx;
  Value *x = input(n);
  Value *d = op_linear(ctx, &n->square, op_rmsnorm(ctx, x, n->norm, 1e-5f, KEEP), NULL, KEEP);
  Value *z = op_add(ctx, NULL, x, d, KEEP);
  value_grad(ctx, op_act(ctx, d, ACT_SILU, KEEP));
  value_grad(ctx, z);
  tape_backward(ctx);
}

// A segment that says its add is its last op, and goes on after it.
typedef struct SegmentArgs {
  Net *net;
  Value *x, *out;
} SegmentArgs;

static void goes_on(Ctx *ctx, void *user) {
  SegmentArgs *a = user;
  Value *h = op_rmsnorm(ctx, a->x, a->net->norm, 1e-5f, KEEP), *z;
  Value *d = op_linear(ctx, &a->net->square, h, NULL, KEEP);
  h = op_add_rmsnorm(ctx, &z, a->x, d, a->net->norm, 1e-5f, KEEP);
  op_add(ctx, a->out, h, op_act(ctx, z, ACT_SILU, KEEP), KEEP);
}

static void run_segment(Net *n, void (*run)(Ctx *, void *), bool checkpoint, int segments) {
  Ctx *ctx = &n->rig.ctx;
  Value *x = input(n);
  for (int i = 0; i < segments; i++) {
    SegmentArgs *args = arena_alloc(ctx->host, ARENA_LOW, sizeof *args, "arguments");
    Value *out = value_new(ctx, KEEP, R, C, "output");
    *args = (SegmentArgs){.net = n, .x = x, .out = out};
    tape_segment(ctx, &(Segment){.run = run,
                                 .args = args,
                                 .in = {x},
                                 .n_in = 1,
                                 .out = {out},
                                 .n_out = 1,
                                 .checkpoint = checkpoint,
                                 .residual = true});
    x = out;
  }
  if (!ctx->recording) return;
  ctx->be->fill(ctx->be, value_grad(ctx, x), 1);
  tape_backward(ctx);
}

static void not_residual(void *user) {
  run_segment(user, goes_on, false, 1);
}

static void not_residual_recomputed(void *user) {
  run_segment(user, goes_on, true, 1);
}

static void residual_rules(void) {
  Net n;
  net_open(&n);
  EXPECT(rig_aborts(branch_of_one_op, &n, "the trunk of a residual add is read between"));
  EXPECT(rig_aborts(trunk_read_before_the_add, &n, "the trunk of a residual add is read between"));
  EXPECT(rig_aborts(trunk_read_after_the_add, &n, "the trunk of a residual add is read after it"));
  EXPECT(rig_aborts(branch_read_twice, &n, "the branch of a residual add is read by another op"));
  EXPECT(rig_aborts(branch_read_after_the_add, &n, "the branch of a residual add is read after"));
  EXPECT(rig_aborts(not_residual, &n, "a residual segment whose add is not its last op"));
  EXPECT(rig_aborts(not_residual_recomputed, &n, "a residual segment whose add is not"));
  net_close(&n);
}

// ---- other mistakes ----

static void record_in_inference(void *user) {
  Net *n = user;
  n->rig.ctx.recording = false;
  tape_push(&n->rig.ctx, sizeof(Record), NULL);
}

static void gradient_of_a_constant(void *user) {
  Net *n = user;
  value_grad(&n->rig.ctx, value_wrap(&n->rig.ctx, input(n)->t, false));
}

static void tape_over_a_cache(void *user) {
  Net *n = user;
  Tensor cache = rig_tensor(&n->rig, DT_F32, R, C, (double[R * C]){0});
  double qkv[R * 3 * C] = {0};
  RopeArgs args = {.n_heads = 1, .n_kv_heads = 1, .head_dim = C};
  Value *x = value_wrap(&n->rig.ctx, rig_tensor(&n->rig, DT_F32, R, 3 * C, qkv), true);
  op_rope_split(&n->rig.ctx, x, &args, cache, cache);
}

static void head_read_twice(void *user) {
  Net *n = user;
  Value *x = input(n);
  value_grad(&n->rig.ctx, x);
  Tensor ids = rig_ints(&n->rig, 1, R, (int32_t[R]){0}),
         one = rig_tensor(&n->rig, DT_F32, 1, 1, (double[]){1}),
         loss = rig_tensor(&n->rig, DT_F64, 1, 1, (double[]){0});
  op_linear_cross_entropy(&n->rig.ctx, &n->square, x, ids, one, 0, loss);
}

static void other_mistakes(void) {
  Net n;
  net_open(&n);
  EXPECT(rig_aborts(record_in_inference, &n, "a record while nothing is recorded"));
  EXPECT(rig_aborts(gradient_of_a_constant, &n, "a gradient of a value that needs none"));
  EXPECT(rig_aborts(tape_over_a_cache, &n, "a tape over a cache"));
  EXPECT(rig_aborts(head_read_twice, &n, "the head's input has a gradient already"));
  net_close(&n);
}

// ---- memory ----

static void block(Ctx *ctx, void *user) {
  SegmentArgs *a = user;
  Value *h = op_rmsnorm(ctx, a->x, a->net->norm, 1e-5f, KEEP);
  Value *y = op_act(ctx, op_linear(ctx, &a->net->square, h, NULL, KEEP), ACT_GELU, KEEP);
  op_add(ctx, a->out, a->x, op_linear(ctx, &a->net->square, y, NULL, TEMP), KEEP);
}

enum { OUT = ARENA_ALIGN }; // R * C floats fit in one unit: a block's output

// The step arena's peak over a number of blocks.
static int64_t peak_of(bool recording, bool checkpoint, int blocks) {
  Net n;
  net_open(&n);
  n.rig.ctx.recording = recording;
  Arena *step = n.rig.ctx.step;
  ArenaMark before = arena_mark(step);
  run_segment(&n, block, checkpoint, blocks);
  EXPECT(n.rig.ctx.last == NULL, "records are left");
  // What is left: the input, the outputs that lie below the first segment's own memory, and at the
  // high end the one gradient that all share.
  int64_t left = recording && !checkpoint ? 2 : blocks + 1;
  EXPECT(step->low - before.low == left * OUT && step->high - before.high <= OUT,
         "%lld bytes are left, %lld at the high end", (long long)(step->low - before.low),
         (long long)(step->high - before.high));
  arena_release(step, before);
  int64_t peak = step->peak;
  net_close(&n);
  return peak;
}

static void segments_give_back_what_they_took(void) {
  int64_t infer = peak_of(false, false, 9) - peak_of(false, false, 8),
          recompute = peak_of(true, true, 9) - peak_of(true, true, 8),
          keep = peak_of(true, false, 9) - peak_of(true, false, 8);
  EXPECT(infer == OUT, "inference keeps %lld bytes a block", (long long)infer);
  EXPECT(recompute == OUT, "recomputing keeps %lld bytes a block", (long long)recompute);
  // output, norm, its rstd, linear (read by the activation), activation
  EXPECT(keep == 5 * OUT, "%lld bytes a block", (long long)keep);
}

int main(void) {
  RUN(residual_rules);
  RUN(other_mistakes);
  RUN(segments_give_back_what_they_took);
  return test_done();
}
