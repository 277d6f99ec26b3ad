// labels: weights sim
// SmolLM2's first two layers (its own weights, embedding and head) read 64 tokens of real text on
// the simulated device as on the CPU: the loss, and every gradient of adapters on all linear
// layers.
#include "curve.h"
#include "rng.h"
#include "sim_module.h"
#include "test.h"
#include "tiny.h"

#include <math.h>

enum { TOKENS = 64, LAYERS = 2, MIB = 480 };

typedef struct Two {
  Rig rig;
  Llama model;
  double loss;
} Two;

static void attach(Llama *m) {
  Error err;
  static const char *const all[] = {"all-linear"};
  LoraSpec spec = {.r = 8, .alpha = 16, .n_targets = 1, .targets = all};
  test_must(llama_attach_lora(m, &spec, 0, true, &err), &err);
}

// B of fresh adapters is zero, which would leave A without a gradient.
static void fill_adapters(Two *t) {
  for (int64_t i = 0; i < t->model.params.n; i++) {
    Param *p = &t->model.params.items[i];
    if (!p->trainable) continue;
    int64_t n = tensor_count(p->value.t);
    float *values = malloc((size_t)n * sizeof *values);
    Rng rng = {.key = (uint64_t)i};
    for (int64_t k = 0; k < n; k++) values[k] = (float)(rng_normal(&rng) * 0.02);
    param_write(t->rig.ctx.be, p->value.t, values);
    free(values);
  }
}

static Two *open_two(Backend *be, Tiny *whole, DType dtype, const int32_t *tokens) {
  Two *t = calloc(1, sizeof *t);
  LlamaConfig config = whole->model.config;
  config.layers = LAYERS;
  llama_init(&t->model, &config, dtype);
  attach(&t->model);
  param_make_buckets(&t->model.params);
  rig_open(&t->rig, be, dtype, MIB);
  llama_place(&t->model, be, &t->rig.memory.weights, &t->rig.memory.state);
  for (int64_t i = 0; i < t->model.params.n; i++) {
    const Param *p = &t->model.params.items[i];
    if (p->adapter) continue;
    float *values = tiny_weight(whole, p->name);
    param_write(be, p->value.t, values);
    free(values);
  }
  fill_adapters(t);
  param_zero_grads(&t->model.params, be);
  int64_t length = TOKENS;
  TinyBatch batch = tiny_batch(1, &tokens, &length);
  Ctx *ctx = &t->rig.ctx;
  float inv_count = 1.0f / (TOKENS - 1);
  DeviceBatch on_device;
  ctx->recording = ctx->training = true;
  Tensor inv = ctx_tensor(ctx, KEEP, DT_F32, 1, 1, "inv"),
         loss = ctx_tensor(ctx, KEEP, DT_F64, 1, 1, "loss");
  be->copy_in(be, inv, &inv_count);
  be->fill(be, loss, 0);
  device_batch_make(ctx, &batch.batch, NULL, &on_device);
  llama_loss(ctx, &t->model, &on_device, inv, loss);
  tape_backward(ctx);
  be->copy_out(be, &t->loss, loss);
  t->loss /= TOKENS - 1;
  tiny_batch_free(&batch);
  return t;
}

static void close_two(Two *t) {
  Backend *be = t->rig.ctx.be;
  llama_free(&t->model);
  rig_close(&t->rig);
  be->close(be);
  free(t);
}

static float *gradient(const Two *t, int64_t i) {
  Tensor g = t->model.params.items[i].value.grad;
  float *values = malloc((size_t)tensor_count(g) * sizeof *values);
  param_read(t->rig.ctx.be, values, g);
  return values;
}

static Backend *open_cpu(void) {
  Backend *be = NULL;
  Error err;
  CpuOptions options = {.gemm = "own"};
  test_must(backend_cpu_open(&be, &options, &err), &err);
  return be;
}

// The device is as near to f32 as the CPU, within twice its distance and a share of the norm.
static void compare(Tiny *whole, const int32_t *tokens, DType dtype, double share) {
  Two *device = open_two(sim_module_open(), whole, dtype, tokens);
  Two *cpu = open_two(open_cpu(), whole, dtype, tokens);
  Two *f32 = dtype == DT_F32 ? cpu : open_two(open_cpu(), whole, DT_F32, tokens);
  double ours = fabs(device->loss - f32->loss), theirs = fabs(cpu->loss - f32->loss);
  printf("  loss %.6f, the CPU's %.6f, f32 %.6f\n", device->loss, cpu->loss, f32->loss);
  EXPECT(ours <= 2 * theirs + share * f32->loss && f32->loss > 1);
  for (int64_t i = 0; i < f32->model.params.n; i++) {
    const Param *p = &f32->model.params.items[i];
    if (!p->trainable) continue;
    int64_t n = tensor_count(p->value.t);
    float *x = gradient(device, i), *y = gradient(cpu, i), *z = gradient(f32, i);
    double norm = tiny_distance(z, NULL, n);
    ours = tiny_distance(x, z, n);
    theirs = tiny_distance(y, z, n);
    EXPECT(norm > 0 && ours <= 2 * theirs + share * norm,
           "%s is off by %.3g of its norm, the CPU's by %.3g", p->name, ours / norm, theirs / norm);
    free(x);
    free(y);
    free(z);
  }
  sim_module_expect_clean();
  if (f32 != cpu) close_two(f32);
  close_two(cpu);
  close_two(device);
}

int main(void) {
  const char *path = test_small_model();
  if (path == NULL) TEST_SKIP("no small model");
  sim_module_control();
  Safetensors sequences;
  golden_open(&sequences, "smollm2/curve.safetensors");
  Dataset data = curve_dataset(&sequences);
  int32_t tokens[TOKENS];
  Error err;
  Backend *be = open_cpu();
  static Tiny whole;
  EXPECT(data.n_tokens >= TOKENS);
  for (int i = 0; i < TOKENS; i++) tokens[i] = token_id(data.tokens[i]);
  (void)err;
  tiny_open(&whole, be, &(TinyOptions){.path = path, .dtype = DT_F32, .mib = 640});
  compare(&whole, tokens, DT_F32, 2e-5);
  compare(&whole, tokens, DT_BF16, 2e-3);
  tiny_close(&whole);
  be->close(be);
  dataset_free(&data);
  safetensors_close(&sequences);
  return test_done();
}
