// What a shadow notes for the largest shapes is enough for all smaller ones: after `reserve` no op
// takes more. The scratch of a few ops does not grow with their shapes in one direction.
#include "backend.h"
#include "rng.h"
#include "test.h"

static Backend *be;

static Tensor tensor(DType dtype, int64_t rows, int64_t cols) {
  void *memory = aligned_alloc(256, (size_t)(rows * cols * 4 + 255) / 256 * 256);
  Tensor t = tensor_make(memory, dtype, rows, cols);
  memset(memory, 0, (size_t)(rows * cols * 4));
  return t;
}

static void open_backend(const char *gemm) {
  Error err = {0};
  CpuOptions options = {.threads = 2, .gemm = gemm};
  if (backend_cpu_open(&be, &options, &err) == STATUS_OK) return;
  printf("%s\n", err.message);
  exit(1);
}

static void enough(int64_t scratch, const char *what, int64_t size) {
  EXPECT(be->counts.scratch == scratch, "%s of %lld: %lld bytes more", what, (long long)size,
         (long long)(be->counts.scratch - scratch));
}

static int64_t reserve(void) {
  Error err = {0};
  EXPECT(be->reserve(be, &err) == STATUS_OK, "%s", err.message);
  EXPECT(be->counts.scratch >= be->shadow->counts.scratch && be->shadow->counts.scratch > 0);
  return be->counts.scratch;
}

// Rows are the sum of dw: ranges and panels are cut anew for each number of them.
static void linear_of_any_rows(const char *gemm) {
  enum { ROWS = 9000, N = 96, K = 72 };
  open_backend(gemm);
  Tensor x = tensor(DT_BF16, ROWS, K), y = tensor(DT_BF16, ROWS, N), w = tensor(DT_BF16, N, K),
         dw = tensor(DT_BF16, N, K), db = tensor(DT_F32, 1, N);
  Backend *shadow = be->shadow;
  int64_t launches = be->counts.launches;
  shadow->linear(shadow, y, x, w, TENSOR_NONE, false);
  shadow->linear_back_x_acc(shadow, x, y, w);
  shadow->linear_back_w_acc(shadow, dw, db, y, x);
  EXPECT(be->counts.launches == launches, "a shadow computes");
  int64_t scratch = reserve();
  static const int64_t rows[] = {1,    2,    8,    9,    100,  383,  385,
                                 1000, 2048, 4095, 4097, 4300, 8999, 9000};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Tensor some = tensor_rows(x, 0, rows[i]), out = tensor_rows(y, 0, rows[i]);
    be->linear(be, out, some, w, TENSOR_NONE, false);
    be->linear_back_x_acc(be, some, out, w);
    be->linear_back_w_acc(be, dw, db, out, some);
    enough(scratch, gemm, rows[i]);
  }
  be->close(be);
  Tensor all[] = {x, y, w, dw, db};
  for (int i = 0; i < 5; i++) free(all[i].data);
}

static void linear_rows(void) {
  linear_of_any_rows("own");
  linear_of_any_rows("onednn-f32");
}

// Wide results: a panel holds as many columns as its depth allows.
static void wide_results(void) {
  enum { ROWS = 2100, N = 3001, K = 8 };
  open_backend("own");
  Tensor x = tensor(DT_F32, ROWS, K), y = tensor(DT_F32, ROWS, N), dw = tensor(DT_F32, N, K),
         wide = tensor(DT_F32, K, N);
  be->shadow->linear_back_w_acc(be->shadow, wide, TENSOR_NONE, x, y);
  be->shadow->linear_back_w_acc(be->shadow, dw, TENSOR_NONE, y, x);
  int64_t scratch = reserve();
  for (int64_t rows = 100; rows <= ROWS; rows += 125) {
    be->linear_back_w_acc(be, wide, TENSOR_NONE, tensor_rows(x, 0, rows), tensor_rows(y, 0, rows));
    enough(scratch, "dw", rows);
  }
  be->close(be);
  Tensor all[] = {x, y, dw, wide};
  for (int i = 0; i < 4; i++) free(all[i].data);
}

// Sequences of any lengths within the bounds, forward and backward.
static void attention_of_any_lengths(void) {
  enum { ROWS = 700, SEQS = 9, H = 4, KV = 2, D = 40, LONGEST = 300 };
  open_backend("own");
  Tensor q = tensor(DT_F32, ROWS, H * D), k = tensor(DT_F32, ROWS, KV * D),
         v = tensor(DT_F32, ROWS, KV * D), o = tensor(DT_F32, ROWS, H * D),
         lse = tensor(DT_F32, ROWS, H), cu = tensor(DT_I32, 1, SEQS + 1);
  AttentionArgs args = {.n_heads = H,
                        .n_kv_heads = KV,
                        .head_dim = D,
                        .scale = 0.1f,
                        .n_seqs = SEQS,
                        .max_q = LONGEST,
                        .max_k = LONGEST,
                        .cu_q = cu,
                        .cu_k = cu};
  Backend *shadow = be->shadow;
  shadow->attention(shadow, o, lse, q, k, v, &args);
  shadow->attention_back_acc(shadow, q, k, v, TENSOR_NONE, o, o, lse, q, k, v, &args);
  int64_t scratch = reserve();
  Rng rng = {.key = 11};
  for (int round = 0; round < 40; round++) {
    int32_t *border = cu.data;
    args.max_q = 0;
    args.n_seqs = 1 + (int64_t)rng_below(&rng, SEQS);
    args.cu_q = args.cu_k = tensor_cols(cu, 0, args.n_seqs + 1);
    for (int i = 0; i < args.n_seqs; i++) {
      int32_t most = round % 5 == 0 ? 4 : LONGEST;
      int32_t n = 1 + (int32_t)rng_below(&rng, (uint32_t)most);
      if (border[i] + n > ROWS) n = ROWS - border[i];
      border[i + 1] = border[i] + n;
      if (n > args.max_q) args.max_q = n;
    }
    args.max_k = args.max_q;
    be->attention(be, o, lse, q, k, v, &args);
    be->attention_back_acc(be, q, k, v, TENSOR_NONE, o, o, lse, q, k, v, &args);
    enough(scratch, "attention", args.max_q);
  }
  be->close(be);
  Tensor all[] = {q, k, v, o, lse, cu};
  for (int i = 0; i < 6; i++) free(all[i].data);
}

static void notes_are_forgotten(void) {
  open_backend("own");
  Tensor x = tensor(DT_F32, 64, 64), y = tensor(DT_F32, 64, 64), w = tensor(DT_F32, 64, 64);
  be->shadow->linear(be->shadow, y, x, w, TENSOR_NONE, false);
  int64_t noted = be->shadow->counts.scratch;
  be->shadow->linear(be->shadow, y, x, w, TENSOR_NONE, false);
  EXPECT(noted > 0 && be->shadow->counts.scratch == noted,
         "the largest call counts, not their sum");
  be->shadow->forget(be->shadow);
  EXPECT(be->shadow->counts.scratch == 0);
  be->close(be);
  free(x.data);
  free(y.data);
  free(w.data);
}

int main(void) {
  RUN(linear_rows);
  RUN(wide_results);
  RUN(attention_of_any_lengths);
  RUN(notes_are_forgotten);
  return test_done();
}
