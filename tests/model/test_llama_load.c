// Weights that do not fit the model that their config describes: missing, extra, mis-shaped or of a
// dtype that is not read. The message names the tensor; names and shapes are checked before a
// weight is written.
#include "llama.h"
#include "safetensors.h"
#include "test.h"
#include "tiny.h"
#include "tmp_file.h"

#define UP "model.layers.1.mlp.up_proj.weight"
#define NORM "model.layers.0.input_layernorm.weight"

typedef struct Change {
  const char *name;  // the tensor that is changed
  bool drop;         // it is left out
  const char *added; // a tensor of this name is added, with the values of `name`
  int ndim;          // 0: the shape stays
  int64_t shape[2];  // else this one, of as many elements or fewer
  DType dtype;       // DT_F32, or what the same bytes are called
} Change;

static void change_item(SafetensorsItem *item, const Change *change) {
  for (int i = 0; i < change->ndim; i++) item->shape[i] = change->shape[i];
  if (change->ndim > 0) item->ndim = change->ndim;
  item->dtype = change->dtype;
}

// Writes tests/golden/tiny_llama/`variant` with the change into TMP/model.
static void write_changed(const char *variant, const Change *change) {
  char path[200], text[4096];
  Error err;
  Safetensors from;
  snprintf(path, sizeof path, "tiny_llama/%s/model.safetensors", variant);
  golden_open(&from, path);
  SafetensorsItem items[64];
  int64_t n = 0;
  for (int64_t i = 0; i < from.n_tensors; i++) {
    const SafeTensor *t = &from.tensors[i];
    SafetensorsItem item = {
        .name = t->name, .dtype = t->dtype, .ndim = t->ndim, .data = from.data + t->offset};
    memcpy(item.shape, t->shape, sizeof item.shape);
    bool named = change->name != NULL && strcmp(t->name, change->name) == 0;
    if (named && change->added != NULL) {
      items[n] = item;
      items[n++].name = change->added;
    }
    if (named && change->drop) continue;
    if (named) change_item(&item, change);
    items[n++] = item;
  }
  tmp_folder("model");
  Status status = safetensors_write(tmp_path("model/model.safetensors"), items, n, NULL, 0, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  safetensors_close(&from);
  snprintf(path, sizeof path, "tests/golden/tiny_llama/%s/config.json", variant);
  FILE *config = fopen(path, "rb");
  size_t size = config != NULL ? fread(text, 1, sizeof text, config) : 0;
  EXPECT(size > 0 && size < sizeof text, "%s", path);
  if (config != NULL) fclose(config);
  tmp_put("model/config.json", text, (int64_t)size);
}

// Loads TMP/model into weights that hold 7 everywhere; *kept says whether they still do.
static Status load(Error *err, bool *kept) {
  TensorStore *store = NULL;
  LlamaConfig config;
  Llama model;
  Rig rig;
  Backend *be = tiny_backend(0);
  Status status = store_open(&store, tmp_path("model"), err);
  if (status == STATUS_OK) status = llama_config_load(&config, store, err);
  if (status != STATUS_OK) {
    store_close(store);
    return status;
  }
  llama_init(&model, &config, DT_F32);
  rig_open(&rig, be, DT_F32, 4);
  llama_place(&model, be, &rig.memory.weights, &rig.memory.state);
  for (int64_t i = 0; i < model.params.n; i++) be->fill(be, model.params.items[i].value.t, 7);
  status = llama_load(&model, be, store, err);
  *kept = true;
  for (int64_t i = 0; i < model.params.n; i++) {
    Tensor t = model.params.items[i].value.t;
    float *values = malloc((size_t)tensor_count(t) * sizeof *values);
    param_read(be, values, t);
    for (int64_t k = 0; k < tensor_count(t); k++) *kept = *kept && values[k] == 7;
    free(values);
  }
  llama_free(&model);
  rig_close(&rig);
  store_close(store);
  return status;
}

static void expect_refused(const char *variant, Change change, const char *const *said, int n) {
  Error err = {0};
  bool kept = false;
  write_changed(variant, &change);
  EXPECT(load(&err, &kept) == STATUS_DATA, "loaded, without: %s", said[0]);
  for (int i = 0; i < n; i++) {
    EXPECT(strstr(err.message, said[i]) != NULL, "no \"%s\" in: %s", said[i], err.message);
  }
  EXPECT(kept, "weights were written before: %s", err.message);
}

#define REFUSED(variant, change, ...)                                                              \
  expect_refused(variant, change, (const char *[]){__VA_ARGS__},                                   \
                 (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)))

static void test_missing(void) {
  REFUSED("gqa", ((Change){.name = UP, .drop = true}), "model: no tensor " UP);
  REFUSED("gqa", ((Change){.name = "model.norm.weight", .drop = true}), "model.norm.weight");
  REFUSED("mha", ((Change){.name = "lm_head.weight", .drop = true}), "no tensor lm_head.weight");
  REFUSED("biases", ((Change){.name = "model.layers.1.self_attn.k_proj.bias", .drop = true}),
          "model.layers.1.self_attn.k_proj.bias");
}

static void test_extra(void) {
  REFUSED("gqa", ((Change){.name = UP, .added = "model.layers.2.mlp.up_proj.weight"}),
          "model.layers.2.mlp.up_proj.weight", "no place");
  REFUSED("gqa", ((Change){.name = NORM, .added = "model.layers.0.self_attn.q_proj.bias"}),
          "model.layers.0.self_attn.q_proj.bias", "no place");
}

static void test_mis_shaped(void) {
  REFUSED("gqa", ((Change){.name = UP, .ndim = 2, .shape = {103, 48}}), UP " is [103, 48]",
          "needs [104, 48]");
  REFUSED("gqa", ((Change){.name = UP, .ndim = 2, .shape = {48, 104}}), UP " is [48, 104]");
  REFUSED("gqa", ((Change){.name = UP, .ndim = 1, .shape = {104 * 48}}), UP " is [4992]");
  REFUSED("gqa", ((Change){.name = NORM, .ndim = 2, .shape = {1, 48}}), NORM " is [1, 48]",
          "needs [48]");
}

static void test_dtype(void) {
  Error err = {0};
  bool kept;
  write_changed("gqa", &(Change){.name = UP, .dtype = DT_I32});
  EXPECT(load(&err, &kept) == STATUS_DATA && strstr(err.message, UP) && strstr(err.message, "I32"),
         "%s", err.message);
}

// A tied model's file may spell the head out; transformers does not use it either.
static void test_tied_head(void) {
  Error err = {0};
  bool kept = true;
  write_changed("gqa", &(Change){.name = "model.embed_tokens.weight", .added = "lm_head.weight"});
  EXPECT(load(&err, &kept) == STATUS_OK, "%s", err.message);
  EXPECT(!kept, "nothing was loaded");
}

int main(void) {
  RUN(test_missing);
  RUN(test_extra);
  RUN(test_mis_shaped);
  RUN(test_dtype);
  RUN(test_tied_head);
  return test_done();
}
