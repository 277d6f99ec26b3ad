// RMSNorm and LayerNorm, alone or fused with the residual add before them.
#include "ops.h"

typedef struct NormRecord {
  Record header;
  Value *z, *y, *trunk, *branch; // trunk NULL: no add
  Param *w, *b;                  // b NULL: RMSNorm
  Tensor mean, rstd;
} NormRecord;

static Tensor param_grad(const Param *p) {
  return p->trainable ? p->value.grad : TENSOR_NONE;
}

static void norm_back(Ctx *ctx, Record *record) {
  NormRecord *r = (NormRecord *)record;
  Tensor dy = value_grad(ctx, r->y);
  Tensor dz = TENSOR_NONE; // only the weights are trained: no gradient flows on
  if (r->z->needs_grad) dz = value_grad(ctx, r->z);
  if (r->b == NULL) {
    ctx->be->rmsnorm_back_acc(ctx->be, dz, param_grad(r->w), dy, r->z->t, r->rstd, r->w->value.t);
  } else {
    ctx->be->layernorm_back_acc(ctx->be, dz, param_grad(r->w), param_grad(r->b), dy, r->z->t,
                                r->mean, r->rstd, r->w->value.t);
  }
  if (r->trunk != NULL && r->z->needs_grad) {
    tape_share_residual(ctx, r->z, r->trunk, r->branch);
  }
}

// x alone, or x + d into a kept z. b NULL: RMSNorm.
static Value *norm(Ctx *ctx, Value **z_out, Value *x, Value *d, Param *w, Param *b, float eps,
                   Life life) {
  bool needs = d != NULL ? tape_reads_residual(ctx, x, d) : tape_reads(ctx, &x, 1);
  Value *z = x;
  if (d != NULL) {
    z = value_new(ctx, KEEP, x->t.rows, x->t.cols, "residual");
    z->needs_grad = needs;
    *z_out = z;
  }
  Value *y = value_new(ctx, life, x->t.rows, x->t.cols, "norm");
  y->needs_grad = needs || w->trainable || (b != NULL && b->trainable);
  bool record = ctx->recording && y->needs_grad;
  Tensor rstd = ctx_tensor(ctx, record ? KEEP : TEMP, ctx_stat_dtype(ctx), 1, x->t.rows, "rstd");
  Tensor mean = TENSOR_NONE, z_t = d != NULL ? z->t : TENSOR_NONE,
         d_t = d != NULL ? d->t : TENSOR_NONE;
  if (b == NULL) {
    ctx->be->rmsnorm(ctx->be, z_t, y->t, rstd, x->t, d_t, w->value.t, eps);
  } else {
    mean = ctx_tensor(ctx, record ? KEEP : TEMP, ctx_stat_dtype(ctx), 1, x->t.rows, "mean");
    ctx->be->layernorm(ctx->be, z_t, y->t, mean, rstd, x->t, d_t, w->value.t, b->value.t, eps);
  }
  if (record) {
    NormRecord *r = tape_push(ctx, sizeof *r, norm_back);
    r->z = z;
    r->y = y;
    r->trunk = d != NULL ? x : NULL;
    r->branch = d;
    r->w = w;
    r->b = b;
    r->mean = mean;
    r->rstd = rstd;
  }
  return y;
}

Value *op_rmsnorm(Ctx *ctx, Value *x, Param *w, float eps, Life life) {
  return norm(ctx, NULL, x, NULL, w, NULL, eps, life);
}

Value *op_layernorm(Ctx *ctx, Value *x, Param *w, Param *b, float eps, Life life) {
  return norm(ctx, NULL, x, NULL, w, b, eps, life);
}

Value *op_add_rmsnorm(Ctx *ctx, Value **z, Value *x, Value *d, Param *w, float eps, Life life) {
  return norm(ctx, z, x, d, w, NULL, eps, life);
}

Value *op_add_layernorm(Ctx *ctx, Value **z, Value *x, Value *d, Param *w, Param *b, float eps,
                        Life life) {
  return norm(ctx, z, x, d, w, b, eps, life);
}
