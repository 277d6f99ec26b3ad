// The product behind the stand-in for cuBLASLt: d = act(alpha op(a) op(b) + beta c + bias), by
// batches; f32 or bf16 operands, sums in f32 in ascending k, as one order that a library may take,
// and one rounding at the store.
#include "sim_check.h"
#include "sim_cublaslt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- elements ----

typedef struct View { // element (r, c) at r * row + c * col
  const char *data;
  int32_t type;
  int64_t row, col;
} View;

static View view(const void *data, const SimLayout *l, bool transposed, int64_t batch) {
  const int64_t size = sim_type_size(l->type);
  View v = {(const char *)data + batch * l->batch_stride * size, l->type, 1, l->ld};
  if ((l->order == CUBLASLT_ORDER_ROW) != transposed) {
    v.row = l->ld;
    v.col = 1;
  }
  return v;
}

static float load(const View *v, int64_t r, int64_t c) {
  const int64_t at = r * v->row + c * v->col;
  if (v->type == CUDA_R_32F) return ((const float *)(const void *)v->data)[at];
  const uint32_t bits = (uint32_t)((const uint16_t *)(const void *)v->data)[at] << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void store_at(void *to, int32_t type, float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (type == CUDA_R_32F) {
    memcpy(to, &bits, sizeof bits);
    return;
  }
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  const uint16_t rounded = nan ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  memcpy(to, &rounded, sizeof rounded);
}

static void store(const View *v, int64_t r, int64_t c, float x) {
  store_at((char *)(uintptr_t)v->data + (r * v->row + c * v->col) * sim_type_size(v->type), v->type,
           x);
}

// What is left of x in memory of that type.
static float stored(int32_t type, float x) {
  char bytes[4];
  const View v = {bytes, type, 0, 0};
  store_at(bytes, type, x);
  return load(&v, 0, 0);
}

static float finish(uint32_t epilogue, float x) {
  switch (epilogue) {
  case CUBLASLT_EPILOGUE_RELU:
  case CUBLASLT_EPILOGUE_RELU_BIAS:
    return x < 0 ? 0 : x; // a NaN stays
  case CUBLASLT_EPILOGUE_GELU:
  case CUBLASLT_EPILOGUE_GELU_BIAS: // the library's is the one by tanh
    return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
  default:
    return x;
  }
}

// ---- running it ----

static void wrote(const void *data, const SimLayout *l, int64_t batch) {
  const int64_t size = sim_type_size(l->type);
  const char *from = (const char *)data + batch * l->batch_stride * size;
  for (int64_t i = 0; i < sim_layout_lines(l); i++)
    sim_memory_wrote(from + i * l->ld * size, sim_layout_line(l) * size);
}

static void multiply(const SimProduct *p, int64_t batch, float *columns, float *sums, float *row) {
  const int64_t m = p->m, n = p->n, k = p->k;
  const View a = view(p->a, &p->la, p->how.trans_a != CUBLAS_OP_N, batch),
             b = view(p->b, &p->lb, p->how.trans_b != CUBLAS_OP_N, batch),
             d = view(p->d, &p->ld, false, batch);
  const View c = p->beta != 0 ? view(p->c, &p->lc, false, batch) : d;
  const bool biased = sim_epilogue_has_bias(p->how.epilogue);
  const View bias = {(const char *)p->how.bias +
                         batch * p->how.bias_batch_stride * sim_type_size(p->how.bias_type),
                     p->how.bias_type, 1, 0};
  for (int64_t j = 0; j < k; j++) {
    for (int64_t i = 0; i < m; i++) columns[j * m + i] = load(&a, i, j);
  }
  for (int64_t col = 0; col < n; col++) {
    for (int64_t j = 0; j < k; j++) row[j] = load(&b, j, col);
    memset(sums, 0, (size_t)m * sizeof *sums);
    for (int64_t j = 0; j < k; j++) {
      for (int64_t i = 0; p->narrow && j == k / 2 && i < m; i++)
        sums[i] = stored(p->ld.type, sums[i]);
      const float w = row[j], *from = columns + j * m;
      for (int64_t i = 0; i < m; i++) sums[i] += from[i] * w;
    }
    for (int64_t i = 0; i < m; i++) {
      float x = p->alpha * sums[i];
      if (p->beta != 0) x += p->beta * load(&c, i, col);
      if (biased) x += load(&bias, i, 0);
      store(&d, i, col, finish(p->how.epilogue, x));
    }
  }
}

static void check_written(const char *what, const void *data, const SimLayout *l) {
  const int64_t size = sim_type_size(l->type);
  for (int64_t b = 0; b < l->batch; b++) {
    const char *from = (const char *)data + b * l->batch_stride * size;
    if (!sim_check_written("cublasLtMatmul", what, from, sim_layout_lines(l),
                           sim_layout_line(l) * size, l->ld * size))
      return;
  }
}

static void run_product(SimWork *work, void *data) {
  const SimProduct *p = data;
  (void)work;
  if (p->harmful) {
    sim_runtime()->failed = cudaErrorIllegalAddress;
    return;
  }
  if (sim_runtime()->checks) {
    check_written("a", p->a, &p->la);
    check_written("b", p->b, &p->lb);
    if (p->beta != 0) check_written("c", p->c, &p->lc);
    if (sim_epilogue_has_bias(p->how.epilogue))
      sim_check_written("cublasLtMatmul", "bias", p->how.bias, 1,
                        p->m * sim_type_size(p->how.bias_type), 0);
  }
  // An algorithm that needs its workspace leaves garbage there.
  if (p->workspace_bytes > 0) memset(p->workspace, 0xFF, (size_t)p->workspace_bytes);
  sim_runtime()->time +=
      2 + (double)p->ld.batch * 2e-8 * (double)(p->m * p->n) * (double)p->k; // 100 TFLOP/s
  float *columns = malloc((size_t)(p->m * p->k) * sizeof *columns),
        *sums = malloc((size_t)p->m * sizeof *sums), *row = malloc((size_t)p->k * sizeof *row);
  if (columns == NULL || sums == NULL || row == NULL) abort();
  for (int64_t b = 0; b < p->ld.batch; b++) {
    multiply(p, b, columns, sums, row);
    wrote(p->d, &p->ld, b);
  }
  free(columns);
  free(sums);
  free(row);
}

// ---- queueing it ----

// One matrix: what it touches, and whether that is memory of the device at all.
static bool touch(SimWork *w, const char *what, const void *data, const SimLayout *l, bool reads,
                  bool writes) {
  const int64_t size = sim_type_size(l->type), line = sim_layout_line(l) * size;
  const int64_t batches = l->batch_stride == 0 ? 1 : l->batch;
  for (int64_t b = 0; b < batches; b++) {
    const char *from = (const char *)data + b * l->batch_stride * size;
    if (!sim_check_range("cublasLtMatmul", what, from, sim_layout_lines(l), line, l->ld * size,
                         reads, writes))
      return false;
    sim_work_touch(w, from, sim_layout_lines(l), line, l->ld * size, reads, writes);
  }
  return true;
}

static bool touch_bias(SimWork *w, const SimProduct *p) {
  const SimMatmul *how = &p->how;
  if (!sim_epilogue_has_bias(how->epilogue)) return true;
  const int64_t size = sim_type_size(how->bias_type);
  const SimLayout l = {.type = how->bias_type,
                       .rows = (uint64_t)p->m,
                       .cols = 1,
                       .ld = p->m,
                       .batch = p->ld.batch,
                       .batch_stride = how->bias_batch_stride};
  if ((uintptr_t)how->bias % 16 != 0 || how->bias_batch_stride * size % 16 != 0) {
    sim_report(SIM_MISALIGNED, NULL, (SimLine){0},
               "cublasLtMatmul: bias at %p: its kernels load it by 16 bytes", how->bias);
    return false;
  }
  return touch(w, "bias", how->bias, &l, true, false);
}

// ---- distinct ones ----

typedef struct Shape { // compared as bytes
  int64_t m, n, k, lda, ldb, ldc, ldd;
  int32_t trans_a, trans_b, type, out, order, batch;
  uint32_t epilogue;
} Shape;

static Shape *shapes;
static int64_t n_shapes;

int64_t sim_product_shapes(void) {
  return n_shapes;
}

void sim_product_clear(void) {
  free(shapes);
  shapes = NULL;
  n_shapes = 0;
}

static void count_shape(const SimProduct *p) {
  Shape s;
  memset(&s, 0, sizeof s);
  s.m = p->m;
  s.n = p->n;
  s.k = p->k;
  s.lda = p->la.ld;
  s.ldb = p->lb.ld;
  s.ldc = p->lc.ld;
  s.ldd = p->ld.ld;
  s.trans_a = p->how.trans_a;
  s.trans_b = p->how.trans_b;
  s.type = p->la.type;
  s.out = p->ld.type;
  s.order = p->la.order;
  s.batch = p->ld.batch;
  s.epilogue = p->how.epilogue;
  for (int64_t i = 0; i < n_shapes; i++) {
    if (memcmp(&shapes[i], &s, sizeof s) == 0) return;
  }
  Shape *grown = realloc(shapes, (size_t)(n_shapes + 1) * sizeof *grown);
  if (grown == NULL) abort();
  shapes = grown;
  shapes[n_shapes++] = s;
}

cublasStatus_t sim_product_queue(const SimProduct *product, cudaStream_t stream) {
  SimProduct *p = malloc(sizeof *p);
  if (p == NULL) abort();
  *p = *product;
  count_shape(p);
  SimWork *w = sim_work("cublasLtMatmul", SIM_WORK_PRODUCT, run_product, p);
  bool sound = touch(w, "a", p->a, &p->la, true, false);
  sound = touch(w, "b", p->b, &p->lb, true, false) && sound;
  sound = touch(w, "d", p->d, &p->ld, p->beta != 0 && p->c == p->d, true) && sound;
  if (p->beta != 0 && p->c != p->d) sound = touch(w, "c", p->c, &p->lc, true, false) && sound;
  sound = touch_bias(w, p) && sound;
  if (p->workspace_bytes > 0) {
    const bool own = sim_check_range("cublasLtMatmul", "workspace", p->workspace, 1,
                                     p->workspace_bytes, 0, true, true);
    if (own) sim_work_touch(w, p->workspace, 1, p->workspace_bytes, 0, true, true);
    sound = own && sound;
  }
  p->harmful = !sound;
  const cudaError_t error = sim_stream_push(sim_stream_of(stream), w);
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
