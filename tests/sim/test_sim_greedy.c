// labels: sim
// Greedy text of a tiny LLaMA, alone and with an adapter, in f32 and bf16: what the simulated
// device draws itself, through the cache, is what the CPU's logits prefer; the host waits once a
// token, for the token. Prompts of any length and any number of texts make few shapes of products.
#include "decoder.h"
#include "greedy.h"
#include "sim_module.h"
#include "test.h"
#include "tiny_engine.h"

enum { PROMPTS = 2, PROMPT = 5, NEW = 12, MAX = PROMPT + NEW };

typedef struct Reader {
  Engine engine;
  Decoder decoder;
} Reader;

static Reader *open_reader(const char *device, DType dtype, const char *adapter, DecoderSize size) {
  Error err;
  Reader *r = calloc(1, sizeof *r);
  EngineOptions options = {.model = tiny_model_folder("gqa"),
                           .dtype = dtype,
                           .device = device,
                           .threads = 1,
                           .n_adapters = adapter != NULL,
                           .adapters = {{.folder = adapter}}};
  test_must(engine_open(&r->engine, &options, &err), &err);
  test_must(engine_load(&r->engine, decoder_rehearse, &size, &err), &err);
  decoder_init(&r->decoder, &r->engine.ctx, &r->engine.model, &r->engine.memory.cache, size);
  return r;
}

static void close_reader(Reader *r) {
  decoder_free(&r->decoder);
  engine_close(&r->engine);
  free(r);
}

// Reads on; the token that the device draws behind it.
static int32_t draw_after(Reader *r, const int32_t *text, int64_t length) {
  DecoderDraw draw = {.options = SAMPLER_GREEDY, .context = text, .n_context = length};
  for (int64_t at = decoder_length(&r->decoder); at < length;) {
    int64_t n = length - at < r->decoder.chunk ? length - at : r->decoder.chunk;
    bool ends = at + n == length;
    DecoderPiece piece = {.ids = text + at, .n = n, .ends = ends, .draw = ends ? &draw : NULL};
    decoder_step(&r->decoder, &piece, 1);
    if (ends) return piece.id;
    at += n;
  }
  return -1;
}

static const float *logits_after(Reader *r, const int32_t *text, int64_t length) {
  int64_t at = decoder_length(&r->decoder);
  decoder_feed(&r->decoder, text + at, length - at);
  return r->decoder.logits;
}

// Texts go on by the CPU's choice, so that a token that differs is not followed by other texts.
static void compare(DType dtype, const char *adapter, const char *what) {
  const DecoderSize size = {.max_len = MAX, .chunk = 4}; // a prompt takes two steps
  Reader *device = open_reader("cuda", dtype, adapter, size),
         *cpu = open_reader("cpu", dtype, adapter, size),
         *f32 = open_reader("cpu", DT_F32, adapter, size);
  Reader *all[] = {device, cpu, f32};
  Greedy greedy = {.vocab = cpu->engine.model.config.vocab, .exact = dtype == DT_F32};
  const SimControl *sim = sim_module_control();
  EXPECT(device->decoder.draws, "the device does not draw");
  for (int p = 0; p < PROMPTS; p++) {
    int32_t text[MAX];
    for (int i = 0; i < PROMPT; i++) text[i] = (int32_t)((7 + 31 * p + 11 * i * i) % greedy.vocab);
    for (int i = 0; i < 3; i++) decoder_reset(&all[i]->decoder);
    int64_t waits = sim->host_waits();
    for (int n = PROMPT; n < MAX; n++) {
      const float *theirs = logits_after(cpu, text, n), *exact = logits_after(f32, text, n);
      greedy_compare(&greedy, draw_after(device, text, n), theirs, exact);
      text[n] = greedy_pick(theirs, greedy.vocab);
    }
    waits = sim->host_waits() - waits;
    EXPECT(waits == NEW || !sim_module_simulated(), "%s: %lld waits for %d tokens", what,
           (long long)waits, NEW);
  }
  greedy_expect(&greedy, PROMPTS * NEW, what);
  sim_module_expect_clean();
  for (int i = 0; i < 3; i++) close_reader(all[i]);
}

static void alone(void) {
  compare(DT_F32, NULL, "f32");
  compare(DT_BF16, NULL, "bf16");
}

static void with_an_adapter(void) {
  compare(DT_F32, "tests/golden/tiny_lora/all", "f32 with LoRA");
  compare(DT_BF16, "tests/golden/tiny_lora/all", "bf16 with LoRA");
}

// ---- products ----

static void expect_shapes(int64_t expected, const char *what) {
  if (!sim_module_simulated()) return;
  EXPECT(sim_module_control()->product_shapes() == expected, "%s: %lld different products", what,
         (long long)sim_module_control()->product_shapes());
}

// A prompt's rows are rounded up, and only its last one goes on to the head, which is few.
static void prompts_of_any_length(void) {
  static const int64_t lengths[] = {17, 18, 31, 40};
  const DecoderSize size = {.max_len = 48, .chunk = 40};
  Reader *device = open_reader("cuda", DT_F32, NULL, size),
         *cpu = open_reader("cpu", DT_F32, NULL, size);
  int64_t vocab = cpu->engine.model.config.vocab;
  sim_module_control()->clear();
  for (int i = 0; i < 4; i++) {
    int32_t text[40];
    for (int k = 0; k < 40; k++) text[k] = (int32_t)((3 + 17 * i + 5 * k * k) % vocab);
    decoder_reset(&device->decoder);
    decoder_reset(&cpu->decoder);
    int32_t best = greedy_pick(logits_after(cpu, text, lengths[i]), vocab);
    int32_t drawn = draw_after(device, text, lengths[i]);
    EXPECT(drawn == best, "after %lld tokens %d is drawn, %d expected", (long long)lengths[i],
           drawn, best);
  }
  expect_shapes(4, "prompts"); // qkv, o, gate and up, down
  sim_module_expect_clean();
  close_reader(device);
  close_reader(cpu);
}

enum { TEXTS = 21 };

// Each text reads one more token; what comes next of each, drawn or of the logits.
static void step_texts(Reader *r, int64_t texts, int step, int32_t *next) {
  int64_t vocab = r->engine.model.config.vocab;
  int32_t ids[TEXTS];
  DecoderPiece pieces[TEXTS] = {0};
  DecoderDraw draw = {.options = SAMPLER_GREEDY, .context = ids, .n_context = 1};
  for (int64_t i = 0; i < texts; i++) {
    ids[i] = (int32_t)((1 + 13 * i + 7 * step) % vocab);
    pieces[i] = (DecoderPiece){.seq = (int32_t)i,
                               .ids = ids + i,
                               .n = 1,
                               .ends = true,
                               .draw = r->decoder.draws ? &draw : NULL};
  }
  decoder_step(&r->decoder, pieces, texts);
  for (int64_t i = 0; i < texts; i++)
    next[i] = r->decoder.draws ? pieces[i].id : greedy_pick(pieces[i].logits, vocab);
}

// Up to 16 texts make no product of cuBLASLt at all.
static void any_number_of_texts(void) {
  static const int64_t counts[] = {TEXTS, 18, 17, 16, 3};
  const DecoderSize size = {.seqs = TEXTS, .max_len = 8, .chunk = TEXTS};
  Reader *device = open_reader("cuda", DT_F32, NULL, size),
         *cpu = open_reader("cpu", DT_F32, NULL, size);
  sim_module_control()->clear();
  for (int step = 0; step < 5; step++) {
    int32_t drawn[TEXTS], best[TEXTS];
    step_texts(device, counts[step], step, drawn);
    step_texts(cpu, counts[step], step, best);
    for (int64_t i = 0; i < counts[step]; i++)
      EXPECT(drawn[i] == best[i], "text %lld of %lld: %d is drawn, %d expected", (long long)i,
             (long long)counts[step], drawn[i], best[i]);
    if (step == 0) expect_shapes(5, "the first step"); // with the head's
  }
  expect_shapes(5, "steps of other numbers of texts");
  sim_module_expect_clean();
  close_reader(device);
  close_reader(cpu);
}

int main(void) {
  sim_module_control();
  setenv("VMA_CUDA_MODULE", getenv("VMA_SIM_MODULE"), 1);
  RUN(alone);
  RUN(with_an_adapter);
  RUN(prompts_of_any_length);
  RUN(any_number_of_texts);
  return test_done();
}
