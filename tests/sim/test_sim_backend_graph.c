// labels: sim
// A training step of the CUDA backend as one graph: forward, backward and optimizer of a small
// network are captured from the backend's stream, and a replay gives the bits of the direct run, on
// the inputs that lie in memory then.
#include "cuda_backend.h"
#include "ops.h"
#include "rig.h"
#include "rng.h"
#include "sim_module.h"
#include "test.h"

#include <dlfcn.h>

enum { C = 48, F = 40, V = 37, R = 19, PARAMS = 12, MAX_VALUES = 2 * F * C };

// ---- the module's own runtime ----

typedef struct Runtime {
  cudaError_t (*begin)(cudaStream_t, enum cudaStreamCaptureMode);
  cudaError_t (*end)(cudaStream_t, cudaGraph_t *);
  cudaError_t (*instantiate)(cudaGraphExec_t *, cudaGraph_t, unsigned long long);
  cudaError_t (*launch)(cudaGraphExec_t, cudaStream_t);
  cudaError_t (*count)(cudaGraph_t, cudaGraphNode_t *, size_t *);
  cudaError_t (*destroy)(cudaGraph_t);
  cudaError_t (*destroy_exec)(cudaGraphExec_t);
} Runtime;

static void find(void *module, const char *name, void *to) {
  void *symbol = dlsym(module, name);
  if (symbol == NULL) {
    printf("%s is not in the module\n", name);
    exit(1);
  }
  memcpy(to, &symbol, sizeof symbol);
}

static Runtime runtime(void) {
  Runtime r;
  void *module = dlopen(getenv("VMA_SIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
  find(module, "cudaStreamBeginCapture", &r.begin);
  find(module, "cudaStreamEndCapture", &r.end);
  find(module, "cudaGraphInstantiate", &r.instantiate);
  find(module, "cudaGraphLaunch", &r.launch);
  find(module, "cudaGraphGetNodes", &r.count);
  find(module, "cudaGraphDestroy", &r.destroy);
  find(module, "cudaGraphExecDestroy", &r.destroy_exec);
  return r;
}

// ---- the network ----

typedef struct Net {
  Rig rig;
  ParamTable params;
  Linear up, down, head;
  Param *embed, *norms[2];
  Tensor ids, labels, inv, loss, m, v, lr, step, clip;
  ArenaMark mark;
} Net;

static Param *declare(Net *t, DType dtype, int64_t rows, int64_t cols, const char *name) {
  int64_t shape[] = {rows, cols};
  Param *p = param_declare(&t->params, dtype, 0, 0, true, cols > 0 ? 2 : 1, shape, "%s", name);
  p->trainable = true;
  return p;
}

static void write_weights(Net *t) {
  for (int64_t i = 0; i < t->params.n; i++) {
    const Param *p = &t->params.items[i];
    float values[MAX_VALUES];
    Rng rng = {.key = (uint64_t)i + 1};
    for (int64_t k = 0; k < tensor_count(p->value.t); k++)
      values[k] = (float)(rng_normal(&rng) * 0.3 + (p->n_dims == 1));
    param_write(t->rig.ctx.be, tensor_given(p->master) ? p->master : p->value.t, values);
  }
  param_round_masters(&t->params, t->rig.ctx.be);
  t->rig.ctx.be->fill(t->rig.ctx.be, t->m, 0);
  t->rig.ctx.be->fill(t->rig.ctx.be, t->v, 0);
}

static void write_inputs(Net *t, uint64_t seed) {
  Backend *be = t->rig.ctx.be;
  int32_t ids[R], labels[R];
  float inv = 1.0f / R, lr = 1e-2f, clip[2] = {0.5f, 1};
  int32_t number = (int32_t)seed;
  Rng rng = {.key = seed};
  for (int i = 0; i < R; i++) {
    ids[i] = (int32_t)rng_below(&rng, V);
    labels[i] = (int32_t)rng_below(&rng, V);
  }
  be->copy_in(be, t->ids, ids);
  be->copy_in(be, t->labels, labels);
  be->copy_in(be, t->inv, &inv);
  be->copy_in(be, t->lr, &lr);
  be->copy_in(be, t->step, &number);
  be->copy_in(be, t->clip, clip);
}

static void open_net(Net *t, DType dtype) {
  memset(t, 0, sizeof *t);
  rig_open(&t->rig, sim_module_open(), dtype, 4);
  Ctx *ctx = &t->rig.ctx;
  param_table_init(&t->params, PARAMS);
  t->embed = declare(t, dtype, V, C, "embed");
  t->norms[0] = declare(t, dtype, C, 0, "norm 0");
  t->norms[1] = declare(t, dtype, C, 0, "norm 1");
  linear_add_part(&t->up, declare(t, dtype, 2 * F, C, "up"),
                  declare(t, dtype, 2 * F, 0, "up.bias"));
  linear_add_part(&t->down, declare(t, dtype, C, F, "down"), NULL);
  linear_add_part(&t->head, declare(t, dtype, V, C, "head"), NULL);
  param_make_buckets(&t->params);
  param_place(&t->params, &t->rig.memory.weights, &t->rig.memory.state);
  t->ids = ctx_tensor(ctx, KEEP, DT_I32, 1, R, "ids");
  t->labels = ctx_tensor(ctx, KEEP, DT_I32, 1, R, "labels");
  t->inv = ctx_tensor(ctx, KEEP, DT_F32, 1, 1, "inv");
  t->loss = ctx_tensor(ctx, KEEP, DT_F64, 1, 1, "loss");
  t->m = ctx_tensor(ctx, KEEP, DT_F32, V, C, "m");
  t->v = ctx_tensor(ctx, KEEP, DT_F32, V, C, "v");
  t->lr = ctx_tensor(ctx, KEEP, DT_F32, 1, 1, "lr");
  t->step = ctx_tensor(ctx, KEEP, DT_I32, 1, 1, "step");
  t->clip = ctx_tensor(ctx, KEEP, DT_F32, 1, 2, "clip");
  t->mark = arena_mark(t->rig.ctx.step);
}

// From zeroed gradients to the head's new weights. The arena is left as it was found, so that every
// run has the same addresses.
static void step(Net *t) {
  Ctx *ctx = &t->rig.ctx;
  Backend *be = ctx->be;
  be->fill(be, t->loss, 0);
  param_zero_grads(&t->params, be);
  ctx->recording = true;
  Value *x = op_embedding(ctx, t->embed, t->ids, KEEP);
  Value *h = op_rmsnorm(ctx, x, t->norms[0], 1e-5f, KEEP);
  Value *g = op_glu(ctx, op_linear(ctx, &t->up, h, NULL, KEEP), ACT_SILU, KEEP);
  Value *out = op_add(ctx, NULL, x, op_linear(ctx, &t->down, g, NULL, KEEP), KEEP);
  h = op_rmsnorm(ctx, out, t->norms[1], 1e-5f, KEEP);
  op_linear_cross_entropy(ctx, &t->head, h, t->labels, t->inv, 0, t->loss);
  tape_backward(ctx);
  const Param *head = &t->params.items[t->params.n - 1];
  const AdamArgs adam = {
      .lr = t->lr, .step = t->step, .clip = t->clip, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
  be->adamw(be, head->value.t, head->master, t->m, t->v, head->value.grad, &adam);
  arena_release(ctx->step, t->mark);
}

// ---- what a run leaves ----

typedef struct Result {
  double loss;
  float values[PARAMS][MAX_VALUES]; // gradients, then the head's weights
} Result;

static void read_result(Net *t, Result *r) {
  Backend *be = t->rig.ctx.be;
  memset(r, 0, sizeof *r);
  be->copy_out(be, &r->loss, t->loss);
  for (int64_t i = 0; i < t->params.n; i++)
    param_read(be, r->values[i], t->params.items[i].value.grad);
  const Param *head = &t->params.items[t->params.n - 1];
  param_read(be, r->values[t->params.n], tensor_given(head->master) ? head->master : head->value.t);
}

static Result first, second, replayed;

static void same_bits(DType dtype) {
  static Net t;
  const Runtime rt = runtime();
  const SimControl *sim = sim_module_control();
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  size_t n = 0;
  open_net(&t, dtype);
  const cudaStream_t stream = cuda_of(t.rig.ctx.be)->stream;
  for (int run = 0; run < 2; run++) { // directly; the scratch grows to what is needed
    write_weights(&t);
    write_inputs(&t, 1 + (uint64_t)run);
    step(&t);
    read_result(&t, run == 0 ? &first : &second);
  }
  EXPECT(first.loss > R && first.loss != second.loss);
  t.rig.ctx.be->sync(t.rig.ctx.be);
  EXPECT(rt.begin(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  step(&t);
  EXPECT(rt.end(stream, &graph) == cudaSuccess);
  EXPECT(rt.count(graph, NULL, &n) == cudaSuccess && n > 25, "%lld nodes", (long long)n);
  EXPECT(rt.instantiate(&exec, graph, 0) == cudaSuccess && rt.destroy(graph) == cudaSuccess);
  for (int run = 0; run < 2; run++) {
    sim->set_seed(77 + (uint64_t)run); // another order of blocks and warps
    write_weights(&t);
    write_inputs(&t, 1 + (uint64_t)run);
    const int64_t waits = sim->host_waits();
    EXPECT(rt.launch(exec, stream) == cudaSuccess);
    EXPECT(sim->host_waits() == waits);
    read_result(&t, &replayed);
    EXPECT(memcmp(&replayed, run == 0 ? &first : &second, sizeof replayed) == 0,
           "replay %d: loss %.17g, directly %.17g", run, replayed.loss,
           run == 0 ? first.loss : second.loss);
  }
  printf("  %s: a step of %lld nodes\n", dtype_info(dtype)->name, (long long)n);
  sim_module_expect_clean();
  EXPECT(rt.destroy_exec(exec) == cudaSuccess);
  Backend *be = t.rig.ctx.be;
  param_table_free(&t.params);
  rig_close(&t.rig);
  be->close(be);
}

static void in_f32(void) {
  same_bits(DT_F32);
}

static void in_bf16(void) {
  same_bits(DT_BF16);
}

int main(void) {
  sim_module_control();
  RUN(in_f32);
  RUN(in_bf16);
  return test_done();
}
