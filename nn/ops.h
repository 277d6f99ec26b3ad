// Layer ops: each runs its forward at once and, while the context records, leaves a record for its
// backward. Their formulas are those of the backend ops that they call (backend.h). An input must
// outlive the backward (KEEP) where the op says that its backward reads it.
#ifndef VMA_OPS_H
#define VMA_OPS_H

#include "device_batch.h"
#include "linear.h"
#include "tape.h"

// table[ids], [R,C]. Backward reads ids.
Value *op_embedding(Ctx *ctx, Param *table, Tensor ids, Life life);

// out = a + b, into out (a segment's output) or a new value when out is NULL. Residual: see
// tape_share_residual. a is the trunk (needs to be kept only by others), b the branch.
Value *op_add(Ctx *ctx, Value *out, Value *a, Value *b, Life life);

// norm(x): [R,C]. Backward reads x.
Value *op_rmsnorm(Ctx *ctx, Value *x, Param *w, float eps, Life life);
Value *op_layernorm(Ctx *ctx, Value *x, Param *w, Param *b, float eps, Life life);

// *z = x + d (kept), returns norm(*z). A residual add: x is the trunk, d the branch.
Value *op_add_rmsnorm(Ctx *ctx, Value **z, Value *x, Value *d, Param *w, float eps, Life life);
Value *op_add_layernorm(Ctx *ctx, Value **z, Value *x, Value *d, Param *w, Param *b, float eps,
                        Life life);

// [R,in] -> [R,out]. Backward reads x iff linear_input_life is KEEP. batch gives rows to adapters
// and dropout keys; NULL where the rows are not the batch's token rows (then adapter 0 applies to
// all and dropout must be off).
Value *op_linear(Ctx *ctx, const Linear *linear, Value *x, const DeviceBatch *batch, Life life);

// a x, with a number a (f32 [1,1]) that takes no gradient. Backward reads a.
Value *op_scale(Ctx *ctx, Value *x, Tensor a, Life life);

// act(x). Backward reads x.
Value *op_act(Ctx *ctx, Value *x, Activation kind, Life life);

// act(g) * u of [g|u]. Backward reads gu.
Value *op_glu(Ctx *ctx, Value *gu, Activation kind, Life life);

// y = dropout(x). The mask is made again in the backward.
Value *op_dropout(Ctx *ctx, Value *x, float p, uint32_t tensor_id, Tensor sequences,
                  Tensor positions, Life life);

typedef struct Qkv {
  Value *q, *k, *v; // [R,H*D], [R,K*D]; kept
} Qkv;

// Splits [R,(H+2K)D] and rotates q and k; positions and inv_freq as in RopeArgs. With
// cache_k/cache_v given (not recording) k and v go there and .k, .v wrap them.
Qkv op_rope_split(Ctx *ctx, Value *qkv, const RopeArgs *args, Tensor cache_k, Tensor cache_v);

// Attention of the given arguments; args->bias is taken from `bias` (or NULL). Backward reads q, k,
// v and the result, which is always kept while recording.
Value *op_attention(Ctx *ctx, Value *q, Value *k, Value *v, Param *bias, const AttentionArgs *args);

// x[rows]; zeros where a row is -1. rows i32 [1,L], ascending, distinct, those of -1 last.
Value *op_gather_rows(Ctx *ctx, Value *x, Tensor rows, Life life);

// Cross entropy of logits = linear(x) against label_ids (-1: a row without one), summed into loss
// (f64 [1,1], added to), in chunks of rows so that logits never exist whole. Gradients are scaled
// by inv_count (f32 [1,1]). While recording, d x is computed at once and kept; a trainable weight's
// gradient is added at once too.
void op_linear_cross_entropy(Ctx *ctx, const Linear *head, Value *x, Tensor label_ids,
                             Tensor inv_count, float smoothing, Tensor loss);

#endif
