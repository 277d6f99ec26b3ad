// config.json and generation_config.json as they are written: read again they give the same
// numbers, for every preset and every kind of rope scaling, also one that a GGUF file holds as
// divisors.
#include "llama_config.h"
#include "mapped_file.h"
#include "test.h"
#include "tmp_file.h"

#include <math.h>

static const LlamaConfig small = {.hidden = 64,
                                  .ffn = 160,
                                  .layers = 2,
                                  .heads = 8,
                                  .kv_heads = 2,
                                  .head_dim = 16,
                                  .vocab = 100,
                                  .rms_eps = 1e-5,
                                  .rope_theta = 500000,
                                  .max_positions = 131072,
                                  .bos_id = 1,
                                  .pad_id = -1,
                                  .n_eos = 1,
                                  .eos_ids = {2}};

// Writes, reads again, and returns config.json's text, to be freed.
static char *round_trip(LlamaConfig *again, const LlamaConfig *config, DType dtype) {
  Error err = {0};
  char *text = NULL, *generation = NULL;
  EXPECT(llama_config_text(&text, &generation, config, dtype, "out", &err) == STATUS_OK, "%s",
         err.message);
  if (text == NULL) exit(1);
  tmp_folder("m");
  tmp_put_text("m/config.json", text);
  tmp_put_text("m/generation_config.json", generation);
  EXPECT(llama_config_from_folder(again, tmp_path("m"), &err) == STATUS_OK, "%s: %s", err.message,
         text);
  free(generation);
  return text;
}

static void expect_same(const char *what, const LlamaConfig *config) {
  LlamaConfig again;
  char *text = round_trip(&again, config, DT_F32);
  EXPECT(memcmp(config, &again, sizeof again) == 0, "%s: %s", what, text);
  free(text);
}

static void expect_text(const LlamaConfig *config, DType dtype, const char *part) {
  LlamaConfig again;
  char *text = round_trip(&again, config, dtype);
  EXPECT(strstr(text, part) != NULL, "no %s in %s", part, text);
  free(text);
}

static void test_same(void) {
  expect_same("small", &small);
  LlamaConfig c = small;
  c.tied = c.attention_bias = c.mlp_bias = true;
  c.n_eos = 3;
  c.eos_ids[1] = 5;
  c.eos_ids[2] = 99;
  c.pad_id = 7;
  expect_same("flags", &c);
  c.n_eos = 0;
  c.eos_ids[0] = c.eos_ids[1] = c.eos_ids[2] = 0;
  c.bos_id = c.pad_id = -1;
  LlamaConfig again;
  free(round_trip(&again, &c, DT_F32));
  EXPECT(again.n_eos == 0 && again.bos_id == -1 && again.pad_id == -1);
  c = small;
  c.rope_scaling = ROPE_LINEAR;
  c.rope_factor = 2.5;
  expect_same("linear", &c);
  c.rope_scaling = ROPE_LLAMA3;
  c.rope_low_freq = 1;
  c.rope_high_freq = 4.25;
  c.rope_original_positions = 8192;
  expect_same("llama3", &c);
  for (int i = 0; llama_preset_name(i) != NULL; i++) {
    Error err = {0};
    EXPECT(llama_config_preset(&c, NULL, llama_preset_name(i), &err) == STATUS_OK, "%s",
           err.message);
    expect_same(llama_preset_name(i), &c);
  }
}

static void test_spelling(void) {
  LlamaConfig c = small;
  expect_text(&c, DT_BF16, "\"torch_dtype\": \"bfloat16\"");
  expect_text(&c, DT_F32, "\"torch_dtype\": \"float32\"");
  expect_text(&c, DT_F32, "\"rope_theta\": 500000.0,");
  c.rms_eps = 1e-5f; // as a GGUF file holds it: 9.99999974737875e-06
  expect_text(&c, DT_F32, "\"rms_norm_eps\": 1e-05,");
  c.rms_eps = 1.0 / 3;
  expect_text(&c, DT_F32, "\"rms_norm_eps\": 0.3333333333333333,");
}

// The divisors that llama.cpp's converter writes for a llama3 scaling.
static void set_divisors(LlamaConfig *c, double factor, double low, double high, double length) {
  c->n_rope_freqs = c->head_dim / 2;
  for (int64_t i = 0; i < c->n_rope_freqs; i++) {
    double wave = 2 * M_PI * pow(c->rope_theta, (double)(2 * i) / (double)c->head_dim);
    double divisor = 1;
    if (wave > length / low) {
      divisor = factor;
    } else if (wave >= length / high) {
      double smooth = (length / wave - low) / (high - low);
      divisor = 1 / ((1 - smooth) / factor + smooth);
    }
    c->rope_freqs[i] = (float)divisor;
  }
}

static void test_divisors(void) {
  static const double factors[] = {8, 32};
  for (int i = 0; i < 2; i++) {
    LlamaConfig c = small, again;
    c.head_dim = 64 << i;
    set_divisors(&c, factors[i], 1, 4, 8192);
    char *text = round_trip(&again, &c, DT_F32);
    EXPECT(again.rope_scaling == ROPE_LLAMA3 && again.rope_factor == factors[i] &&
               again.rope_low_freq == 1 && again.rope_high_freq == 4 &&
               again.rope_original_positions == 8192 && again.n_rope_freqs == 0,
           "%s", text);
    free(text);
  }
  LlamaConfig c = small, again;
  set_divisors(&c, 1, 1, 4, 8192); // no scaling
  free(round_trip(&again, &c, DT_F32));
  EXPECT(again.rope_scaling == ROPE_PLAIN);
  Error err = {0};
  char *text, *generation;
  c.head_dim = 64;
  set_divisors(&c, 8, 1, 2, 8192); // with borders of its own
  EXPECT(llama_config_text(&text, &generation, &c, DT_F32, "out", &err) == STATUS_FAILED);
  EXPECT(strstr(err.message, "out: not written: config.json cannot express the base's "
                             "rope_freqs.weight: divisor ") == err.message &&
             text == NULL && generation == NULL,
         "%s", err.message);
}

int main(void) {
  RUN(test_same);
  RUN(test_spelling);
  RUN(test_divisors);
  return test_done();
}
