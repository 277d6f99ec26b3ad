#include "optimizer.h"

#include "check.h"

void optimizer_place(Optimizer *o, const OptimizerOptions *options, ParamTable *table, Backend *be,
                     Arena *state) {
  *o = (Optimizer){.options = *options, .table = table, .be = be};
  o->lr = arena_tensor(state, ARENA_LOW, DT_F32, 1, RATE_GROUPS, "learning rates");
  o->step = arena_tensor(state, ARENA_LOW, DT_I32, 1, 1, "step");
  o->clip = arena_tensor(state, ARENA_LOW, DT_F32, 1, 2, "clip factor");
  o->sums = arena_tensor(state, ARENA_LOW, DT_F64, 1, table->n_buckets, "sums of squares");
  for (int64_t i = 0; i < table->n_buckets; i++) {
    be->fill(be, table->buckets[i].m, 0);
    be->fill(be, table->buckets[i].v, 0);
  }
}

int64_t optimizer_norm_begin(Optimizer *o, Tensor guard) {
  Backend *be = o->be;
  for (int64_t i = 0; i < o->table->n_buckets; i++)
    be->sum_squares(be, tensor_cols(o->sums, i, 1), o->table->buckets[i].g);
  be->clip_factor(be, o->clip, o->sums, guard, (float)o->options.clip);
  return be->read_begin(be, o->clip);
}

double optimizer_norm_end(Optimizer *o, int64_t ticket) {
  float clip[2] = {0, 0};
  o->be->read_end(o->be, clip, ticket);
  return clip[1];
}

void optimizer_update(Optimizer *o, double lr, int64_t t) {
  CHECK(t >= 1 && t <= INT32_MAX, "step %lld", (long long)t);
  Backend *be = o->be;
  float rates[RATE_GROUPS] = {
      [RATE_BASE] = (float)lr, [RATE_PLUS] = (float)(lr * o->options.plus_ratio)};
  int32_t step = (int32_t)t;
  be->copy_in(be, o->lr, rates);
  be->copy_in(be, o->step, &step);
  AdamArgs args = {.step = o->step,
                   .clip = o->clip,
                   .beta1 = (float)o->options.beta1,
                   .beta2 = (float)o->options.beta2,
                   .eps = (float)o->options.eps};
  for (int64_t i = 0; i < o->table->n_buckets; i++) {
    const Bucket *b = &o->table->buckets[i];
    for (int k = 0; k < b->n_ranges; k++) {
      const BucketRange *r = &b->ranges[k];
      args.lr = tensor_cols(o->lr, r->rate, 1);
      args.decay = r->decayed ? (float)o->options.weight_decay : 0.0f;
      Tensor master = TENSOR_NONE;
      if (tensor_given(b->master)) master = tensor_cols(b->master, r->offset, r->count);
      be->adamw(be, tensor_cols(b->w, r->offset, r->count), master,
                tensor_cols(b->m, r->offset, r->count), tensor_cols(b->v, r->offset, r->count),
                tensor_cols(b->g, r->offset, r->count), &args);
    }
  }
}

Tensor optimizer_state(const ParamTable *table, const Param *param, StateKind kind) {
  CHECK(param->trainable, "%s is frozen: it has no state", param->name);
  const Bucket *b = param_bucket(table, param->bucket);
  CHECK(b != NULL, "%s has no bucket", param->name);
  int64_t at =
      ((const char *)param->value.t.data - (const char *)b->w.data) / dtype_bytes(param->dtype, 1);
  Tensor weights = tensor_given(b->master) ? b->master : b->w;
  Tensor flat = kind == STATE_WEIGHT ? weights : kind == STATE_FIRST_MOMENT ? b->m : b->v;
  return tensor_cols(flat, at, tensor_count(param->value.t));
}
