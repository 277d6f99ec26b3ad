// The part of cuBLASLt that the CUDA backend uses: d = alpha op(a) op(b) + beta c (+ bias), column
// by column, f32 or bf16 operands, sums in f32 in ascending k, as one order that a library may
// take. Rules that a real library keeps are checked: shapes, leading dimensions, alignment, types.
#include "sim_memory.h"
#include "sim_runtime.h"
#include "sim_stream.h"

#include <cublasLt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef struct Layout {
  int type;
  int64_t rows, cols, ld;
} Layout;

typedef struct Desc {
  cublasOperation_t trans_a, trans_b;
  cublasLtEpilogue_t epilogue;
  const void *bias;
  int bias_type;
} Desc;

EXPORTED cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
  *out = calloc(1, 64);
  return *out != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

EXPORTED cublasStatus_t cublasLtDestroy(cublasLtHandle_t lt) {
  free(lt);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED size_t cublasLtGetVersion(void) {
  return CUBLAS_VER_MAJOR * 10000 + CUBLAS_VER_MINOR * 100 + CUBLAS_VER_PATCH;
}

EXPORTED const char *cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "a status of the simulation";
}

EXPORTED cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out,
                                                 cublasComputeType_t compute,
                                                 cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) {
    sim_report(SIM_API, NULL, (SimLine){0},
               "cublasLtMatmulDescCreate: computes in %d, not in IEEE f32", (int)compute);
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  Desc *d = calloc(1, sizeof *d);
  if (d == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
  d->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  *out = (cublasLtMatmulDesc_t)(void *)d;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  free(desc);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                       cublasLtMatmulDescAttributes_t attribute,
                                                       const void *value, size_t bytes) {
  Desc *d = (Desc *)(void *)desc;
  void *to = attribute == CUBLASLT_MATMUL_DESC_TRANSA           ? (void *)&d->trans_a
             : attribute == CUBLASLT_MATMUL_DESC_TRANSB         ? (void *)&d->trans_b
             : attribute == CUBLASLT_MATMUL_DESC_EPILOGUE       ? (void *)&d->epilogue
             : attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER   ? (void *)&d->bias
             : attribute == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE ? (void *)&d->bias_type
                                                                : NULL;
  if (to == NULL) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cublasLtMatmulDescSetAttribute: attribute %d",
               (int)attribute);
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                                   uint64_t rows, uint64_t cols, int64_t ld) {
  Layout *l = calloc(1, sizeof *l);
  if (l == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
  *l = (Layout){(int)type, (int64_t)rows, (int64_t)cols, ld};
  if (ld < l->rows)
    sim_report(SIM_API, NULL, (SimLine){0},
               "cublasLtMatrixLayoutCreate: leading dimension %lld of %lld rows", (long long)ld,
               (long long)l->rows);
  *out = (cublasLtMatrixLayout_t)(void *)l;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  free(layout);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
  *out = calloc(1, 64);
  return *out != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  free(preference);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
    const void *value, size_t bytes) {
  (void)preference, (void)attribute, (void)value, (void)bytes;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t results[],
    int *found) {
  (void)lt, (void)desc, (void)a, (void)b, (void)c, (void)d, (void)preference, (void)wanted;
  memset(&results[0], 0, sizeof results[0]);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

// ---- the product ----

static float load(const void *data, int type, int64_t at) {
  if (type == CUDA_R_32F) return ((const float *)data)[at];
  uint32_t bits = (uint32_t)((const uint16_t *)data)[at] << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void store(void *data, int type, int64_t at, float x) {
  uint32_t bits;
  if (type == CUDA_R_32F) {
    ((float *)data)[at] = x;
    return;
  }
  memcpy(&bits, &x, sizeof bits);
  bool nan = (bits & 0x7fffffff) > 0x7f800000;
  ((uint16_t *)data)[at] = nan ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static size_t size_of(int type) {
  return type == CUDA_R_32F ? 4 : 2;
}

static bool check_matrix(const char *name, const void *data, const Layout *l) {
  const SimBlockOfMemory *b = sim_block_at(data);
  int64_t last = ((l->cols - 1) * l->ld + l->rows) * (int64_t)size_of(l->type);
  if (b == NULL || !b->device) {
    sim_report(SIM_HOST_POINTER, NULL, (SimLine){0}, "cublasLtMatmul: %s is no device memory",
               name);
    return false;
  }
  if ((const char *)data + last > (const char *)b->address + b->bytes) {
    sim_report(SIM_OUT_OF_BOUNDS, NULL, (SimLine){0}, "cublasLtMatmul: %s ends behind its memory",
               name);
    return false;
  }
  if ((uintptr_t)data % 16 != 0 || (l->cols > 1 && l->ld * (int64_t)size_of(l->type) % 16 != 0)) {
    sim_report(SIM_MISALIGNED, NULL, (SimLine){0},
               "cublasLtMatmul: %s at %p with leading dimension %lld: 16 bytes were promised", name,
               data, (long long)l->ld);
    return false;
  }
  return true;
}

// op(x) as f32, dense: [rows][cols] with `cols` the summed dimension.
static float *packed(const void *data, const Layout *l, bool by_column) {
  int64_t outer = by_column ? l->cols : l->rows, inner = by_column ? l->rows : l->cols;
  float *out = malloc((size_t)(outer * inner) * sizeof *out);
  if (out == NULL) abort();
  for (int64_t o = 0; o < outer; o++) {
    for (int64_t i = 0; i < inner; i++)
      out[o * inner + i] = load(data, l->type, by_column ? o * l->ld + i : i * l->ld + o);
  }
  return out;
}

typedef struct Product {
  Desc how;
  Layout la, lb, lc, ld;
  const void *a, *b, *c;
  void *d;
  bool ta, tb;
  int64_t m, n, k;
  float alpha, beta;
} Product;

static void run_product(SimWork *work, void *data) {
  const Product *p = data;
  const Layout *A = &p->la, *B = &p->lb, *C = &p->lc, *D = &p->ld;
  const Desc *how = &p->how;
  int64_t m = p->m, n = p->n, k = p->k;
  float s = p->alpha, t = p->beta;
  (void)work;
  float *left = packed(p->a, A, p->ta), *right = packed(p->b, B, !p->tb);
  float *sums = malloc((size_t)m * sizeof *sums),
        *columns = malloc((size_t)(m * k) * sizeof(float));
  if (sums == NULL || columns == NULL) abort();
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < k; j++) columns[j * m + i] = left[i * k + j];
  }
  for (int64_t col = 0; col < n; col++) {
    memset(sums, 0, (size_t)m * sizeof *sums);
    for (int64_t j = 0; j < k; j++) {
      float w = right[col * k + j];
      const float *from = columns + j * m;
      for (int64_t i = 0; i < m; i++) sums[i] += from[i] * w;
    }
    for (int64_t i = 0; i < m; i++) {
      float x = s * sums[i];
      if (t != 0) x += t * load(p->c, C->type, col * C->ld + i);
      if (how->epilogue == CUBLASLT_EPILOGUE_BIAS) x += load(how->bias, how->bias_type, i);
      store(p->d, D->type, col * D->ld + i, x);
    }
    const int64_t size = D->type == CUDA_R_32F ? 4 : 2;
    sim_memory_wrote((char *)p->d + col * D->ld * size, m * size);
  }
  free(left);
  free(right);
  free(sums);
  free(columns);
}

static void touch_matrix(SimWork *w, const void *data, const Layout *l, bool reads, bool writes) {
  int64_t size = (int64_t)size_of(l->type);
  sim_work_touch(w, data, l->cols, l->rows * size, l->ld * size, reads, writes);
}

EXPORTED cublasStatus_t cublasLtMatmul(cublasLtHandle_t lt, cublasLtMatmulDesc_t desc,
                                       const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                                       const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                                       const void *c, cublasLtMatrixLayout_t lc, void *d,
                                       cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo,
                                       void *workspace, size_t workspace_bytes,
                                       cudaStream_t stream) {
  (void)lt, (void)algo;
  const Desc *how = (const Desc *)(void *)desc;
  const Layout *A = (const Layout *)(void *)la, *B = (const Layout *)(void *)lb,
               *C = (const Layout *)(void *)lc, *D = (const Layout *)(void *)ld;
  bool ta = how->trans_a == CUBLAS_OP_T, tb = how->trans_b == CUBLAS_OP_T;
  int64_t m = ta ? A->cols : A->rows, k = ta ? A->rows : A->cols;
  int64_t n = tb ? B->rows : B->cols, k2 = tb ? B->cols : B->rows;
  if (k != k2 || m != D->rows || n != D->cols || A->type != B->type || C->type != D->type) {
    sim_report(SIM_API, NULL, (SimLine){0},
               "cublasLtMatmul: %lld x %lld by %lld x %lld into %lld x %lld", (long long)m,
               (long long)k, (long long)k2, (long long)n, (long long)D->rows, (long long)D->cols);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (A->ld < A->rows || B->ld < B->rows || C->ld < C->rows || D->ld < D->rows) {
    sim_report(SIM_API, NULL, (SimLine){0},
               "cublasLtMatmul: a leading dimension is smaller than the rows of its matrix");
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (workspace != NULL && workspace_bytes > 0) {
    const SimBlockOfMemory *block = sim_block_at(workspace);
    if (block == NULL || !block->device ||
        (char *)workspace + workspace_bytes > (char *)block->address + block->bytes ||
        (uintptr_t)workspace % 16 != 0) {
      sim_report(SIM_API, NULL, (SimLine){0},
                 "cublasLtMatmul: its workspace is not %lld bytes of device memory",
                 (long long)workspace_bytes);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  if (!check_matrix("a", a, A) || !check_matrix("b", b, B) || !check_matrix("c", c, C) ||
      !check_matrix("d", d, D))
    return CUBLAS_STATUS_INVALID_VALUE;
  Product *p = malloc(sizeof *p);
  if (p == NULL) abort();
  *p = (Product){*how,
                 *A,
                 *B,
                 *C,
                 *D,
                 a,
                 b,
                 c,
                 d,
                 ta,
                 tb,
                 m,
                 n,
                 k,
                 *(const float *)alpha,
                 *(const float *)beta};
  SimWork *w = sim_work("cublasLtMatmul", true, run_product, p);
  touch_matrix(w, a, A, true, false);
  touch_matrix(w, b, B, true, false);
  touch_matrix(w, d, D, p->beta != 0, true);
  if (p->beta != 0 && c != d) touch_matrix(w, c, C, true, false);
  if (how->epilogue == CUBLASLT_EPILOGUE_BIAS)
    sim_work_touch(w, how->bias, 1, m * (int64_t)size_of(how->bias_type), 0, true, false);
  if (workspace != NULL) sim_work_touch(w, workspace, 1, (int64_t)workspace_bytes, 0, true, true);
  sim_stream_push(sim_stream_of(stream), w);
  return CUBLAS_STATUS_SUCCESS;
}
