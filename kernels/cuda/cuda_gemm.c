// cuBLASLt behind one function. Its matrices are column-major, ours row-major: a row-major [r,c]
// with a stride is the column-major transpose with that leading dimension, so d^T = op(b)^T op(a)^T
// is what is asked for, with the operands changed over.
//
// The heuristic's first choice is taken and kept by shape. Shapes are few because row counts are
// rounded up before they come here (nn/device_batch.h), and the choice never depends on time, so
// the same run takes the same algorithms.
#include "cuda_gemm.h"
#include "cuda_hooks.h"
#include "cuda_scratch.h"

#include <stdlib.h>
#include <string.h>

enum { GEMM_ALIGN = 16 }; // of every operand and bias: what is not is staged (cuda_scratch.h)

typedef struct GemmKey {
  int64_t m, n, k, lda, ldb, ldd;
  int32_t type, out; // cudaDataType of a and b, and of d
  bool trans_a, trans_b, bias;
} GemmKey;

typedef struct GemmPlan {
  GemmKey key;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, d; // in our order
  cublasLtMatmulAlgo_t algo;
} GemmPlan;

struct CudaGemm {
  GemmPlan *plans;
  int64_t n, capacity;
};

static int32_t data_type(DType dtype) {
  CHECK(dtype == DT_F32 || dtype == DT_BF16, "a product of %s", dtype_info(dtype)->name);
  return dtype == DT_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static cublasLtMatrixLayout_t layout(int32_t type, int64_t rows, int64_t cols, int64_t stride) {
  cublasLtMatrixLayout_t l = NULL;
  CUDA_CHECK_LT(
      cublasLtMatrixLayoutCreate(&l, (cudaDataType_t)type, (uint64_t)cols, (uint64_t)rows, stride));
  return l;
}

static void set_desc(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                     const void *value, size_t size) {
  CUDA_CHECK_LT(cublasLtMatmulDescSetAttribute(desc, attribute, value, size));
}

static void choose_algorithm(CudaBackend *cuda, GemmPlan *plan) {
  cublasLtMatmulPreference_t preference = NULL;
  cublasLtMatmulHeuristicResult_t result;
  size_t workspace = CUDA_WORKSPACE;
  uint32_t align = GEMM_ALIGN;
  // Where an algorithm cuts k, the parts are added up in f32: as a default, in bf16 too.
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  int found = 0;
  static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
  CUDA_CHECK_LT(cublasLtMatmulPreferenceCreate(&preference));
  CUDA_CHECK_LT(cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
  CUDA_CHECK_LT(cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions));
  for (int i = 0; i < 4; i++) {
    CUDA_CHECK_LT(
        cublasLtMatmulPreferenceSetAttribute(preference, alignments[i], &align, sizeof align));
  }
  cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      cuda->lt, plan->desc, plan->b, plan->a, plan->d, plan->d, preference, 1, &result, &found);
  if (status == CUBLAS_STATUS_SUCCESS && found == 1) status = result.state;
  CHECK(status == CUBLAS_STATUS_SUCCESS && found == 1,
        "cuBLASLt %lld has no algorithm for a product of %lld x %lld x %lld: %s",
        (long long)cublasLtGetVersion(), (long long)plan->key.m, (long long)plan->key.n,
        (long long)plan->key.k, cublasLtGetStatusName(status));
  plan->algo = result.algo;
  CUDA_CHECK_LT(cublasLtMatmulPreferenceDestroy(preference));
}

static void make_plan(CudaBackend *cuda, GemmPlan *plan, const GemmKey *key) {
  cublasOperation_t transpose = CUBLAS_OP_T;
  *plan = (GemmPlan){.key = *key};
  CUDA_CHECK_LT(cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  // Theirs are ours transposed: what is not to be transposed stands as it has to.
  if (key->trans_b) set_desc(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose);
  if (key->trans_a) set_desc(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB, &transpose, sizeof transpose);
  if (key->bias) {
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    set_desc(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    set_desc(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &key->out, sizeof key->out);
    // The heuristic takes a bias' alignment from its address, NULL for the best; the plan is for
    // every bias of this shape, so it is shown the least that comes.
    const void *least = (const void *)(uintptr_t)GEMM_ALIGN;
    set_desc(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &least, sizeof least);
  }
  plan->a = key->trans_a ? layout(key->type, key->k, key->m, key->lda)
                         : layout(key->type, key->m, key->k, key->lda);
  plan->b = key->trans_b ? layout(key->type, key->n, key->k, key->ldb)
                         : layout(key->type, key->k, key->n, key->ldb);
  plan->d = layout(key->out, key->m, key->n, key->ldd);
  choose_algorithm(cuda, plan);
}

static GemmPlan *find_plan(CudaBackend *cuda, const GemmKey *key) {
  CudaGemm *g = cuda->gemm;
  for (int64_t i = 0; i < g->n; i++) {
    if (memcmp(&g->plans[i].key, key, sizeof *key) == 0) return &g->plans[i];
  }
  if (g->n == g->capacity) {
    g->capacity = g->capacity > 0 ? 2 * g->capacity : 64;
    GemmPlan *grown = realloc(g->plans, (size_t)g->capacity * sizeof *grown);
    CHECK(grown != NULL, "no memory for %lld products", (long long)g->capacity);
    g->plans = grown;
  }
  make_plan(cuda, &g->plans[g->n], key);
  return &g->plans[g->n++];
}

// An operand that lies as cuBLASLt wants it, copied to *scratch (which is advanced) if need be.
static Tensor staged(CudaBackend *cuda, Tensor t, char **scratch, bool filled) {
  if (!cuda_gemm_stages(t)) return t;
  Tensor copy = tensor_make(*scratch, t.dtype, t.rows, t.cols);
  copy.stride = cuda_gemm_stride(t);
  *scratch += cuda_gemm_staged_bytes(t);
  if (filled) cuda_convert(cuda, copy, t);
  return copy;
}

// cuBLASLt adds a bias of the result's dtype.
static Tensor staged_bias(CudaBackend *cuda, Tensor bias, DType dtype, char **scratch) {
  if (cuda_gemm_bias_bytes(bias, dtype) == 0) return bias;
  Tensor copy = tensor_make(*scratch, dtype, 1, bias.cols);
  *scratch += cuda_gemm_bias_bytes(bias, dtype);
  cuda_convert(cuda, copy, bias);
  return copy;
}

// From one row to the next. A single row has none; it gets one that keeps the alignment.
static int64_t leading(Tensor t) {
  return t.rows > 1 ? t.stride : cuda_gemm_stride(t);
}

void cuda_gemm(CudaBackend *cuda, Tensor d, Tensor a, bool trans_a, Tensor b, bool trans_b,
               Tensor bias, bool acc, void *scratch) {
  char *next = scratch;
  if (tensor_count(d) == 0) return;
  Tensor to = staged(cuda, d, &next, acc);
  a = staged(cuda, a, &next, true);
  b = staged(cuda, b, &next, true);
  if (tensor_given(bias)) bias = staged_bias(cuda, bias, d.dtype, &next);
  GemmKey key;
  memset(&key, 0, sizeof key); // it is compared as bytes
  key.m = d.rows;
  key.n = d.cols;
  key.k = trans_a ? a.rows : a.cols;
  key.lda = leading(a);
  key.ldb = leading(b);
  key.ldd = leading(to);
  key.type = data_type(a.dtype);
  key.out = data_type(d.dtype);
  key.trans_a = trans_a;
  key.trans_b = trans_b;
  key.bias = tensor_given(bias);
  CHECK(a.dtype == b.dtype, "a product of %s and %s", dtype_info(a.dtype)->name,
        dtype_info(b.dtype)->name);
  GemmPlan *plan = find_plan(cuda, &key);
  if (key.bias)
    set_desc(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.data, sizeof bias.data);
  float one = 1, beta = acc ? 1 : 0;
  if (vma_sim_scratch != NULL) vma_sim_scratch(cuda->workspace, CUDA_WORKSPACE);
  CUDA_CHECK_LT(cublasLtMatmul(cuda->lt, plan->desc, &one, b.data, plan->b, a.data, plan->a, &beta,
                               to.data, plan->d, to.data, plan->d, &plan->algo, cuda->workspace,
                               CUDA_WORKSPACE, cuda->stream));
  if (to.data != d.data) cuda_convert(cuda, d, to);
}

Status cuda_gemm_open(CudaBackend *cuda, Error *err) {
  cuda->gemm = calloc(1, sizeof *cuda->gemm);
  if (cuda->gemm == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CUDA backend");
  return STATUS_OK;
}

void cuda_gemm_close(CudaBackend *cuda) {
  CudaGemm *g = cuda->gemm;
  if (g == NULL) return;
  for (int64_t i = 0; i < g->n; i++) {
    GemmPlan *p = &g->plans[i];
    CUDA_CHECK_LT(cublasLtMatrixLayoutDestroy(p->a));
    CUDA_CHECK_LT(cublasLtMatrixLayoutDestroy(p->b));
    CUDA_CHECK_LT(cublasLtMatrixLayoutDestroy(p->d));
    CUDA_CHECK_LT(cublasLtMatmulDescDestroy(p->desc));
  }
  free(g->plans);
  free(g);
  cuda->gemm = NULL;
}
