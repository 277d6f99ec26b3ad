// labels: quick
// Reading a text through the paged cache gives the logits of the reference, which saw it whole:
// token by token, in chunks of any size, again after a reset, with an adapter.
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

int main(void) {
  RUN(test_variants);
  RUN(test_adapters);
  return test_done();
}
