// Nothing is allocated once a run is under way: after its first step a trainer asks malloc for
// nothing and its backend for no more scratch, whatever shapes come. The scratch is what the
// rehearsal noted and the plan says.
#include "rng.h"
#include "test.h"
#include "train_model.h"
#include "trainer.h"

#include <malloc.h>

// ---- calls of malloc: of this program, and of its libraries ----

static volatile int64_t calls;

#if defined(__SANITIZE_ADDRESS__)
enum { COUNTED = 0 }; // the sanitizer has taken these functions for itself
#else
enum { COUNTED = 1 };
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size) {
  calls++;
  return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
  calls++;
  return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
  calls++;
  return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size) {
  calls++;
  return __libc_memalign(align, size);
}
#endif

// ---- a tiny run ----

enum { EXAMPLES = 40, LONGEST = 70, BATCH = 6, VOCAB = 131 };

static const LlamaConfig tiny = {.hidden = 48,
                                 .ffn = 80,
                                 .layers = 2,
                                 .heads = 3,
                                 .kv_heads = 1,
                                 .head_dim = 16,
                                 .vocab = VOCAB,
                                 .rms_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .max_positions = 128,
                                 .tied = true};

typedef struct Fixture {
  RunConfig config;
  Dataset data;
  Llama model;
  Backend *be;
  Memory memory;
  MemoryPlan plan;
  Trainer trainer;
} Fixture;

// Every length from 1: steps with few rows take other ways through the backend than long ones.
static Dataset make_data(void) {
  Dataset d = {.n = EXAMPLES};
  Rng rng = {.key = 3};
  d.examples = calloc(EXAMPLES, sizeof *d.examples);
  d.tokens = calloc((size_t)EXAMPLES * LONGEST, sizeof *d.tokens);
  for (int i = 0; i < EXAMPLES; i++) {
    int32_t n = i < 10 ? i + 2 : 2 + (int32_t)rng_below(&rng, LONGEST - 1);
    if (i == 20) n = LONGEST;
    d.examples[i] = (Example){.first = d.n_tokens, .n = n, .item = i};
    for (int32_t k = 0; k < n; k++) d.tokens[d.n_tokens++] = (int32_t)rng_below(&rng, VOCAB);
    dataset_mark(&d, i, n / 3);
  }
  return d;
}

static Fixture *open_fixture(DType dtype, const CpuOptions *options) {
  Error err = {0};
  Fixture *f = calloc(1, sizeof *f);
  RunConfig *c = &f->config;
  config_defaults(c);
  c->model.dtype = dtype;
  c->lora.dropout = 0.1;
  c->train.batch_size = BATCH;
  c->train.micro_tokens = 150;
  f->data = make_data();
  test_must(train_model_declare(&f->model, &tiny, c, &err), &err);
  test_must(backend_cpu_open(&f->be, options, &err), &err);
  trainer_init(&f->trainer, c, &f->data, &f->model);
  f->trainer.shadow = f->be->shadow;
  test_must(trainer_plan(&f->trainer, &f->plan, NULL, &err), &err);
  test_must(memory_open(&f->memory, f->be, &f->plan, &err), &err);
  trainer_place(&f->trainer, f->be, &f->memory);
  for (int64_t i = 0; i < f->model.params.n; i++)
    f->be->fill(f->be, f->model.params.items[i].value.t, 0.03);
  return f;
}

static void close_fixture(Fixture *f) {
  trainer_free(&f->trainer);
  memory_close(&f->memory);
  f->be->close(f->be);
  llama_free(&f->model);
  dataset_free(&f->data);
  free(f);
}

// One step over `n` examples from `first`, and an evaluation of them.
static void step(Fixture *f, int32_t first, int64_t n, int64_t number) {
  Error err = {0};
  StepResult result;
  int32_t examples[BATCH];
  for (int i = 0; i < n; i++) examples[i] = (first + i) % EXAMPLES;
  test_must(trainer_step(&f->trainer, examples, n, number, 1e-3, &result, &err), &err);
  trainer_evaluate(&f->trainer, examples, n);
}

static void nothing_is_allocated(const char *gemm, DType dtype, int threads) {
  CpuOptions options = {.threads = threads, .gemm = gemm};
  Backend *there;
  if (backend_cpu_open(&there, &options, NULL) != STATUS_OK) return; // not on this CPU
  there->close(there);
  Fixture *f = open_fixture(dtype, &options);
  const char *name = f->be->gemm_path;
  int64_t scratch = f->be->counts.scratch;
  EXPECT(f->plan.scratch > 100000 && scratch >= f->plan.scratch, "%s: %lld planned, %lld taken",
         name, (long long)f->plan.scratch, (long long)scratch);
  step(f, 20, 3, 1); // not the largest
  int64_t before = calls;
  size_t used = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (int i = 0; i < EXAMPLES; i++) step(f, i, 1 + i % BATCH, 2 + i);
  int64_t made = calls - before;
  size_t now = mallinfo2().uordblks + mallinfo2().hblkhd;
  EXPECT(f->be->counts.scratch == scratch, "%s: scratch grew by %lld bytes", name,
         (long long)(f->be->counts.scratch - scratch));
  size_t kept = strcmp(gemm, "own") == 0 ? 0 : 4096; // what the library remembers of new shapes
  EXPECT(now <= used + kept, "%s: %zu bytes in use, %zu after more steps", name, used, now);
  // The library makes its handles anew for each product, and libgomp teams of other sizes.
  if (COUNTED && strcmp(gemm, "own") == 0 && threads == 1)
    EXPECT(made == 0, "%s: %lld calls of malloc", name, (long long)made);
  close_fixture(f);
}

static void steps_allocate_nothing(void) {
  nothing_is_allocated("own", DT_F32, 1);
  nothing_is_allocated("own", DT_BF16, 1);
  nothing_is_allocated("own", DT_F32, 2);
  nothing_is_allocated("onednn-f32", DT_F32, 1);
  nothing_is_allocated("onednn-f32", DT_BF16, 2);
  nothing_is_allocated("onednn-bf16", DT_BF16, 1);
}

static void calls_are_counted(void) {
  int64_t before = calls;
  free(malloc(strlen(test_tmp_dir()) + 1));
  EXPECT(!COUNTED || calls > before);
}

int main(void) {
  RUN(calls_are_counted);
  RUN(steps_allocate_nothing);
  return test_done();
}
