#include "grad_check.h"

#include "parity.h"
#include "test.h"

#include <math.h>

Param *grad_group_param(GradCheck *g, int group, int64_t rows, int64_t cols, bool trainable) {
  int n_dims = rows == 0 ? 1 : 2;
  int64_t shape[] = {rows == 0 ? cols : rows, cols};
  Param *p =
      param_declare(&g->params, DT_F64, 0, group, true, n_dims, shape, "weight %d", g->n_params);
  p->trainable = trainable;
  g->p[g->n_params++] = p;
  return p;
}

// Mean and scale wait in the name until there is memory for values.
static double means[GRAD_MAX], scales[GRAD_MAX];

Param *grad_param(GradCheck *g, int64_t rows, int64_t cols, bool trainable, double mean,
                  double scale) {
  means[g->n_params] = mean;
  scales[g->n_params] = scale;
  return grad_group_param(g, 0, rows, cols, trainable);
}

void grad_leaf(GradCheck *g, int64_t rows, int64_t cols, double scale) {
  Tensor t = arena_tensor(&g->rig.memory.cache, ARENA_LOW, DT_F64, rows, cols, "leaf");
  rig_draw(t.data, rows * cols, 100 + (uint64_t)g->n_leaves, scale);
  g->leaf[g->n_leaves++] = t;
}

Tensor grad_ints(GradCheck *g, int64_t n, const int32_t *values) {
  Tensor t = arena_tensor(&g->rig.memory.cache, ARENA_LOW, DT_I32, 1, n, "ints");
  g->rig.ctx.be->copy_in(g->rig.ctx.be, t, values);
  g->ints[g->n_ints++] = t;
  return t;
}

void grad_batch(GradCheck *g, int64_t n, const int32_t *sequences, const int32_t *positions,
                const int32_t *adapters) {
  g->batch = (DeviceBatch){.n_rows = n,
                           .sequences = grad_ints(g, n, sequences),
                           .positions = grad_ints(g, n, positions)};
  if (adapters != NULL) g->batch.adapters = grad_ints(g, n, adapters);
}

static void open(GradCheck *g, const GradCase *c) {
  *g = (GradCheck){0};
  for (int i = 0; i < GRAD_MAX; i++) means[i] = 0, scales[i] = 0.5;
  rig_open(&g->rig, parity_reference(), DT_F64, 4);
  g->rig.ctx.training = true;
  param_table_init(&g->params, GRAD_MAX);
  g->inv_count = arena_tensor(&g->rig.memory.cache, ARENA_LOW, DT_F64, 1, 1, "inv_count");
  g->loss = arena_tensor(&g->rig.memory.cache, ARENA_LOW, DT_F64, 1, 1, "loss");
  *(double *)g->inv_count.data = 0.25;
  c->setup(g);
  param_make_buckets(&g->params);
  param_place(&g->params, &g->rig.memory.weights, &g->rig.memory.state);
  for (int i = 0; i < g->n_params; i++) {
    Tensor t = g->p[i]->value.t;
    rig_draw(t.data, tensor_count(t), 200 + (uint64_t)i, scales[i]);
    for (int64_t k = 0; k < tensor_count(t); k++) ((double *)t.data)[k] += means[i];
  }
}

static void close_check(GradCheck *g) {
  param_table_free(&g->params);
  rig_close(&g->rig);
}

static void build(GradCheck *g, const GradCase *c, bool recording) {
  g->rig.ctx.recording = recording;
  *(double *)g->loss.data = 0;
  g->n_out = 0;
  for (int i = 0; i < g->n_leaves; i++) g->x[i] = value_wrap(&g->rig.ctx, g->leaf[i], true);
  c->build(g);
}

// The factor of each element of an output.
static double factor(int out, int64_t i) {
  double f;
  rig_draw(&f, 1, 1000 * (uint64_t)out + (uint64_t)i + 5000, 1);
  return f;
}

static double value_of(GradCheck *g, const GradCase *c) {
  Ctx *ctx = &g->rig.ctx;
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  build(g, c, false);
  double sum = *(double *)g->loss.data * *(double *)g->inv_count.data;
  for (int o = 0; o < g->n_out; o++) {
    const double *values = g->out[o]->t.data;
    for (int64_t i = 0; i < tensor_count(g->out[o]->t); i++) sum += factor(o, i) * values[i];
  }
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
  return sum;
}

// Gradients of leaves and of trainable weights, one after the other; the tensors they belong to.
typedef struct Gradients {
  int n;
  Tensor of[2 * GRAD_MAX];
  double *values[2 * GRAD_MAX];
} Gradients;

static void keep(Gradients *all, Tensor t, Tensor grad) {
  int64_t n = tensor_count(t);
  all->of[all->n] = t;
  all->values[all->n] = calloc((size_t)n + 1, sizeof(double));
  if (tensor_given(grad)) memcpy(all->values[all->n], grad.data, (size_t)n * sizeof(double));
  all->n++;
}

static void gradients_free(Gradients *all) {
  for (int i = 0; i < all->n; i++) free(all->values[i]);
}

static Gradients backward(GradCheck *g, const GradCase *c) {
  Ctx *ctx = &g->rig.ctx;
  Gradients all = {0};
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  build(g, c, true);
  for (int o = 0; o < g->n_out; o++) {
    double *grad = value_grad(ctx, g->out[o]).data;
    for (int64_t i = 0; i < tensor_count(g->out[o]->t); i++) grad[i] += factor(o, i);
  }
  tape_backward(ctx);
  EXPECT(ctx->last == NULL, "%s: records are left", c->name);
  for (int i = 0; i < g->n_leaves; i++) keep(&all, g->leaf[i], g->x[i]->grad);
  for (int i = 0; i < g->n_params; i++) {
    if (g->p[i]->trainable) keep(&all, g->p[i]->value.t, g->p[i]->value.grad);
  }
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
  EXPECT(ctx->step->low == step.low && ctx->step->high == step.high, "%s", c->name);
  return all;
}

enum { SAMPLE = 40 }; // elements of a tensor that are moved

static void compare(GradCheck *g, const GradCase *c, const Gradients *all) {
  const double h = 1e-5;
  for (int t = 0; t < all->n; t++) {
    double *data = all->of[t].data, largest = 0, worst = 0;
    int64_t n = tensor_count(all->of[t]), step = n / SAMPLE + 1, at = 0;
    for (int64_t i = 0; i < n; i += step) {
      double was = data[i];
      data[i] = was + h;
      double up = value_of(g, c);
      data[i] = was - h;
      double down = value_of(g, c);
      data[i] = was;
      double numeric = (up - down) / (2 * h), error = fabs(numeric - all->values[t][i]);
      if (!(error <= worst)) worst = isnan(error) ? INFINITY : error, at = i;
      if (fabs(numeric) > largest) largest = fabs(numeric);
    }
    // The difference quotient's own error is about h^2 and 1e-16 / h; gradients are of order 1.
    EXPECT(worst <= 1e-7 * fmax(1, largest), "%s: tensor %d [%lld,%lld] off by %g at %lld of %g",
           c->name, t, (long long)all->of[t].rows, (long long)all->of[t].cols, worst, (long long)at,
           largest);
    EXPECT(largest > 1e-3, "%s: tensor %d has no gradient", c->name, t);
  }
}

static void run(GradCheck *g, const GradCase *c) {
  param_zero_grads(&g->params, g->rig.ctx.be);
  Gradients once = backward(g, c), twice = backward(g, c);
  compare(g, c, &once);
  for (int t = g->n_leaves; t < once.n; t++) {
    for (int64_t i = 0; i < tensor_count(once.of[t]); i++) {
      double sum = 2 * once.values[t][i];
      if (fabs(twice.values[t][i] - sum) <= 1e-12 * fmax(1, fabs(sum))) continue;
      EXPECT(false, "%s: weight %d is not added to", c->name, t - g->n_leaves);
      break;
    }
  }
  gradients_free(&once);
  gradients_free(&twice);
}

void grad_run(const GradCase *c) {
  GradCheck g;
  open(&g, c);
  run(&g, c);
  close_check(&g);
}

void grad_run_checkpoint(const GradCase *c) {
  GradCheck g;
  open(&g, c);
  param_zero_grads(&g.params, g.rig.ctx.be);
  Gradients off = backward(&g, c);
  g.checkpoint = true;
  param_zero_grads(&g.params, g.rig.ctx.be);
  Gradients on = backward(&g, c);
  for (int t = 0; t < off.n; t++) {
    size_t bytes = (size_t)tensor_count(off.of[t]) * sizeof(double);
    EXPECT(memcmp(off.values[t], on.values[t], bytes) == 0, "%s: tensor %d", c->name, t);
  }
  gradients_free(&off);
  gradients_free(&on);
  run(&g, c);
  close_check(&g);
}
