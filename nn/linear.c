#include "linear.h"

#include "check.h"
#include "ops.h"

#include <string.h>

void linear_add_part(Linear *linear, Param *weight, Param *bias) {
  CHECK(linear->n_parts < LINEAR_MAX_PARTS, "%s: too many parts", weight->name);
  CHECK(linear->n_parts == 0 || linear->in == weight->value.t.cols,
        "%s: another width than the parts before it", weight->name);
  linear->in = weight->value.t.cols;
  linear->out += weight->value.t.rows;
  linear->parts[linear->n_parts++] = (LinearPart){.weight = weight, .bias = bias};
}

static bool trainable(const Param *p) {
  return p != NULL && p->trainable;
}

static bool weights_trainable(const Linear *linear) {
  for (int i = 0; i < linear->n_parts; i++) {
    if (trainable(linear->parts[i].weight) || trainable(linear->parts[i].bias)) return true;
  }
  return false;
}

static bool adapters_trainable(const Linear *linear) {
  for (int i = 0; i < linear->n_parts; i++) {
    for (int a = 0; a < MAX_ADAPTERS; a++) {
      const Adapter *adapter = &linear->parts[i].adapters[a];
      if (trainable(adapter->a) || trainable(adapter->b)) return true;
    }
  }
  return false;
}

Life linear_input_life(const Ctx *ctx, const Linear *linear) {
  return ctx->recording && (weights_trainable(linear) || adapters_trainable(linear)) ? KEEP : TEMP;
}

// The parts as one matrix when they lie side by side, which they do unless only some of them are
// trained.
typedef struct Piece {
  Tensor w, bias, dw, dbias;
  int64_t column; // of the output
} Piece;

static bool parts_are_fused(const Linear *linear) {
  for (int i = 1; i < linear->n_parts; i++) {
    if (trainable(linear->parts[i].weight) != trainable(linear->parts[0].weight)) return false;
    if (trainable(linear->parts[i].bias) != trainable(linear->parts[0].bias)) return false;
  }
  return true;
}

static int linear_pieces(const Linear *linear, Piece *pieces) {
  int per_piece = parts_are_fused(linear) ? linear->n_parts : 1, n = 0;
  int64_t column = 0;
  for (int i = 0; i < linear->n_parts; i += per_piece) {
    const LinearPart *part = &linear->parts[i];
    Piece *p = &pieces[n++];
    *p = (Piece){.column = column,
                 .w = param_group_tensor(part->weight, per_piece),
                 .dw = param_group_grad(part->weight, per_piece)};
    if (part->bias != NULL) {
      p->bias = param_group_tensor(part->bias, per_piece);
      p->dbias = param_group_grad(part->bias, per_piece);
    }
    column += p->w.rows;
  }
  return n;
}

typedef struct LinearRecord {
  Record header;
  const Linear *linear;
  Value *x, *y;
  const DeviceBatch *batch;
  bool training;
  Tensor t[LINEAR_MAX_PARTS][MAX_ADAPTERS]; // dropout(x) A^T of each adapter in use
} LinearRecord;

static RowSelect select_rows(const DeviceBatch *batch, int adapter) {
  return (RowSelect){.adapters = batch != NULL ? batch->adapters : TENSOR_NONE, .id = adapter};
}

// Without a list of adapters by row, adapter 0 serves all rows and the others none.
static bool adapter_in_use(const LinearPart *part, int adapter, const DeviceBatch *batch) {
  if (part->adapters[adapter].a == NULL) return false;
  return adapter == 0 || (batch != NULL && tensor_given(batch->adapters));
}

static Dropout adapter_dropout(const Ctx *ctx, const Adapter *adapter, const DeviceBatch *batch,
                               bool training) {
  Dropout d = {.p = training ? adapter->dropout : 0};
  if (d.p == 0) return d;
  CHECK(batch != NULL, "dropout on rows that are not a batch's");
  d.seed = ctx->dropout_seed;
  d.tensor_id = adapter->tensor_id;
  d.step = ctx->dropout_step;
  d.sequences = batch->sequences;
  d.positions = batch->positions;
  return d;
}

static void adapters_forward(Ctx *ctx, const Linear *linear, Value *x, Value *y,
                             const DeviceBatch *batch, LinearRecord *record) {
  int64_t column = 0;
  for (int i = 0; i < linear->n_parts; i++) {
    const LinearPart *part = &linear->parts[i];
    Tensor y_part = tensor_cols(y->t, column, part->weight->value.t.rows);
    column += y_part.cols;
    for (int a = 0; a < MAX_ADAPTERS; a++) {
      if (!adapter_in_use(part, a, batch)) continue;
      const Adapter *adapter = &part->adapters[a];
      Tensor t = ctx_tensor(ctx, record != NULL ? KEEP : TEMP, adapter->a->value.t.dtype, x->t.rows,
                            adapter->a->value.t.rows, "lora");
      Dropout dropout = adapter_dropout(ctx, adapter, batch, ctx->training);
      RowSelect rows = select_rows(batch, a);
      ctx->be->lora_down(ctx->be, t, x->t, adapter->a->value.t, rows, &dropout);
      ctx->be->lora_up_acc(ctx->be, y_part, t, adapter->b->value.t, adapter->scale, rows);
      if (record != NULL) record->t[i][a] = t;
    }
  }
}

static void adapters_back(Ctx *ctx, const LinearRecord *r, Tensor dy) {
  int64_t column = 0;
  for (int i = 0; i < r->linear->n_parts; i++) {
    const LinearPart *part = &r->linear->parts[i];
    Tensor dy_part = tensor_cols(dy, column, part->weight->value.t.rows);
    column += dy_part.cols;
    for (int a = 0; a < MAX_ADAPTERS; a++) {
      if (!adapter_in_use(part, a, r->batch)) continue;
      const Adapter *adapter = &part->adapters[a];
      Tensor dx = r->x->needs_grad ? value_grad(ctx, r->x) : TENSOR_NONE;
      Tensor t = r->t[i][a];
      ArenaMark mark = arena_mark(ctx->step);
      Tensor dt = ctx_tensor(ctx, TEMP, t.dtype, t.rows, t.cols, "lora gradient");
      Dropout dropout = adapter_dropout(ctx, adapter, r->batch, r->training);
      ctx->be->lora_back_acc(ctx->be, dx,
                             trainable(adapter->a) ? adapter->a->value.grad : TENSOR_NONE,
                             trainable(adapter->b) ? adapter->b->value.grad : TENSOR_NONE, dt,
                             dy_part, t, r->x->t, adapter->a->value.t, adapter->b->value.t,
                             adapter->scale, select_rows(r->batch, a), &dropout);
      arena_release_end(ctx->step, ARENA_HIGH, mark);
    }
  }
}

static void linear_back(Ctx *ctx, Record *record) {
  LinearRecord *r = (LinearRecord *)record;
  Tensor dy = value_grad(ctx, r->y);
  Piece pieces[LINEAR_MAX_PARTS];
  int n = linear_pieces(r->linear, pieces);
  for (int i = 0; i < n; i++) {
    const Piece *p = &pieces[i];
    Tensor dy_piece = tensor_cols(dy, p->column, p->w.rows);
    if (tensor_given(p->dw) || tensor_given(p->dbias)) {
      ctx->be->linear_back_w_acc(ctx->be, p->dw, p->dbias, dy_piece, r->x->t);
    }
    if (r->x->needs_grad)
      ctx->be->linear_back_x_acc(ctx->be, value_grad(ctx, r->x), dy_piece, p->w);
  }
  adapters_back(ctx, r, dy);
}

Value *op_linear(Ctx *ctx, const Linear *linear, Value *x, const DeviceBatch *batch, Life life) {
  bool needs = tape_reads(ctx, &x, 1);
  Value *y = value_new(ctx, life, x->t.rows, linear->out, "linear");
  y->needs_grad = needs || weights_trainable(linear) || adapters_trainable(linear);
  Piece pieces[LINEAR_MAX_PARTS];
  int n = linear_pieces(linear, pieces);
  for (int i = 0; i < n; i++) {
    Tensor y_piece = tensor_cols(y->t, pieces[i].column, pieces[i].w.rows);
    ctx->be->linear(ctx->be, y_piece, x->t, pieces[i].w, pieces[i].bias, false);
  }
  LinearRecord *r = NULL;
  if (ctx->recording && y->needs_grad) {
    r = tape_push(ctx, sizeof *r, linear_back);
    r->linear = linear;
    r->x = x;
    r->y = y;
    r->batch = batch;
    r->training = ctx->training;
  }
  adapters_forward(ctx, linear, x, y, batch, r);
  return y;
}

enum { HEAD_CHUNK = 512 }; // rows of logits that exist at a time

void op_linear_cross_entropy(Ctx *ctx, const Linear *head, Value *x, Tensor label_ids,
                             Tensor inv_count, float smoothing, Tensor loss) {
  bool grad = ctx->recording && (tape_reads(ctx, &x, 1) || weights_trainable(head));
  CHECK(head->n_parts == 1 && head->parts[0].adapters[0].a == NULL,
        "an output head with parts or adapters");
  Piece piece;
  linear_pieces(head, &piece);
  Backend *be = ctx->be;
  if (grad && x->needs_grad) {
    CHECK(!tensor_given(x->grad), "the head's input has a gradient already");
    x->grad = ctx_tensor(ctx, KEEP, x->t.dtype, x->t.rows, x->t.cols, "head gradient");
    be->fill(be, x->grad, 0);
  }
  CrossEntropyArgs args = {.inv_count = inv_count, .smoothing = smoothing, .grad = grad};
  ArenaMark mark = arena_mark(ctx->step);
  int64_t chunk = x->t.rows < HEAD_CHUNK ? x->t.rows : HEAD_CHUNK;
  Tensor logits = ctx_tensor(ctx, TEMP, ctx->dtype, chunk, head->out, "logits");
  Tensor losses = ctx_tensor(ctx, TEMP, ctx_stat_dtype(ctx), 1, chunk, "losses");
  for (int64_t row = 0; row < x->t.rows; row += chunk) {
    int64_t n = x->t.rows - row < chunk ? x->t.rows - row : chunk;
    Tensor rows = tensor_rows(x->t, row, n), out = tensor_rows(logits, 0, n),
           nll = tensor_cols(losses, 0, n);
    be->linear(be, out, rows, piece.w, piece.bias, false);
    be->cross_entropy(be, nll, out, tensor_cols(label_ids, row, n), &args);
    be->sum_acc(be, loss, nll);
    if (!grad) continue;
    if (x->needs_grad) be->linear_back_x_acc(be, tensor_rows(x->grad, row, n), out, piece.w);
    if (tensor_given(piece.dw) || tensor_given(piece.dbias)) {
      be->linear_back_w_acc(be, piece.dw, piece.dbias, out, rows);
    }
  }
  arena_release_end(ctx->step, ARENA_HIGH, mark);
}
