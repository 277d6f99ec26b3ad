// labels: sim
// Greedy text of a tiny LLaMA, alone and with an adapter, in f32 and bf16: what the simulated
// device draws itself, through the cache, is what the CPU's logits prefer.
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

static Reader *open_reader(const char *device, DType dtype, const char *adapter) {
  Error err;
  Reader *r = calloc(1, sizeof *r);
  const DecoderSize size = {.max_len = MAX, .chunk = 4}; // a prompt takes two steps
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
  Reader *device = open_reader("cuda", dtype, adapter), *cpu = open_reader("cpu", dtype, adapter),
         *f32 = open_reader("cpu", DT_F32, adapter);
  Reader *all[] = {device, cpu, f32};
  Greedy greedy = {.vocab = cpu->engine.model.config.vocab, .exact = dtype == DT_F32};
  EXPECT(device->decoder.draws, "the device does not draw");
  for (int p = 0; p < PROMPTS; p++) {
    int32_t text[MAX];
    for (int i = 0; i < PROMPT; i++) text[i] = (int32_t)((7 + 31 * p + 11 * i * i) % greedy.vocab);
    for (int i = 0; i < 3; i++) decoder_reset(&all[i]->decoder);
    for (int n = PROMPT; n < MAX; n++) {
      const float *theirs = logits_after(cpu, text, n), *exact = logits_after(f32, text, n);
      greedy_compare(&greedy, draw_after(device, text, n), theirs, exact);
      text[n] = greedy_pick(theirs, greedy.vocab);
    }
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

int main(void) {
  sim_module_control();
  setenv("VMA_CUDA_MODULE", getenv("VMA_SIM_MODULE"), 1);
  RUN(alone);
  RUN(with_an_adapter);
  return test_done();
}
