// labels: quick
// PEFT adapter folders: PEFT's own files are read and written byte for byte, everything else about
// LoRA that is not supported is refused by name, broken files and full disks leave nothing behind.
#include "bf16.h"
#include "bytes.h"
#include "mapped_file.h"
#include "peft_adapter.h"
#include "safetensors.h"
#include "test.h"
#include "tmp_file.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static PeftAdapter read_ok(const char *folder) {
  Error err = {0};
  PeftAdapter adapter;
  EXPECT(peft_adapter_read(&adapter, folder, &err) == STATUS_OK, "%s", err.message);
  return adapter;
}

static void expect_same_file(const char *a, const char *b) {
  Error err = {0};
  char *x = NULL, *y = NULL;
  int64_t nx = 0, ny = 0;
  EXPECT(file_read_all(&x, &nx, a, 1 << 24, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_read_all(&y, &ny, b, 1 << 24, &err) == STATUS_OK, "%s", err.message);
  EXPECT(nx == ny && memcmp(x, y, (size_t)nx) == 0, "%s (%lld bytes) and %s (%lld bytes) differ", a,
         (long long)nx, b, (long long)ny);
  free(x);
  free(y);
}

static int count_entries(const char *folder) {
  int n = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) return -1;
  for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    n += entry->d_name[0] != '.';
  }
  closedir(dir);
  return n;
}

// PEFT's folders: what is in them, and the same bytes when they are written again.
static void test_golden(void) {
  static const char *const folders[] = {"tests/golden/tiny_lora/qv", "tests/golden/tiny_lora/all"};
  for (int f = 0; f < 2; f++) {
    Error err = {0};
    char path[256];
    PeftAdapter a = read_ok(folders[f]);
    EXPECT(a.r == 4 && a.alpha == 8 && a.dropout == 0 && !a.rank_stabilised);
    EXPECT(peft_adapter_scale(&a, &a.pairs[0]) == 2 && a.ranks.n == 0 && a.alphas.n == 0);
    EXPECT(a.n_targets == (f == 0 ? 2 : 7) && a.n_pairs == (f == 0 ? 4 : 14));
    EXPECT(strcmp(a.base_model, "tests/golden/tiny_llama/gqa") == 0, "%s", a.base_model);
    EXPECT(a.template_name == NULL && a.base_hash == NULL && a.vma_version == NULL);
    Safetensors st = {0};
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folders[f]);
    EXPECT(safetensors_open(&st, path, &err) == STATUS_OK, "%s", err.message);
    for (int64_t i = 0; i < a.n_pairs; i++) {
      const PeftPair *p = &a.pairs[i];
      if (i > 0) EXPECT(strcmp(a.pairs[i - 1].module, p->module) < 0);
      snprintf(path, sizeof path, "base_model.model.%s.lora_A.weight", p->module);
      const SafeTensor *t = safetensors_find(&st, path);
      EXPECT(t->shape[0] == 4 && t->shape[1] == p->in);
      EXPECT(memcmp(st.data + t->offset, p->a, (size_t)t->bytes) == 0, "%s", path);
      snprintf(path, sizeof path, "base_model.model.%s.lora_B.weight", p->module);
      t = safetensors_find(&st, path);
      EXPECT(t->shape[0] == p->out && t->shape[1] == 4);
      EXPECT(memcmp(st.data + t->offset, p->b, (size_t)t->bytes) == 0, "%s", path);
    }
    safetensors_close(&st);
    if (f == 0) {
      EXPECT(strcmp(a.targets[0], "q_proj") == 0 && strcmp(a.targets[1], "v_proj") == 0);
      EXPECT(strcmp(a.pairs[3].module, "model.layers.1.self_attn.v_proj") == 0);
      EXPECT(a.pairs[3].in == 48 && a.pairs[3].out == 16);
    }
    EXPECT(peft_adapter_write(&a, tmp_path(f == 0 ? "again" : "new/deep/again/"), &err) ==
               STATUS_OK,
           "%s", err.message);
    const char *out = tmp_path(f == 0 ? "again" : "new/deep/again");
    char written[700];
    snprintf(written, sizeof written, "%s/adapter_model.safetensors", out);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folders[f]);
    expect_same_file(path, written);
    snprintf(written, sizeof written, "%s/adapter_config.json", out);
    snprintf(path, sizeof path, "%s/adapter_config.json", folders[f]);
    if (f == 0) expect_same_file(path, written); // PEFT's order of "all" is that of a hash table
    EXPECT(count_entries(out) == 2);
    peft_adapter_free(&a);
    peft_adapter_free(&a);
  }
  EXPECT(count_entries(tmp_path("new/deep")) == 1);
}

// PEFT's folder with ranks and alphas by module, rank-stabilised: each pair's shape and scale as
// PEFT has them, and the patterns when it is written again.
static void test_patterns(void) {
  static const struct {
    const char *module;
    int64_t r;
    double alpha;
  } expected[] = {
      {"model.layers.0.mlp.down_proj", 6, 8},     {"model.layers.0.mlp.gate_proj", 4, 8},
      {"model.layers.0.mlp.up_proj", 4, 8},       {"model.layers.0.self_attn.k_proj", 4, 8},
      {"model.layers.0.self_attn.o_proj", 4, 12}, {"model.layers.0.self_attn.q_proj", 2, 8},
      {"model.layers.0.self_attn.v_proj", 4, 8},  {"model.layers.1.mlp.down_proj", 6, 8},
      {"model.layers.1.mlp.gate_proj", 3, 5.5},   {"model.layers.1.mlp.up_proj", 3, 5.5},
      {"model.layers.1.self_attn.k_proj", 3, 8},  {"model.layers.1.self_attn.o_proj", 3, 12},
      {"model.layers.1.self_attn.q_proj", 3, 8},  {"model.layers.1.self_attn.v_proj", 3, 8}};
  Error err = {0};
  PeftAdapter a = read_ok("tests/golden/tiny_lora/ranks");
  EXPECT(a.r == 4 && a.alpha == 8 && a.rank_stabilised && a.n_pairs == 14);
  EXPECT(a.ranks.n == 3 && a.alphas.n == 2);
  for (int i = 0; i < 14; i++) {
    const PeftPair *p = &a.pairs[i];
    EXPECT(strcmp(p->module, expected[i].module) == 0, "%s", p->module);
    EXPECT(p->r == expected[i].r, "%s: rank %lld", p->module, (long long)p->r);
    EXPECT(peft_adapter_scale(&a, p) == expected[i].alpha / sqrt((double)p->r), "%s: scale %g",
           p->module, peft_adapter_scale(&a, p));
  }
  EXPECT(peft_adapter_write(&a, tmp_path("ranks"), &err) == STATUS_OK, "%s", err.message);
  peft_adapter_free(&a);
  expect_same_file("tests/golden/tiny_lora/ranks/adapter_model.safetensors",
                   tmp_path("ranks/adapter_model.safetensors"));
  char *text = NULL;
  int64_t size;
  EXPECT(file_read_all(&text, &size, tmp_path("ranks/adapter_config.json"), 1 << 20, &err) ==
         STATUS_OK);
  static const char *const lines[] = {
      "\n  \"alpha_pattern\": {\n    \".*\\\\.1\\\\..*(gate|up)_proj\": 5.5,\n    "
      "\"o_proj\": 12\n  },\n",
      "\n  \"rank_pattern\": {\n    \"down_proj\": 6,\n    \"layers.0.self_attn.q_proj\": 2,\n    "
      "\"model\\\\.layers\\\\.1\\\\..*_proj\": 3\n  },\n",
      "\n  \"use_rslora\": true,\n"};
  for (int i = 0; i < 3; i++) EXPECT(strstr(text, lines[i]) != NULL, "%s in %s", lines[i], text);
  free(text);
}

// An adapter of two pairs, drawn; to be freed by peft_adapter_free.
static PeftAdapter make_adapter(void) {
  static const char *const modules[] = {"model.layers.0.self_attn.q_proj",
                                        "model.layers.0.x.v_proj"};
  uint64_t state = 9;
  PeftAdapter a = {.r = 3, .alpha = 4.5, .dropout = 0.05, .rank_stabilised = true};
  a.n_targets = 2;
  a.targets = calloc(2, sizeof *a.targets);
  a.targets[0] = strdup("v_proj");
  a.targets[1] = strdup("self_attn.q_proj");
  a.n_pairs = 2;
  a.pairs = calloc(2, sizeof *a.pairs);
  for (int i = 0; i < 2; i++) {
    PeftPair *p = &a.pairs[i];
    *p = (PeftPair){.module = strdup(modules[i]), .in = 5 + i, .out = 7 + i, .r = 3 + 2 * i};
    p->a = calloc((size_t)(p->r * p->in), sizeof *p->a);
    p->b = calloc((size_t)(p->r * p->out), sizeof *p->b);
    for (int64_t k = 0; k < p->r * p->in; k++) p->a[k] = (float)bytes_draw(&state) * 0x1p-32f;
    for (int64_t k = 0; k < p->r * p->out; k++) p->b[k] = (float)bytes_draw(&state) * 0x1p-32f;
  }
  EXPECT(peft_patterns_add(&a.ranks, "x.v_proj", 5, NULL) == STATUS_OK);
  EXPECT(peft_patterns_add(&a.alphas, "v_proj", 0.1, NULL) == STATUS_OK);
  EXPECT(peft_patterns_add(&a.alphas, "k_proj", 1.0 / 3, NULL) == STATUS_OK);
  a.base_model = strdup("m\xC3\xB6"
                        "del \"x\"");
  a.template_name = strdup("alpaca");
  a.base_hash = strdup("abc");
  a.vma_version = strdup("0.1.0");
  return a;
}

static void test_round_trip(void) {
  Error err = {0};
  PeftAdapter a = make_adapter();
  tmp_folder("rt");
  tmp_put_text("rt/README.md", "stays");
  tmp_put_text("rt/adapter_model.safetensors", "old");
  for (int round = 0; round < 2; round++) {
    EXPECT(peft_adapter_write(&a, tmp_path("rt"), &err) == STATUS_OK, "%s", err.message);
    PeftAdapter b = read_ok(tmp_path("rt"));
    EXPECT(b.r == 3 && b.alpha == 4.5 && b.dropout == 0.05 && b.rank_stabilised);
    EXPECT(peft_adapter_scale(&b, &b.pairs[0]) == 4.5 / sqrt(3));
    EXPECT(peft_adapter_scale(&b, &b.pairs[1]) == 0.1 / sqrt(5));
    EXPECT(b.alphas.n == 2 && b.alphas.items[1].value == 1.0 / 3);
    EXPECT(b.n_targets == 2 && strcmp(b.targets[0], "self_attn.q_proj") == 0);
    EXPECT(strcmp(b.base_model, a.base_model) == 0, "%s", b.base_model);
    EXPECT(strcmp(b.template_name, "alpaca") == 0 && strcmp(b.base_hash, "abc") == 0);
    EXPECT(strcmp(b.vma_version, "0.1.0") == 0);
    EXPECT(b.n_pairs == 2 && memcmp(b.pairs[1].b, a.pairs[1].b, 5 * 8 * 4) == 0);
    EXPECT(memcmp(b.pairs[0].a, a.pairs[0].a, 3 * 5 * 4) == 0);
    peft_adapter_free(&b);
  }
  EXPECT(count_entries(tmp_path("rt")) == 3);
  char *text = NULL;
  int64_t size;
  EXPECT(file_read_all(&text, &size, tmp_path("rt/adapter_config.json"), 1 << 20, &err) ==
         STATUS_OK);
  static const char *const lines[] = {
      "\n  \"base_model_name_or_path\": \"m\\u00F6del \\\"x\\\"\",\n",
      "\n  \"lora_alpha\": 4.5,\n",
      "\n  \"lora_dropout\": 0.05,\n",
      "\n  \"r\": 3,\n",
      "\n  \"target_modules\": [\n    \"self_attn.q_proj\",\n",
      "\n  \"use_rslora\": true,\n"};
  for (int i = 0; i < 6; i++) EXPECT(strstr(text, lines[i]) != NULL, "%s in %s", lines[i], text);
  free(text);
  peft_adapter_free(&a);
}

static void expect_not_written(const PeftAdapter *a, const char *name, Status status,
                               const char *message) {
  Error err = {0};
  Status found = peft_adapter_write(a, tmp_path(name), &err);
  EXPECT(found == status, "%d: %s", (int)found, err.message);
  EXPECT(strstr(err.message, message) != NULL, "found: %s", err.message);
}

static void test_write_failures(void) {
  PeftAdapter a = make_adapter();
  tmp_folder("wf");
  a.pairs[1].b[4] = NAN;
  expect_not_written(
      &a, "wf/nan", STATUS_FAILED,
      "model.layers.0.x.v_proj.lora_B.weight, element 4 is nan: the run has diverged");
  a.pairs[1].b[4] = 1;
  a.pairs[0].a[2] = -INFINITY;
  expect_not_written(&a, "wf/nan", STATUS_FAILED, "q_proj.lora_A.weight, element 2 is -inf");
  a.pairs[0].a[2] = 1;
  a.n_pairs = 0;
  expect_not_written(&a, "wf/none", STATUS_FAILED, "an adapter without matrices is not written");
  a.n_pairs = 2;
  tmp_put_text("wf/file", "x");
  expect_not_written(&a, "wf/file", STATUS_IO, "file: cannot be written: it is a file");
  expect_not_written(&a, "wf/file/sub", STATUS_IO, "file");
  // A target that fits no module would make PEFT ignore the matrices.
  free(a.targets[0]);
  a.targets[0] = strdup("nothing");
  expect_not_written(&a, "wf/target", STATUS_DATA,
                     "target_modules of adapter_config.json does not");
  free(a.targets[0]);
  a.targets[0] = strdup("v_proj");
  EXPECT(count_entries(tmp_path("wf")) == 1); // the file
  // A full disk, as a limit on the size of files: new folder and old one.
  struct rlimit before, limit;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &before);
  limit = before;
  limit.rlim_cur = 300;
  setrlimit(RLIMIT_FSIZE, &limit);
  expect_not_written(&a, "wf/full", STATUS_IO, "adapter_model.safetensors: cannot be written");
  EXPECT(count_entries(tmp_path("wf")) == 1, "%d", count_entries(tmp_path("wf")));
  setrlimit(RLIMIT_FSIZE, &before);
  Error err = {0};
  EXPECT(peft_adapter_write(&a, tmp_path("wf/old"), &err) == STATUS_OK, "%s", err.message);
  setrlimit(RLIMIT_FSIZE, &limit);
  expect_not_written(&a, "wf/old", STATUS_IO, "cannot be written");
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT(count_entries(tmp_path("wf/old")) == 2);
  PeftAdapter b = read_ok(tmp_path("wf/old"));
  EXPECT(b.n_pairs == 2);
  peft_adapter_free(&b);
  peft_adapter_free(&a);
}

// ---- refusals ----

static void expect_refused(Status status, const char *message) {
  Error err = {0};
  PeftAdapter a;
  Status found = peft_adapter_read(&a, tmp_path("bad"), &err);
  EXPECT(found == status, "%d: expected %s", (int)found, message);
  EXPECT(strstr(err.message, message) != NULL, "found: %s", err.message);
  EXPECT(strchr(err.message, '\n') == NULL && a.n_pairs == 0 && a.pairs == NULL);
  peft_adapter_free(&a);
}

#define LORA "{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\"q\"],"

// Two tensors of the given names and shapes; data of `value`.
static void put_weights(const char *a, int64_t a0, int64_t a1, const char *b, int64_t b0,
                        int64_t b1, DType dtype, float value) {
  Error err = {0};
  static float f32[1024];
  static uint16_t f16[1024];
  for (int i = 0; i < 1024; i++) {
    f32[i] = value;
    f16[i] = dtype == DT_F16 ? f16_from_f32(value) : bf16_from_f32(value);
  }
  const void *data = dtype == DT_F32 || dtype == DT_I32 ? (const void *)f32 : f16;
  SafetensorsItem items[] = {{a, dtype, 2, {a0, a1}, data}, {b, dtype, 2, {b0, b1}, data}};
  tmp_remove("bad/adapter_model.safetensors");
  EXPECT(safetensors_write(tmp_path("bad/adapter_model.safetensors"), items, 2, NULL, 0, &err) ==
             STATUS_OK,
         "%s", err.message);
}

#define NAME(module, letter) "base_model.model." module ".lora_" letter ".weight"

static void put_good_weights(void) {
  put_weights(NAME("m.q", "A"), 2, 6, NAME("m.q", "B"), 4, 2, DT_F32, 0.5f);
}

static void test_bad_config(void) {
  static const struct {
    const char *config, *message;
  } bads[] = {
      {"", "adapter_config.json:1:1: expected"},
      {"[]", "adapter_config.json: expected an object"},
      {"GGUF", "adapter_config.json:1:1: expected a value, found 'G'"},
      {"{}", "'peft_type' is missing"},
      {"{\"peft_type\":\"PROMPT_TUNING\"}",
       "'peft_type' is '\"PROMPT_TUNING\"': expected \"LORA\"; other adapters are not supported"},
      {"{\"peft_type\":1}", "'peft_type': expected a string, found '1'"},
      {"{\"peft_type\":\"LORA\\u0000\"}", "'peft_type': expected a string without NUL"},
      {LORA "\"bias\":\"all\"}", "'bias' is '\"all\"': biases trained beside the adapter are not"},
      {LORA "\"use_dora\":true}", "'use_dora' is 'true': DoRA is not supported"},
      {LORA "\"use_qalora\":true}", "QA-LoRA is not supported"},
      {LORA "\"use_bdlora\":{\"nblocks\":2}}", "BD-LoRA is not supported"},
      {LORA "\"lora_bias\":true}", "biases of the adapter are not supported"},
      {LORA "\"modules_to_save\":[\"lm_head\"]}",
       "'modules_to_save' is '[\"lm_head\"]': whole modules trained beside the adapter are not"},
      {LORA "\"rank_pattern\":{\"q\":4}}", "expected rank 4, as adapter_config.json says, found"},
      {LORA "\"rank_pattern\":[\"q\"]}", "'rank_pattern': expected an object of names and numbers"},
      {LORA "\"rank_pattern\":{\"q\":0}}", "'rank_pattern.q': expected an integer from 1"},
      {LORA "\"rank_pattern\":{\"q\":2.5}}", "'rank_pattern.q': expected an integer from 1"},
      {LORA "\"rank_pattern\":{\"q\":null}}", "'rank_pattern.q': expected a number, found 'null'"},
      {LORA "\"alpha_pattern\":{\"q\":\"4\"}}", "'alpha_pattern.q': expected a number, found"},
      {LORA "\"alpha_pattern\":{\"(?=q)q\":4}}",
       "adapter_config.json: 'alpha_pattern': the key '(?=q)q': such a regular expression is not"},
      {LORA "\"rank_pattern\":{\"q\\n\":4}}", "'rank_pattern': the key 'q\\x0a': such a regular"},
      {LORA "\"trainable_token_indices\":[1]}", "trained token embeddings are not supported"},
      {LORA "\"target_parameters\":[\"x\"]}", "adapters of bare parameters are not supported"},
      {LORA "\"layer_replication\":[[0,1]]}", "replicated layers are not supported"},
      {LORA "\"alora_invocation_tokens\":[1]}", "activated LoRA is not supported"},
      {LORA "\"megatron_config\":{\"a\":1}}", "Megatron layers are not supported"},
      {LORA "\"fan_in_fan_out\":true}", "weights stored as [in,out] are not supported"},
      {LORA "\"init_lora_weights\":\"pissa\"}",
       "'init_lora_weights' is '\"pissa\"': an adapter to changed base weights is"},
      {LORA "\"init_lora_weights\":\"olora\"}", "an adapter to changed base weights is"},
      {LORA "\"init_lora_weights\":\"loftq\"}", "an adapter to changed base weights is"},
      {LORA "\"init_lora_weights\":1}", "'init_lora_weights': expected a string, found '1'"},
      {LORA "\"r\":2}", "'r'"}, // twice
      {"{\"peft_type\":\"LORA\",\"r\":0}", "'r': expected an integer from 1 to 65536, found '0'"},
      {"{\"peft_type\":\"LORA\",\"r\":-1}", "'r': expected an integer from 1"},
      {"{\"peft_type\":\"LORA\",\"r\":1e18}", "'r': expected an integer from 1"},
      {"{\"peft_type\":\"LORA\",\"r\":\"8\"}", "'r': expected an integer from 1"},
      {LORA "\"lora_alpha\":\"16\"}", "'lora_alpha': expected a number, found '\"16\"'"},
      {LORA "\"lora_dropout\":1}", "'lora_dropout': expected a number from 0 to less than 1"},
      {LORA "\"lora_dropout\":-0.1}", "'lora_dropout': expected a number from 0"},
      {LORA "\"use_rslora\":0}", "'use_rslora': expected true or false, found '0'"},
      {LORA "\"base_model_name_or_path\":{}}", "'base_model_name_or_path': expected a string"},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":7}",
       "'target_modules': expected a list of names or a string, found '7'"},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\"q\",7]}",
       "'target_modules': expected names of modules"},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\"\"]}", "expected names of modules"},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\"v\"]}",
       "adapter_model.safetensors: holds matrices of 'm.q', which target_modules of "
       "adapter_config.json does not name"},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\".q\",\"xm.q\",\"m\"]}",
       "holds matrices of 'm.q', which target_modules"},
  };
  tmp_folder("bad");
  put_good_weights();
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    tmp_put_text("bad/adapter_config.json", bads[i].config);
    expect_refused(STATUS_DATA, bads[i].message);
  }
}

static void test_bad_weights(void) {
  static const struct {
    const char *a, *b;
    int64_t a0, a1, b0, b1;
    DType dtype;
    float value;
    const char *message;
  } bads[] = {
      {NAME("m.q", "A"), NAME("m.q", "A2"), 2, 6, 4, 2, DT_F32, 1, "expected a name like"},
      {NAME("m.q", "A"), NAME("m.v", "B"), 2, 6, 4, 2, DT_F32, 1,
       "tensor 'base_model.model.m.q.lora_A.weight': its other half is missing"},
      {NAME("m.q", "B"), NAME("m.v", "A"), 4, 2, 2, 6, DT_F32, 1, "its other half is missing"},
      {"base_model.model.lm_head.weight", NAME("m.q", "B"), 2, 6, 4, 2, DT_F32, 1,
       "whole modules trained beside the adapter are not supported"},
      {"m.q.lora_A.weight", "m.q.lora_B.weight", 2, 6, 4, 2, DT_F32, 1, "expected a name like"},
      {"base_model.model.lora_A.weight", "base_model.model.lora_B.weight", 2, 6, 4, 2, DT_F32, 1,
       "expected a name like"},
      {"base_model.model.e.lora_embedding_A", "base_model.model.e.lora_embedding_B", 2, 6, 4, 2,
       DT_F32, 1, "adapters of embeddings are not supported"},
      {"base_model.model.m.q.lora_magnitude_vector", NAME("m.q", "B"), 2, 6, 4, 2, DT_F32, 1,
       "DoRA is not supported"},
      {"base_model.model.m.q.lora_B.bias", NAME("m.q", "C"), 2, 6, 4, 2, DT_F32, 1,
       "biases of the adapter are not supported"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 3, 6, 4, 3, DT_F32, 1,
       "lora_A.weight': expected rank 2, as adapter_config.json says, found [3,6]"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 2, 6, 4, 3, DT_F32, 1,
       "lora_B.weight': expected rank 2, as adapter_config.json says, found [4,3]"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 2, 0, 4, 2, DT_F32, 1, "expected a matrix"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 2, 6, 4, 2, DT_I32, 1,
       "expected F32, F16 or BF16, found I32"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 2, 6, 4, 2, DT_F32, NAN,
       "element 0 is nan, which is not finite"},
      {NAME("m.q", "A"), NAME("m.q", "B"), 2, 6, 4, 2, DT_BF16, INFINITY,
       "element 0 is inf, which is not finite"},
  };
  Error err = {0};
  tmp_folder("bad");
  tmp_put_text("bad/adapter_config.json", LORA "\"bias\":\"none\"}");
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    put_weights(bads[i].a, bads[i].a0, bads[i].a1, bads[i].b, bads[i].b0, bads[i].b1, bads[i].dtype,
                bads[i].value);
    expect_refused(STATUS_DATA, bads[i].message);
  }
  float data[24] = {0};
  SafetensorsItem cube = {NAME("m.q", "A"), DT_F32, 3, {2, 3, 2}, data};
  SafetensorsItem items[] = {cube, {NAME("m.q", "B"), DT_F32, 2, {4, 2}, data}};
  EXPECT(safetensors_write(tmp_path("bad/adapter_model.safetensors"), items, 2, NULL, 0, &err) ==
         STATUS_OK);
  expect_refused(STATUS_DATA, "lora_A.weight': expected a matrix");
  EXPECT(safetensors_write(tmp_path("bad/adapter_model.safetensors"), NULL, 0, NULL, 0, &err) ==
         STATUS_OK);
  expect_refused(STATUS_DATA, "holds no tensors: whoever saved it saved an empty adapter");
  tmp_put_text("bad/adapter_model.safetensors", "\x89PNG\r\n\x1a\n_____________");
  expect_refused(STATUS_DATA, "bad/adapter_model.safetensors: byte 0:");
  tmp_put_text("bad/adapter_model.safetensors", "");
  expect_refused(STATUS_DATA, "bad/adapter_model.safetensors: byte 0:");
  tmp_remove("bad/adapter_model.safetensors");
  expect_refused(STATUS_NO_INPUT, "bad/adapter_model.safetensors: missing: the adapter's weights");
  tmp_put_text("bad/adapter_model.bin", "PK");
  expect_refused(STATUS_DATA, "bad/adapter_model.bin: a pickle, which is not supported");
  tmp_remove("bad/adapter_model.bin");
  tmp_remove("bad/adapter_config.json");
  expect_refused(STATUS_NO_INPUT, "bad/adapter_config.json: cannot be opened");
}

// Half precision; targets by rules that are no plain list become whole paths.
static void test_other_forms(void) {
  static const char *const configs[] = {
      "{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":\"All-Linear\"}",
      "{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":\"m\\\\..*\",\"init_lora_weights\":"
      "false}",
      "{\"peft_type\":\"LORA\",\"r\":2,\"init_lora_weights\":\"gaussian\",\"unknown\":{\"a\":[]}}",
      LORA "\"layers_to_transform\":[0],\"init_lora_weights\":true}",
      LORA "\"exclude_modules\":[\"v\"],\"lora_alpha\":1e2,\"init_lora_weights\":null}"};
  tmp_folder("bad");
  for (int i = 0; i < 5; i++) {
    DType dtype = i % 3 == 0 ? DT_F32 : (i % 3 == 1 ? DT_F16 : DT_BF16);
    put_weights(NAME("m.q", "A"), 2, 6, NAME("m.q", "B"), 4, 2, dtype, 0.75f);
    tmp_put_text("bad/adapter_config.json", configs[i]);
    PeftAdapter a = read_ok(tmp_path("bad"));
    EXPECT(a.n_pairs == 1 && a.n_targets == 1, "%d", i);
    EXPECT(strcmp(a.targets[0], i == 0 ? "all-linear" : "m.q") == 0, "%d: %s", i, a.targets[0]);
    EXPECT(a.pairs[0].a[11] == 0.75f && a.pairs[0].b[7] == 0.75f);
    EXPECT(a.base_model == NULL && a.alpha == (i == 4 ? 100 : 8) && a.dropout == 0);
    peft_adapter_free(&a);
  }
}

// Every prefix is refused; flipped bits give an error or a sound adapter.
static void test_broken(void) {
  static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
  Error err = {0};
  PeftAdapter a = make_adapter();
  EXPECT(peft_adapter_write(&a, tmp_path("good"), &err) == STATUS_OK, "%s", err.message);
  peft_adapter_free(&a);
  tmp_folder("bad");
  uint64_t state = 4;
  for (int which = 0; which < 2; which++) {
    char *text[2], from[64], to[64];
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
      snprintf(from, sizeof from, "good/%s", names[i]);
      EXPECT(file_read_all(&text[i], &size[i], tmp_path(from), 1 << 20, &err) == STATUS_OK, "%s",
             err.message);
      snprintf(to, sizeof to, "bad/%s", names[i]);
      tmp_put(to, text[i], size[i]);
    }
    snprintf(to, sizeof to, "bad/%s", names[which]);
    for (int64_t n = 0; n < size[which] - 2; n++) { // the config's last two: "}\n"
      tmp_put(to, text[which], n);
      EXPECT(peft_adapter_read(&a, tmp_path("bad"), &err) == STATUS_DATA, "%lld", (long long)n);
    }
    int opened = 0;
    for (int round = 0; round < 1500; round++) {
      int64_t at = bytes_draw(&state) % size[which];
      char bit = (char)(1 << bytes_draw(&state) % 8);
      text[which][at] ^= bit;
      tmp_put(to, text[which], size[which]);
      if (peft_adapter_read(&a, tmp_path("bad"), &err) == STATUS_OK) {
        opened++;
        EXPECT(a.n_pairs >= 1 && a.r >= 1 && isfinite(peft_adapter_scale(&a, &a.pairs[0])));
        peft_adapter_free(&a);
      }
      text[which][at] ^= bit;
    }
    EXPECT(opened > 100 && opened < 1400, "%d", opened);
    free(text[0]);
    free(text[1]);
  }
}

int main(void) {
  RUN(test_golden);
  RUN(test_patterns);
  RUN(test_round_trip);
  RUN(test_write_failures);
  RUN(test_bad_config);
  RUN(test_bad_weights);
  RUN(test_other_forms);
  RUN(test_broken);
  return test_done();
}
