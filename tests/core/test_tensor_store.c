// labels: quick
// Weights from folders, shards and GGUF files: values, names, order of rows, identity, refusals.
#include "bf16.h"
#include "bytes.h"
#include "safetensors.h"
#include "sha256.h"
#include "tensor_store.h"
#include "test.h"
#include "tmp_file.h"

#include <sys/stat.h>
#include <unistd.h>

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, BF16 = 30 };

// The whole tensor as f32, by an independent road: one value at a time from the raw bytes.
static float value_at(const uint8_t *data, DType dtype, int64_t i) {
  const uint8_t *block;
  uint16_t bits, more;
  float f;
  switch (dtype) {
  case DT_F32:
    memcpy(&f, data + 4 * i, 4);
    return f;
  case DT_F16:
    memcpy(&bits, data + 2 * i, 2);
    return f16_to_f32(bits);
  case DT_BF16:
    memcpy(&bits, data + 2 * i, 2);
    return bf16_to_f32(bits);
  case DT_Q8_0:
    block = data + i / 32 * 34;
    memcpy(&bits, block, 2);
    return (float)(int8_t)block[2 + i % 32] * f16_to_f32(bits);
  case DT_Q4_0:
    block = data + i / 32 * 18;
    memcpy(&bits, block, 2);
    return (float)((block[2 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15) - 8) * f16_to_f32(bits);
  default:
    block = data + i / 32 * 20;
    memcpy(&bits, block, 2);
    memcpy(&more, block + 2, 2);
    f = (float)(block[4 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15) * f16_to_f32(bits);
    return f + f16_to_f32(more);
  }
}

// Reads rows [row0, +rows) in both dtypes with a stride and compares with expected(r, c); what lies
// between the rows must stay as it was.
static void expect_rows(const TensorStore *store, const StoreTensor *t, const uint8_t *data,
                        int64_t row0, int64_t rows, int64_t head_dim) {
  Error err = {0};
  int64_t stride = t->cols + 3;
  float *as_f32 = malloc((size_t)(rows * stride + 1) * sizeof *as_f32);
  bf16 *as_bf16 = malloc((size_t)(rows * stride + 1) * sizeof *as_bf16);
  for (int64_t i = 0; i < rows * stride; i++) {
    as_f32[i] = 1234;
    as_bf16[i] = 0x5678;
  }
  EXPECT(store_read_rows(store, t, row0, rows, DT_F32, as_f32, stride, &err) == STATUS_OK, "%s",
         err.message);
  EXPECT(store_read_rows(store, t, row0, rows, DT_BF16, as_bf16, stride, &err) == STATUS_OK, "%s",
         err.message);
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < stride; c++) {
      float expected = 1234;
      if (c < t->cols) {
        int64_t row = row0 + r, col = c, *of = t->ndim == 1 ? &col : &row;
        if (head_dim > 0) {
          int64_t h = *of / head_dim, j = *of % head_dim / (head_dim / 2),
                  i = *of % head_dim % (head_dim / 2);
          *of = h * head_dim + 2 * i + j;
        }
        expected = value_at(data, t->dtype, row * t->cols + col);
      }
      float found = as_f32[r * stride + c];
      bf16 rounded = c < t->cols ? bf16_from_f32(expected) : 0x5678;
      if (memcmp(&expected, &found, 4) == 0 && as_bf16[r * stride + c] == rounded) continue;
      EXPECT(false, "%s [%lld,%lld]: %g and %04x, expected %g and %04x", t->name,
             (long long)(row0 + r), (long long)c, (double)found, as_bf16[r * stride + c],
             (double)expected, rounded);
      r = rows;
      break;
    }
  }
  free(as_f32);
  free(as_bf16);
}

static TensorStore *open_ok(const char *path) {
  Error err = {0};
  TensorStore *store = NULL;
  EXPECT(store_open(&store, path, &err) == STATUS_OK, "%s", err.message);
  if (store == NULL) exit(1);
  for (int64_t i = 1; i < store_count(store); i++) {
    EXPECT(strcmp(store_at(store, i - 1)->name, store_at(store, i)->name) < 0);
  }
  return store;
}

static void expect_refused(const char *path, Status status, const char *message) {
  Error err = {0};
  TensorStore *store = (TensorStore *)1;
  Status found = store_open(&store, path, &err);
  EXPECT(found == status && store == NULL, "%d: %s", (int)found, err.message);
  EXPECT(strstr(err.message, message) != NULL, "found: %s", err.message);
  EXPECT(strchr(err.message, '\n') == NULL, "found: %s", err.message);
  if (found == STATUS_OK) store_close(store);
}

// Every tensor of the golden folders against the bytes of its file.
static void test_golden(void) {
  static const struct {
    const char *name, *dtype;
    int64_t tensors;
  } variants[] = {{"mha", "F32", 21},    {"gqa", "F32", 20},  {"llama3", "F32", 21},
                  {"linear", "F32", 21}, {"wide", "F16", 30}, {"odd80", "BF16", 20},
                  {"biases", "F32", 35}};
  for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
    Error err = {0};
    char path[128];
    snprintf(path, sizeof path, "tests/golden/tiny_llama/%s", variants[v].name);
    TensorStore *store = open_ok(path);
    EXPECT(store_count(store) == variants[v].tensors, "%s: %lld", path,
           (long long)store_count(store));
    EXPECT(strcmp(store_path(store), path) == 0 && strcmp(store_folder(store), path) == 0);
    EXPECT(store_gguf(store) == NULL);
    EXPECT(store_find(store, "model.layers.0.self_attn.rotary_emb.inv_freq") == NULL);
    for (int64_t i = 0; i < store_count(store); i++) {
      const StoreTensor *t = store_at(store, i);
      EXPECT(store_find(store, t->name) == t && strcmp(t->name, t->file_name) == 0);
      EXPECT(strcmp(t->dtype_name, variants[v].dtype) == 0, "%s", t->dtype_name);
      Safetensors st = {0};
      EXPECT(safetensors_open(&st, t->path, &err) == STATUS_OK, "%s", err.message);
      const SafeTensor *raw = safetensors_find(&st, t->name);
      EXPECT(raw != NULL && raw->offset == t->offset && raw->bytes == t->bytes);
      if (raw != NULL) {
        expect_rows(store, t, st.data + raw->offset, 0, t->rows, 0);
        if (t->rows > 2) expect_rows(store, t, st.data + raw->offset, 1, t->rows - 2, 0);
        expect_rows(store, t, st.data + raw->offset, t->rows, 0, 0);
      }
      safetensors_close(&st);
      store_release_pages(store, t);
    }
    const StoreTensor *norm = store_find(store, "model.norm.weight");
    EXPECT(norm != NULL && norm->ndim == 1 && norm->rows == 1 && norm->cols == norm->shape[0]);
    store_close(store);
  }
}

// One safetensors file, given by itself; every half.
static void test_halves(void) {
  Error err = {0};
  static uint16_t halves[65536];
  for (int i = 0; i < 65536; i++) halves[i] = (uint16_t)i;
  SafetensorsItem items[] = {{"h", DT_F16, 3, {2, 128, 256}, halves},
                             {"b", DT_BF16, 1, {65536}, halves},
                             {"i", DT_I32, 1, {4}, halves},
                             {"scalar", DT_F32, 0, {0}, halves + 0x3f80},
                             {"none", DT_F32, 2, {0, 5}, halves}};
  EXPECT(safetensors_write(tmp_path("halves.safetensors"), items, 5, NULL, 0, &err) == STATUS_OK);
  TensorStore *store = open_ok(tmp_path("halves.safetensors"));
  EXPECT(strcmp(store_folder(store), test_tmp_dir()) == 0, "%s", store_folder(store));
  const StoreTensor *h = store_find(store, "h");
  EXPECT(h->rows == 2 && h->cols == 32768 && h->ndim == 3);
  expect_rows(store, h, (uint8_t *)halves, 0, 2, 0);
  expect_rows(store, store_find(store, "scalar"), (uint8_t *)(halves + 0x3f80), 0, 1, 0);
  expect_rows(store, store_find(store, "none"), NULL, 0, 0, 0);
  static float out[65536];
  EXPECT(store_read_rows(store, store_find(store, "b"), 0, 1, DT_F32, out, 65536, &err) ==
         STATUS_OK);
  for (int i = 0; i < 65536; i++) {
    float expected = bf16_to_f32((bf16)i);
    EXPECT(memcmp(&expected, &out[i], 4) == 0, "%04x", i);
  }
  const StoreTensor *ints = store_find(store, "i");
  EXPECT(ints->dtype == DT_COUNT && strcmp(ints->dtype_name, "I32") == 0);
  EXPECT(store_read_rows(store, ints, 0, 1, DT_F32, out, 4, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "tensor 'i' has type I32; expected F32, F16, BF16") != NULL, "%s",
         err.message);
  store_close(store);
}

static void put_llama_keys(Bytes *b, int n_tensors, uint32_t heads, uint32_t kv_heads) {
  gguf_put_header(b, 3, (uint64_t)n_tensors, 3);
  gguf_put_key_string(b, "general.architecture", "llama");
  gguf_put_key_u32(b, "llama.attention.head_count", heads);
  gguf_put_key_u32(b, "llama.attention.head_count_kv", kv_heads);
}

static const GgufPlan plans[] = {{"token_embd.weight", 2, {64, 11}, Q8_0},
                                 {"blk.0.attn_q.weight", 2, {64, 64}, Q4_1},
                                 {"blk.0.attn_k.weight", 2, {64, 32}, Q4_0},
                                 {"blk.0.attn_v.weight", 2, {64, 32}, Q4_1},
                                 {"blk.0.attn_output.weight", 2, {64, 64}, F16},
                                 {"blk.0.ffn_gate.weight", 2, {64, 5}, Q4_0},
                                 {"blk.0.ffn_up.weight", 2, {64, 5}, BF16},
                                 {"blk.0.ffn_down.weight", 2, {96, 64}, F32},
                                 {"blk.0.attn_norm.weight", 1, {64}, F32},
                                 {"blk.0.ffn_norm.weight", 1, {64}, F32},
                                 {"blk.0.attn_q.bias", 1, {64}, F32},
                                 {"blk.0.attn_k.bias", 1, {32}, F16},
                                 {"blk.0.attn_v.bias", 1, {32}, F32},
                                 {"blk.12.attn_k.weight", 2, {64, 32}, F32},
                                 {"output_norm.weight", 1, {64}, F32},
                                 {"output.weight", 2, {64, 11}, Q8_0},
                                 {"rope_freqs.weight", 1, {8}, F32},
                                 {"blk.0.unknown.weight", 1, {3}, F32},
                                 {"blk.00.attn_k.weight", 2, {64, 32}, F32}};

enum { PLANS = sizeof plans / sizeof *plans };

static void test_gguf(void) {
  static const struct {
    const char *name, *file_name;
    int64_t head_dim;
  } expected[] = {
      {"blk.0.unknown.weight", "blk.0.unknown.weight", 0},
      {"blk.00.attn_k.weight", "blk.00.attn_k.weight", 0},
      {"lm_head.weight", "output.weight", 0},
      {"model.embed_tokens.weight", "token_embd.weight", 0},
      {"model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight", 0},
      {"model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight", 0},
      {"model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight", 0},
      {"model.layers.0.mlp.up_proj.weight", "blk.0.ffn_up.weight", 0},
      {"model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight", 0},
      {"model.layers.0.self_attn.k_proj.bias", "blk.0.attn_k.bias", 16},
      {"model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight", 16},
      {"model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight", 0},
      {"model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias", 16},
      {"model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", 16},
      {"model.layers.0.self_attn.v_proj.bias", "blk.0.attn_v.bias", 0},
      {"model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", 0},
      {"model.layers.12.self_attn.k_proj.weight", "blk.12.attn_k.weight", 16},
      {"model.norm.weight", "output_norm.weight", 0},
  };
  Error err = {0};
  Gguf *gguf;
  Bytes b = {0};
  put_llama_keys(&b, PLANS, 4, 2);
  gguf_put_tensors(&b, plans, PLANS, 7);
  tmp_put("m.gguf", b.data, b.size);
  tmp_put("model-without-suffix", b.data, b.size);
  TensorStore *store = open_ok(tmp_path("model-without-suffix"));
  store_close(store);
  store = open_ok(tmp_path("m.gguf"));
  EXPECT(store_gguf(store) != NULL);
  EXPECT(gguf_open_memory(&gguf, "t", b.data, b.size, &err) == STATUS_OK);
  EXPECT(store_count(store) == sizeof expected / sizeof *expected, "%lld",
         (long long)store_count(store));
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    EXPECT(strcmp(t->name, expected[i].name) == 0, "%s", t->name);
    EXPECT(strcmp(t->file_name, expected[i].file_name) == 0, "%s", t->file_name);
    const GgufTensor *raw = gguf_tensor_find(gguf, t->file_name);
    int64_t head_dim = expected[i].head_dim;
    if (raw->ndim == 2) EXPECT(t->shape[0] == raw->dims[1] && t->shape[1] == raw->dims[0]);
    expect_rows(store, t, b.data + raw->offset, 0, t->rows, head_dim);
    if (t->rows > 4) expect_rows(store, t, b.data + raw->offset, 3, t->rows - 4, head_dim);
  }
  store_close(store);
  gguf_close(gguf);
  bytes_free(&b);
}

// What a converter does to q (torch: reshape(H, 2, D/2, in).swapaxes(1, 2)), undone.
static void test_permutation(void) {
  enum { H = 3, D = 8, IN = 4 };
  Error err = {0};
  float hf[H * D][IN], file[H * D][IN], found[H * D][IN];
  for (int r = 0; r < H * D; r++) {
    for (int c = 0; c < IN; c++) hf[r][c] = (float)(100 * r + c);
  }
  for (int h = 0, to = 0; h < H; h++) {
    for (int i = 0; i < D / 2; i++) {
      for (int j = 0; j < 2; j++, to++) memcpy(file[to], hf[h * D + j * D / 2 + i], sizeof *file);
    }
  }
  Bytes b = {0};
  const uint64_t dims[] = {IN, H * D};
  put_llama_keys(&b, 1, H, 1);
  gguf_put_tensor(&b, "blk.0.attn_q.weight", 2, dims, F32, 0);
  gguf_put_padding(&b, 32);
  bytes_put(&b, file, sizeof file);
  tmp_put("q.gguf", b.data, b.size);
  TensorStore *store = open_ok(tmp_path("q.gguf"));
  EXPECT(store_read_rows(store, store_at(store, 0), 0, H * D, DT_F32, found, IN, &err) ==
         STATUS_OK);
  EXPECT(memcmp(found, hf, sizeof hf) == 0);
  store_close(store);
  bytes_free(&b);
}

static void test_bad_gguf(void) {
  const GgufPlan one = {"blk.0.attn_q.weight", 2, {4, 24}, F32};
  const GgufPlan twice[] = {{"output_norm.weight", 1, {4}, F32},
                            {"model.norm.weight", 1, {4}, F32}};
  Bytes b = {0};
  gguf_put_header(&b, 3, 1, 2);
  gguf_put_key_string(&b, "general.architecture", "gemma2");
  gguf_put_key_u32(&b, "llama.attention.head_count", 3);
  gguf_put_tensors(&b, &one, 1, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA,
                 "bad.gguf: 'general.architecture': expected 'llama', the one that is supported, "
                 "found 'gemma2'");
  b.size = 0;
  gguf_put_header(&b, 3, 1, 1);
  gguf_put_key_u32(&b, "llama.attention.head_count", 3);
  gguf_put_tensors(&b, &one, 1, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA, "no 'general.architecture'");
  b.size = 0;
  gguf_put_header(&b, 3, 1, 1);
  gguf_put_key_string(&b, "general.architecture", "llama");
  gguf_put_tensors(&b, &one, 1, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA, "no 'llama.attention.head_count'");
  b.size = 0;
  gguf_put_header(&b, 3, 0, 2);
  gguf_put_key_string(&b, "general.architecture", "llama");
  gguf_put_key_u32(&b, "split.count", 4);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA, "one of 4 parts of a model: join them first");
  b.size = 0;
  put_llama_keys(&b, 1, 5, 1);
  gguf_put_tensors(&b, &one, 1, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA,
                 "tensor 'blk.0.attn_q.weight': 24 rows are no 5 heads of an even width");
  b.size = 0;
  put_llama_keys(&b, 1, 8, 1);
  gguf_put_tensors(&b, &one, 1, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA, "24 rows are no 8 heads of an even width");
  b.size = 0;
  put_llama_keys(&b, 2, 3, 1);
  gguf_put_tensors(&b, twice, 2, 1);
  tmp_put("bad.gguf", b.data, b.size);
  expect_refused(tmp_path("bad.gguf"), STATUS_DATA, "tensor 'model.norm.weight' is both ");
  bytes_free(&b);
}

// ---- shards ----

static void put_shard(const char *name, int n, const char *const *tensors) {
  Error err = {0};
  static const float data[] = {1, 2, 3, 4};
  SafetensorsItem items[4];
  for (int i = 0; i < n; i++) {
    items[i] = (SafetensorsItem){tensors[i], DT_F32, 2, {2, 2}, data};
  }
  EXPECT(safetensors_write(tmp_path(name), items, n, NULL, 0, &err) == STATUS_OK, "%s",
         err.message);
}

#define MAP(text) "{\"metadata\":{\"total_size\":48},\"weight_map\":{" text "}}"
#define GOOD MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"")

static void test_index(void) {
  static const struct {
    const char *index;
    Status status;
    const char *message;
  } bads[] = {
      {"", STATUS_DATA, "expected an object '{', found the end"},
      {"[]", STATUS_DATA, "index.json:1:1: expected an object '{'"},
      {"{}", STATUS_DATA, "there is no 'weight_map'"},
      {MAP(""), STATUS_DATA, "'weight_map' names no tensors"},
      {"{\"weight_map\":[]}", STATUS_DATA, "index.json:1:15: expected an object '{', found '['"},
      {"{\"weight_map\":null}", STATUS_DATA, "expected an object '{', found 'n'"},
      {MAP("\"a\":1"), STATUS_DATA, "expected a string"},
      {MAP("\"a\\u0000b\":\"m-1.safetensors\""), STATUS_DATA, "a string with a NUL inside"},
      {GOOD "x", STATUS_DATA, "expected the end of the text"},
      {"{\"weight_map\":{\"a\":\"m-1.safetensors\"},\"weight_map\":{}}", STATUS_DATA,
       "'weight_map' stands twice"},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"a\":\"m-2.safetensors\""),
       STATUS_DATA, "tensor 'a' stands twice"},
      {MAP("\"a\":\"../m-1.safetensors\""), STATUS_DATA,
       "index.json:1:50: expected the name of a .safetensors file in this folder, found "
       "'../m-1.safetensors'"},
      {MAP("\"a\":\"/etc/m-1.safetensors\""), STATUS_DATA, "in this folder, found '/etc/m-1"},
      {MAP("\"a\":\"x/m-1.safetensors\""), STATUS_DATA, "in this folder, found 'x/m-1"},
      {MAP("\"a\":\"x\\\\m-1.safetensors\""), STATUS_DATA, "in this folder"},
      {MAP("\"a\":\".safetensors\""), STATUS_DATA, "in this folder, found '.safetensors'"},
      {MAP("\"a\":\".m-1.safetensors\""), STATUS_DATA, "in this folder"},
      {MAP("\"a\":\"\""), STATUS_DATA, "in this folder, found ''"},
      {MAP("\"a\":\"m-1.bin\""), STATUS_DATA, "in this folder, found 'm-1.bin'"},
      {MAP("\"a\":\"m-3.safetensors\""), STATUS_NO_INPUT, "m-3.safetensors: missing, although "},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-2.safetensors\""),
       STATUS_DATA, "m-1.safetensors: holds tensor 'b', which "},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-1.safetensors\""),
       STATUS_DATA, "tensor 'c' is not in 'm-1.safetensors', where this index puts it"},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"d\":\"m-2.safetensors\""),
       STATUS_DATA, "m-2.safetensors: holds tensor 'c', which "},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"b2\":\"m-2.safetensors\""),
       STATUS_DATA, "tensor 'b2' is not in 'm-2.safetensors'"},
      {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\","
           "\"d\":\"m-2.safetensors\""),
       STATUS_DATA, "tensor 'd' is not in 'm-2.safetensors'"},
  };
  tmp_folder("shards");
  put_shard("shards/m-1.safetensors", 2, (const char *const[]){"b", "a"});
  put_shard("shards/m-2.safetensors", 1, (const char *const[]){"c"});
  tmp_put_text("shards/model.safetensors.index.json", GOOD);
  TensorStore *store = open_ok(tmp_path("shards"));
  EXPECT(store_count(store) == 3 && store_find(store, "b") != NULL);
  EXPECT(strcmp(store_find(store, "c")->path, tmp_path("shards/m-2.safetensors")) == 0);
  store_close(store);
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    tmp_put_text("shards/model.safetensors.index.json", bads[i].index);
    expect_refused(tmp_path("shards"), bads[i].status, bads[i].message);
  }
  for (size_t size = 0; size < sizeof GOOD - 1; size++) { // every prefix
    tmp_put("shards/model.safetensors.index.json", GOOD, (int64_t)size);
    expect_refused(tmp_path("shards"), STATUS_DATA, "index.json");
  }
}

// ---- identity ----

static void hash_by_hand(Sha256 *outer, const char *name, const char *dtype, int64_t rows,
                         int64_t cols, const void *data, int64_t bytes) {
  Sha256 inner;
  uint8_t digest[SHA256_BYTES];
  const int64_t numbers[] = {2, rows, cols, bytes};
  sha256_init(&inner);
  sha256_add(&inner, name, (int64_t)strlen(name) + 1);
  sha256_add(&inner, dtype, (int64_t)strlen(dtype) + 1);
  sha256_add(&inner, numbers, sizeof numbers);
  sha256_add(&inner, data, bytes);
  sha256_finish(&inner, digest);
  sha256_add(outer, digest, sizeof digest);
}

static void get_hash(const char *path, char hex[65]) {
  Error err = {0};
  char again[65];
  TensorStore *store = open_ok(path);
  EXPECT(store_hash(store, hex, &err) == STATUS_OK, "%s", err.message);
  EXPECT(store_hash(store, again, &err) == STATUS_OK && strcmp(hex, again) == 0);
  EXPECT(strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64, "%s", hex);
  store_close(store);
}

static void test_hash(void) {
  Error err = {0};
  char hex[65], other[65];
  uint8_t digest[SHA256_BYTES];
  static float x[] = {1, 2, 3, 4}, y[] = {5, 6};
  SafetensorsItem items[] = {{"x", DT_F32, 2, {2, 2}, x}, {"y", DT_F32, 2, {1, 2}, y}};
  EXPECT(safetensors_write(tmp_path("h.safetensors"), items, 2, NULL, 0, &err) == STATUS_OK);
  Sha256 outer;
  sha256_init(&outer);
  hash_by_hand(&outer, "x", "F32", 2, 2, x, sizeof x);
  hash_by_hand(&outer, "y", "F32", 1, 2, y, sizeof y);
  sha256_finish(&outer, digest);
  sha256_to_hex(digest, other);
  get_hash(tmp_path("h.safetensors"), hex);
  EXPECT(strcmp(hex, other) == 0, "%s %s", hex, other);
  // Other metadata: the same weights. Another shape, name or bit: others.
  SafetensorsPair pair = {"note", "n"};
  EXPECT(safetensors_write(tmp_path("h.safetensors"), items, 2, &pair, 1, &err) == STATUS_OK);
  get_hash(tmp_path("h.safetensors"), other);
  EXPECT(strcmp(hex, other) == 0);
  for (int change = 0; change < 3; change++) {
    SafetensorsItem changed[] = {items[0], items[1]};
    float z[] = {5, 6.0000005f};
    if (change == 0) changed[0].shape[0] = 1, changed[0].shape[1] = 4;
    if (change == 1) changed[1].name = "z";
    if (change == 2) changed[1].data = z;
    EXPECT(safetensors_write(tmp_path("h.safetensors"), changed, 2, NULL, 0, &err) == STATUS_OK);
    get_hash(tmp_path("h.safetensors"), other);
    EXPECT(strcmp(hex, other) != 0, "change %d", change);
  }
  // The golden shards and the same tensors in one file.
  TensorStore *store = open_ok("tests/golden/tiny_llama/linear");
  int64_t n = store_count(store);
  SafetensorsItem *all = calloc((size_t)n, sizeof *all);
  float **data = calloc((size_t)n, sizeof *data);
  for (int64_t i = 0; i < n; i++) {
    const StoreTensor *t = store_at(store, i);
    data[i] = malloc((size_t)(t->rows * t->cols) * sizeof **data);
    EXPECT(store_read_rows(store, t, 0, t->rows, DT_F32, data[i], t->cols, &err) == STATUS_OK);
    all[i] = (SafetensorsItem){t->name, DT_F32, t->ndim, {t->shape[0], t->shape[1]}, data[i]};
  }
  EXPECT(safetensors_write(tmp_path("one.safetensors"), all, n, NULL, 0, &err) == STATUS_OK);
  get_hash("tests/golden/tiny_llama/linear", hex);
  get_hash(tmp_path("one.safetensors"), other);
  EXPECT(strcmp(hex, other) == 0, "%s %s", hex, other);
  for (int64_t i = 0; i < n; i++) free(data[i]);
  free(data);
  free(all);
  store_close(store);
}

// ---- wrong and broken files ----

static void test_wrong_files(void) {
  static const uint8_t png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0";
  uint8_t noise[4096];
  uint64_t state = 5;
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)bytes_draw(&state);
  tmp_folder("folder");
  expect_refused(tmp_path("nowhere"), STATUS_NO_INPUT, "nowhere: cannot be opened");
  expect_refused(tmp_path("nowhere.gguf"), STATUS_NO_INPUT, "nowhere.gguf: cannot be opened");
  expect_refused(tmp_path("folder"), STATUS_NO_INPUT,
                 "folder: expected model.safetensors or model.safetensors.index.json in this "
                 "folder, found neither; for a GGUF file give the file itself");
  tmp_put_text("folder/pytorch_model.bin", "PK");
  expect_refused(tmp_path("folder"), STATUS_NO_INPUT, "it has pytorch_model.bin, a pickle");
  expect_refused("tests/golden/tiny_lora/qv", STATUS_NO_INPUT, "found neither: it is an adapter");
  EXPECT(mkfifo(tmp_path("pipe"), 0600) == 0);
  expect_refused(tmp_path("pipe"), STATUS_NO_INPUT, "pipe: expected a file or a folder");
  expect_refused("/dev/null", STATUS_NO_INPUT, "/dev/null: expected a file or a folder");
  static const char *const names[] = {"x.gguf", "x.safetensors", "folder/model.safetensors"};
  for (int i = 0; i < 3; i++) {
    tmp_put(names[i], "", 0);
    expect_refused(tmp_path(i == 2 ? "folder" : names[i]), STATUS_DATA, names[i]);
    tmp_put(names[i], png, sizeof png);
    expect_refused(tmp_path(i == 2 ? "folder" : names[i]), STATUS_DATA, names[i]);
    tmp_put(names[i], noise, sizeof noise);
    expect_refused(tmp_path(i == 2 ? "folder" : names[i]), STATUS_DATA, names[i]);
    tmp_put_text(names[i], "{\"model_type\": \"llama\"}");
    expect_refused(tmp_path(i == 2 ? "folder" : names[i]), STATUS_DATA, names[i]);
  }
}

static void read_everything(TensorStore *store) {
  Error err = {0};
  char hex[65];
  store_hash(store, hex, &err);
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    if (t->bytes > 1 << 20) continue; // an empty [2^40, 0] has many rows, but no bytes
    int64_t rows = t->rows < 100 ? t->rows : 100;
    float *out = malloc((size_t)(rows * t->cols + 1) * sizeof *out);
    store_read_rows(store, t, t->rows - rows, rows, DT_F32, out, t->cols, &err);
    store_read_rows(store, t, 0, rows, DT_BF16, out, t->cols, &err);
    free(out);
  }
}

// Prefixes and flipped bits of a small file: an error or sound tensors, never a crash.
static void test_broken(void) {
  Error err = {0};
  TensorStore *store;
  Bytes b = {0};
  put_llama_keys(&b, 3, 2, 1);
  const GgufPlan small[] = {{"blk.0.attn_q.weight", 2, {32, 16}, Q4_0},
                            {"blk.0.attn_k.bias", 1, {8}, F32},
                            {"output_norm.weight", 1, {8}, F16}};
  gguf_put_tensors(&b, small, 3, 3);
  uint64_t state = 11;
  for (int64_t size = 0; size < b.size; size++) {
    tmp_put("cut.gguf", b.data, size);
    expect_refused(tmp_path("cut.gguf"), STATUS_DATA, "cut.gguf: byte ");
  }
  int opened = 0;
  for (int round = 0; round < 2000; round++) {
    int64_t at = bytes_draw(&state) % b.size;
    uint8_t bit = (uint8_t)(1u << bytes_draw(&state) % 8);
    b.data[at] ^= bit;
    tmp_put("flip.gguf", b.data, b.size);
    if (store_open(&store, tmp_path("flip.gguf"), &err) == STATUS_OK) {
      read_everything(store);
      store_close(store);
      opened++;
    }
    b.data[at] ^= bit;
  }
  EXPECT(opened > 100 && opened < 1900, "%d", opened);
  bytes_free(&b);
}

// A file that is cut while it is in use is an error, not a crash.
static void test_changed(void) {
  Error err = {0};
  char hex[65];
  static float data[64][1024];
  SafetensorsItem item = {"w", DT_F32, 2, {64, 1024}, data};
  EXPECT(safetensors_write(tmp_path("c.safetensors"), &item, 1, NULL, 0, &err) == STATUS_OK);
  TensorStore *store = open_ok(tmp_path("c.safetensors"));
  EXPECT(truncate(tmp_path("c.safetensors"), 1000) == 0);
  EXPECT(store_read_rows(store, store_at(store, 0), 0, 64, DT_F32, data, 1024, &err) ==
         STATUS_DATA);
  EXPECT(strstr(err.message, "c.safetensors: changed from ") != NULL, "%s", err.message);
  EXPECT(store_hash(store, hex, &err) == STATUS_DATA);
  store_close(store);
}

int main(void) {
  RUN(test_golden);
  RUN(test_halves);
  RUN(test_gguf);
  RUN(test_permutation);
  RUN(test_bad_gguf);
  RUN(test_index);
  RUN(test_hash);
  RUN(test_wrong_files);
  RUN(test_broken);
  RUN(test_changed);
  return test_done();
}
