// Ops that move rows or work element by element: embedding, gather, add, scale,
// activations, dropout.
#include "ops.h"

#include <stddef.h>

// ---- embedding ----

typedef struct EmbeddingRecord {
  Record header;
  Param *table;
  Value *y;
  Tensor ids;
} EmbeddingRecord;

static void embedding_back(Ctx *ctx, Record *record) {
  EmbeddingRecord *r = (EmbeddingRecord *)record;
  ctx->be->embedding_back_acc(ctx->be, r->table->value.grad, value_grad(ctx, r->y), r->ids);
}

Value *op_embedding(Ctx *ctx, Param *table, Tensor ids, Life life) {
  tape_reads(ctx, NULL, 0);
  Value *y = value_new(ctx, life, ids.cols, table->value.t.cols, "embedding");
  y->needs_grad = table->trainable;
  ctx->be->embedding(ctx->be, y->t, table->value.t, ids);
  if (ctx->recording && y->needs_grad) {
    EmbeddingRecord *r = tape_push(ctx, sizeof *r, embedding_back);
    r->table = table;
    r->y = y;
    r->ids = ids;
  }
  return y;
}

// ---- gather ----

typedef struct GatherRecord {
  Record header;
  Value *x, *y;
  Tensor rows;
} GatherRecord;

static void gather_back(Ctx *ctx, Record *record) {
  GatherRecord *r = (GatherRecord *)record;
  ctx->be->scatter_rows_acc(ctx->be, value_grad(ctx, r->x), value_grad(ctx, r->y), r->rows);
}

Value *op_gather_rows(Ctx *ctx, Value *x, Tensor rows, Life life) {
  bool needs = tape_reads(ctx, &x, 1);
  Value *y = value_new(ctx, life, rows.cols, x->t.cols, "gathered rows");
  y->needs_grad = needs;
  ctx->be->gather_rows(ctx->be, y->t, x->t, rows);
  if (ctx->recording && needs) {
    GatherRecord *r = tape_push(ctx, sizeof *r, gather_back);
    r->x = x;
    r->y = y;
    r->rows = rows;
  }
  return y;
}

// ---- add ----

typedef struct AddRecord {
  Record header;
  Value *z, *trunk, *branch;
} AddRecord;

static void add_back(Ctx *ctx, Record *record) {
  AddRecord *r = (AddRecord *)record;
  tape_share_residual(ctx, r->z, r->trunk, r->branch);
}

Value *op_add(Ctx *ctx, Value *out, Value *a, Value *b, Life life) {
  bool needs = tape_reads_residual(ctx, a, b);
  if (out == NULL) out = value_new(ctx, life, a->t.rows, a->t.cols, "sum");
  out->needs_grad = needs;
  out->made_by = ctx->serial;
  ctx->be->add(ctx->be, out->t, a->t, b->t);
  if (ctx->recording && needs) {
    AddRecord *r = tape_push(ctx, sizeof *r, add_back);
    r->z = out;
    r->trunk = a;
    r->branch = b;
  }
  return out;
}

// ---- scale ----

typedef struct ScaleRecord {
  Record header;
  Value *x, *y;
  Tensor a;
} ScaleRecord;

static void scale_back(Ctx *ctx, Record *record) {
  ScaleRecord *r = (ScaleRecord *)record;
  ctx->be->scale_acc(ctx->be, value_grad(ctx, r->x), value_grad(ctx, r->y), r->a);
}

Value *op_scale(Ctx *ctx, Value *x, Tensor a, Life life) {
  bool needs = tape_reads(ctx, &x, 1);
  Value *y = value_new(ctx, life, x->t.rows, x->t.cols, "scaled");
  y->needs_grad = needs;
  ctx->be->scale(ctx->be, y->t, x->t, a);
  if (ctx->recording && needs) {
    ScaleRecord *r = tape_push(ctx, sizeof *r, scale_back);
    r->x = x;
    r->y = y;
    r->a = a;
  }
  return y;
}

// ---- activations ----

typedef struct ActRecord {
  Record header;
  Value *x, *y;
  Activation kind;
} ActRecord;

static void act_back(Ctx *ctx, Record *record) {
  ActRecord *r = (ActRecord *)record;
  ctx->be->act_back_acc(ctx->be, value_grad(ctx, r->x), value_grad(ctx, r->y), r->x->t, r->kind);
}

static void glu_back(Ctx *ctx, Record *record) {
  ActRecord *r = (ActRecord *)record;
  ctx->be->glu_back_acc(ctx->be, value_grad(ctx, r->x), value_grad(ctx, r->y), r->x->t, r->kind);
}

static void record_act(Ctx *ctx, Value *x, Value *y, Activation kind,
                       void (*back)(Ctx *, Record *)) {
  if (!ctx->recording || !y->needs_grad) return;
  ActRecord *r = tape_push(ctx, sizeof *r, back);
  r->x = x;
  r->y = y;
  r->kind = kind;
}

Value *op_act(Ctx *ctx, Value *x, Activation kind, Life life) {
  bool needs = tape_reads(ctx, &x, 1);
  Value *y = value_new(ctx, life, x->t.rows, x->t.cols, "activation");
  y->needs_grad = needs;
  ctx->be->act(ctx->be, y->t, x->t, kind);
  record_act(ctx, x, y, kind, act_back);
  return y;
}

Value *op_glu(Ctx *ctx, Value *gu, Activation kind, Life life) {
  bool needs = tape_reads(ctx, &gu, 1);
  Value *y = value_new(ctx, life, gu->t.rows, gu->t.cols / 2, "gated unit");
  y->needs_grad = needs;
  ctx->be->glu(ctx->be, y->t, gu->t, kind);
  record_act(ctx, gu, y, kind, glu_back);
  return y;
}

// ---- dropout ----

typedef struct DropoutRecord {
  Record header;
  Value *x, *y;
  Dropout dropout;
} DropoutRecord;

static void dropout_back(Ctx *ctx, Record *record) {
  DropoutRecord *r = (DropoutRecord *)record;
  ctx->be->dropout_acc(ctx->be, value_grad(ctx, r->x), value_grad(ctx, r->y), &r->dropout);
}

Value *op_dropout(Ctx *ctx, Value *x, float p, uint32_t tensor_id, Tensor sequences,
                  Tensor positions, Life life) {
  if (!ctx->training || p == 0) return x;
  bool needs = tape_reads(ctx, &x, 1);
  Value *y = value_new(ctx, life, x->t.rows, x->t.cols, "dropout");
  y->needs_grad = needs;
  Dropout dropout = {.p = p,
                     .seed = ctx->dropout_seed,
                     .tensor_id = tensor_id,
                     .step = ctx->dropout_step,
                     .sequences = sequences,
                     .positions = positions};
  ctx->be->fill(ctx->be, y->t, 0);
  ctx->be->dropout_acc(ctx->be, y->t, x->t, &dropout);
  if (ctx->recording && needs) {
    DropoutRecord *r = tape_push(ctx, sizeof *r, dropout_back);
    r->x = x;
    r->y = y;
    r->dropout = dropout;
  }
  return y;
}
