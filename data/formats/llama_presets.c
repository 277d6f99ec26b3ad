// Sizes of published models by name, for plans without files. From their config.json; checked by
// their numbers of weights (tests/core/test_presets.c).
#include "llama_config.h"

#include <stdio.h>
#include <string.h>

typedef struct Preset {
  const char *name;
  int64_t weights; // with an untied head; of each once
  int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, max_positions;
  double rms_eps, rope_theta;
  bool tied;
  double rope_factor; // > 0: LLaMA 3's scaling
} Preset;

static const Preset presets[] = {
    // LLaMA 1 (Touvron et al. 2023)
    {"llama-7b", 6738415616, 4096, 11008, 32, 32, 32, 128, 32000, 2048, 1e-6, 1e4, false, 0},
    {"llama-13b", 13015864320, 5120, 13824, 40, 40, 40, 128, 32000, 2048, 1e-6, 1e4, false, 0},
    {"llama-30b", 32528943616, 6656, 17920, 60, 52, 52, 128, 32000, 2048, 1e-6, 1e4, false, 0},
    {"llama-65b", 65285660672, 8192, 22016, 80, 64, 64, 128, 32000, 2048, 1e-5, 1e4, false, 0},
    // LLaMA 2
    {"llama-2-7b", 6738415616, 4096, 11008, 32, 32, 32, 128, 32000, 4096, 1e-5, 1e4, false, 0},
    {"llama-2-13b", 13015864320, 5120, 13824, 40, 40, 40, 128, 32000, 4096, 1e-5, 1e4, false, 0},
    {"llama-2-70b", 68976648192, 8192, 28672, 80, 64, 8, 128, 32000, 4096, 1e-5, 1e4, false, 0},
    // LLaMA 3, 3.2
    {"llama-3-8b", 8030261248, 4096, 14336, 32, 32, 8, 128, 128256, 8192, 1e-5, 5e5, false, 0},
    {"llama-3-70b", 70553706496, 8192, 28672, 80, 64, 8, 128, 128256, 8192, 1e-5, 5e5, false, 0},
    {"llama-3.2-1b", 1235814400, 2048, 8192, 16, 32, 8, 64, 128256, 131072, 1e-5, 5e5, true, 32},
    {"llama-3.2-3b", 3212749824, 3072, 8192, 28, 24, 8, 128, 128256, 131072, 1e-5, 5e5, true, 32},
    // TinyLlama, SmolLM2
    {"tinyllama-1.1b", 1100048384, 2048, 5632, 22, 32, 4, 64, 32000, 2048, 1e-5, 1e4, false, 0},
    {"smollm2-135m", 134515008, 576, 1536, 30, 9, 3, 64, 49152, 8192, 1e-5, 1e5, true, 0},
    {"smollm2-360m", 361821120, 960, 2560, 32, 15, 5, 64, 49152, 8192, 1e-5, 1e5, true, 0},
    {"smollm2-1.7b", 1711376384, 2048, 8192, 24, 32, 32, 64, 49152, 8192, 1e-5, 1.3e5, true, 0},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

const char *llama_preset_name(int i) {
  return i >= 0 && i < N_PRESETS ? presets[i].name : NULL;
}

static void fill(LlamaConfig *c, const Preset *p) {
  *c = (LlamaConfig){.hidden = p->hidden,
                     .ffn = p->ffn,
                     .layers = p->layers,
                     .heads = p->heads,
                     .kv_heads = p->kv_heads,
                     .head_dim = p->head_dim,
                     .vocab = p->vocab,
                     .rms_eps = p->rms_eps,
                     .rope_theta = p->rope_theta,
                     .max_positions = p->max_positions,
                     .tied = p->tied,
                     .bos_id = 1,
                     .pad_id = -1,
                     .n_eos = 1,
                     .eos_ids = {2}};
  if (p->rope_factor <= 0) return;
  c->rope_scaling = ROPE_LLAMA3;
  c->rope_factor = p->rope_factor;
  c->rope_low_freq = 1;
  c->rope_high_freq = 4;
  c->rope_original_positions = 8192;
}

Status llama_config_preset(LlamaConfig *config, int64_t *weights, const char *name, Error *err) {
  const char *names[N_PRESETS];
  for (int i = 0; i < N_PRESETS; i++) {
    names[i] = presets[i].name;
    if (strcmp(name, names[i]) != 0) continue;
    fill(config, &presets[i]);
    if (weights != NULL) *weights = presets[i].weights;
    return STATUS_OK;
  }
  const char *nearest = error_nearest(name, names, N_PRESETS);
  if (nearest != NULL) {
    return error_set(err, STATUS_USAGE,
                     "model.preset: there is no preset '%.40s'; did you mean '%s'?", name, nearest);
  }
  char all[400] = "";
  size_t used = 0;
  for (int i = 0; i < N_PRESETS && used < sizeof all; i++) {
    used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", names[i]);
  }
  return error_set(err, STATUS_USAGE,
                   "model.preset: there is no preset '%.40s'; expected one of %s", name, all);
}
