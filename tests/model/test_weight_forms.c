// What plans of memory say of weights that are of another type in their file.
#include "bytes.h"
#include "decoder.h"
#include "test.h"
#include "tiny_engine.h"
#include "tmp_file.h"
#include "weight_forms.h"

// ggml's numbers of types
enum { F32 = 0, F16 = 1, Q4_1 = 3, Q8_0 = 8 };

static void expect_form(const WeightForms *forms, const char *from, int64_t n, int64_t file_bytes,
                        int64_t bytes, const char *text) {
  for (int i = 0; i < forms->n; i++) {
    const WeightForm *f = &forms->items[i];
    char said[WEIGHT_FORM_BYTES];
    if (strcmp(f->from, from) != 0) continue;
    EXPECT(f->n == n && f->file_bytes == file_bytes && f->bytes == bytes,
           "%s: %lld weights, %lld bytes become %lld", from, (long long)f->n,
           (long long)f->file_bytes, (long long)f->bytes);
    weight_form_text(said, f);
    EXPECT(strcmp(said, text) == 0, "%s", said);
    return;
  }
  EXPECT(false, "no weights of type %s", from);
}

static void types_of_a_file_are_counted(void) {
  static const GgufPlan plans[] = {
      {"token_embd.weight", 2, {4096, 512}, Q8_0},   {"blk.0.attn_q.weight", 2, {1024, 1024}, Q4_1},
      {"blk.0.attn_v.weight", 2, {1024, 512}, Q4_1}, {"blk.0.ffn_up.weight", 2, {512, 1024}, F16},
      {"output_norm.weight", 1, {64}, F32},          {"output.weight", 2, {4096, 512}, Q8_0}};
  enum { PLANS = sizeof plans / sizeof *plans };
  Error err;
  Bytes b = {0};
  TensorStore *store = NULL;
  gguf_put_header(&b, 3, PLANS, 2);
  gguf_put_key_string(&b, "general.architecture", "llama");
  gguf_put_key_u32(&b, "llama.attention.head_count", 4);
  gguf_put_tensors(&b, plans, PLANS, 7);
  tmp_put("m.gguf", b.data, b.size);
  test_must(store_open(&store, tmp_path("m.gguf"), &err), &err);
  const int64_t table = 4096 * 512, q4 = 1024 * 1024 + 1024 * 512, half = 512 * 1024;
  LlamaConfig config = {.tied = true}; // its spelled-out head is not loaded
  WeightForms forms = weight_forms(store, &config, DT_F32);
  EXPECT(forms.n == 3, "%d types", forms.n); // f32 stays what it is
  expect_form(&forms, "Q8_0", 1, table / 32 * 34, 4 * table,
              "expanded to f32 at load: 1 weights, 2.1 MiB in the file");
  expect_form(&forms, "Q4_1", 2, q4 / 32 * 20, 4 * q4,
              "expanded to f32 at load: 2 weights, 0.9 MiB in the file");
  expect_form(&forms, "F16", 1, 2 * half, 4 * half,
              "converted to f32 at load: 1 weights, 1.0 MiB in the file");
  config.tied = false;
  forms = weight_forms(store, &config, DT_BF16);
  EXPECT(forms.n == 4, "%d types", forms.n);
  expect_form(&forms, "Q8_0", 2, 2 * table / 32 * 34, 2 * 2 * table,
              "expanded to bf16 at load: 2 weights, 4.2 MiB in the file");
  expect_form(&forms, "F32", 1, 4 * 64, 2 * 64,
              "converted to bf16 at load: 1 weights, 0.0 MiB in the file");
  store_close(store);
  bytes_free(&b);
}

// ---- what inference says before it takes memory ----

static char said[4096];

static void keep(const char *line) {
  size_t used = strlen(said);
  snprintf(said + used, sizeof said - used, "%s\n", line);
}

static void an_engine_says_its_plan(DType dtype, bool converts) {
  Error err;
  Engine engine;
  EngineOptions options = {
      .model = tiny_model_folder("gqa"), .dtype = dtype, .threads = 1, .say = keep};
  DecoderSize size = {.max_len = 32, .chunk = 8, .seqs = 1, .pages = 1};
  said[0] = '\0';
  test_must(engine_open(&engine, &options, &err), &err);
  test_must(engine_load(&engine, decoder_rehearse, &size, &err), &err);
  char weights[64];
  snprintf(weights, sizeof weights, "weights  %9.1f MiB  %s\n",
           (double)engine.memory.weights.capacity / (1 << 20), dtype_info(dtype)->name);
  EXPECT(strstr(said, weights) == said, "%s", said);
  EXPECT((strstr(said, "  F32 ") != NULL) == converts, "%s", said);
  EXPECT((strstr(said, "converted to bf16 at load: ") != NULL) == converts, "%s", said);
  EXPECT(strstr(said, "\ncache ") != NULL && strstr(said, "\nstep ") != NULL, "%s", said);
  engine_close(&engine);
}

static void engines_say_their_plans(void) {
  an_engine_says_its_plan(DT_F32, false);
  an_engine_says_its_plan(DT_BF16, true);
}

int main(void) {
  RUN(types_of_a_file_are_counted);
  RUN(engines_say_their_plans);
  return test_done();
}
