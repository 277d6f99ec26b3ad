// labels: quick
// Reading a text through the paged cache gives the logits of the reference, which saw it whole:
// token by token, in chunks of any size, again after a reset, with an adapter; many texts in a
// step, sequences that share pages and part, each row with its own adapter or none.
#include "decoder.h"
#include "safetensors.h"
#include "test.h"
#include "tiny_engine.h"

#include <math.h>

enum { V = 131 };

static void open_golden(Safetensors *file, const char *folder) {
  char path[300];
  Error err = {0};
  snprintf(path, sizeof path, "tests/golden/%s/expected.safetensors", folder);
  if (safetensors_open(file, path, &err) == STATUS_OK) return;
  printf("%s\n", err.message);
  exit(1);
}

static const void *golden(const Safetensors *file, int seq, const char *what, int64_t *n) {
  char name[64];
  snprintf(name, sizeof name, "seq%d.%s", seq, what);
  const SafeTensor *t = safetensors_find(file, name);
  if (t == NULL) {
    printf("%s: no %s\n", file->path, name);
    exit(1);
  }
  *n = t->shape[0];
  return file->data + t->offset;
}

static double distance(const float *logits, const void *expected, int64_t row) {
  double worst = 0;
  float e[V];
  memcpy(e, (const char *)expected + row * (int64_t)sizeof e, sizeof e);
  for (int i = 0; i < V; i++) {
    double d = fabs((double)logits[i] - e[i]);
    if (!(d <= worst)) worst = d; // a NaN is the worst
  }
  return worst;
}

// The issue's own bound for f32 logits of tiny models.
static const double bound = 1e-4;

static void check_variant(const char *variant, const char *adapter, const char *expected) {
  Engine e;
  Error err = {0};
  Safetensors file;
  tiny_engine_open(&e, variant, adapter);
  open_golden(&file, expected);
  DecoderSize size = {.max_len = 128, .chunk = 64};
  EXPECT(engine_load(&e, decoder_rehearse, &size, &err) == STATUS_OK, "%s", err.message);
  Decoder d;
  decoder_init(&d, &e.ctx, &e.model, &e.memory.cache, size);
  for (int seq = 0; seq < 3; seq++) {
    int64_t n = 0, same = 0;
    int32_t ids[128];
    const void *source = golden(&file, seq, "ids", &n);
    memcpy(ids, source, (size_t)n * sizeof *ids);
    const void *logits = golden(&file, seq, "logits", &same);
    EXPECT(n == same && n < 128);
    decoder_reset(&d);
    for (int64_t i = 0; i < n; i++) { // one by one: every position
      decoder_feed(&d, ids + i, 1);
      double worst = distance(d.logits, logits, i);
      EXPECT(worst <= bound, "%s, sequence %d, token %lld: off by %g", expected, seq, (long long)i,
             worst);
    }
    static const int64_t chunks[] = {7, 63, 64};
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
      d.chunk = chunks[c];
      decoder_reset(&d);
      decoder_feed(&d, ids, n);
      double worst = distance(d.logits, logits, n - 1);
      EXPECT(worst <= bound && decoder_length(&d) == n,
             "%s, sequence %d, chunks of %lld: off by %g", expected, seq, (long long)chunks[c],
             worst);
    }
    d.chunk = 64;
    int64_t half = (n + 1) / 2; // a chunk that begins in the middle of a page
    decoder_reset(&d);
    decoder_feed(&d, ids, half);
    EXPECT(distance(d.logits, logits, half - 1) <= bound);
    if (n > half) decoder_feed(&d, ids + half, n - half);
    EXPECT(distance(d.logits, logits, n - 1) <= bound, "%s, sequence %d in halves", expected, seq);
  }
  EXPECT(e.ctx.step->low == 0 && e.ctx.step->high == 0 && e.ctx.host->low == 0,
         "a step gives back what it took");
  decoder_free(&d);
  safetensors_close(&file);
  engine_close(&e);
}

static void test_variants(void) {
  static const char *const variants[] = {"mha",    "gqa",  "llama3", "linear",
                                         "biases", "wide", "odd80"};
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
    char expected[64];
    snprintf(expected, sizeof expected, "tiny_llama/%s", variants[i]);
    check_variant(variants[i], NULL, expected);
  }
}

static void test_adapters(void) {
  check_variant("gqa", "tests/golden/tiny_lora/qv", "tiny_lora/qv");
  check_variant("gqa", "tests/golden/tiny_lora/all", "tiny_lora/all");
}

// ---- many sequences ----

static Decoder open_decoder(Engine *engine, DecoderSize size, int n_adapters) {
  Error err = {0};
  Decoder d;
  EngineOptions options = {.model = tiny_model_folder("gqa"),
                           .adapters = {{.name = "all", .folder = "tests/golden/tiny_lora/all"},
                                        {.name = "qv", .folder = "tests/golden/tiny_lora/qv"}},
                           .n_adapters = n_adapters,
                           .dtype = DT_F32,
                           .threads = 1};
  EXPECT(engine_open(engine, &options, &err) == STATUS_OK, "%s", err.message);
  EXPECT(engine_load(engine, decoder_rehearse, &size, &err) == STATUS_OK, "%s", err.message);
  decoder_init(&d, &engine->ctx, &engine->model, &engine->memory.cache, size);
  return d;
}

static void close_decoder(Engine *engine, Decoder *d) {
  decoder_free(d);
  engine_close(engine);
}

// Three texts of 65 tokens, by the base and two adapters, in one batch: each begins two steps after
// the one before it, so that steps hold stretches of prompts and single tokens; slots are not in
// the order of the texts.
static void test_adapters_in_one_batch(void) {
  static const char *const folders[] = {"tiny_lora/all", "tiny_lora/qv", "tiny_llama/gqa"};
  static const int32_t adapters[] = {0, 1, -1}, slots[] = {2, 0, 1};
  Engine engine;
  Decoder d = open_decoder(&engine, (DecoderSize){.max_len = 66, .chunk = 45, .seqs = 3}, 2);
  Safetensors files[3];
  int32_t ids[3][65];
  const void *logits[3];
  for (int t = 0; t < 3; t++) {
    int64_t n;
    open_golden(&files[t], folders[t]);
    memcpy(ids[t], golden(&files[t], 2, "ids", &n), sizeof ids[t]);
    logits[t] = golden(&files[t], 2, "logits", &n);
  }
  int64_t read[3] = {0};
  for (int step = 0; read[2] < 65; step++) {
    DecoderPiece pieces[3];
    int text_of[3], n = 0;
    for (int t = 0; t < 3; t++) {
      if (step < 2 * t || read[t] == 65) continue;
      int64_t rows = read[t] == 0 ? 40 : 1;
      text_of[n] = t;
      pieces[n++] = (DecoderPiece){.seq = slots[t],
                                   .adapter = adapters[t],
                                   .ids = ids[t] + read[t],
                                   .n = rows,
                                   .ends = true};
      read[t] += rows;
    }
    decoder_step(&d, pieces, n);
    for (int i = 0; i < n; i++) {
      int t = text_of[i];
      double worst = distance(pieces[i].logits, logits[t], read[t] - 1);
      EXPECT(worst <= bound, "%s, token %lld: off by %g", folders[t], (long long)read[t], worst);
    }
  }
  for (int t = 0; t < 3; t++) safetensors_close(&files[t]);
  close_decoder(&engine, &d);
}

// The last logits of a text that is read alone.
static void alone(const int32_t *ids, int64_t n, float *logits) {
  Engine engine;
  Decoder d = open_decoder(&engine, (DecoderSize){.max_len = 200, .chunk = 200}, 0);
  decoder_feed(&d, ids, n);
  memcpy(logits, d.logits, V * sizeof *logits);
  close_decoder(&engine, &d);
}

static double worst_of(const float *a, const float *b) {
  double worst = 0;
  for (int i = 0; i < V; i++) worst = fmax(worst, fabs((double)a[i] - b[i]));
  return worst;
}

static void go_on(Decoder *d, const int32_t *last, int64_t n, DecoderPiece *pieces) {
  for (int32_t i = 0; i < n; i++) {
    pieces[i] = (DecoderPiece){.seq = i, .adapter = -1, .ids = &last[i], .n = 1, .ends = true};
  }
  decoder_step(d, pieces, n);
}

// A text of 100 tokens parts into three, which are then reordered as beams are: 1 page stays shared
// by all, the second is copied by whoever goes on in it.
static void test_sharing(void) {
  int32_t text[104];
  for (int32_t i = 0; i < 104; i++) text[i] = (i * 37 + 11) % V;
  Engine engine;
  Decoder d =
      open_decoder(&engine, (DecoderSize){.max_len = 128, .chunk = 100, .seqs = 3, .pages = 5}, 0);
  KvCache *cache = &d.cache;
  DecoderPiece pieces[3] = {{.adapter = -1, .ids = text, .n = 100, .ends = true}};
  decoder_step(&d, pieces, 1);
  EXPECT(cache->n_spare == 3);
  kv_cache_share(cache, 0, 3, (int32_t[]){0, 0, 0});
  EXPECT(cache->n_spare == 3 && cache->lens[1] == 100 && cache->lens[2] == 100);
  go_on(&d, (int32_t[]){5, 6, 7}, 3, pieces);
  EXPECT(cache->n_spare == 1 && cache->refs[cache->pages[0]] == 3, "two copies of one page");
  float expected[V];
  for (int i = 0; i < 3; i++) {
    text[100] = 5 + i;
    alone(text, 101, expected);
    EXPECT(worst_of(pieces[i].logits, expected) <= bound, "beam %d", i);
  }
  kv_cache_share(cache, 0, 3, (int32_t[]){2, 0, 2});
  EXPECT(cache->n_spare == 2, "beam 1's page is free again");
  go_on(&d, (int32_t[]){8, 9, 10}, 3, pieces);
  static const int32_t parent_token[] = {7, 5, 7};
  for (int i = 0; i < 3; i++) {
    text[100] = parent_token[i];
    text[101] = 8 + i;
    alone(text, 102, expected);
    EXPECT(worst_of(pieces[i].logits, expected) <= bound, "beam %d after a reorder", i);
  }
  // One goes back into the page that all share, and writes other tokens there.
  kv_cache_truncate(cache, 1, 60);
  EXPECT(cache->n_spare == 2 && cache->held[1] == 1);
  go_on(&d, (int32_t[]){1, 1, 1}, 3, pieces);
  EXPECT(cache->refs[cache->pages[0]] == 2);
  text[100] = 7, text[101] = 8, text[102] = 1;
  alone(text, 103, expected);
  EXPECT(worst_of(pieces[0].logits, expected) <= bound, "written over by a neighbour");
  text[60] = 1;
  alone(text, 61, expected);
  EXPECT(worst_of(pieces[1].logits, expected) <= bound, "after a truncation");
  decoder_reset(&d);
  EXPECT(cache->n_spare == 5);
  close_decoder(&engine, &d);
}

int main(void) {
  RUN(test_variants);
  RUN(test_adapters);
  RUN(test_adapters_in_one_batch);
  RUN(test_sharing);
  return test_done();
}
