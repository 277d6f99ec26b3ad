// labels: quick
// The config of a LLaMA model: config.json of both spellings, GGUF metadata, rotary frequencies to
// the bit, and one file for everything that is refused.
#include "bytes.h"
#include "llama_config.h"
#include "safetensors.h"
#include "test.h"
#include "tmp_file.h"

#include <math.h>

static LlamaConfig load_ok(const char *folder) {
  Error err = {0};
  LlamaConfig c = {0};
  EXPECT(llama_config_from_folder(&c, folder, &err) == STATUS_OK, "%s", err.message);
  return c;
}

// config.json in a folder of its own, with or without a generation_config.json.
static LlamaConfig load_text(const char *config, const char *generation) {
  tmp_folder("f");
  tmp_put("f/config.json", config, (int64_t)strlen(config));
  tmp_remove("f/generation_config.json");
  if (generation != NULL) {
    tmp_put("f/generation_config.json", generation, (int64_t)strlen(generation));
  }
  return load_ok(tmp_path("f"));
}

static void test_golden(void) {
  static const struct {
    const char *name;
    int64_t hidden, ffn, layers, heads, kv_heads, head_dim;
    double eps, theta;
    bool tied, biases;
    RopeScaling scaling;
  } v[] = {
      {"mha", 48, 104, 2, 3, 3, 16, 1e-6, 1e4, false, false, ROPE_PLAIN},
      {"gqa", 48, 104, 2, 6, 2, 8, 1e-5, 1e5, true, false, ROPE_PLAIN},
      {"llama3", 48, 104, 2, 4, 2, 16, 1e-5, 5e5, false, false, ROPE_LLAMA3},
      {"linear", 48, 104, 2, 2, 1, 24, 1e-5, 1e4, false, false, ROPE_LINEAR},
      {"biases", 48, 104, 2, 3, 1, 16, 1e-5, 1e4, false, true, ROPE_PLAIN},
      {"wide", 48, 104, 3, 4, 2, 24, 1e-5, 1e4, false, false, ROPE_PLAIN},
      {"odd80", 40, 72, 2, 2, 1, 80, 1e-5, 1e4, true, false, ROPE_PLAIN},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    char path[128];
    snprintf(path, sizeof path, "tests/golden/tiny_llama/%s", v[i].name);
    LlamaConfig c = load_ok(path);
    EXPECT(c.hidden == v[i].hidden && c.ffn == v[i].ffn && c.layers == v[i].layers, "%s", path);
    EXPECT(c.heads == v[i].heads && c.kv_heads == v[i].kv_heads, "%s", path);
    EXPECT(c.head_dim == v[i].head_dim && c.vocab == 131 && c.max_positions == 128, "%s", path);
    EXPECT(c.rms_eps == v[i].eps && c.rope_theta == v[i].theta, "%s", path);
    EXPECT(c.tied == v[i].tied && c.attention_bias == v[i].biases && c.mlp_bias == v[i].biases);
    EXPECT(c.rope_scaling == v[i].scaling && c.n_rope_freqs == 0, "%s", path);
    EXPECT(c.bos_id == 1 && c.n_eos == 1 && c.eos_ids[0] == 2 && c.pad_id == -1, "%s", path);
    if (c.rope_scaling == ROPE_LINEAR) EXPECT(c.rope_factor == 2.5);
    if (c.rope_scaling == ROPE_LLAMA3) {
      EXPECT(c.rope_factor == 8 && c.rope_low_freq == 1 && c.rope_high_freq == 4);
      EXPECT(c.rope_original_positions == 64);
    }
  }
}

// From transformers, one file of cases: every bit, but where torch's vector pow, which is within
// one unit of the last place and not the same on every CPU, did not round to nearest.
static void test_inv_freq(void) {
  Error err = {0};
  Safetensors st = {0};
  EXPECT(safetensors_open(&st, "tests/golden/rope_freqs.safetensors", &err) == STATUS_OK, "%s",
         err.message);
  int others = 0;
  EXPECT(st.n_tensors == 70, "%lld", (long long)st.n_tensors);
  for (int64_t i = 0; i < st.n_tensors / 2; i++) {
    char name[64];
    int64_t n[7];
    float found[LLAMA_HEAD_DIM_MAX / 2], expected[LLAMA_HEAD_DIM_MAX / 2];
    snprintf(name, sizeof name, "case%lld.numbers", (long long)i);
    memcpy(n, st.data + safetensors_find(&st, name)->offset, sizeof n);
    snprintf(name, sizeof name, "case%lld.inv_freq", (long long)i);
    const SafeTensor *t = safetensors_find(&st, name);
    LlamaConfig c = {.rope_theta = (double)n[0],
                     .head_dim = n[1],
                     .rope_scaling = (RopeScaling)n[2],
                     .rope_factor = (double)n[3] / 1000,
                     .rope_low_freq = (double)n[4] / 1000,
                     .rope_high_freq = (double)n[5] / 1000,
                     .rope_original_positions = n[6]};
    EXPECT(t->bytes == n[1] / 2 * 4);
    memcpy(expected, st.data + t->offset, (size_t)t->bytes);
    llama_config_inv_freq(&c, found);
    for (int64_t k = 0; k < n[1] / 2; k++) {
      if (memcmp(&found[k], &expected[k], 4) == 0) continue;
      others++;
      EXPECT(n[2] == 0 && nextafterf(found[k], expected[k]) == expected[k],
             "case %lld [%lld]: %.9g, expected %.9g", (long long)i, (long long)k, (double)found[k],
             (double)expected[k]);
    }
    c.rope_scaling = ROPE_PLAIN; // GGUF's divisors
    llama_config_inv_freq(&c, expected);
    c.n_rope_freqs = n[1] / 2;
    for (int64_t k = 0; k < n[1] / 2; k++) c.rope_freqs[k] = (float)(k + 1) / 3;
    llama_config_inv_freq(&c, found);
    for (int64_t k = 0; k < n[1] / 2; k++) EXPECT(found[k] == expected[k] / c.rope_freqs[k]);
  }
  EXPECT(others <= 3, "%d of 1428", others);
  safetensors_close(&st);
}

static void test_spellings(void) {
  // Nothing but the kind: the class defaults.
  LlamaConfig c = load_text("{\"model_type\":\"llama\"}", NULL);
  EXPECT(c.hidden == 4096 && c.ffn == 11008 && c.layers == 32 && c.heads == 32 && c.kv_heads == 32);
  EXPECT(c.head_dim == 128 && c.vocab == 32000 && c.rms_eps == 1e-6 && c.rope_theta == 10000);
  EXPECT(c.max_positions == 2048 && !c.tied && !c.attention_bias && !c.mlp_bias);
  EXPECT(c.bos_id == 1 && c.n_eos == 1 && c.eos_ids[0] == 2 && c.pad_id == -1);
  // The first conversions' spelling, pad -1, a whole number as a real, nulls.
  c = load_text("{\"architectures\":[\"LLaMAForCausalLM\"],\"pad_token_id\":-1,\"bos_token_id\":0,"
                "\"eos_token_id\":1,\"hidden_size\":64.0,\"num_attention_heads\":4,"
                "\"num_key_value_heads\":null,\"head_dim\":null,\"rope_scaling\":null,"
                "\"hidden_act\":\"swish\",\"sliding_window\":null,\"partial_rotary_factor\":1.0,"
                "\"num_experts\":0,\"layer_types\":[\"full_attention\"]}",
                NULL);
  EXPECT(c.hidden == 64 && c.head_dim == 16 && c.kv_heads == 4 && c.bos_id == 0);
  EXPECT(c.eos_ids[0] == 1 && c.pad_id == -1);
  // Version 5's parameters go before version 4's; a list of ends; a window that is not in use.
  c = load_text("{\"model_type\":\"llama\",\"rope_theta\":7,\"rope_parameters\":{\"rope_theta\":"
                "500000.0,\"rope_type\":\"llama3\",\"factor\":32,\"low_freq_factor\":1,"
                "\"high_freq_factor\":4.5},\"eos_token_id\":[5,6,7],\"sliding_window\":4096,"
                "\"use_sliding_window\":false,\"rope_scaling\":{\"type\":\"yarn\"}}",
                NULL);
  EXPECT(c.rope_theta == 500000 && c.rope_scaling == ROPE_LLAMA3 && c.rope_factor == 32);
  EXPECT(c.rope_high_freq == 4.5 && c.rope_original_positions == 2048);
  EXPECT(c.n_eos == 3 && c.eos_ids[0] == 5 && c.eos_ids[2] == 7);
  c = load_text("{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"linear\",\"type\":"
                "\"dynamic\",\"factor\":4}}",
                NULL);
  EXPECT(c.rope_scaling == ROPE_LINEAR && c.rope_factor == 4);
  // generation_config.json has the last word on ids, where it says something.
  c = load_text("{\"model_type\":\"llama\",\"eos_token_id\":9,\"pad_token_id\":8}",
                "{\"eos_token_id\":[3,4],\"bos_token_id\":null}");
  EXPECT(c.bos_id == 1 && c.pad_id == 8 && c.n_eos == 2 && c.eos_ids[1] == 4);
  // null there is no such token, whatever LLaMA's own are.
  c = load_text("{\"model_type\":\"llama\",\"eos_token_id\":null,\"bos_token_id\":null}", NULL);
  EXPECT(c.bos_id == -1 && c.n_eos == 0);
  // Padding one behind the vocabulary is no padding.
  c = load_text("{\"model_type\":\"llama\",\"pad_token_id\":32000}", NULL);
  EXPECT(c.pad_id == -1);
}

#define L "{\"model_type\":\"llama\","

static void test_bad_json(void) {
  static const struct {
    const char *config, *message;
  } bads[] = {
      {"", "config.json:1:1: expected"},
      {"[]", "config.json: expected an object '{'"},
      {"\"llama\"", "config.json: expected an object '{'"},
      {"GGUF\3\0\0", "config.json:1:1: expected a value, found 'G'"},
      {"\x89PNG\r\n", "config.json:1:1: expected a value, found '\\x89'"},
      {"{\"model_type\":\"llama\"", "config.json:1:22: expected ',' or '}', found the end"},
      {"{\"model_type\":\"llama\",\"model_type\":\"llama\"}", "config.json"},
      {"{}", "'model_type' is missing"},
      {"{\"model_type\":7}", "'model_type': expected a string, found '7'"},
      {"{\"model_type\":\"mistral\"}",
       "'model_type' is '\"mistral\"': expected \"llama\"; other architectures are not supported"},
      {"{\"architectures\":[\"GPT2LMHeadModel\"]}", "expected LlamaForCausalLM; other architect"},
      {L "\"architectures\":\"LlamaForCausalLM\"}", "'architectures': expected a list, found"},
      {L "\"architectures\":[\"LlamaForSequenceClassification\"]}", "'architectures' is"},
      {L "\"hidden_act\":\"gelu\"}",
       "'hidden_act' is '\"gelu\"': expected \"silu\"; other activations are not supported"},
      {L "\"sliding_window\":4096}",
       "'sliding_window' is '4096': a sliding window is not supported"},
      {L "\"sliding_window\":4096,\"use_sliding_window\":true}", "a sliding window is not"},
      {L "\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
       "expected \"full_attention\"; other layers are not supported"},
      {L "\"partial_rotary_factor\":0.5}", "partial rotary is not supported"},
      {L "\"rope_parameters\":{\"partial_rotary_factor\":0.5}}",
       "'rope_parameters.partial_rotary_factor' is '0.5': partial rotary is not supported"},
      {L "\"num_local_experts\":8}", "'num_local_experts' is '8': a mixture of experts is not"},
      {L "\"quantization_config\":{\"quant_method\":\"gptq\"}}",
       "weights quantised this way are; take the original weights or a GGUF file; not supported"},
      {L "\"hidden_size\":\"64\"}",
       "'hidden_size': expected an integer from 1 to 1048576, found '\"64\"'"},
      {L "\"hidden_size\":0}", "'hidden_size': expected an integer from 1"},
      {L "\"hidden_size\":-64}", "'hidden_size': expected an integer from 1"},
      {L "\"hidden_size\":64.5}", "'hidden_size': expected an integer from 1"},
      {L "\"hidden_size\":1e30}", "'hidden_size': expected an integer from 1"},
      {L "\"hidden_size\":9223372036854775807}", "'hidden_size': expected an integer from 1"},
      {L "\"num_hidden_layers\":1000000000}", "'num_hidden_layers': expected an integer from 1"},
      {L "\"num_attention_heads\":true}", "'num_attention_heads': expected an integer"},
      {L "\"vocab_size\":[]}",
       "'vocab_size': expected an integer from 1 to 2147483647, found '[]'"},
      {L "\"tie_word_embeddings\":1}", "'tie_word_embeddings': expected true or false, found '1'"},
      {L "\"rms_norm_eps\":\"1e-5\"}", "'rms_norm_eps': expected a number"},
      {L "\"rms_norm_eps\":0}", "an RMS norm epsilon between 0 and 1, found 10000 and 0"},
      {L "\"rope_theta\":-1}", "expected a rope theta above 0"},
      {L "\"hidden_size\":100,\"num_attention_heads\":3}",
       "a hidden size of 100 is no multiple of 3 heads, and no head width is given"},
      {L "\"head_dim\":12}", "heads of width 12 are not supported: a multiple of 8, 512 at most"},
      {L "\"head_dim\":520}", "heads of width 520 are not supported"},
      {L "\"num_key_value_heads\":5}", "32 heads cannot share 5 key-value heads"},
      {L "\"rope_scaling\":\"linear\"}", "'rope_scaling': expected an object"},
      {L "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}",
       "'rope_scaling.type' is '\"dynamic\"': expected default, linear or llama3; other rope "
       "scalings are not supported"},
      {L "\"rope_parameters\":{\"rope_type\":\"yarn\"}}", "'rope_parameters.rope_type' is"},
      {L "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}",
       "a rope scaling per kind of layer is not supported"},
      {L "\"rope_scaling\":{\"type\":\"linear\"}}", "'rope_scaling.factor' is missing"},
      {L "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", "factor above 0, found 0"},
      {L "\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"2\"}}", "factor': expected a number"},
      {L "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8}}", "low_freq_factor' is missing"},
      {L "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
         "\"high_freq_factor\":4}}",
       "expected 0 < low_freq_factor < high_freq_factor, found 4 and 4"},
      {L "\"eos_token_id\":\"</s>\"}", "'eos_token_id': expected an id or a list of ids"},
      {L "\"eos_token_id\":[1,[2]]}", "'eos_token_id': expected an id or a list of ids"},
      {L "\"eos_token_id\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", "expected 16 ids at most"},
      {L "\"eos_token_id\":32000}", "the eos token id 32000 is not in the vocabulary of 32000"},
      {L "\"bos_token_id\":40000}", "the bos token id 40000 is not in the vocabulary of 32000"},
      {L "\"eos_token_id\":[-7]}", "the eos token id -7 is not in the vocabulary"},
  };
  Error err = {0};
  LlamaConfig c;
  tmp_folder("f");
  tmp_remove("f/generation_config.json");
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    tmp_put("f/config.json", bads[i].config, (int64_t)strlen(bads[i].config));
    EXPECT(llama_config_from_folder(&c, tmp_path("f"), &err) == STATUS_DATA, "%s", bads[i].config);
    EXPECT(strstr(err.message, bads[i].message) != NULL, "%s: found: %s", bads[i].config,
           err.message);
    EXPECT(strncmp(err.message, tmp_path("f/config.json"), strlen(tmp_path("f/config.json"))) == 0,
           "%s", err.message);
  }
  tmp_put("f/config.json", "{\"model_type\":\"llama\"}", 22);
  tmp_put("f/generation_config.json", "{\"eos_token_id\":\"x\"}", 20);
  EXPECT(llama_config_from_folder(&c, tmp_path("f"), &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "f/generation_config.json: 'eos_token_id'") != NULL, "%s",
         err.message);
  EXPECT(llama_config_from_folder(&c, tmp_path("nowhere"), &err) == STATUS_NO_INPUT);
  EXPECT(strstr(err.message, "nowhere/config.json: cannot be opened") != NULL, "%s", err.message);
}

// ---- GGUF ----

typedef struct Change {
  const char *key;     // "" for none
  const char *kind;    // "drop", "int", "float", "string"
  double value;        // of int and float
  const char *text;    // of string
  const char *message; // NULL: it must load
} Change;

static const Change none = {"", "drop", 0, NULL, NULL};

static void put_one(Bytes *b, const char *key, const Change *as) {
  if (strcmp(as->kind, "int") == 0) {
    gguf_put_key_u32(b, key, (uint32_t)as->value);
  } else if (strcmp(as->kind, "float") == 0) {
    gguf_put_key_f32(b, key, (float)as->value);
  } else {
    gguf_put_key_string(b, key, as->text);
  }
}

// A small model's metadata and tensors, with one key changed, added or dropped.
static Bytes make_gguf(const Change *change, const GgufPlan *plans, int n) {
  static const Change keys[] = {
      {"general.architecture", "string", 0, "llama", NULL},
      {"llama.embedding_length", "int", 64, NULL, NULL},
      {"llama.feed_forward_length", "int", 96, NULL, NULL},
      {"llama.block_count", "int", 2, NULL, NULL},
      {"llama.attention.head_count", "int", 4, NULL, NULL},
      {"llama.attention.head_count_kv", "int", 2, NULL, NULL},
      {"llama.attention.layer_norm_rms_epsilon", "float", 0x1p-17, NULL, NULL},
      {"llama.rope.dimension_count", "int", 16, NULL, NULL},
      {"llama.context_length", "int", 512, NULL, NULL},
      {"llama.vocab_size", "int", 100, NULL, NULL},
      {"tokenizer.ggml.bos_token_id", "int", 1, NULL, NULL},
      {"tokenizer.ggml.eos_token_id", "int", 2, NULL, NULL},
  };
  enum { KEYS = sizeof keys / sizeof *keys };
  Bytes b = {0};
  bool known = false;
  for (int i = 0; i < KEYS; i++) known = known || strcmp(keys[i].key, change->key) == 0;
  bool drop = strcmp(change->kind, "drop") == 0;
  int count = KEYS + (!known && !drop) - (known && drop);
  gguf_put_header(&b, 3, (uint64_t)n, (uint64_t)count);
  for (int i = 0; i < KEYS; i++) {
    bool changed = strcmp(keys[i].key, change->key) == 0;
    if (changed && drop) continue;
    put_one(&b, keys[i].key, changed ? change : &keys[i]);
  }
  if (!known && !drop) put_one(&b, change->key, change);
  gguf_put_tensors(&b, plans, n, 1);
  return b;
}

static const GgufPlan gguf_plans[] = {{"token_embd.weight", 2, {64, 100}, 0},
                                      {"output_norm.weight", 1, {64}, 0},
                                      {"output.weight", 2, {64, 100}, 0},
                                      {"blk.0.attn_q.bias", 1, {64}, 0},
                                      {"blk.0.ffn_gate.bias", 1, {96}, 0}};

static void test_gguf(void) {
  Error err = {0};
  Gguf *gguf;
  LlamaConfig c;
  Bytes b = make_gguf(&none, gguf_plans, 2);
  EXPECT(gguf_open_memory(&gguf, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_config_from_gguf(&c, gguf, &err) == STATUS_OK, "%s", err.message);
  EXPECT(c.hidden == 64 && c.ffn == 96 && c.layers == 2 && c.heads == 4 && c.kv_heads == 2);
  EXPECT(c.head_dim == 16 && c.vocab == 100 && c.rms_eps == 0x1p-17 && c.rope_theta == 10000);
  EXPECT(c.max_positions == 512 && c.tied && !c.attention_bias && !c.mlp_bias);
  EXPECT(c.bos_id == 1 && c.n_eos == 1 && c.eos_ids[0] == 2 && c.pad_id == -1);
  EXPECT(c.rope_scaling == ROPE_PLAIN && c.n_rope_freqs == 0);
  gguf_close(gguf);
  bytes_free(&b);
  b = make_gguf(&none, gguf_plans, 5);
  EXPECT(gguf_open_memory(&gguf, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_config_from_gguf(&c, gguf, &err) == STATUS_OK, "%s", err.message);
  EXPECT(!c.tied && c.attention_bias && c.mlp_bias);
  gguf_close(gguf);
  bytes_free(&b);
}

static void test_gguf_changes(void) {
  static const Change changes[] = {
      {"general.architecture", "string", 0, "qwen2",
       "'general.architecture': expected 'llama', the one that is supported, found 'qwen2'"},
      {"general.architecture", "drop", 0, NULL, "no 'general.architecture'"},
      {"llama.embedding_length", "drop", 0, NULL, "no 'llama.embedding_length'"},
      {"llama.embedding_length", "float", 64, NULL, "expected an integer, found f32"},
      {"llama.embedding_length", "int", 0, NULL, "expected 1 to 1048576, found 0"},
      {"llama.embedding_length", "int", 66, NULL, "is no multiple of 4 heads"},
      {"llama.embedding_length", "int", 48, NULL, "heads of width 12 are not supported"},
      {"llama.block_count", "int", 4e9, NULL, "expected 1 to 16384, found 4000000000"},
      {"llama.feed_forward_length", "drop", 0, NULL, "no 'llama.feed_forward_length'"},
      {"llama.attention.head_count", "drop", 0, NULL, "no 'llama.attention.head_count'"},
      {"llama.attention.head_count_kv", "int", 3, NULL, "4 heads cannot share 3"},
      {"llama.attention.head_count_kv", "drop", 0, NULL, NULL},
      {"llama.attention.layer_norm_rms_epsilon", "drop", 0, NULL, "no 'llama.attention.layer_norm"},
      {"llama.attention.layer_norm_rms_epsilon", "float", 2, NULL, "between 0 and 1"},
      {"llama.attention.key_length", "int", 24, NULL, "partial rotary is not supported"},
      {"llama.attention.value_length", "int", 24, NULL, "values of another width than keys are"},
      {"llama.rope.dimension_count", "int", 8, NULL, "partial rotary is not supported"},
      {"llama.rope.dimension_count", "drop", 0, NULL, NULL},
      {"llama.context_length", "drop", 0, NULL, NULL},
      {"llama.vocab_size", "drop", 0, NULL, NULL},
      {"llama.expert_count", "int", 8, NULL, "a mixture of experts is not supported"},
      {"llama.attention.sliding_window", "int", 8, NULL, "a sliding window is not supported"},
      {"llama.attention.scale", "float", 0.5, NULL, "a scale of its own is not supported"},
      {"llama.rope.scaling.type", "string", 0, "yarn", "found 'yarn'"},
      {"llama.rope.scaling.type", "string", 0, "none", NULL},
      {"llama.rope.scaling.factor", "float", 2, NULL, NULL},
      {"llama.rope.scaling.factor", "float", -2, NULL, "factor above 0, found -2"},
      {"llama.rope.scale_linear", "float", 4, NULL, NULL},
      {"llama.rope.freq_base", "float", -1, NULL, "expected a rope theta above 0"},
      {"tokenizer.ggml.eos_token_id", "int", 100, NULL, "the eos token id 100 is not in the voc"},
      {"tokenizer.ggml.bos_token_id", "int", 100, NULL, "the bos token id 100 is not in the voc"},
      {"tokenizer.ggml.bos_token_id", "int", 4294967295.0, NULL, NULL},
      {"tokenizer.ggml.eot_token_id", "int", 7, NULL, NULL},
      {"tokenizer.ggml.eot_token_id", "int", 2, NULL, NULL},
      {"tokenizer.ggml.padding_token_id", "int", 4294967295.0, NULL, NULL},
  };
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    const Change *change = &changes[i];
    Error err = {0};
    Gguf *gguf;
    LlamaConfig c;
    Bytes b = make_gguf(change, gguf_plans, 2);
    EXPECT(gguf_open_memory(&gguf, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
    Status status = llama_config_from_gguf(&c, gguf, &err);
    if (change->message != NULL) {
      EXPECT(status == STATUS_DATA, "%s: %s", change->key, change->message);
      EXPECT(strstr(err.message, change->message) != NULL, "%s: found: %s", change->key,
             err.message);
      EXPECT(strncmp(err.message, "t.gguf: ", 8) == 0, "%s", err.message);
    } else {
      EXPECT(status == STATUS_OK, "%s", err.message);
      bool factor = strstr(change->key, "scal") != NULL && change->value > 0;
      EXPECT(c.rope_scaling == (factor ? ROPE_LINEAR : ROPE_PLAIN), "%s", change->key);
      if (factor) EXPECT(c.rope_factor == change->value);
      if (strstr(change->key, "kv") != NULL) EXPECT(c.kv_heads == 4);
      if (strstr(change->key, "eot") != NULL) EXPECT(c.n_eos == (change->value == 7 ? 2 : 1));
      if (change->value > 1e9) EXPECT((strstr(change->key, "bos") ? c.bos_id : c.pad_id) == -1);
    }
    gguf_close(gguf);
    bytes_free(&b);
  }
}

static void test_rope_freqs(void) {
  static const struct {
    const char *message;
    GgufPlan plan;
    float value;
  } cases[] = {
      {NULL, {"rope_freqs.weight", 1, {8}, 0}, 2},
      {"expected 8 of F32, found 9 of F32", {"rope_freqs.weight", 1, {9}, 0}, 2},
      {"expected 8 of F32", {"rope_freqs.weight", 1, {8}, 1}, 2},
      {"expected 8 of F32", {"rope_freqs.weight", 2, {8, 1}, 0}, 2},
      {"expected a number above 0, found 0", {"rope_freqs.weight", 1, {8}, 0}, 0},
      {"expected a number above 0, found -1", {"rope_freqs.weight", 1, {8}, 0}, -1},
      {"expected a number above 0, found inf", {"rope_freqs.weight", 1, {8}, 0}, 1.0f / 0.0f},
  };
  const Change both = {"llama.rope.scaling.factor", "float", 2, NULL, NULL};
  Error err = {0};
  Gguf *gguf;
  LlamaConfig c;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const GgufPlan plans[] = {gguf_plans[0], cases[i].plan};
    Bytes b = make_gguf(&none, plans, 2);
    EXPECT(gguf_open_memory(&gguf, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
    for (int64_t k = 0; k < gguf_tensor_at(gguf, 1)->bytes / 4; k++) {
      memcpy(b.data + gguf_tensor_at(gguf, 1)->offset + 4 * k, &cases[i].value, 4);
    }
    Status status = llama_config_from_gguf(&c, gguf, &err);
    if (cases[i].message == NULL) {
      EXPECT(status == STATUS_OK && c.n_rope_freqs == 8 && c.rope_freqs[7] == 2, "%s", err.message);
    } else {
      EXPECT(status == STATUS_DATA && strstr(err.message, cases[i].message) != NULL, "%zu: %s", i,
             err.message);
    }
    gguf_close(gguf);
    bytes_free(&b);
  }
  const GgufPlan plans[] = {gguf_plans[0], cases[0].plan};
  Bytes b = make_gguf(&both, plans, 2);
  EXPECT(gguf_open_memory(&gguf, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  EXPECT(llama_config_from_gguf(&c, gguf, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "with rope_freqs.weight beside it") != NULL, "%s", err.message);
  gguf_close(gguf);
  bytes_free(&b);
}

// Prefixes and flipped bits: an error or a config that keeps the rules, never a crash.
static void test_broken(void) {
  Error err = {0};
  LlamaConfig c;
  TensorStore *store;
  char text[2048];
  float inv_freq[LLAMA_HEAD_DIM_MAX / 2];
  tmp_folder("f");
  tmp_remove("f/generation_config.json");
  FILE *file = fopen("tests/golden/tiny_llama/llama3/config.json", "rb");
  int64_t size = file == NULL ? 0 : (int64_t)fread(text, 1, sizeof text, file);
  if (file != NULL) fclose(file);
  EXPECT(size > 500, "%lld", (long long)size);
  for (int64_t n = 0; n < size - 2; n++) { // the last two: "}\n"
    tmp_put("f/config.json", text, n);
    EXPECT(llama_config_from_folder(&c, tmp_path("f"), &err) == STATUS_DATA, "%lld", (long long)n);
  }
  uint64_t state = 3;
  int loaded = 0;
  for (int round = 0; round < 3000; round++) {
    int64_t at = bytes_draw(&state) % size;
    char bit = (char)(1 << bytes_draw(&state) % 8);
    text[at] ^= bit;
    tmp_put("f/config.json", text, size);
    if (llama_config_from_folder(&c, tmp_path("f"), &err) == STATUS_OK) {
      loaded++;
      EXPECT(c.head_dim % 8 == 0 && c.heads % c.kv_heads == 0 && c.n_eos <= LLAMA_EOS_MAX);
      llama_config_inv_freq(&c, inv_freq);
    }
    text[at] ^= bit;
  }
  EXPECT(loaded > 300 && loaded < 2700, "%d", loaded);
  Bytes b = make_gguf(&none, gguf_plans, 1);
  loaded = 0;
  for (int round = 0; round < 1000; round++) {
    int64_t at = bytes_draw(&state) % 700; // the header
    uint8_t bit = (uint8_t)(1u << bytes_draw(&state) % 8);
    b.data[at] ^= bit;
    tmp_put("m.gguf", b.data, b.size);
    if (store_open(&store, tmp_path("m.gguf"), &err) == STATUS_OK) {
      if (llama_config_load(&c, store, &err) == STATUS_OK) {
        loaded++;
        llama_config_inv_freq(&c, inv_freq);
      }
      store_close(store);
    }
    b.data[at] ^= bit;
  }
  EXPECT(loaded > 100 && loaded < 900, "%d", loaded);
  bytes_free(&b);
}

int main(void) {
  RUN(test_golden);
  RUN(test_inv_freq);
  RUN(test_spellings);
  RUN(test_bad_json);
  RUN(test_gguf);
  RUN(test_gguf_changes);
  RUN(test_rope_freqs);
  RUN(test_broken);
  return test_done();
}
