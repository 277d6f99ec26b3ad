// Adapters and PEFT's folders: which layers a target means, names, loading, collecting, errors.
#include "lora.h"
#include "parity.h"
#include "rig.h"
#include "test.h"

#include <math.h>

enum { LAYERS = 2, IN = 8, Q = 16, KV = 8, FFN = 12, R = 2, PAIRS = 6 };

typedef struct Model {
  Rig rig;
  ParamTable params;
  Linear qkv[LAYERS], up[LAYERS];
} Model;

static const char *const targets[] = {"q_proj", "v_proj", "up_proj"};
static const LoraSpec spec = {
    .r = R, .alpha = 5, .dropout = 0.05f, .n_targets = 3, .targets = targets};

static void model_open(Model *m) {
  *m = (Model){0};
  rig_open(&m->rig, parity_reference(), DT_F32, 1);
  param_table_init(&m->params, 40);
  for (int i = 0; i < LAYERS; i++) {
    static const struct {
      const char *name;
      int64_t rows;
    } parts[] = {{"q_proj", Q}, {"k_proj", KV}, {"v_proj", KV}};
    for (int p = 0; p < 3; p++) {
      linear_add_part(&m->qkv[i],
                      param_declare(&m->params, DT_F32, i, 1, true, 2,
                                    (int64_t[]){parts[p].rows, IN},
                                    "model.layers.%d.self_attn.%s.weight", i, parts[p].name),
                      NULL);
    }
    linear_add_part(&m->up[i],
                    param_declare(&m->params, DT_F32, i, 0, true, 2, (int64_t[]){FFN, IN},
                                  "model.layers.%d.mlp.up_proj.weight", i),
                    NULL);
  }
}

static Status attach(Model *m, const LoraSpec *s, int index, Error *err) {
  Linear *linears[] = {&m->qkv[0], &m->up[0], &m->qkv[1], &m->up[1]};
  return lora_attach(&m->params, linears, (int[]){0, 0, 1, 1}, 4, s, index, true, err);
}

static void place(Model *m) {
  param_make_buckets(&m->params);
  param_place(&m->params, &m->rig.memory.weights, &m->rig.memory.state);
}

static void model_close(Model *m) {
  param_table_free(&m->params);
  rig_close(&m->rig);
}

static void targets_mean_what_peft_means(void) {
  static const struct {
    const char *targets[2];
    int n;
    const char *adapted[8]; // modules
  } cases[] = {
      {{"q_proj", "v_proj"},
       2,
       {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
        "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}},
      {{"layers.1.mlp.up_proj"}, 1, {"model.layers.1.mlp.up_proj"}},
      {{"model.layers.0.self_attn.k_proj"}, 1, {"model.layers.0.self_attn.k_proj"}},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    Model m;
    model_open(&m);
    LoraSpec s = spec;
    s.targets = cases[c].targets;
    s.n_targets = cases[c].n;
    int64_t declared = m.params.n, n = 0;
    EXPECT(attach(&m, &s, 0, NULL) == STATUS_OK);
    for (; n < 8 && cases[c].adapted[n] != NULL; n++) {
      char name[200];
      snprintf(name, sizeof name, "%s.lora_A.weight", cases[c].adapted[n]);
      const Param *a = param_find(&m.params, name);
      EXPECT(a != NULL && a->adapter && a->trainable && a->shape[0] == R, "%s", name);
      snprintf(name, sizeof name, "%s.lora_B.weight", cases[c].adapted[n]);
      const Param *b = param_find(&m.params, name);
      EXPECT(b != NULL && b->shape[1] == R && b->dtype == DT_F32, "%s", name);
    }
    EXPECT(m.params.n == declared + 2 * n, "case %d: %lld weights more", (int)c,
           (long long)(m.params.n - declared));
    model_close(&m);
  }
}

static void unknown_target_is_named(void) {
  Model m;
  model_open(&m);
  const char *wrong[] = {"q_proj", "proj"}; // no whole name between dots
  LoraSpec s = spec;
  s.targets = wrong;
  Error err = {0};
  int64_t declared = m.params.n;
  EXPECT(attach(&m, &s, 0, &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "'proj'") != NULL, "%s", err.message);
  EXPECT(strstr(err.message, "q_proj, k_proj, v_proj, up_proj") != NULL, "%s", err.message);
  EXPECT(m.params.n == declared, "adapters are left behind");
  model_close(&m);
}

static void scales_and_masks(void) {
  Model m;
  model_open(&m);
  EXPECT(attach(&m, &spec, 0, NULL) == STATUS_OK);
  EXPECT(m.qkv[0].parts[0].adapters[0].scale == 2.5f); // alpha / r
  EXPECT(m.qkv[0].parts[0].adapters[0].dropout == 0.05f);
  EXPECT(m.qkv[0].parts[1].adapters[0].a == NULL, "k is no target");
  EXPECT(m.qkv[0].parts[0].adapters[0].tensor_id != m.qkv[1].parts[0].adapters[0].tensor_id);
  EXPECT(m.qkv[0].parts[0].adapters[0].tensor_id != m.qkv[0].parts[2].adapters[0].tensor_id);
  LoraSpec stabilised = spec;
  stabilised.rank_stabilised = true;
  stabilised.r = 4;
  EXPECT(attach(&m, &stabilised, 1, NULL) == STATUS_OK);
  EXPECT(m.qkv[0].parts[0].adapters[1].scale == 2.5f); // 5 / sqrt(4)
  EXPECT(param_find(&m.params, "model.layers.0.self_attn.q_proj.lora_A.1.weight") != NULL);
  model_close(&m);
}

// "all-linear" is every layer; ranks and alphas by the first pattern that matches.
static void ranks_and_scales_by_module(void) {
  Model m;
  model_open(&m);
  const char *const all[] = {"all-linear"};
  PeftPatterns ranks = {0}, alphas = {0};
  peft_patterns_add_glob(&ranks, "layers.1.*", 4, NULL);
  peft_patterns_add_glob(&ranks, "up_proj", 3, NULL);
  peft_patterns_add_glob(&alphas, "?_proj", 8, NULL);
  LoraSpec s = {
      .r = R, .alpha = 5, .ranks = &ranks, .alphas = &alphas, .n_targets = 1, .targets = all};
  EXPECT(attach(&m, &s, 0, NULL) == STATUS_OK);
  s.rank_stabilised = true;
  EXPECT(attach(&m, &s, 1, NULL) == STATUS_OK);
  for (int i = 0; i < LAYERS; i++) {
    const Adapter *up = m.up[i].parts[0].adapters;
    int64_t r = i == 1 ? 4 : R, up_r = i == 1 ? 4 : 3;
    for (int p = 0; p < 3; p++) {
      const Adapter *a = m.qkv[i].parts[p].adapters;
      EXPECT(a[0].a != NULL && a[0].a->shape[0] == r && a[0].b->shape[1] == r, "%d %d", i, p);
      EXPECT(a[0].scale == 8.0f / (float)r, "%d %d: %g", i, p, (double)a[0].scale);
      EXPECT(a[1].scale == (float)(8 / sqrt((double)r)), "%d %d: %g", i, p, (double)a[1].scale);
    }
    EXPECT(up[0].a != NULL && up[0].a->shape[0] == up_r && up[0].b->shape[1] == up_r, "%d", i);
    EXPECT(up[0].scale == (float)(5.0 / (double)up_r), "%d: %g", i, (double)up[0].scale);
  }
  peft_patterns_free(&ranks);
  peft_patterns_free(&alphas);
  model_close(&m);
}

static void initial_values(void) {
  Model m;
  model_open(&m);
  EXPECT(attach(&m, &spec, 0, NULL) == STATUS_OK);
  place(&m);
  lora_init_weights(&m.params, m.rig.ctx.be, 0, 3);
  float a[2][R * IN], b[Q * R], again[R * IN];
  param_read(m.rig.ctx.be, a[0], m.qkv[0].parts[0].adapters[0].a->value.t);
  param_read(m.rig.ctx.be, a[1], m.qkv[1].parts[0].adapters[0].a->value.t);
  param_read(m.rig.ctx.be, b, m.qkv[0].parts[0].adapters[0].b->value.t);
  const float bound = 0.353554f; // 1 / sqrt(8), rounded up
  float lowest = 1, highest = -1;
  for (int i = 0; i < R * IN; i++) {
    if (a[0][i] < lowest) lowest = a[0][i];
    if (a[0][i] > highest) highest = a[0][i];
  }
  EXPECT(lowest >= -bound && highest <= bound && lowest < -0.5f * bound && highest > 0.5f * bound,
         "A lies in [%g, %g]", (double)lowest, (double)highest);
  EXPECT(memcmp(a[0], a[1], sizeof a[0]) != 0, "two layers start alike");
  for (int i = 0; i < Q * R; i++) EXPECT(b[i] == 0);
  lora_init_weights(&m.params, m.rig.ctx.be, 0, 3);
  param_read(m.rig.ctx.be, again, m.qkv[0].parts[0].adapters[0].a->value.t);
  EXPECT(memcmp(a[0], again, sizeof again) == 0, "the same seed gives other values");
  lora_init_weights(&m.params, m.rig.ctx.be, 0, 4);
  param_read(m.rig.ctx.be, again, m.qkv[0].parts[0].adapters[0].a->value.t);
  EXPECT(memcmp(a[0], again, sizeof again) != 0, "another seed gives the same values");
  model_close(&m);
}

static void initial_values_of_one_adapter(void) {
  Model m;
  model_open(&m);
  EXPECT(attach(&m, &spec, 0, NULL) == STATUS_OK && attach(&m, &spec, 1, NULL) == STATUS_OK);
  place(&m);
  Adapter *both = m.qkv[0].parts[0].adapters;
  float first[R * IN], second[R * IN], b[Q * R], now[Q * R];
  for (int i = 0; i < Q * R; i++) b[i] = (float)i;
  lora_init_weights(&m.params, m.rig.ctx.be, 0, 3);
  param_write(m.rig.ctx.be, both[0].b->value.t, b);
  param_read(m.rig.ctx.be, first, both[0].a->value.t);
  lora_init_weights(&m.params, m.rig.ctx.be, 1, 4);
  param_read(m.rig.ctx.be, second, both[0].a->value.t);
  param_read(m.rig.ctx.be, now, both[0].b->value.t);
  EXPECT(memcmp(first, second, sizeof first) == 0 && memcmp(b, now, sizeof b) == 0,
         "another adapter's values begin anew");
  param_read(m.rig.ctx.be, second, both[1].a->value.t);
  EXPECT(memcmp(first, second, sizeof first) != 0 && second[0] != 0);
  model_close(&m);
}

static void plus_gives_b_its_rate(void) {
  for (int plus = 0; plus < 2; plus++) {
    Model m;
    model_open(&m);
    LoraSpec s = spec;
    s.plus = plus;
    EXPECT(attach(&m, &s, 0, NULL) == STATUS_OK);
    const Adapter *adapter = &m.qkv[0].parts[0].adapters[0];
    EXPECT(adapter->a->rate == RATE_BASE && adapter->b->rate == (plus ? RATE_PLUS : RATE_BASE));
    place(&m);
    EXPECT(m.params.buckets[0].n_ranges == 1 + plus, "%d ranges", m.params.buckets[0].n_ranges);
    model_close(&m);
  }
}

// The adapter that spec describes, with values that tell tensors apart.
static PeftAdapter adapter_make(void) {
  static const struct {
    const char *name;
    int64_t out;
  } modules[PAIRS] = {
      // sorted; the layers attach up last
      {"model.layers.0.mlp.up_proj", FFN},     {"model.layers.0.self_attn.q_proj", Q},
      {"model.layers.0.self_attn.v_proj", KV}, {"model.layers.1.mlp.up_proj", FFN},
      {"model.layers.1.self_attn.q_proj", Q},  {"model.layers.1.self_attn.v_proj", KV}};
  PeftAdapter adapter = {.r = R, .alpha = 5, .dropout = 0.05, .n_targets = 3, .n_pairs = PAIRS};
  adapter.targets = calloc(3, sizeof *adapter.targets);
  for (int i = 0; i < 3; i++) adapter.targets[i] = strdup(targets[i]);
  adapter.pairs = calloc(PAIRS, sizeof *adapter.pairs);
  for (int i = 0; i < PAIRS; i++) {
    PeftPair *p = &adapter.pairs[i];
    p->module = strdup(modules[i].name);
    p->in = IN;
    p->out = modules[i].out;
    p->r = R;
    p->a = calloc((size_t)(R * p->in), sizeof(float));
    p->b = calloc((size_t)(R * p->out), sizeof(float));
    for (int k = 0; k < R * p->in; k++) p->a[k] = (float)(1000 * i + k);
    for (int k = 0; k < R * p->out; k++) p->b[k] = (float)(1000 * i + 500 + k);
  }
  return adapter;
}

static void same_adapter(const PeftAdapter *a, const PeftAdapter *b) {
  EXPECT(a->r == b->r && a->alpha == b->alpha && a->dropout == b->dropout, "%g %g", b->alpha,
         b->dropout);
  EXPECT(a->rank_stabilised == b->rank_stabilised && a->n_targets == b->n_targets);
  for (int64_t i = 0; i < a->n_targets; i++) EXPECT(strcmp(a->targets[i], b->targets[i]) == 0);
  EXPECT(a->n_pairs == b->n_pairs, "%lld pairs", (long long)b->n_pairs);
  for (int64_t i = 0; i < a->n_pairs && i < b->n_pairs; i++) {
    const PeftPair *p = &a->pairs[i], *q = &b->pairs[i];
    EXPECT(strcmp(p->module, q->module) == 0 && p->in == q->in && p->out == q->out, "%s",
           q->module);
    EXPECT(memcmp(p->a, q->a, (size_t)(R * p->in) * sizeof(float)) == 0, "A of %s", q->module);
    EXPECT(memcmp(p->b, q->b, (size_t)(R * p->out) * sizeof(float)) == 0, "B of %s", q->module);
  }
}

static void load_and_collect(void) {
  Model m;
  model_open(&m);
  PeftAdapter adapter = adapter_make(), other = adapter_make(), back;
  LoraSpec s = lora_spec_of(&adapter);
  EXPECT(s.r == R && s.alpha == 5 && s.dropout == 0.05f && s.n_targets == 3);
  EXPECT(attach(&m, &s, 0, NULL) == STATUS_OK);
  EXPECT(attach(&m, &s, 1, NULL) == STATUS_OK);
  place(&m);
  for (int i = 0; i < PAIRS; i++) other.pairs[i].a[0] = -1;
  Error err = {0};
  EXPECT(lora_load(&m.params, m.rig.ctx.be, &adapter, 0, &err) == STATUS_OK, "%s", err.message);
  EXPECT(lora_load(&m.params, m.rig.ctx.be, &other, 1, &err) == STATUS_OK, "%s", err.message);
  EXPECT(lora_collect(&back, &m.params, m.rig.ctx.be, 0, &s, &err) == STATUS_OK);
  same_adapter(&adapter, &back);
  peft_adapter_free(&back);
  EXPECT(lora_collect(&back, &m.params, m.rig.ctx.be, 1, &s, &err) == STATUS_OK);
  same_adapter(&other, &back);
  peft_adapter_free(&back);
  peft_adapter_free(&adapter);
  peft_adapter_free(&other);
  model_close(&m);
}

// What is written means the same when PEFT sorts the keys: here "up_proj", which counts first,
// would come last.
static void patterns_do_not_hang_on_their_order(void) {
  Model m;
  model_open(&m);
  const char *const all[] = {"all-linear"};
  PeftPatterns ranks = {0}, alphas = {0};
  peft_patterns_add_glob(&ranks, "up_proj", 3, NULL);
  peft_patterns_add_glob(&ranks, "layers.1.*", 4, NULL);
  peft_patterns_add_glob(&alphas, "q_proj", 9, NULL);
  peft_patterns_add_glob(&alphas, "k_proj", 7, NULL);
  LoraSpec s = {
      .r = R, .alpha = 5, .ranks = &ranks, .alphas = &alphas, .n_targets = 1, .targets = all};
  EXPECT(attach(&m, &s, 0, NULL) == STATUS_OK);
  place(&m);
  PeftAdapter a;
  Error err = {0};
  EXPECT(lora_collect(&a, &m.params, m.rig.ctx.be, 0, &s, &err) == STATUS_OK, "%s", err.message);
  static const struct {
    const char *key;
    double value;
  } expected[] = {{"model\\.layers\\.0\\.mlp\\.up_proj", 3},
                  {"model\\.layers\\.1\\.mlp\\.up_proj", 3},
                  {"model\\.layers\\.1\\.self_attn\\.k_proj", 4},
                  {"model\\.layers\\.1\\.self_attn\\.q_proj", 4},
                  {"model\\.layers\\.1\\.self_attn\\.v_proj", 4}};
  EXPECT(a.ranks.n == 5, "%lld", (long long)a.ranks.n);
  for (int64_t i = 0; i < a.ranks.n && i < 5; i++) {
    const PeftPattern *p = &a.ranks.items[i];
    EXPECT(strcmp(p->key, expected[i].key) == 0 && p->value == expected[i].value, "%s=%g", p->key,
           p->value);
  }
  EXPECT(a.alphas.n == 2 && strcmp(a.alphas.items[0].key, "k_proj") == 0); // sorted, as they are
  EXPECT(a.n_targets == 4 && strcmp(a.targets[0], "q_proj") == 0, "%lld", (long long)a.n_targets);
  LoraSpec again = lora_spec_of(&a);
  for (int64_t i = 0; i < a.n_pairs; i++) {
    const char *module = a.pairs[i].module;
    EXPECT(a.pairs[i].r == lora_rank(&s, module) && a.pairs[i].r == lora_rank(&again, module));
    EXPECT(lora_scale(&again, module) == lora_scale(&s, module), "%s", module);
  }
  EXPECT(lora_load(&m.params, m.rig.ctx.be, &a, 0, &err) == STATUS_OK, "%s", err.message);
  peft_adapter_free(&a);
  peft_patterns_free(&ranks);
  peft_patterns_free(&alphas);
  model_close(&m);
}

static void refuse(const char *what, void (*change)(PeftAdapter *), const char *tensor,
                   const char *why) {
  Model m;
  model_open(&m);
  PeftAdapter adapter = adapter_make();
  EXPECT(attach(&m, &spec, 0, NULL) == STATUS_OK);
  place(&m);
  change(&adapter);
  Error err = {0};
  EXPECT(lora_load(&m.params, m.rig.ctx.be, &adapter, 0, &err) == STATUS_DATA, "%s", what);
  EXPECT(strstr(err.message, tensor) != NULL, "%s: %s", what, err.message);
  EXPECT(strstr(err.message, why) != NULL, "%s: %s", what, err.message);
  for (int64_t i = 0; i < m.params.n; i++) { // memory of a fresh backend is zero
    const Param *p = &m.params.items[i];
    if (!p->adapter) continue;
    float *values = malloc((size_t)tensor_count(p->value.t) * sizeof *values);
    param_read(m.rig.ctx.be, values, p->value.t);
    for (int64_t k = 0; k < tensor_count(p->value.t); k++) {
      EXPECT(values[k] == 0, "%s: %s was written", what, p->name);
    }
    free(values);
  }
  peft_adapter_free(&adapter);
  model_close(&m);
}

static void rename_module(PeftAdapter *a, const char *module) {
  free(a->pairs[5].module);
  a->pairs[5].module = strdup(module);
}

static void to_missing_layer(PeftAdapter *a) {
  rename_module(a, "model.layers.2.self_attn.v_proj");
}

static void to_other_layer(PeftAdapter *a) {
  rename_module(a, "model.layers.1.self_attn.k_proj");
}

static void other_rank(PeftAdapter *a) {
  a->pairs[0].r = 1;
}

static void other_width(PeftAdapter *a) {
  a->pairs[4].out = KV;
}

static void one_less(PeftAdapter *a) {
  PeftPair *last = &a->pairs[--a->n_pairs];
  free(last->module);
  free(last->a);
  free(last->b);
}

static void what_does_not_fit_is_named(void) {
  refuse("a layer too many", to_missing_layer, "model.layers.2.self_attn.v_proj.lora_A.weight",
         "does not exist in the model");
  refuse("a layer that is no target", to_other_layer,
         "model.layers.1.self_attn.k_proj.lora_A.weight", "is no target");
  refuse("another rank", other_rank, "model.layers.0.mlp.up_proj.lora_A.weight",
         "is [1, 8], the model needs [2, 8]");
  refuse("another width", other_width, "model.layers.1.self_attn.q_proj.lora_B.weight",
         "is [8, 2], the model needs [16, 2]");
  refuse("a pair missing", one_less, "model.layers.1.self_attn.v_proj.lora_A.weight", "is missing");
}

int main(void) {
  RUN(targets_mean_what_peft_means);
  RUN(unknown_target_is_named);
  RUN(scales_and_masks);
  RUN(ranks_and_scales_by_module);
  RUN(initial_values);
  RUN(initial_values_of_one_adapter);
  RUN(plus_gives_b_its_rate);
  RUN(load_and_collect);
  RUN(patterns_do_not_hang_on_their_order);
  RUN(what_does_not_fit_is_named);
  return test_done();
}
