// labels: sim
// A toy of two streams, an encoder of values and a decoder of tokens, on the simulated device
// against the CPU: bidirectional attention by prefix, causal attention with a T5 bias table and its
// gradient, cross-attention whose keys have borders of their own. Loss and every gradient, in f32
// and bf16.
#include "ops.h"
#include "rig.h"
#include "rng.h"
#include "sim_module.h"
#include "test.h"

#include <math.h>

enum { C = 32, H = 4, K = 2, D = 8, F = 48, V = 53, BUCKETS = 8, SEQS = 3, PARAMS = 32 };

// Lengths of the encoder's and the decoder's sequences: one token, unlike, longer than a warp.
static const int32_t cu_enc[SEQS + 1] = {0, 1, 10, 47}, cu_dec[SEQS + 1] = {0, 7, 8, 24};
static const int32_t prefix_enc[SEQS] = {1, 9, 37};
enum { R_ENC = 47, R_DEC = 24 };

typedef struct Toy {
  Rig rig;
  ParamTable params;
  Linear qkv_enc, o_enc, up_enc, down_enc, qkv, o, q_cross, k_cross, v_cross, o_cross, gate_up,
      down, head;
  Param *norms[6], *shifts[2], *embed, *bias;
  double loss;
} Toy;

static Param *declare(Toy *t, DType dtype, int64_t rows, int64_t cols, const char *name) {
  int64_t shape[] = {rows, cols};
  Param *p = param_declare(&t->params, dtype, 0, 0, true, cols > 0 ? 2 : 1, shape, "%s", name);
  p->trainable = true;
  return p;
}

static void declare_linear(Toy *t, DType dtype, Linear *l, int64_t out, int64_t in, bool biased,
                           const char *name) {
  char bias_name[64];
  Param *w = declare(t, dtype, out, in, name), *b = NULL;
  snprintf(bias_name, sizeof bias_name, "%s.bias", name);
  if (biased) b = declare(t, dtype, out, 0, bias_name);
  linear_add_part(l, w, b);
}

static void declare_all(Toy *t, DType dtype) {
  param_table_init(&t->params, PARAMS);
  t->embed = declare(t, dtype, V, C, "embed");
  t->bias = declare(t, dtype, BUCKETS, H, "bias table");
  for (int i = 0; i < 6; i++) {
    char name[24];
    snprintf(name, sizeof name, "norm %d", i);
    t->norms[i] = declare(t, dtype, C, 0, name);
  }
  for (int i = 0; i < 2; i++)
    t->shifts[i] = declare(t, dtype, C, 0, i == 0 ? "shift 0" : "shift 1");
  declare_linear(t, dtype, &t->qkv_enc, (H + 2 * K) * D, C, true, "encoder qkv");
  declare_linear(t, dtype, &t->o_enc, C, H * D, true, "encoder o");
  declare_linear(t, dtype, &t->up_enc, F, C, true, "encoder up");
  declare_linear(t, dtype, &t->down_enc, C, F, false, "encoder down");
  declare_linear(t, dtype, &t->qkv, (H + 2 * K) * D, C, false, "qkv");
  declare_linear(t, dtype, &t->o, C, H * D, false, "o");
  declare_linear(t, dtype, &t->q_cross, H * D, C, false, "cross q");
  declare_linear(t, dtype, &t->k_cross, K * D, C, false, "cross k");
  declare_linear(t, dtype, &t->v_cross, K * D, C, false, "cross v");
  declare_linear(t, dtype, &t->o_cross, C, H * D, false, "cross o");
  declare_linear(t, dtype, &t->gate_up, 2 * F, C, false, "gate up");
  declare_linear(t, dtype, &t->down, C, F, false, "down");
  declare_linear(t, dtype, &t->head, V, C, false, "head");
  param_make_buckets(&t->params);
}

// Values that bf16 holds, so that every run begins with the same weights.
static float drawn(Rng *rng, double scale, double centre) {
  float x = (float)(rng_normal(rng) * scale + centre);
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xffff0000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void fill(Toy *t) {
  Backend *be = t->rig.ctx.be;
  for (int64_t i = 0; i < t->params.n; i++) {
    Param *p = &t->params.items[i];
    int64_t n = tensor_count(p->value.t);
    float *values = malloc((size_t)n * sizeof *values);
    Rng rng = {.key = (uint64_t)i + 1};
    bool norm = strncmp(p->name, "norm", 4) == 0;
    for (int64_t k = 0; k < n; k++) values[k] = drawn(&rng, 0.3, norm ? 1 : 0);
    param_write(be, tensor_given(p->master) ? p->master : p->value.t, values);
    free(values);
  }
  param_round_masters(&t->params, be);
}

static const AttentionArgs heads = {.n_heads = H,
                                    .n_kv_heads = K,
                                    .head_dim = D,
                                    .scale = 0.35f,
                                    .n_seqs = SEQS,
                                    .max_q = 37,
                                    .max_k = 37,
                                    .bias_max_distance = 16};

static Value *encode(Toy *t, Value *x, Tensor cu, Tensor prefix, Tensor positions) {
  Ctx *ctx = &t->rig.ctx;
  RopeArgs split = {
      .n_heads = H, .n_kv_heads = K, .head_dim = D, .positions = positions, .max_position = 37};
  AttentionArgs args = heads;
  args.cu_q = args.cu_k = cu;
  args.prefix = prefix;
  Value *h = op_layernorm(ctx, x, t->norms[0], t->shifts[0], 1e-5f, KEEP);
  Qkv p = op_rope_split(ctx, op_linear(ctx, &t->qkv_enc, h, NULL, KEEP), &split, TENSOR_NONE,
                        TENSOR_NONE);
  Value *o = op_attention(ctx, p.q, p.k, p.v, NULL, &args), *z;
  Value *d = op_linear(ctx, &t->o_enc, o, NULL, KEEP);
  h = op_add_layernorm(ctx, &z, x, d, t->norms[1], t->shifts[1], 1e-5f, KEEP);
  Value *a = op_act(ctx, op_linear(ctx, &t->up_enc, h, NULL, KEEP), ACT_GELU, KEEP);
  return op_add(ctx, NULL, z, op_linear(ctx, &t->down_enc, a, NULL, KEEP), KEEP);
}

static void run(Toy *t) {
  Ctx *ctx = &t->rig.ctx;
  Backend *be = ctx->be;
  double values[R_ENC * C];
  int32_t positions[R_ENC], ids[R_DEC], rows[R_DEC - SEQS], labels[R_DEC - SEQS];
  Rng rng = {.key = 77};
  int n = 0;
  for (int i = 0; i < R_ENC * C; i++) values[i] = (double)drawn(&rng, 1, 0);
  for (int i = 0; i < R_ENC; i++) positions[i] = i;
  for (int i = 0; i < R_DEC; i++) ids[i] = (int32_t)rng_below(&rng, V);
  for (int s = 0; s < SEQS; s++) {
    for (int r = cu_dec[s]; r + 1 < cu_dec[s + 1]; r++) {
      rows[n] = r;
      labels[n++] = ids[r + 1];
    }
  }
  float inv_count = 1.0f / (float)n;
  Tensor cu_e = rig_ints(&t->rig, 1, SEQS + 1, cu_enc),
         cu_d = rig_ints(&t->rig, 1, SEQS + 1, cu_dec);
  Tensor whole = rig_ints(&t->rig, 1, SEQS, prefix_enc),
         at = rig_ints(&t->rig, 1, R_ENC, positions);
  Tensor words = rig_ints(&t->rig, 1, R_DEC, ids), label_rows = rig_ints(&t->rig, 1, n, rows);
  Tensor label_ids = rig_ints(&t->rig, 1, n, labels);
  Tensor inv = ctx_tensor(ctx, KEEP, DT_F32, 1, 1, "inv"),
         loss = ctx_tensor(ctx, KEEP, DT_F64, 1, 1, "loss");
  Tensor pixels = rig_tensor(&t->rig, ctx->dtype, R_ENC, C, values);
  be->copy_in(be, inv, &inv_count);
  be->fill(be, loss, 0);
  param_zero_grads(&t->params, be);
  ctx->recording = true;

  Value *enc = encode(t, value_wrap(ctx, pixels, false), cu_e, whole, at);
  Value *x = op_embedding(ctx, t->embed, words, KEEP), *z;
  RopeArgs split = {.n_heads = H,
                    .n_kv_heads = K,
                    .head_dim = D,
                    .positions = tensor_cols(at, 0, R_DEC),
                    .max_position = 37};
  AttentionArgs self = heads, cross = heads;
  self.cu_q = self.cu_k = cu_d;
  cross.cu_q = cu_d;
  cross.cu_k = cu_e;
  cross.prefix = whole;
  Value *h = op_rmsnorm(ctx, x, t->norms[2], 1e-5f, KEEP);
  Qkv p =
      op_rope_split(ctx, op_linear(ctx, &t->qkv, h, NULL, KEEP), &split, TENSOR_NONE, TENSOR_NONE);
  Value *d = op_linear(ctx, &t->o, op_attention(ctx, p.q, p.k, p.v, t->bias, &self), NULL, KEEP);
  h = op_add_rmsnorm(ctx, &z, x, d, t->norms[3], 1e-5f, KEEP);
  Value *q = op_linear(ctx, &t->q_cross, h, NULL, KEEP),
        *k = op_linear(ctx, &t->k_cross, enc, NULL, KEEP),
        *v = op_linear(ctx, &t->v_cross, enc, NULL, KEEP), *y;
  d = op_linear(ctx, &t->o_cross, op_attention(ctx, q, k, v, NULL, &cross), NULL, KEEP);
  h = op_add_rmsnorm(ctx, &y, z, d, t->norms[4], 1e-5f, KEEP);
  Value *g = op_glu(ctx, op_linear(ctx, &t->gate_up, h, NULL, KEEP), ACT_GELU_TANH, KEEP);
  Value *out = op_add(ctx, NULL, y, op_linear(ctx, &t->down, g, NULL, KEEP), KEEP);
  Value *last = op_gather_rows(ctx, out, label_rows, KEEP);
  h = op_rmsnorm(ctx, last, t->norms[5], 1e-5f, KEEP);
  op_linear_cross_entropy(ctx, &t->head, h, label_ids, inv, 0.1f, loss);
  tape_backward(ctx);
  be->copy_out(be, &t->loss, loss);
  t->loss /= n;
}

static Toy *open_toy(Backend *be, DType dtype) {
  Toy *t = calloc(1, sizeof *t);
  rig_open(&t->rig, be, dtype, 8);
  declare_all(t, dtype);
  param_place(&t->params, &t->rig.memory.weights, &t->rig.memory.state);
  fill(t);
  run(t);
  return t;
}

static void close_toy(Toy *t) {
  Backend *be = t->rig.ctx.be;
  param_table_free(&t->params);
  rig_close(&t->rig);
  be->close(be);
  free(t);
}

static double distance(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)a[i] - (b != NULL ? (double)b[i] : 0);
    sum += d * d;
  }
  return sqrt(sum);
}

static float *gradient(const Toy *t, int64_t i) {
  Tensor g = t->params.items[i].value.grad;
  float *values = malloc((size_t)tensor_count(g) * sizeof *values);
  param_read(t->rig.ctx.be, values, g);
  return values;
}

// The device is as near to f32 as the CPU, within twice its distance and a share of the norm.
static void compare(DType dtype, double share) {
  Error err;
  Backend *cpu_be = NULL, *f32_be = NULL;
  CpuOptions options = {.threads = 1, .reference = true};
  test_must(backend_cpu_open(&cpu_be, &options, &err), &err);
  test_must(backend_cpu_open(&f32_be, &options, &err), &err);
  Toy *device = open_toy(sim_module_open(), dtype), *cpu = open_toy(cpu_be, dtype),
      *f32 = open_toy(f32_be, DT_F32);
  double ours = fabs(device->loss - f32->loss), theirs = fabs(cpu->loss - f32->loss);
  EXPECT(ours <= 2 * theirs + share * f32->loss && f32->loss > 1, "loss %.9g, CPU %.9g, f32 %.9g",
         device->loss, cpu->loss, f32->loss);
  for (int64_t i = 0; i < f32->params.n; i++) {
    const char *name = f32->params.items[i].name;
    int64_t n = tensor_count(f32->params.items[i].value.t);
    float *x = gradient(device, i), *y = gradient(cpu, i), *z = gradient(f32, i);
    double norm = distance(z, NULL, n);
    ours = distance(x, z, n);
    theirs = distance(y, z, n);
    EXPECT(norm > 1e-4, "%s has no gradient", name);
    EXPECT(ours <= 2 * theirs + share * norm, "%s is off by %.3g of its norm, the CPU's by %.3g",
           name, ours / norm, theirs / norm);
    free(x);
    free(y);
    free(z);
  }
  sim_module_expect_clean();
  close_toy(device);
  close_toy(cpu);
  close_toy(f32);
}

static void in_f32(void) {
  compare(DT_F32, 1e-5); // of a norm: rounding of f32 sums
}

static void in_bf16(void) {
  compare(DT_BF16, 2e-3); // half a unit of bf16
}

int main(void) {
  sim_module_control();
  RUN(in_f32);
  RUN(in_bf16);
  return test_done();
}
