// The table of weights: buckets (order, padding, ranges), placing, groups, values.
#include "param.h"
#include "parity.h"
#include "rig.h"
#include "test.h"

// A model of two blocks: an embedding that is the output head as well (declared once, bucket -1),
// per block a norm, q|k|v with biases and an output layer, and a final norm.
enum { C = 24, KV = 8, LAYERS = 2, V = 100 };

static void declare_block(ParamTable *t, DType dtype, int i) {
  int64_t square[] = {C, C}, narrow[] = {KV, C}, c[] = {C}, kv[] = {KV};
  param_declare(t, dtype, i, 0, false, 1, c, "layers.%d.norm.weight", i);
  param_declare(t, dtype, i, 1, true, 2, square, "layers.%d.q.weight", i);
  param_declare(t, dtype, i, 1, true, 2, narrow, "layers.%d.k.weight", i);
  param_declare(t, dtype, i, 1, true, 2, narrow, "layers.%d.v.weight", i);
  param_declare(t, dtype, i, 2, false, 1, c, "layers.%d.q.bias", i);
  param_declare(t, dtype, i, 2, false, 1, kv, "layers.%d.k.bias", i);
  param_declare(t, dtype, i, 2, false, 1, kv, "layers.%d.v.bias", i);
  param_declare(t, dtype, i, 3, true, 2, square, "layers.%d.o.weight", i);
}

static void declare_model(ParamTable *t, DType dtype) {
  param_table_init(t, 32);
  param_declare(t, dtype, -1, 0, true, 2, (int64_t[]){V, C}, "embed.weight");
  for (int i = 0; i < LAYERS; i++) declare_block(t, dtype, i);
  param_declare(t, dtype, LAYERS, 0, false, 1, (int64_t[]){C}, "norm.weight");
}

static void train(ParamTable *t, const char *part) {
  for (int64_t i = 0; i < t->n; i++) {
    if (strstr(t->items[i].name, part) != NULL) t->items[i].trainable = true;
  }
}

static int64_t offset_in(Tensor flat, Tensor t) {
  return ((char *)t.data - (char *)flat.data) / dtype_bytes(flat.dtype, 1);
}

static const Bucket *bucket_numbered(const ParamTable *t, int number) {
  for (int64_t i = 0; i < t->n_buckets; i++) {
    if (t->buckets[i].number == number) return &t->buckets[i];
  }
  EXPECT(false, "no bucket %d", number);
  exit(1);
}

static void expect_at(const ParamTable *t, const Bucket *b, const char *name, int64_t offset) {
  const Param *p = param_find(t, name);
  EXPECT(p != NULL, "%s", name);
  EXPECT(offset_in(b->w, p->value.t) == offset, "%s lies at %lld, expected %lld", name,
         (long long)offset_in(b->w, p->value.t), (long long)offset);
  EXPECT(offset_in(b->g, p->value.grad) == offset, "gradient of %s", name);
  EXPECT(p->value.t.stride == p->value.t.cols && p->value.needs_grad);
}

static void expect_range(const Bucket *b, int i, int64_t offset, int64_t count, bool decayed) {
  EXPECT(i < b->n_ranges, "bucket %d has %d ranges", b->number, b->n_ranges);
  if (i >= b->n_ranges) return;
  BucketRange r = b->ranges[i];
  EXPECT(r.offset == offset && r.count == count && r.decayed == decayed,
         "bucket %d range %d is [%lld, +%lld) decayed %d", b->number, i, (long long)r.offset,
         (long long)r.count, r.decayed);
}

static void everything_trained(void) {
  Rig rig;
  ParamTable t;
  rig_open(&rig, parity_reference(), DT_F32, 1);
  declare_model(&t, DT_F32);
  train(&t, "");
  param_make_buckets(&t);
  EXPECT(t.n_buckets == LAYERS + 2, "%lld buckets", (long long)t.n_buckets);
  param_place(&t, &rig.memory.weights, &rig.memory.state);
  const Bucket *b = bucket_numbered(&t, 1);
  // Reversed by group, in order within a group.
  int64_t o = C * C, qkv = (C + 2 * KV) * C, biases = C + 2 * KV;
  expect_at(&t, b, "layers.1.o.weight", 0);
  expect_at(&t, b, "layers.1.q.bias", o);
  expect_at(&t, b, "layers.1.k.bias", o + C);
  expect_at(&t, b, "layers.1.v.bias", o + C + KV);
  expect_at(&t, b, "layers.1.q.weight", o + biases);
  expect_at(&t, b, "layers.1.k.weight", o + biases + C * C);
  expect_at(&t, b, "layers.1.v.weight", o + biases + C * C + KV * C);
  expect_at(&t, b, "layers.1.norm.weight", o + biases + qkv);
  EXPECT(b->n_ranges == 4);
  expect_range(b, 0, 0, o, true);
  expect_range(b, 1, o, biases, false);
  expect_range(b, 2, o + biases, qkv, true);
  expect_range(b, 3, o + biases + qkv, C, false);
  EXPECT(b->count == BUCKET_PAD, "%lld", (long long)b->count); // 1600 elements
  EXPECT(b->m.cols == b->count && b->v.cols == b->count && b->m.dtype == DT_F32);
  const Bucket *embed = bucket_numbered(&t, -1);
  EXPECT(embed->count == 2 * BUCKET_PAD && embed->n_ranges == 1); // 2400 elements
  expect_range(embed, 0, 0, V * C, true);
  EXPECT(param_count(&t, true) == param_count(&t, false));
  EXPECT(param_count(&t, false) == V * C + LAYERS * (o + biases + qkv + C) + C);
  param_table_free(&t);
  rig_close(&rig);
}

// Weights with another rate lie behind the others, and ranges end where the rate changes.
static void rates_lie_apart(void) {
  Rig rig;
  ParamTable t;
  rig_open(&rig, parity_reference(), DT_F32, 1);
  declare_model(&t, DT_F32);
  train(&t, "layers.1.");
  param_find(&t, "layers.1.o.weight")->rate = RATE_PLUS;
  param_find(&t, "layers.1.norm.weight")->rate = RATE_PLUS;
  param_make_buckets(&t);
  param_place(&t, &rig.memory.weights, &rig.memory.state);
  const Bucket *b = bucket_numbered(&t, 1);
  int64_t o = C * C, qkv = (C + 2 * KV) * C, biases = C + 2 * KV;
  expect_at(&t, b, "layers.1.q.bias", 0);
  expect_at(&t, b, "layers.1.q.weight", biases);
  expect_at(&t, b, "layers.1.o.weight", biases + qkv);
  expect_at(&t, b, "layers.1.norm.weight", biases + qkv + o);
  EXPECT(b->n_ranges == 4);
  expect_range(b, 0, 0, biases, false);
  expect_range(b, 1, biases, qkv, true);
  expect_range(b, 2, biases + qkv, o, true);
  expect_range(b, 3, biases + qkv + o, C, false);
  for (int i = 0; i < 4; i++) EXPECT(b->ranges[i].rate == (i < 2 ? RATE_BASE : RATE_PLUS), "%d", i);
  param_table_free(&t);
  rig_close(&rig);
}

static void one_part_of_a_group_trained(void) {
  Rig rig;
  ParamTable t;
  rig_open(&rig, parity_reference(), DT_F32, 1);
  declare_model(&t, DT_F32);
  train(&t, ".k.weight");
  param_make_buckets(&t);
  param_place(&t, &rig.memory.weights, &rig.memory.state);
  EXPECT(t.n_buckets == LAYERS);
  expect_at(&t, bucket_numbered(&t, 0), "layers.0.k.weight", 0);
  EXPECT(param_count(&t, true) == LAYERS * KV * C);
  const Param *q = param_find(&t, "layers.0.q.weight"), *v = param_find(&t, "layers.0.v.weight");
  EXPECT(tensor_given(q->value.t) && tensor_given(v->value.t) && !tensor_given(q->value.grad));
  EXPECT(!q->value.needs_grad && q->value.t.data != v->value.t.data);
  param_table_free(&t);
  rig_close(&rig);
}

static void groups_are_one_matrix(void) {
  Rig rig;
  ParamTable t;
  rig_open(&rig, parity_reference(), DT_F32, 1);
  declare_model(&t, DT_F32);
  train(&t, "layers.1.");
  param_make_buckets(&t);
  param_place(&t, &rig.memory.weights, &rig.memory.state);
  for (int i = 0; i < LAYERS; i++) {
    char name[64];
    snprintf(name, sizeof name, "layers.%d.q.weight", i);
    const Param *q = param_find(&t, name);
    Tensor all = param_group_tensor(q, 3), grad = param_group_grad(q, 3);
    EXPECT(all.rows == C + 2 * KV && all.cols == C && all.data == q->value.t.data);
    EXPECT(tensor_rows(all, C, KV).data == q[1].value.t.data);
    EXPECT(tensor_given(grad) == (i == 1), "block %d", i);
    if (i == 1) EXPECT(grad.rows == C + 2 * KV && grad.data == q->value.grad.data);
    snprintf(name, sizeof name, "layers.%d.q.bias", i);
    Tensor bias = param_group_tensor(param_find(&t, name), 3);
    EXPECT(bias.rows == 1 && bias.cols == C + 2 * KV);
  }
  param_table_free(&t);
  rig_close(&rig);
}

// A rehearsal on null, then the real place: the plan is what is taken, and nothing of the first
// place is left.
static void placed_twice(void) {
  Backend *null;
  Error err;
  EXPECT(backend_null_open(&null, &err) == STATUS_OK);
  Rig dry, real;
  rig_open(&dry, null, DT_BF16, 64);
  rig_open(&real, parity_reference(), DT_BF16, 1);
  ParamTable t;
  declare_model(&t, DT_BF16);
  train(&t, "layers.");
  param_make_buckets(&t);
  int64_t weights, state;
  param_plan(&t, &weights, &state);
  param_place(&t, &dry.memory.weights, &dry.memory.state);
  EXPECT(dry.memory.weights.peak == weights && dry.memory.state.peak == state);
  param_place(&t, &real.memory.weights, &real.memory.state);
  EXPECT(real.memory.weights.peak == weights && real.memory.state.peak == state);
  EXPECT(t.buckets[0].w.dtype == DT_BF16 && t.buckets[0].m.dtype == DT_F32);
  for (int64_t i = 0; i < t.n; i++) {
    char *at = t.items[i].value.t.data;
    const Arena *a = &real.memory.weights;
    EXPECT(at >= a->base && at < a->base + a->low, "%s", t.items[i].name);
  }
  param_table_free(&t);
  rig_close(&dry);
  rig_close(&real);
  null->close(null);
}

static void values_in_and_out(void) {
  static const DType dtypes[] = {DT_F32, DT_BF16, DT_F64};
  for (int d = 0; d < 3; d++) {
    Rig rig;
    ParamTable t;
    rig_open(&rig, parity_reference(), dtypes[d], 1);
    declare_model(&t, dtypes[d]);
    train(&t, "norm");
    param_make_buckets(&t);
    param_place(&t, &rig.memory.weights, &rig.memory.state);
    Param *p = param_find(&t, "layers.0.norm.weight");
    float in[C], out[C];
    for (int i = 0; i < C; i++) in[i] = 1 + (float)i / 8192; // bf16: rounds to 1 + k/128
    param_write(rig.ctx.be, p->value.t, in);
    param_read(rig.ctx.be, out, p->value.t);
    for (int i = 0; i < C; i++) {
      float expected = dtypes[d] == DT_BF16 ? 1 : in[i];
      EXPECT(out[i] == expected, "%s: %g for %g", dtype_info(dtypes[d])->name, (double)out[i],
             (double)in[i]);
    }
    param_write(rig.ctx.be, p->value.grad, in);
    param_zero_grads(&t, rig.ctx.be);
    param_read(rig.ctx.be, out, p->value.grad);
    for (int i = 0; i < C; i++) EXPECT(out[i] == 0);
    param_read(rig.ctx.be, out, p->value.t);
    EXPECT(out[1] != 0, "the weight was zeroed too");
    param_table_free(&t);
    rig_close(&rig);
  }
}

static void declare_twice(void *user) {
  (void)user;
  ParamTable t;
  declare_model(&t, DT_F32);
  declare_model(&t, DT_F32);
  declare_block(&t, DT_F32, 0);
}

static void too_many(void *user) {
  (void)user;
  ParamTable t;
  param_table_init(&t, 1);
  for (int i = 0; i < 2; i++) param_declare(&t, DT_F32, 0, 0, true, 1, (int64_t[]){1}, "w%d", i);
}

static void mixed_bucket(void *user) {
  Rig *rig = user;
  ParamTable t;
  param_table_init(&t, 2);
  param_declare(&t, DT_F32, 0, 0, true, 1, (int64_t[]){1}, "one")->trainable = true;
  param_declare(&t, DT_BF16, 0, 0, true, 1, (int64_t[]){1}, "two")->trainable = true;
  param_make_buckets(&t);
  param_place(&t, &rig->memory.weights, &rig->memory.state);
}

static void apart(void *user) {
  Rig *rig = user;
  ParamTable t;
  declare_model(&t, DT_F32);
  train(&t, ".k.weight");
  param_make_buckets(&t);
  param_place(&t, &rig->memory.weights, &rig->memory.state);
  param_group_tensor(param_find(&t, "layers.0.q.weight"), 3);
}

static void our_mistakes_end_the_program(void) {
  Rig rig;
  rig_open(&rig, parity_reference(), DT_F32, 1);
  EXPECT(rig_aborts(declare_twice, NULL, "layers.0.norm.weight is declared twice"));
  EXPECT(rig_aborts(too_many, NULL, "more than 1 parameters"));
  EXPECT(rig_aborts(mixed_bucket, &rig, "two: bucket 0 mixes dtypes"));
  EXPECT(rig_aborts(apart, &rig, "layers.0.k.weight does not lie beside layers.0.q.weight"));
  rig_close(&rig);
}

int main(void) {
  RUN(everything_trained);
  RUN(rates_lie_apart);
  RUN(one_part_of_a_group_trained);
  RUN(groups_are_one_matrix);
  RUN(placed_twice);
  RUN(values_in_and_out);
  RUN(our_mistakes_end_the_program);
  return test_done();
}
