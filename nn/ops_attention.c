// The QKV split with its rotation, and the one attention.
#include "check.h"
#include "ops.h"

typedef struct RopeRecord {
  Record header;
  Value *qkv, *q, *k, *v;
  RopeArgs args;
} RopeRecord;

static void rope_back(Ctx *ctx, Record *record) {
  RopeRecord *r = (RopeRecord *)record;
  ctx->be->rope_split_back_acc(ctx->be, value_grad(ctx, r->qkv), value_grad(ctx, r->q),
                               value_grad(ctx, r->k), value_grad(ctx, r->v), &r->args);
}

Qkv op_rope_split(Ctx *ctx, Value *qkv, const RopeArgs *args, Tensor cache_k, Tensor cache_v) {
  bool needs = tape_reads(ctx, &qkv, 1), cached = tensor_given(cache_k);
  CHECK(!cached || !ctx->recording, "a tape over a cache");
  int64_t rows = qkv->t.rows, kv_width = args->n_kv_heads * args->head_dim;
  Qkv out;
  out.q = value_new(ctx, KEEP, rows, args->n_heads * args->head_dim, "q");
  out.k = cached ? value_wrap(ctx, cache_k, false) : value_new(ctx, KEEP, rows, kv_width, "k");
  out.v = cached ? value_wrap(ctx, cache_v, false) : value_new(ctx, KEEP, rows, kv_width, "v");
  out.q->needs_grad = out.k->needs_grad = out.v->needs_grad = needs;
  ctx->be->rope_split(ctx->be, out.q->t, out.k->t, out.v->t, qkv->t, args);
  if (ctx->recording && needs) {
    RopeRecord *r = tape_push(ctx, sizeof *r, rope_back);
    r->qkv = qkv;
    r->q = out.q;
    r->k = out.k;
    r->v = out.v;
    r->args = *args;
  }
  return out;
}

typedef struct AttentionRecord {
  Record header;
  Value *q, *k, *v, *o;
  Param *bias;
  Tensor lse;
  AttentionArgs args;
} AttentionRecord;

// The gradient of v, or scratch where none is wanted: the kernel computes all three together.
static Tensor grad_or_scratch(Ctx *ctx, Value *v) {
  if (v->needs_grad) return value_grad(ctx, v);
  return ctx_tensor(ctx, TEMP, v->t.dtype, v->t.rows, v->t.cols, "unwanted gradient");
}

// Where the kernel adds the bias's gradient, f32: the weight's own, or, for one in bf16, zeroed
// scratch that bias_grad_add rounds into it.
static Tensor bias_grad_or_scratch(Ctx *ctx, const Param *bias) {
  Tensor grad = bias->value.grad;
  if (grad.dtype != DT_BF16) return grad;
  Tensor sum = ctx_tensor(ctx, TEMP, DT_F32, grad.rows, grad.cols, "bias gradient");
  ctx->be->fill(ctx->be, sum, 0);
  return sum;
}

static void bias_grad_add(Ctx *ctx, const Param *bias, Tensor sum) {
  Tensor grad = bias->value.grad;
  if (grad.dtype != DT_BF16) return;
  Tensor rounded = ctx_tensor(ctx, TEMP, DT_BF16, grad.rows, grad.cols, "bias gradient");
  ctx->be->cast(ctx->be, rounded, sum);
  ctx->be->add(ctx->be, grad, grad, rounded);
}

static void attention_back(Ctx *ctx, Record *record) {
  AttentionRecord *r = (AttentionRecord *)record;
  Tensor d_o = value_grad(ctx, r->o);
  Value *inputs[] = {r->q, r->k, r->v};
  for (int i = 0; i < 3; i++) {
    if (inputs[i]->needs_grad) value_grad(ctx, inputs[i]);
  }
  ArenaMark mark = arena_mark(ctx->step);
  Tensor dq = grad_or_scratch(ctx, r->q), dk = grad_or_scratch(ctx, r->k),
         dv = grad_or_scratch(ctx, r->v);
  bool trained = r->bias != NULL && r->bias->trainable;
  Tensor dbias = trained ? bias_grad_or_scratch(ctx, r->bias) : TENSOR_NONE;
  ctx->be->attention_back_acc(ctx->be, dq, dk, dv, dbias, d_o, r->o->t, r->lse, r->q->t, r->k->t,
                              r->v->t, &r->args);
  if (trained) bias_grad_add(ctx, r->bias, dbias);
  arena_release_end(ctx->step, ARENA_HIGH, mark);
}

Value *op_attention(Ctx *ctx, Value *q, Value *k, Value *v, Param *bias,
                    const AttentionArgs *args) {
  bool needs = tape_reads(ctx, (Value *[]){q, k, v}, 3) || (bias != NULL && bias->trainable);
  bool record = ctx->recording && needs;
  Value *o = value_new(ctx, record ? KEEP : TEMP, q->t.rows, q->t.cols, "attention");
  o->needs_grad = needs;
  AttentionArgs a = *args;
  if (bias != NULL) a.bias = bias->value.t;
  Tensor lse = TENSOR_NONE;
  if (record) lse = ctx_tensor(ctx, KEEP, ctx_stat_dtype(ctx), q->t.rows, args->n_heads, "lse");
  ctx->be->attention(ctx->be, o->t, lse, q->t, k->t, v->t, &a);
  if (record) {
    AttentionRecord *r = tape_push(ctx, sizeof *r, attention_back);
    r->q = q;
    r->k = k;
    r->v = v;
    r->o = o;
    r->bias = bias;
    r->lse = lse;
    r->args = a;
  }
  return o;
}
