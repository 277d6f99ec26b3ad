// labels: sim
// The stand-in for cuBLASLt against a plain product in f64: transposes, orders, leading dimensions,
// types, alpha and beta, epilogues, batches; the statuses of what the library refuses; and mistakes
// with memory, each reported as what it is beside its correct twin, which is silent.
#include "sim_control.h"
#include "sim_memory.h"
#include "test.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <math.h>

typedef struct Case {
  int64_t m, n, k;
  int32_t in, out; // data types
  cublasOperation_t ta, tb;
  cublasLtOrder_t order;
  int64_t slack; // of every leading dimension, elements
  float alpha, beta;
  cublasLtEpilogue_t epilogue;
  int batch;
  bool broadcast; // b is one for all batches
} Case;

typedef struct Matrix {
  int32_t type;
  int64_t rows, cols, ld, stride, elements;
  cublasLtOrder_t order;
  int batch;
  float *values; // what lies there
  void *device;
} Matrix;

static uint64_t state = 88172645463325252u;

static float drawn(void) { // a value that bf16 holds
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (float)((int64_t)(state >> 40) % 129 - 64) / 32;
}

static int64_t size_of(int32_t type) {
  return type == CUDA_R_32F ? 4 : 2;
}

static void to_bytes(const float *values, void *bytes, int64_t n, int32_t type) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    if (type == CUDA_R_32F)
      memcpy((char *)bytes + 4 * i, &bits, 4);
    else
      ((uint16_t *)bytes)[i] = (uint16_t)(bits >> 16);
  }
}

static void from_bytes(float *values, const void *bytes, int64_t n, int32_t type) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits = type == CUDA_R_32F ? ((const uint32_t *)bytes)[i]
                                       : (uint32_t)((const uint16_t *)bytes)[i] << 16;
    memcpy(&values[i], &bits, sizeof bits);
  }
}

typedef enum Content { NUMBERS, NANS } Content;

static Matrix make(int32_t type, int64_t rows, int64_t cols, cublasLtOrder_t order, int64_t slack,
                   int batch, bool broadcast, Content content) {
  const bool by_rows = order == CUBLASLT_ORDER_ROW;
  Matrix x = {type, rows, cols, (by_rows ? cols : rows) + slack, 0, 0, order, batch, NULL, NULL};
  x.elements = x.ld * (by_rows ? rows : cols);
  x.stride = broadcast ? 0 : x.elements + 8 * slack;
  const int64_t all = x.elements + (batch - 1) * x.stride;
  x.elements = all;
  x.values = malloc((size_t)all * sizeof *x.values);
  void *bytes = malloc((size_t)(all * 4));
  for (int64_t i = 0; i < all; i++) x.values[i] = content == NANS ? NAN : drawn();
  to_bytes(x.values, bytes, all, type);
  EXPECT(cudaMalloc(&x.device, (size_t)(all * size_of(type))) == cudaSuccess);
  EXPECT(cudaMemcpy(x.device, bytes, (size_t)(all * size_of(type)), cudaMemcpyHostToDevice) ==
         cudaSuccess);
  free(bytes);
  return x;
}

static void drop(Matrix *x) {
  cudaFree(x->device);
  free(x->values);
}

static int64_t at(const Matrix *x, int b, int64_t r, int64_t c) {
  return b * x->stride + (x->order == CUBLASLT_ORDER_ROW ? r * x->ld + c : c * x->ld + r);
}

static cublasLtMatrixLayout_t layout_of(const Matrix *x) {
  cublasLtMatrixLayout_t l = NULL;
  const int32_t order = (int32_t)x->order, batch = x->batch;
  cublasLtMatrixLayoutCreate(&l, (cudaDataType_t)x->type, (uint64_t)x->rows, (uint64_t)x->cols,
                             x->ld);
  cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order);
  cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
  cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &x->stride,
                                   sizeof x->stride);
  return l;
}

static double activate(cublasLtEpilogue_t e, double x) {
  if (e == CUBLASLT_EPILOGUE_RELU || e == CUBLASLT_EPILOGUE_RELU_BIAS) return x > 0 ? x : 0;
  if (e == CUBLASLT_EPILOGUE_GELU || e == CUBLASLT_EPILOGUE_GELU_BIAS)
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
  return x;
}

static bool has_bias(cublasLtEpilogue_t e) {
  return e == CUBLASLT_EPILOGUE_BIAS || e == CUBLASLT_EPILOGUE_RELU_BIAS ||
         e == CUBLASLT_EPILOGUE_GELU_BIAS;
}

// What d must be, and that nothing between and behind its elements was written.
static void compare(const Case *c, const Matrix *a, const Matrix *b, const Matrix *d,
                    const Matrix *bias, const float *got) {
  bool *mine = calloc((size_t)d->elements, sizeof *mine);
  int wrong = 0;
  for (int s = 0; s < c->batch; s++) {
    for (int64_t i = 0; i < c->m; i++) {
      for (int64_t j = 0; j < c->n; j++) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < c->k; k++) {
          const double x = (double)a->values[c->ta ? at(a, s, k, i) : at(a, s, i, k)] *
                           (double)b->values[c->tb ? at(b, s, j, k) : at(b, s, k, j)];
          sum += x;
          size += fabs(x);
        }
        const int64_t place = at(d, s, i, j);
        double want = (double)c->alpha * sum;
        if (c->beta != 0) want += (double)c->beta * (double)d->values[place];
        if (has_bias(c->epilogue)) want += (double)bias->values[at(bias, s, i, 0)];
        want = activate(c->epilogue, want);
        const double allowed = 1e-6 * (size * fabs((double)c->alpha) + fabs(want) + 1) +
                               (c->out == CUDA_R_16BF ? fabs(want) / 256 : 0);
        mine[place] = true;
        if (!(fabs((double)got[place] - want) <= allowed) && wrong++ == 0)
          EXPECT(false, "element %lld %lld of batch %d: %g, not %g", (long long)i, (long long)j, s,
                 (double)got[place], want);
      }
    }
  }
  for (int64_t i = 0; i < d->elements; i++)
    EXPECT(mine[i] || memcmp(&got[i], &d->values[i], 4) == 0,
           "element %lld outside of d was written", (long long)i);
  free(mine);
}

static cublasLtHandle_t lt;

static void run_case(const Case *c) {
  Matrix a = make(c->in, c->ta ? c->k : c->m, c->ta ? c->m : c->k, c->order, c->slack, c->batch,
                  false, NUMBERS);
  Matrix b = make(c->in, c->tb ? c->n : c->k, c->tb ? c->k : c->n, c->order, c->slack, c->batch,
                  c->broadcast, NUMBERS);
  Matrix d =
      make(c->out, c->m, c->n, c->order, c->slack, c->batch, false, c->beta != 0 ? NUMBERS : NANS);
  Matrix bias = make(c->out, c->m, 1, CUBLASLT_ORDER_COL, (8 - c->m % 8) % 8, c->batch, false,
                     NUMBERS); // of 16 bytes, also from batch to batch
  cublasLtMatmulDesc_t desc = NULL;
  cublasLtMatrixLayout_t la = layout_of(&a), lb = layout_of(&b), ld = layout_of(&d);
  const int32_t ta = c->ta, tb = c->tb;
  const uint32_t epilogue = c->epilogue;
  cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
  if (has_bias(c->epilogue))
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.device,
                                   sizeof bias.device);
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, &bias.stride,
                                 sizeof bias.stride);
  EXPECT(cublasLtMatmul(lt, desc, &c->alpha, a.device, la, b.device, lb, &c->beta,
                        c->beta != 0 ? d.device : NULL, ld, d.device, ld, NULL, NULL, 0,
                        NULL) == CUBLAS_STATUS_SUCCESS);
  float *got = malloc((size_t)d.elements * 4);
  void *bytes = malloc((size_t)d.elements * 4);
  EXPECT(cudaMemcpy(bytes, d.device, (size_t)(d.elements * size_of(c->out)),
                    cudaMemcpyDeviceToHost) == cudaSuccess);
  from_bytes(got, bytes, d.elements, c->out);
  compare(c, &a, &b, &d, &bias, got);
  EXPECT(sim_control()->reports() == 0, "%s", sim_control()->report(0));
  free(got);
  free(bytes);
  cublasLtMatrixLayoutDestroy(la);
  cublasLtMatrixLayoutDestroy(lb);
  cublasLtMatrixLayoutDestroy(ld);
  cublasLtMatmulDescDestroy(desc);
  drop(&a);
  drop(&b);
  drop(&d);
  drop(&bias);
}

static void values(void) {
  static const struct {
    int32_t in, out;
  } types[] = {{CUDA_R_32F, CUDA_R_32F}, {CUDA_R_16BF, CUDA_R_16BF}, {CUDA_R_16BF, CUDA_R_32F}};
  static const int64_t shapes[][3] = {{1, 1, 1}, {8, 16, 24}, {33, 7, 65}, {1, 40, 3}};
  for (int t = 0; t < 3; t++) {
    for (int s = 0; s < 4; s++) {
      for (int o = 0; o < 4; o++) {
        Case c = {.m = shapes[s][0],
                  .n = shapes[s][1],
                  .k = shapes[s][2],
                  .in = types[t].in,
                  .out = types[t].out,
                  .ta = o & 1 ? CUBLAS_OP_T : CUBLAS_OP_N,
                  .tb = o & 2 ? CUBLAS_OP_T : CUBLAS_OP_N,
                  .order = CUBLASLT_ORDER_COL,
                  .slack = s == 2 ? 5 : 0,
                  .alpha = 1,
                  .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                  .batch = 1};
        run_case(&c);
        c.order = CUBLASLT_ORDER_ROW;
        c.alpha = -0.5f;
        c.beta = 2;
        run_case(&c);
        c.order = CUBLASLT_ORDER_COL;
        c.batch = 3;
        c.broadcast = o == 1;
        run_case(&c);
      }
    }
  }
}

static void epilogues(void) {
  static const cublasLtEpilogue_t all[] = {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU,
                                           CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU,
                                           CUBLASLT_EPILOGUE_GELU_BIAS};
  for (int e = 0; e < 5; e++) {
    for (int out = 0; out < 2; out++) {
      Case c = {.m = 17,
                .n = 9,
                .k = 5,
                .in = out ? CUDA_R_16BF : CUDA_R_32F,
                .out = out ? CUDA_R_16BF : CUDA_R_32F,
                .alpha = 0.25f,
                .beta = out ? 0 : 1,
                .slack = 3,
                .epilogue = all[e],
                .batch = out ? 2 : 1};
      run_case(&c);
    }
  }
}

// ---- descriptors: sizes are checked, values are not; as the library does it without a device ----

static void attributes(void) {
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t layout;
  cublasLtMatmulPreference_t wish;
  int64_t wide = 7;
  int32_t narrow = 77;
  uint32_t align = 0;
  size_t written = 0;
  EXPECT(cublasLtMatmulDescCreate(NULL, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
         CUBLAS_STATUS_INVALID_VALUE);
  cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
#define SET(attribute, value, size)                                                                \
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_##attribute, value, size)
  EXPECT(SET(TRANSA, &narrow, 4) == CUBLAS_STATUS_SUCCESS);
  EXPECT(SET(TRANSA, &wide, 8) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(SET(TRANSA, NULL, 4) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(SET(BIAS_POINTER, &wide, 8) == CUBLAS_STATUS_SUCCESS);
  EXPECT(SET(BIAS_POINTER, &wide, 4) == CUBLAS_STATUS_INVALID_VALUE);
#undef SET
#define GET(attribute, value, size)                                                                \
  cublasLtMatmulDescGetAttribute(desc, CUBLASLT_MATMUL_DESC_##attribute, value, size, &written)
  EXPECT(GET(BIAS_DATA_TYPE, &narrow, 4) == CUBLAS_STATUS_SUCCESS && narrow == -1 && written == 4);
  EXPECT(GET(EPILOGUE, &align, 4) == CUBLAS_STATUS_SUCCESS && align == CUBLASLT_EPILOGUE_DEFAULT);
  EXPECT(GET(EPILOGUE, NULL, 0) == CUBLAS_STATUS_SUCCESS && written == 4);
  EXPECT(GET(EPILOGUE, &narrow, 2) == CUBLAS_STATUS_INVALID_VALUE);
#undef GET
  EXPECT(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 16, 16, 8) == CUBLAS_STATUS_SUCCESS);
  EXPECT(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_LD, &wide, 8) ==
         CUBLAS_STATUS_SUCCESS);
  EXPECT(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &wide, 8) ==
         CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(cublasLtMatrixLayoutGetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_LD, &wide, 8, &written) ==
             CUBLAS_STATUS_SUCCESS &&
         wide == 7);
  EXPECT(cublasLtMatmulPreferenceCreate(&wish) == CUBLAS_STATUS_SUCCESS);
  EXPECT(cublasLtMatmulPreferenceGetAttribute(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                              &align, 4, &written) == CUBLAS_STATUS_SUCCESS &&
         align == 256);
  EXPECT(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &align, 4) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(sim_control()->reports() == 0, "%s", sim_control()->report(0));
  EXPECT(strcmp(cublasLtGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED),
                "CUBLAS_STATUS_NOT_SUPPORTED") == 0);
  cublasLtMatmulDescDestroy(desc);
  cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulPreferenceDestroy(wish);
}

// ---- one small product that a mistake is made in ----

enum { M = 32, N = 16, K = 24, ROOM = 8192 };

typedef struct Rig {
  char *a, *b, *d, *bias, *workspace; // device memory, ROOM bytes each, all written
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t la, lb, lc, ld;
  cublasLtMatmulPreference_t wish;
  const cublasLtMatmulAlgo_t *algo;
  cublasLtMatmulHeuristicResult_t found;
  size_t workspace_bytes;
  float alpha, beta;
  bool heuristic;         // the status is that of the heuristic
  cublasStatus_t refused; // in the wrong twin
} Rig;

static Rig rig_open(void) {
  Rig r = {.alpha = 1, .workspace_bytes = ROOM};
  char **memory[] = {&r.a, &r.b, &r.d, &r.bias, &r.workspace};
  uint64_t bytes = ROOM;
  for (int i = 0; i < 5; i++) {
    cudaMalloc((void **)memory[i], ROOM);
    cudaMemset(*memory[i], 0, ROOM);
  }
  cublasLtMatmulDescCreate(&r.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatrixLayoutCreate(&r.la, CUDA_R_32F, M, K, M);
  cublasLtMatrixLayoutCreate(&r.lb, CUDA_R_32F, K, N, K);
  cublasLtMatrixLayoutCreate(&r.lc, CUDA_R_32F, M, N, M);
  cublasLtMatrixLayoutCreate(&r.ld, CUDA_R_32F, M, N, M);
  cublasLtMatmulPreferenceCreate(&r.wish);
  cublasLtMatmulPreferenceSetAttribute(r.wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                       sizeof bytes);
  return r;
}

static void rig_close(Rig *r) {
  (void)cudaDeviceSynchronize();
  cudaFree(r->a);
  cudaFree(r->b);
  cudaFree(r->d);
  cudaFree(r->bias);
  cudaFree(r->workspace);
  cublasLtMatmulDescDestroy(r->desc);
  cublasLtMatrixLayoutDestroy(r->la);
  cublasLtMatrixLayoutDestroy(r->lb);
  cublasLtMatrixLayoutDestroy(r->lc);
  cublasLtMatrixLayoutDestroy(r->ld);
  cublasLtMatmulPreferenceDestroy(r->wish);
  (void)cudaGetLastError();
}

static void set_desc(Rig *r, cublasLtMatmulDescAttributes_t attribute, int32_t value) {
  EXPECT(cublasLtMatmulDescSetAttribute(r->desc, attribute, &value, sizeof value) ==
         CUBLAS_STATUS_SUCCESS);
}

static void set_bias(Rig *r, const void *bias) {
  set_desc(r, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  cublasLtMatmulDescSetAttribute(r->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
}

static void set_align(Rig *r, uint32_t align) {
  for (int i = 0; i < 4; i++)
    cublasLtMatmulPreferenceSetAttribute(
        r->wish,
        (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
        &align, sizeof align);
}

static cublasStatus_t choose(Rig *r) {
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      lt, r->desc, r->la, r->lb, r->lc, r->ld, r->wish, 1, &r->found, &found);
  r->algo = found > 0 ? &r->found.algo : NULL;
  return status;
}

static cublasStatus_t multiply(Rig *r) {
  return cublasLtMatmul(lt, r->desc, &r->alpha, r->a, r->la, r->b, r->lb, &r->beta, r->d, r->lc,
                        r->d, r->ld, r->algo, r->workspace, r->workspace_bytes, NULL);
}

// A mistake changes the rig before or after the heuristic; `second`: whether it comes again.
typedef void Mistake(Rig *r, bool wrong, bool second);

static void set_layout(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute,
                       int64_t value) {
  const int32_t narrow = (int32_t)value;
  const bool wide = attribute == CUBLASLT_MATRIX_LAYOUT_ROWS ||
                    attribute == CUBLASLT_MATRIX_LAYOUT_COLS ||
                    attribute == CUBLASLT_MATRIX_LAYOUT_LD ||
                    attribute == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
  EXPECT(cublasLtMatrixLayoutSetAttribute(l, attribute, wide ? (const void *)&value : &narrow,
                                          wide ? 8 : 4) == CUBLAS_STATUS_SUCCESS);
}

#define MISTAKE(name) static void name(Rig *r, bool wrong, bool second)
#define BEFORE                                                                                     \
  if (second) return
#define AFTER                                                                                      \
  if (!second) return

MISTAKE(short_ld) {
  BEFORE;
  set_layout(r->ld, CUBLASLT_MATRIX_LAYOUT_LD, wrong ? M - 1 : M + 3);
  set_layout(r->lc, CUBLASLT_MATRIX_LAYOUT_LD, wrong ? M - 1 : M + 3);
}
MISTAKE(shapes) {
  BEFORE;
  set_layout(r->lb, CUBLASLT_MATRIX_LAYOUT_ROWS, wrong ? K - 1 : K);
}
MISTAKE(no_rows) {
  BEFORE;
  set_layout(r->la, CUBLASLT_MATRIX_LAYOUT_COLS, wrong ? 0 : K);
}
MISTAKE(batches) {
  BEFORE;
  const cublasLtMatrixLayout_t all[] = {r->la, r->lb, r->lc, r->ld};
  for (int i = 0; i < 4; i++) {
    set_layout(all[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, wrong && i == 1 ? 1 : 2);
    set_layout(all[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, M * K);
  }
}
MISTAKE(batches_overlap) {
  BEFORE;
  const cublasLtMatrixLayout_t all[] = {r->la, r->lb, r->lc, r->ld};
  for (int i = 0; i < 4; i++) {
    set_layout(all[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 2);
    set_layout(all[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
               i < 3 || !wrong ? M * K : M * N - 1);
  }
}
MISTAKE(epilogue) {
  BEFORE;
  set_desc(r, CUBLASLT_MATMUL_DESC_EPILOGUE,
           wrong ? CUBLASLT_EPILOGUE_DGELU : CUBLASLT_EPILOGUE_GELU);
}
MISTAKE(types) {
  BEFORE;
  set_layout(r->lb, CUBLASLT_MATRIX_LAYOUT_TYPE, wrong ? CUDA_R_16BF : CUDA_R_32F);
}
MISTAKE(half) {
  BEFORE;
  set_layout(r->la, CUBLASLT_MATRIX_LAYOUT_TYPE, wrong ? CUDA_R_16F : CUDA_R_16BF);
  set_layout(r->lb, CUBLASLT_MATRIX_LAYOUT_TYPE, wrong ? CUDA_R_16F : CUDA_R_16BF);
}
MISTAKE(bias_type) {
  BEFORE;
  set_bias(r, r->bias);
  set_desc(r, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, wrong ? CUDA_R_16BF : CUDA_R_32F);
}
MISTAKE(fast_tf32) {
  BEFORE;
  set_desc(r, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE,
           wrong ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
}
MISTAKE(pointer_mode) {
  BEFORE;
  set_desc(r, CUBLASLT_MATMUL_DESC_POINTER_MODE,
           wrong ? CUBLASLT_POINTER_MODE_DEVICE : CUBLASLT_POINTER_MODE_HOST);
}
MISTAKE(promise) {
  if (!second) set_align(r, wrong ? 256 : 16);
  if (second) r->a += 16;
}
MISTAKE(bias_promise) {
  AFTER;
  set_bias(r, r->bias + (wrong ? 8 : 16));
}
MISTAKE(bias_unseen) { // the heuristic has to see an address that is no better aligned
  set_bias(r, wrong && !second ? NULL : r->bias + 16);
}
MISTAKE(bias_missing) {
  AFTER;
  set_bias(r, wrong ? NULL : r->bias);
}
MISTAKE(small_workspace) {
  AFTER;
  r->workspace_bytes = wrong ? r->found.workspaceSize - 1 : r->found.workspaceSize;
}
MISTAKE(zeroed_algorithm) {
  static const cublasLtMatmulAlgo_t nothing;
  AFTER;
  if (wrong) r->algo = &nothing;
}
MISTAKE(odd_workspace) {
  AFTER;
  r->workspace += wrong ? 128 : 256;
  r->workspace_bytes -= 256;
}
MISTAKE(in_place) {
  AFTER;
  if (wrong) r->d = r->a;
}
MISTAKE(c_unlike_d) {
  AFTER;
  r->beta = 1;
  set_layout(r->lc, CUBLASLT_MATRIX_LAYOUT_LD, wrong ? M + 4 : M);
}

static _Alignas(256) float host_memory[ROOM / 4];

MISTAKE(host_pointer) {
  AFTER;
  if (wrong) r->b = (char *)host_memory;
}
MISTAKE(host_bias) {
  AFTER;
  set_bias(r, wrong ? (char *)host_memory : r->bias);
}
MISTAKE(too_long) {
  AFTER;
  r->b += wrong ? ROOM - 4 * K * N + 256 : ROOM - 4 * K * N; // a multiple of 256 both times
}
MISTAKE(freed) {
  char *block;
  AFTER;
  cudaMalloc((void **)&block, ROOM);
  cudaMemset(block, 0, ROOM);
  r->b = block;
  if (!wrong) (void)multiply(r);
  (void)cudaDeviceSynchronize();
  cudaFree(block);
  if (!wrong) r->b = r->bias;
}
MISTAKE(unwritten) {
  AFTER;
  (void)cudaDeviceSynchronize();
  cudaFree(r->b);
  cudaMalloc((void **)&r->b, ROOM);
  if (!wrong) cudaMemset(r->b, 0, ROOM);
}
MISTAKE(unwritten_c) { // beta 0 leaves c alone, whatever is there
  AFTER;
  (void)cudaDeviceSynchronize();
  cudaFree(r->d);
  cudaMalloc((void **)&r->d, ROOM);
  r->beta = wrong ? 1 : 0;
}

static void declare(Rig *r, bool b, bool d_written, bool workspace) {
  const SimRange all[] = {{(uint8_t *)r->a, 1, ROOM, ROOM, true, false},
                          {(uint8_t *)r->d, 1, ROOM, ROOM, !d_written, d_written},
                          {(uint8_t *)r->b, b ? 1 : 0, ROOM, ROOM, true, false}};
  vma_sim_op("product", all, 3);
  if (workspace) vma_sim_scratch(r->workspace, ROOM);
}

MISTAKE(undeclared) {
  AFTER;
  declare(r, !wrong, true, true);
}
MISTAKE(read_only) {
  AFTER;
  declare(r, true, !wrong, true);
}
MISTAKE(undeclared_workspace) {
  AFTER;
  declare(r, true, true, !wrong);
}
MISTAKE(released) {
  AFTER;
  vma_sim_tensor("arena", "b", r->b, 4 * K * N, true);
  cudaMemset(r->b, 0, ROOM);
  if (wrong) vma_sim_tensor("arena", "b", r->b, 4 * K * N, false);
}
MISTAKE(into_neighbour) {
  AFTER;
  vma_sim_tensor("arena", "b", r->b, wrong ? 4 * K * N - 8 : 4 * K * N, true);
  cudaMemset(r->b, 0, ROOM);
}

// fault: of the report; status: of the heuristic or the product in the wrong twin.
static void mistake(const char *name, Mistake *fn, SimFault fault, cublasStatus_t status) {
  for (int wrong = 1; wrong >= 0; wrong--) {
    Rig r = rig_open();
    Rig kept = r;
    sim_control()->clear();
    fn(&r, wrong, false);
    cublasStatus_t got = choose(&r);
    if (got == CUBLAS_STATUS_SUCCESS) {
      fn(&r, wrong, true);
      kept.b = fn == unwritten ? r.b : kept.b;
      kept.d = fn == unwritten_c ? r.d : kept.d;
      got = multiply(&r);
    }
    (void)cudaDeviceSynchronize();
    bool found = false;
    const int64_t n = sim_control()->reports();
    for (int64_t i = 0; i < n; i++) found = found || sim_control()->report_fault(i) == fault;
    EXPECT(wrong ? found && n == 1 : n == 0, "%s %s: %lld reports, the first: %s", name,
           wrong ? "wrong" : "right", (long long)n, n > 0 ? sim_control()->report(0) : "none");
    EXPECT(got == (wrong ? status : CUBLAS_STATUS_SUCCESS), "%s %s: %s", name,
           wrong ? "wrong" : "right", cublasLtGetStatusName(got));
    if (wrong && n > 0) printf("  %s: %s\n", name, sim_control()->report(0));
    rig_close(&kept);
    sim_control()->clear();
  }
}

static void refused(void) {
  const cublasStatus_t invalid = CUBLAS_STATUS_INVALID_VALUE,
                       unsupported = CUBLAS_STATUS_NOT_SUPPORTED;
  mistake("leading dimension too small", short_ld, SIM_API, invalid);
  mistake("shapes that do not fit", shapes, SIM_API, invalid);
  mistake("an empty operand", no_rows, SIM_API, invalid);
  mistake("batch counts that differ", batches, SIM_API, invalid);
  mistake("batches of d that overlap", batches_overlap, SIM_API, invalid);
  mistake("an epilogue of the backward pass", epilogue, SIM_API, unsupported);
  mistake("operands of two types", types, SIM_API, unsupported);
  mistake("f16 operands", half, SIM_API, unsupported);
  mistake("bias of another type", bias_type, SIM_API, unsupported);
  mistake("TF32", fast_tf32, SIM_API, unsupported);
  mistake("alpha on the device", pointer_mode, SIM_API, unsupported);
  mistake("alignment that was promised", promise, SIM_MISALIGNED, unsupported);
  mistake("bias unseen by the heuristic", bias_unseen, SIM_MISALIGNED, unsupported);
  mistake("bias pointer NULL", bias_missing, SIM_API, invalid);
  mistake("workspace too small", small_workspace, SIM_API, invalid);
  mistake("an algorithm of zeros", zeroed_algorithm, SIM_API, invalid);
  mistake("workspace misaligned", odd_workspace, SIM_MISALIGNED, invalid);
  mistake("result in an operand", in_place, SIM_API, invalid);
  mistake("c is d with another layout", c_unlike_d, SIM_API, invalid);
}

static void memory(void) {
  const cublasStatus_t taken = CUBLAS_STATUS_SUCCESS; // it fails on the device, later
  mistake("bias misaligned", bias_promise, SIM_MISALIGNED, taken);
  mistake("host pointer", host_pointer, SIM_HOST_POINTER, taken);
  mistake("host pointer as bias", host_bias, SIM_HOST_POINTER, taken);
  mistake("beyond the allocation", too_long, SIM_OUT_OF_BOUNDS, taken);
  mistake("freed", freed, SIM_RELEASED, taken);
  mistake("operand never written", unwritten, SIM_UNINITIALISED, taken);
  mistake("c never written", unwritten_c, SIM_UNINITIALISED, taken);
  mistake("released tensor", released, SIM_RELEASED, taken);
  mistake("into the neighbour", into_neighbour, SIM_OUT_OF_BOUNDS, taken);
  mistake("tensor not declared", undeclared, SIM_UNDECLARED, taken); // from here on ops declare
  mistake("result declared as read", read_only, SIM_UNDECLARED, taken);
  mistake("workspace not declared", undeclared_workspace, SIM_UNDECLARED, taken);
}

// The workspace is what the choice says, and its content is lost.
static void workspace(void) {
  Rig r = rig_open();
  uint64_t none = 0;
  EXPECT(choose(&r) == CUBLAS_STATUS_SUCCESS && r.found.workspaceSize == 4 * M * N);
  uint8_t byte = 0;
  EXPECT(multiply(&r) == CUBLAS_STATUS_SUCCESS);
  EXPECT(cudaMemcpy(&byte, r.workspace, 1, cudaMemcpyDeviceToHost) == cudaSuccess && byte != 0);
  cublasLtMatmulPreferenceSetAttribute(r.wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &none,
                                       sizeof none);
  EXPECT(choose(&r) == CUBLAS_STATUS_SUCCESS && r.found.workspaceSize == 0);
  r.workspace_bytes = 0;
  EXPECT(multiply(&r) == CUBLAS_STATUS_SUCCESS);
  int found = 7;
  EXPECT(cublasLtMatmulAlgoGetHeuristic(NULL, r.desc, r.la, r.lb, r.lc, r.ld, r.wish, 1, &r.found,
                                        &found) == CUBLAS_STATUS_NOT_INITIALIZED &&
         found == 0);
  EXPECT(sim_control()->reports() == 0, "%s", sim_control()->report(0));
  rig_close(&r);
}

int main(void) {
  EXPECT(cublasLtCreate(&lt) == CUBLAS_STATUS_SUCCESS);
  RUN(values);
  RUN(epilogues);
  RUN(attributes);
  RUN(workspace);
  RUN(refused);
  RUN(memory);
  cublasLtDestroy(lt);
  return test_done();
}
