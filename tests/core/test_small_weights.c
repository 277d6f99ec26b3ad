// labels: weights
// The small real model: every tensor converts, some are equal to what the gguf package makes of
// them (tools/reference/gguf_tensors.py), and its config.
#include "llama_config.h"
#include "sha256.h"
#include "tensor_store.h"
#include "test.h"

static const struct {
  const char *name, *hash;
} expected[] = {
    {"model.embed_tokens.weight",
     "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa"},
    {"model.layers.0.self_attn.k_proj.weight",
     "814d239237d0643a10d9468d42e617b687ef032f85ad617389de27cf27f6fd34"},
    {"model.layers.0.self_attn.q_proj.weight",
     "54b377bbfa2deab945dfdba7fb59e0ca3eb74329358bd1b53b635b3ff37c1a56"},
    {"model.layers.13.self_attn.v_proj.weight",
     "5a2da3b18b14fadcec3e19f1673168909a59b19e1a97164e7fb428b9c27e69b7"},
    {"model.layers.29.mlp.down_proj.weight",
     "c19605745425a11e704e305ce3d27b632c406195d39eb3377e9cfb140ac643d1"},
    {"model.layers.29.self_attn.k_proj.weight",
     "8e99b2450d5f3d53731f52790cc82f80b04341e533306bcfee6669ffa3c79921"},
    {"model.layers.7.post_attention_layernorm.weight",
     "e52d302a44b787668ebf6d3020d5628dec78272516bd498e213c856b83024fd1"},
    {"model.norm.weight", "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559"},
};

enum { EXPECTED = sizeof expected / sizeof *expected };

static TensorStore *store;

static void test_config(void) {
  Error err = {0};
  LlamaConfig c;
  EXPECT(llama_config_load(&c, store, &err) == STATUS_OK, "%s", err.message);
  EXPECT(c.hidden == 576 && c.ffn == 1536 && c.layers == 30 && c.heads == 9 && c.kv_heads == 3);
  EXPECT(c.head_dim == 64 && c.vocab == 49152 && c.max_positions == 8192 && c.tied);
  EXPECT((float)c.rms_eps == 1e-5f && c.rope_theta == 100000 && c.rope_scaling == ROPE_PLAIN);
  EXPECT(!c.attention_bias && !c.mlp_bias && c.n_rope_freqs == 0);
  EXPECT(c.bos_id == 1 && c.n_eos == 1 && c.eos_ids[0] == 2 && c.pad_id == 2);
}

static void test_tensors(void) {
  Error err = {0};
  int64_t elements = 0;
  int found = 0;
  EXPECT(store_count(store) == 272, "%lld", (long long)store_count(store));
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    float *values = malloc((size_t)(t->rows * t->cols) * sizeof *values);
    EXPECT(store_read_rows(store, t, 0, t->rows, DT_F32, values, t->cols, &err) == STATUS_OK, "%s",
           err.message);
    store_release_pages(store, t);
    elements += t->rows * t->cols;
    for (int k = 0; k < EXPECTED; k++) {
      if (strcmp(t->name, expected[k].name) != 0) continue;
      Sha256 sha;
      uint8_t digest[SHA256_BYTES];
      char hex[SHA256_HEX];
      sha256_init(&sha);
      sha256_add(&sha, values, t->rows * t->cols * (int64_t)sizeof *values);
      sha256_finish(&sha, digest);
      sha256_to_hex(digest, hex);
      EXPECT(strcmp(hex, expected[k].hash) == 0, "%s: %s", t->name, hex);
      found++;
    }
    free(values);
  }
  EXPECT(elements == 134515008, "%lld", (long long)elements);
  EXPECT(found == EXPECTED, "%d", found);
}

static void test_hash(void) {
  Error err = {0};
  char hex[65];
  EXPECT(store_hash(store, hex, &err) == STATUS_OK, "%s", err.message);
  // Adapters of this model carry it: a change of how it is computed makes all of them strangers.
  EXPECT(strcmp(hex, "5a73ee2ff13acada88bf4d8b5636e7a0023dc6b34e6eaaa2e31383e86651b09f") == 0, "%s",
         hex);
}

int main(void) {
  Error err = {0};
  const char *path = test_small_model();
  if (path == NULL) TEST_SKIP("no small model (tools/check.sh fetches it)");
  if (store_open(&store, path, &err) != STATUS_OK) {
    printf("%s\n", err.message);
    return 1;
  }
  if (strstr(path, "SmolLM2-135M-Instruct.Q4_1.gguf") == NULL)
    TEST_SKIP("%s is another model", path);
  RUN(test_config);
  RUN(test_tensors);
  RUN(test_hash);
  store_close(store);
  return test_done();
}
