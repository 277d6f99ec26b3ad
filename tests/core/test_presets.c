// Presets of published models: their numbers of weights, as their files have them.
#include "llama.h"
#include "test.h"

static void every_preset_has_its_weights(void) {
  int n = 0;
  for (const char *name; (name = llama_preset_name(n)) != NULL; n++) {
    LlamaConfig config;
    Llama model;
    Error err;
    int64_t weights = 0;
    EXPECT(llama_config_preset(&config, &weights, name, &err) == STATUS_OK, "%s", err.message);
    llama_init(&model, &config, DT_BF16);
    EXPECT(param_count(&model.params, false) == weights, "%s: %lld weights, not %lld", name,
           (long long)param_count(&model.params, false), (long long)weights);
    llama_free(&model);
  }
  EXPECT(n == 15, "%d presets", n);
}

// Numbers of weights that others publish: transformers' num_parameters of each.
static void counts_are_the_published_ones(void) {
  static const struct {
    const char *name;
    int64_t weights;
  } known[] = {
      {"llama-7b", 6738415616},       {"llama-13b", 13015864320},   {"llama-30b", 32528943616},
      {"llama-65b", 65285660672},     {"llama-2-70b", 68976648192}, {"llama-3-8b", 8030261248},
      {"llama-3-70b", 70553706496},   {"llama-3.2-1b", 1235814400}, {"llama-3.2-3b", 3212749824},
      {"tinyllama-1.1b", 1100048384}, {"smollm2-135m", 134515008},  {"smollm2-360m", 361821120},
      {"smollm2-1.7b", 1711376384}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    LlamaConfig config;
    Error err;
    int64_t weights = 0;
    EXPECT(llama_config_preset(&config, &weights, known[i].name, &err) == STATUS_OK, "%s",
           err.message);
    EXPECT(weights == known[i].weights, "%s", known[i].name);
  }
}

static void unknown_names_are_told_apart(void) {
  LlamaConfig config;
  Error err;
  EXPECT(llama_config_preset(&config, NULL, "lama-7b", &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "did you mean 'llama-7b'?") != NULL, "%s", err.message);
  EXPECT(llama_config_preset(&config, NULL, "an elephant of a model", &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "llama-65b") != NULL && strstr(err.message, "smollm2-1.7b") != NULL,
         "%s", err.message);
}

// llama3 scaling, grouped heads and a tied head are where they belong.
static void facts_beside_the_sizes(void) {
  LlamaConfig c;
  Error err;
  EXPECT(llama_config_preset(&c, NULL, "llama-3.2-1b", &err) == STATUS_OK);
  EXPECT(c.tied && c.rope_scaling == ROPE_LLAMA3 && c.rope_factor == 32 && c.kv_heads == 8);
  EXPECT(llama_config_preset(&c, NULL, "llama-7b", &err) == STATUS_OK);
  EXPECT(!c.tied && c.rope_scaling == ROPE_PLAIN && c.rms_eps == 1e-6 && c.max_positions == 2048);
}

int main(void) {
  RUN(every_preset_has_its_weights);
  RUN(counts_are_the_published_ones);
  RUN(unknown_names_are_told_apart);
  RUN(facts_beside_the_sizes);
  return test_done();
}
