// labels: weights
// Fifty LoRA steps on SmolLM2 against transformers and PEFT with the same batches, initial adapter,
// schedule and clipping (tests/golden/smollm2/curve.safetensors; tools/reference/smollm2_lora.py
// says how it was made): the loss of every step, in f32 to 0.005, in bf16 to 0.02 of what torch
// gets by autocast over f32 weights. VMA_CURVE_CSV=FILE writes both curves there.
#include "check.h"
#include "curve.h"
#include "rng.h"
#include "test.h"

#include <math.h>

enum { STEPS = 50, WARMUP = 5, TOKENS = 512, SEED = 7 };

// fnv1a32 of the tensor's name in adapter_model.safetensors: "base_model.model." + ours.
static uint32_t name_hash(const char *name) {
  const char *parts[] = {"base_model.model.", name};
  uint32_t h = 0x811C9DC5u;
  for (int i = 0; i < 2; i++)
    for (const char *c = parts[i]; *c != '\0'; c++) h = (h ^ (unsigned char)*c) * 0x01000193u;
  return h;
}

static void attach_adapter(Llama *model) {
  Error err;
  LoraSpec lora = {
      .r = 8, .alpha = 16, .n_targets = 2, .targets = (const char *const[]){"q_proj", "v_proj"}};
  CHECK(llama_attach_lora(model, &lora, 0, true, &err) == STATUS_OK, "%s", err.message);
}

// A as tools/reference/refcommon.py draws it, B = 0.
static void set_initial_adapter(Llama *model, Backend *be) {
  ParamTable *table = &model->params;
  for (int64_t i = 0; i < table->n; i++) {
    Param *p = &table->items[i];
    if (!p->adapter) continue;
    Tensor t = p->value.t;
    float *values = calloc((size_t)tensor_count(t), sizeof *values);
    CHECK(values != NULL, "no memory");
    if (strstr(p->name, ".lora_A.") != NULL) {
      Rng rng = {.key = (uint64_t)SEED << 32 | name_hash(p->name)};
      for (int64_t k = 0; k < tensor_count(t); k++)
        values[k] = (float)((2.0 * rng_uniform(&rng) - 1.0) / sqrt((double)t.cols));
    }
    be->copy_in(be, t, values);
    free(values);
  }
}

static Safetensors golden;
static Dataset data;
static const Curve curve = {.what = "LoRA",
                            .golden = &golden,
                            .data = &data,
                            .steps = STEPS,
                            .planned = STEPS,
                            .warmup = WARMUP,
                            .lr = 1e-3,
                            .micro_tokens = TOKENS,
                            .declare = attach_adapter,
                            .fill = set_initial_adapter};

static void f32_follows_the_reference(void) {
  curve_compare(&curve, DT_F32, &(CurveTolerance){.loss = 0.005, .mean = 0.005, .norm = 0.02});
}

static void bf16_follows_autocast(void) {
  curve_compare(&curve, DT_BF16, &(CurveTolerance){.loss = 0.02, .mean = 0.02, .norm = 0.1});
}

int main(void) {
  if (test_small_model() == NULL) TEST_SKIP("no small model");
  golden_open(&golden, "smollm2/curve.safetensors");
  data = curve_dataset(&golden);
  RUN(f32_follows_the_reference);
  RUN(bf16_follows_autocast);
  dataset_free(&data);
  safetensors_close(&golden);
  return test_done();
}
