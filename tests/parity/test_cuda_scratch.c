// The scratch that the CUDA backend's ops take never grows where a shape shrinks: fewer rows,
// sequences, queries, keys, heads, beams. A plan rehearses the largest shapes alone, so this is
// what makes it enough for all others. No device: the shadow asks the functions that the ops ask.
#include "backend.h"
#include "test.h"

static Backend *shadow;

// Sizes that grow: around tiles, splits, pieces and what few rows are.
enum { MOST_SIZES = 26, MOST_DIMS = 5 };
typedef struct Sizes {
  const char *name;
  int n;
  int64_t of[MOST_SIZES];
} Sizes;

#define ROWS                                                                                       \
  {                                                                                                \
    "rows", 26, {                                                                                  \
      0, 1, 2, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023,      \
          1024, 1025, 2049, 4096, 8191, 8192                                                       \
    }                                                                                              \
  }

typedef struct Sweep {
  const char *op;
  void (*call)(const int64_t *size, const void *form);
  const void *form;
  int n_dims;
  Sizes dims[MOST_DIMS];
} Sweep;

static int64_t noted(const Sweep *s, const int64_t *size) {
  shadow->forget(shadow);
  s->call(size, s->form);
  return shadow->counts.scratch;
}

static void text_of(char *text, size_t room, const Sweep *s, const int64_t *size) {
  size_t n = 0;
  for (int i = 0; i < s->n_dims; i++) {
    int wrote = snprintf(text + n, room - n, " %s %lld", s->dims[i].name, (long long)size[i]);
    if (wrote < 0 || (size_t)wrote >= room - n) return;
    n += (size_t)wrote;
  }
}

// Every point of the grid against the next one along each dimension: with that any smaller shape is
// below any larger one. Gives the points that take any.
static void sweep(const Sweep *s) {
  int at[MOST_DIMS] = {0}, taken = 0, failures = 0;
  for (;;) {
    int64_t size[MOST_DIMS];
    for (int i = 0; i < s->n_dims; i++) size[i] = s->dims[i].of[at[i]];
    int64_t here = noted(s, size);
    taken += here > 0;
    for (int i = 0; i < s->n_dims && failures < 3; i++) {
      if (at[i] + 1 == s->dims[i].n) continue;
      int64_t small = size[i];
      size[i] = s->dims[i].of[at[i] + 1];
      int64_t above = noted(s, size);
      char text[200] = "";
      text_of(text, sizeof text, s, size);
      failures += above < here;
      EXPECT(above >= here, "%s:%s takes %lld bytes, with %s %lld it takes %lld", s->op, text,
             (long long)above, s->dims[i].name, (long long)small, (long long)here);
      size[i] = small;
    }
    int i = 0;
    while (i < s->n_dims && ++at[i] == s->dims[i].n) at[i++] = 0;
    if (i == s->n_dims) break;
  }
  EXPECT(taken > 0, "%s: no shape takes scratch", s->op);
}

// Memory that is never touched; 256-byte aligned as an arena's, or `off` elements beside it.
static Tensor of(DType dtype, int64_t rows, int64_t cols, int64_t off) {
  char *memory = (char *)((intptr_t)1 << 40); // NOLINT: an address
  return tensor_make(memory + off * dtype_info(dtype)->block_bytes, dtype, rows, cols);
}

// A part of a wider matrix.
static Tensor part(DType dtype, int64_t rows, int64_t cols, int64_t stride, int64_t off) {
  Tensor t = of(dtype, rows, cols, off);
  t.stride = stride;
  return t;
}

// ---- linear ----

typedef struct LinearForm {
  DType f, w, out, grad, bias;
  int64_t n, k, spare; // columns between one row's end and the next row
  int64_t off;
} LinearForm;

static const LinearForm linears[] = {
    {DT_F32, DT_F32, DT_F32, DT_F32, DT_F32, 96, 64, 0, 0},
    {DT_F32, DT_F32, DT_F32, DT_F32, DT_F32, 33, 31, 0, 0}, // every operand is staged
    {DT_F32, DT_F32, DT_F32, DT_F32, DT_F32, 96, 64, 3, 1},
    {DT_BF16, DT_BF16, DT_BF16, DT_F32, DT_BF16, 33, 31, 0, 0},
    {DT_BF16, DT_BF16, DT_F32, DT_BF16, DT_BF16, 96, 64, 0, 0}, // the bias is converted
    {DT_BF16, DT_BF16, DT_BF16, DT_BF16, DT_BF16, 1, 1, 4, 3},
    {DT_BF16, DT_Q8_0, DT_BF16, DT_BF16, DT_BF16, 96, 64, 0, 0},
    {DT_F32, DT_Q4_1, DT_F32, DT_F32, DT_F32, 35, 64, 1, 1},
    {DT_BF16, DT_Q6_K, DT_F32, DT_F32, DT_BF16, 35, 256, 0, 0},
};

static Tensor activations(const LinearForm *l, DType dtype, int64_t rows, int64_t cols) {
  return part(dtype, rows, cols, cols + l->spare, l->off);
}

static void call_linear(const int64_t *size, const void *form) {
  const LinearForm *l = form;
  shadow->linear(shadow, activations(l, l->out, size[0], l->n), activations(l, l->f, size[0], l->k),
                 of(l->w, l->n, l->k, 0), of(l->bias, 1, l->n, l->off), false);
}

static void call_linear_back_x(const int64_t *size, const void *form) {
  const LinearForm *l = form;
  shadow->linear_back_x_acc(shadow, activations(l, l->f, size[0], l->k),
                            activations(l, l->f, size[0], l->n), of(l->w, l->n, l->k, 0));
}

static void call_linear_back_w(const int64_t *size, const void *form) {
  const LinearForm *l = form;
  shadow->linear_back_w_acc(shadow, of(l->grad, l->n, l->k, 0), of(l->grad, 1, l->n, 0),
                            activations(l, l->f, size[0], l->n),
                            activations(l, l->f, size[0], l->k));
}

static bool takes_any(const LinearForm *l) {
  return l->n % 8 != 0 || l->off != 0 || l->w != l->f;
}

static void linear(void) {
  for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
    const LinearForm *l = &linears[i];
    Sweep forward = {"linear", call_linear, l, 1, {ROWS}};
    Sweep back_x = {"linear_back_x_acc", call_linear_back_x, l, 1, {ROWS}};
    Sweep back_w = {"linear_back_w_acc", call_linear_back_w, l, 1, {ROWS}};
    if (takes_any(l)) sweep(&forward);
    if (takes_any(l)) sweep(&back_x);
    sweep(&back_w); // the sums of the bias's gradient
  }
}

// ---- norms, adapters, sums ----

typedef struct Form {
  DType f;
  bool first, second; // which of two gradients are asked for
} Form;

static const Form forms[] = {{DT_F32, true, true}, {DT_BF16, true, false}, {DT_BF16, false, true}};

static Tensor maybe(bool given, Tensor t) {
  return given ? t : TENSOR_NONE;
}

enum { WIDTH = 80 };

static void call_rmsnorm_back(const int64_t *size, const void *form) {
  const Form *f = form;
  Tensor x = of(f->f, size[0], WIDTH, 0);
  shadow->rmsnorm_back_acc(shadow, x, of(DT_F32, 1, WIDTH, 0), x, x, of(DT_F32, 1, size[0], 0),
                           of(f->f, 1, WIDTH, 0));
}

static void call_layernorm_back(const int64_t *size, const void *form) {
  const Form *f = form;
  Tensor x = of(f->f, size[0], WIDTH, 0), stat = of(DT_F32, 1, size[0], 0);
  Tensor row = of(DT_F32, 1, WIDTH, 0);
  shadow->layernorm_back_acc(shadow, x, maybe(f->first, row), maybe(f->second, row), x, x, stat,
                             stat, of(f->f, 1, WIDTH, 0));
}

static void call_lora_back(const int64_t *size, const void *form) {
  const Form *f = form;
  Tensor a = of(DT_F32, size[1], 48, 0), b = of(DT_F32, WIDTH, size[1], 0);
  Tensor t = of(DT_F32, size[0], size[1], 0), x = of(f->f, size[0], 48, 0);
  shadow->lora_back_acc(shadow, x, maybe(f->first, a), maybe(f->second, b), t,
                        of(f->f, size[0], WIDTH, 0), t, x, a, b, 1, (RowSelect){0}, &(Dropout){0});
}

static void call_sum(const int64_t *size, const void *form) {
  const Form *f = form;
  Tensor out = of(DT_F64, 1, 1, 0), x = of(f->f, size[0], size[1], 0);
  if (f->first) {
    x.stride += f->second;
    shadow->sum_acc(shadow, out, x);
  } else {
    shadow->sum_squares(shadow, out, x);
  }
}

static void norms_adapters_sums(void) {
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    Sweep rms = {"rmsnorm_back_acc", call_rmsnorm_back, &forms[i], 1, {ROWS}};
    Sweep layer = {"layernorm_back_acc", call_layernorm_back, &forms[i], 1, {ROWS}};
    Sweep lora = {"lora_back_acc",
                  call_lora_back,
                  &forms[i],
                  2,
                  {ROWS, {"rank", 7, {1, 3, 4, 8, 16, 17, 64}}}};
    Sweep sum = {"sum",
                 call_sum,
                 &forms[i],
                 2,
                 {ROWS, {"cols", 9, {0, 1, 2, 512, 16383, 16384, 16385, 40000, 1 << 20}}}};
    sweep(&rms);
    sweep(&layer);
    sweep(&lora);
    sweep(&sum);
  }
}

// ---- attention ----

typedef struct AttentionForm {
  DType f;
  int64_t head_dim;
  bool paged, bias;
} AttentionForm;

// size: rows, longest keys, longest queries, sequences, heads.
static AttentionArgs attention_args(const int64_t *size, const AttentionForm *f) {
  int64_t seqs = size[3], pages = (size[1] + 63) / 64;
  AttentionArgs a = {.n_heads = size[4],
                     .n_kv_heads = 1,
                     .head_dim = f->head_dim,
                     .scale = 1,
                     .n_seqs = seqs,
                     .max_q = size[2],
                     .max_k = size[1],
                     .cu_q = of(DT_I32, 1, seqs + 1, 0),
                     .cu_k = of(DT_I32, 1, seqs + 1, 0)};
  if (f->paged) {
    a.pages = of(DT_I32, seqs, pages, 0);
    a.page_size = 64;
    a.k_lens = of(DT_I32, 1, seqs, 0);
  }
  if (f->bias) {
    a.bias = of(f->f, 32, size[4], 0);
    a.bias_max_distance = 128;
  }
  return a;
}

static void call_attention(const int64_t *size, const void *form) {
  const AttentionForm *f = form;
  AttentionArgs a = attention_args(size, f);
  Tensor q = of(f->f, size[0], size[4] * f->head_dim, 0), k = of(f->f, 4096, f->head_dim, 0);
  shadow->attention(shadow, q, of(DT_F32, size[0], size[4], 0), q, k, k, &a);
}

static void call_attention_back(const int64_t *size, const void *form) {
  const AttentionForm *f = form;
  AttentionArgs a = attention_args(size, f);
  Tensor q = of(f->f, size[0], size[4] * f->head_dim, 0), k = of(f->f, 4096, f->head_dim, 0);
  shadow->attention_back_acc(shadow, q, k, k, maybe(f->bias, of(DT_F32, 32, size[4], 0)), q, q,
                             of(DT_F32, size[0], size[4], 0), q, k, k, &a);
}

static void attention(void) {
  static const AttentionForm attentions[] = {
      {DT_BF16, 128, true, false}, {DT_F32, 64, false, false}, {DT_F32, 24, false, true}};
  const Sizes dims[] = {
      {"rows", 12, {0, 1, 2, 16, 17, 64, 65, 129, 512, 1000, 4096, 8192}},
      {"keys",
       15,
       {0, 1, 64, 65, 511, 512, 513, 1024, 1025, 8192, 16384, 16385, 16897, 32768, 131072}},
      {"queries", 6, {0, 1, 2, 16, 17, 512}},
      {"sequences", 5, {0, 1, 2, 16, 64}},
      {"heads", 5, {1, 2, 8, 32, 128}}};
  for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++) {
    const AttentionForm *f = &attentions[i];
    Sweep forward = {"attention", call_attention, f, 5, {{0}}};
    Sweep back = {"attention_back_acc", call_attention_back, f, 5, {{0}}};
    memcpy(forward.dims, dims, sizeof dims);
    memcpy(back.dims, dims, sizeof dims);
    sweep(&forward);
    if (!f->paged) sweep(&back);
  }
}

// ---- the optimizer, choosing tokens ----

static void call_adamw(const int64_t *size, const void *form) {
  Tensor w = of(DT_F32, 1, size[0], 0);
  (void)form;
  AdamArgs args = {
      .lr = of(DT_F32, 1, 1, 0), .step = of(DT_I32, 1, 1, 0), .clip = of(DT_F32, 1, 2, 0)};
  shadow->adamw(shadow, w, TENSOR_NONE, w, w, w, &args);
}

static void call_sample(const int64_t *size, const void *form) {
  const Form *f = form;
  int64_t rows = size[0];
  SampleArgs args = {.temperature = of(DT_F32, 1, rows, 0),
                     .top_k = of(DT_I32, 1, rows, 0),
                     .top_p = of(DT_F32, 1, rows, 0),
                     .seeds = of(DT_I64, 1, rows, 0),
                     .draws = of(DT_I64, 1, rows, 0)};
  shadow->sample(shadow, of(DT_I32, 1, rows, 0), of(f->f, rows, size[1], 0), &args);
}

// size: texts, beams, candidates, vocabulary.
static void call_beam(const int64_t *size, const void *form) {
  const Form *f = form;
  Tensor out = of(DT_F32, size[0], size[2], 0), ids = of(DT_I32, size[0], size[2], 0);
  BeamArgs args = {.beams = size[1], .sums = of(DT_F32, size[0], size[1], 0)};
  shadow->beam_step(shadow, out, ids, ids, of(f->f, size[0] * size[1], size[3], 0), &args);
}

static void optimizer_and_choice(void) {
  Sweep adamw = {"adamw", call_adamw, NULL, 1, {ROWS}};
  sweep(&adamw);
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    Sweep sample = {
        "sample", call_sample, &forms[i], 2, {ROWS, {"vocabulary", 4, {1, 17, 1000, 128256}}}};
    Sweep beam = {"beam_step",
                  call_beam,
                  &forms[i],
                  4,
                  {{"texts", 6, {0, 1, 2, 7, 16, 64}},
                   {"beams", 5, {1, 2, 4, 5, 16}},
                   {"candidates", 5, {1, 2, 8, 10, 32}},
                   {"vocabulary", 3, {1, 1000, 128256}}}};
    sweep(&sample);
    sweep(&beam);
  }
}

int main(void) {
  Error err = {0};
  test_must(backend_cuda_shadow_open(&shadow, &err), &err);
  RUN(linear);
  RUN(norms_adapters_sums);
  RUN(attention);
  RUN(optimizer_and_choice);
  shadow->close(shadow);
  return test_done();
}
