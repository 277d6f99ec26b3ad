// Embedding, gather and their gradients, and patches, against the reference.
#include "parity.h"
#include "test.h"

static const DType floats[] = {DT_F32, DT_BF16};
static const int64_t shapes[][3] = {{0, 32, 0}, {1, 32, 0}, {3, 96, 1}, {64, 64, 2}, {37, 1056, 3}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void call_embedding(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->embedding(be, t[0], t[1], t[2]);
}

static void call_embedding_back(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->embedding_back_acc(be, t[0], t[1], t[2]);
}

static void call_gather(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->gather_rows(be, t[0], t[1], t[2]);
}

static void call_scatter(Backend *be, const Tensor *t, const void *user) {
  (void)user;
  be->scatter_rows_acc(be, t[0], t[1], t[2]);
}

static void test_embedding(void) {
  static const DType tables[] = {DT_F32, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q4_K, DT_Q6_K};
  for (int f = 0; f < 2; f++) {
    for (int w = 0; w < 7; w++) {
      if (w < 2 && tables[w] != floats[f]) continue;
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        int64_t block = dtype_info(tables[w])->block_elements;
        int64_t cols = block > 32 ? block * (1 + s % 3) : d[1];
        ParityCase c = {.call = call_embedding, .exact = true};
        snprintf(c.name, sizeof c.name, "embedding %s of %s %lldx%lld", dtype_info(floats[f])->name,
                 dtype_info(tables[w])->name, (long long)d[0], (long long)cols);
        parity_add(&c, "y", PARITY_OUT, floats[f], d[0], cols, d[2], 1);
        int table = parity_add(&c, "table", PARITY_IN, tables[w], 41, cols, w < 2 ? 5 : block, 1);
        if (w >= 2) parity_quantised(&c, table);
        int ids = parity_add_i32(&c, "ids", NULL, d[0], 41);
        for (int64_t r = 2; r < d[0]; r += 3) parity_i32(&c, ids)[r] = -1; // of no sequence
        parity_run(&c);
      }
    }
  }
}

static void test_embedding_back(void) {
  for (int f = 0; f < 2; f++) {
    for (int wide = 0; wide < 2; wide++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        DType table = wide ? DT_F32 : floats[f];
        ParityCase c = {.call = call_embedding_back};
        snprintf(c.name, sizeof c.name, "embedding_back_acc %s into %s %lldx%lld",
                 dtype_info(floats[f])->name, dtype_info(table)->name, (long long)d[0],
                 (long long)d[1]);
        parity_add(&c, "dtable", PARITY_ACC, table, 41, d[1], 3, 1);
        parity_add(&c, "dy", PARITY_IN, floats[f], d[0], d[1], d[2], 1);
        int ids = parity_add_i32(&c, "ids", NULL, d[0], s == 4 ? 3 : 41); // many rows of one id
        if (d[0] > 1) parity_i32(&c, ids)[d[0] - 1] = parity_i32(&c, ids)[0];
        for (int64_t r = 1; r < d[0]; r += 4) parity_i32(&c, ids)[r] = -1; // of no sequence
        parity_run(&c);
      }
    }
  }
}

static void test_gather_and_scatter(void) {
  for (int f = 0; f < 2; f++) {
    for (int s = 0; s < N_SHAPES; s++) {
      const int64_t *d = shapes[s];
      ParityCase gather = {.call = call_gather, .exact = true},
                 scatter = {.call = call_scatter, .exact = true};
      snprintf(gather.name, sizeof gather.name, "gather_rows %s %lldx%lld",
               dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
      parity_add(&gather, "y", PARITY_OUT, floats[f], d[0], d[1], d[2], 1);
      parity_add(&gather, "x", PARITY_IN, floats[f], 19, d[1], 1, 1);
      int from = parity_add_i32(&gather, "rows", NULL, d[0], 19);
      for (int64_t i = 2; i < d[0]; i += 3) parity_i32(&gather, from)[i] = -1; // without a label
      parity_run(&gather);
      snprintf(scatter.name, sizeof scatter.name, "scatter_rows_acc %s %lldx%lld",
               dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
      parity_add(&scatter, "dx", PARITY_ACC, floats[f], 3 * d[0] + 2, d[1], d[2], 1);
      parity_add(&scatter, "dy", PARITY_IN, floats[f], d[0], d[1], 1, 1);
      int rows = parity_add_i32(&scatter, "rows", NULL, d[0], 1);
      int64_t added = s == N_SHAPES - 1 ? 5 : s == 2 ? 1 : 0; // rows without a label
      for (int64_t i = 0; i < d[0]; i++)
        parity_i32(&scatter, rows)[i] = i < d[0] - added ? (int32_t)(3 * i + i % 2) : -1;
      parity_run(&scatter);
    }
  }
}

static void call_patchify(Backend *be, const Tensor *t, const void *user) {
  PatchArgs args = *(const PatchArgs *)user;
  args.tops = t[2];
  args.lefts = t[3];
  be->patchify(be, t[0], t[1], &args);
}

// `rows` patches of two images of another width, one below the other, with rows of no sequence.
static void run_patchify(int64_t rows, const PatchArgs *args, DType f, DType pixels, int64_t pad) {
  enum { LINES = 70, WIDTH = 37, NARROW = 21 };
  int64_t size = args->size, half = LINES / 2;
  ParityCase c = {.call = call_patchify, .user = args, .exact = f == DT_BF16}; // f32: f64 too
  snprintf(c.name, sizeof c.name, "patchify %s of %s, %lld of %lld, %lld channels %s",
           dtype_info(f)->name, dtype_info(pixels)->name, (long long)rows, (long long)size,
           (long long)args->channels, args->channels_first ? "first" : "last");
  parity_add(&c, "y", PARITY_OUT, f, rows, size * size * args->channels, pad, 1);
  parity_add(&c, "pixels", PARITY_IN, pixels, LINES, WIDTH * args->channels, pad + 1, 1);
  int tops = parity_add_i32(&c, "tops", NULL, rows, half - size + 1),
      lefts = parity_add_i32(&c, "lefts", NULL, rows, NARROW - size + 1);
  for (int64_t r = 1; r < rows; r += 2) { // the second image, to its last pixel
    parity_i32(&c, tops)[r] += (int32_t)half;
    parity_i32(&c, lefts)[r] += WIDTH - NARROW;
  }
  if (rows > 1) {
    parity_i32(&c, tops)[1] = (int32_t)(LINES - size);
    parity_i32(&c, lefts)[1] = (int32_t)(WIDTH - size);
  }
  for (int64_t r = 2; r < rows; r += 4) {
    parity_i32(&c, tops)[r] = -1;
    parity_i32(&c, lefts)[r] = -1;
  }
  parity_run(&c);
}

static void test_patchify(void) {
  // The models' 16 and 14 pixels of three channels, one pixel, and lines that take two parts.
  static const int64_t sizes[][3] = {{1, 1, 1}, {16, 3, 5}, {14, 3, 9}, {7, 1, 2}, {3, 300, 3}};
  for (int f = 0; f < 2; f++) {
    for (int first = 0; first < 2; first++) {
      for (int s = 0; s < 5; s++) {
        PatchArgs args = {.size = sizes[s][0], .channels = sizes[s][1], .channels_first = first};
        run_patchify(sizes[s][2], &args, floats[f], DT_F32, s % 3);
        if (f > 0) run_patchify(sizes[s][2], &args, DT_BF16, DT_BF16, 0);
      }
      PatchArgs none = {.size = 16, .channels = 3, .channels_first = first};
      run_patchify(0, &none, floats[f], DT_F32, 0);
    }
  }
}

int main(void) {
  RUN(test_embedding);
  RUN(test_embedding_back);
  RUN(test_gather_and_scatter);
  RUN(test_patchify);
  return test_done();
}
