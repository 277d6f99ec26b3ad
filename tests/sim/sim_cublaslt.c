// The entry points of cuBLASLt that a framework uses: descriptors, preferences, the heuristic, the
// product. The rules are the library's: attributes have exact sizes and are not looked at before
// the product; shapes, types and leading dimensions that contradict each other are
// CUBLAS_STATUS_INVALID_VALUE, what exists but is not built is CUBLAS_STATUS_NOT_SUPPORTED. An
// algorithm keeps the alignments that were promised for it (that of a bias by the address which the
// heuristic saw: none is the best) and the workspace that it needs.
#include "sim_cublaslt.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

#define REJECT(status, ...)                                                                        \
  do {                                                                                             \
    sim_report(SIM_API, NULL, (SimLine){0}, __VA_ARGS__);                                          \
    return (status);                                                                               \
  } while (0)

typedef struct Preference {
  uint64_t workspace;
  uint32_t align[4];   // of a, b, c, d: promised
  uint32_t reductions; // how parts of a cut k may be added up
} Preference;

typedef struct Algorithm { // lies in a cublasLtMatmulAlgo_t
  uint64_t magic, workspace;
  uint32_t align[4], bias_align;
  bool narrow; // parts of k are added up in the result's type
} Algorithm;

#define ALGORITHM_MAGIC UINT64_C(0x766d612d6c742031)

_Static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm is a value");

// ---- the library ----

EXPORTED cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
  if (out == NULL) return CUBLAS_STATUS_INVALID_VALUE;
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

EXPORTED size_t cublasLtGetCudartVersion(void) {
  return CUDART_VERSION;
}

static const struct {
  cublasStatus_t status;
  const char *name, *text;
} statuses[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS", "success"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED",
     "the library was not initialized"},
    {CUBLAS_STATUS_ALLOC_FAILED, "CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE",
     "an unsupported value or parameter was passed to the function"},
    {CUBLAS_STATUS_ARCH_MISMATCH, "CUBLAS_STATUS_ARCH_MISMATCH",
     "the function requires an architectural feature absent from the device"},
    {CUBLAS_STATUS_MAPPING_ERROR, "CUBLAS_STATUS_MAPPING_ERROR",
     "an access to GPU memory space failed"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED",
     "the function failed to launch on the GPU"},
    {CUBLAS_STATUS_INTERNAL_ERROR, "CUBLAS_STATUS_INTERNAL_ERROR", "an internal operation failed"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED",
     "the requested functionality is not supported"},
    {CUBLAS_STATUS_LICENSE_ERROR, "CUBLAS_STATUS_LICENSE_ERROR", "the license check failed"},
};

EXPORTED const char *cublasLtGetStatusName(cublasStatus_t status) {
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
    if (statuses[i].status == status) return statuses[i].name;
  return "unrecognized status";
}

EXPORTED const char *cublasLtGetStatusString(cublasStatus_t status) {
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
    if (statuses[i].status == status) return statuses[i].text;
  return "unrecognized status";
}

// ---- attributes: the library looks at their sizes only ----

typedef struct Field {
  int attribute;
  size_t offset, size;
} Field;

#define FIELD(attribute, T, member)                                                                \
  { (attribute), offsetof(T, member), sizeof(((T *)0)->member) }
#define COUNT(fields) (sizeof(fields) / sizeof *(fields))

static const Field matmul_fields[] = {
    FIELD(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, SimMatmul, compute),
    FIELD(CUBLASLT_MATMUL_DESC_SCALE_TYPE, SimMatmul, scale),
    FIELD(CUBLASLT_MATMUL_DESC_POINTER_MODE, SimMatmul, pointer_mode),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSA, SimMatmul, trans_a),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSB, SimMatmul, trans_b),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSC, SimMatmul, trans_c),
    FIELD(CUBLASLT_MATMUL_DESC_FILL_MODE, SimMatmul, fill),
    FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE, SimMatmul, epilogue),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_POINTER, SimMatmul, bias),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, SimMatmul, bias_batch_stride),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, SimMatmul, bias_type),
};

static const Field layout_fields[] = {
    FIELD(CUBLASLT_MATRIX_LAYOUT_TYPE, SimLayout, type),
    FIELD(CUBLASLT_MATRIX_LAYOUT_ORDER, SimLayout, order),
    FIELD(CUBLASLT_MATRIX_LAYOUT_ROWS, SimLayout, rows),
    FIELD(CUBLASLT_MATRIX_LAYOUT_COLS, SimLayout, cols),
    FIELD(CUBLASLT_MATRIX_LAYOUT_LD, SimLayout, ld),
    FIELD(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, SimLayout, batch),
    FIELD(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, SimLayout, batch_stride),
};

static const Field preference_fields[] = {
    FIELD(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, Preference, workspace),
    FIELD(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, Preference, reductions),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, Preference, align[0]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, Preference, align[1]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, Preference, align[2]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, Preference, align[3]),
};

static const Field *find_field(const Field *fields, size_t n, int attribute, const char *call) {
  for (size_t i = 0; i < n; i++)
    if (fields[i].attribute == attribute) return &fields[i];
  sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "%s: attribute %d", call, attribute);
  return NULL;
}

static cublasStatus_t set(void *to, const Field *fields, size_t n, int attribute, const void *value,
                          size_t bytes, const char *call) {
  const Field *f = find_field(fields, n, attribute, call);
  if (to == NULL || f == NULL || value == NULL || bytes != f->size)
    return CUBLAS_STATUS_INVALID_VALUE;
  memcpy((char *)to + f->offset, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t get(const void *from, const Field *fields, size_t n, int attribute,
                          void *value, size_t bytes, size_t *written, const char *call) {
  const Field *f = find_field(fields, n, attribute, call);
  if (from == NULL || f == NULL || (bytes == 0 && written == NULL) ||
      (bytes != 0 && (value == NULL || bytes != f->size)))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes != 0) memcpy(value, (const char *)from + f->offset, bytes);
  if (written != NULL) *written = f->size;
  return CUBLAS_STATUS_SUCCESS;
}

// ---- descriptors ----

EXPORTED cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out,
                                                 cublasComputeType_t compute,
                                                 cudaDataType_t scale) {
  if (out == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  SimMatmul *d = calloc(1, sizeof *d);
  if (d == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
  *d = (SimMatmul){.compute = (int32_t)compute,
                   .scale = (int32_t)scale,
                   .fill = CUBLAS_FILL_MODE_FULL,
                   .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                   .bias_type = -1};
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
  return set(desc, matmul_fields, COUNT(matmul_fields), (int)attribute, value, bytes,
             "cublasLtMatmulDescSetAttribute");
}

EXPORTED cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t desc,
                                                       cublasLtMatmulDescAttributes_t attribute,
                                                       void *value, size_t bytes, size_t *written) {
  return get(desc, matmul_fields, COUNT(matmul_fields), (int)attribute, value, bytes, written,
             "cublasLtMatmulDescGetAttribute");
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                                   uint64_t rows, uint64_t cols, int64_t ld) {
  if (out == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  SimLayout *l = calloc(1, sizeof *l);
  if (l == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
  *l = (SimLayout){(int32_t)type, CUBLASLT_ORDER_COL, rows, cols, ld, 1, 0};
  *out = (cublasLtMatrixLayout_t)(void *)l;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  free(layout);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                         cublasLtMatrixLayoutAttribute_t attribute,
                                                         const void *value, size_t bytes) {
  return set(layout, layout_fields, COUNT(layout_fields), (int)attribute, value, bytes,
             "cublasLtMatrixLayoutSetAttribute");
}

EXPORTED cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                         cublasLtMatrixLayoutAttribute_t attribute,
                                                         void *value, size_t bytes,
                                                         size_t *written) {
  return get(layout, layout_fields, COUNT(layout_fields), (int)attribute, value, bytes, written,
             "cublasLtMatrixLayoutGetAttribute");
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
  if (out == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  Preference *p = calloc(1, sizeof *p);
  if (p == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
  for (int i = 0; i < 4; i++) p->align[i] = 256;
  p->reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  *out = (cublasLtMatmulPreference_t)(void *)p;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  free(preference);
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
    const void *value, size_t bytes) {
  return set(preference, preference_fields, COUNT(preference_fields), (int)attribute, value, bytes,
             "cublasLtMatmulPreferenceSetAttribute");
}

EXPORTED cublasStatus_t cublasLtMatmulPreferenceGetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
    void *value, size_t bytes, size_t *written) {
  return get(preference, preference_fields, COUNT(preference_fields), (int)attribute, value, bytes,
             written, "cublasLtMatmulPreferenceGetAttribute");
}

// ---- the problem: the same rules for the heuristic and the product ----

static bool is_operation(int32_t o) {
  return o == CUBLAS_OP_N || o == CUBLAS_OP_T;
}

static cublasStatus_t check_layout(const char *name, const SimLayout *l) {
  if (sim_type_size(l->type) == 0)
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: %s has data type %d", name, (int)l->type);
  if (l->order != CUBLASLT_ORDER_COL && l->order != CUBLASLT_ORDER_ROW)
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: %s has memory order %d", name, (int)l->order);
  if (l->rows == 0 || l->cols == 0)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: %s is empty: %llu x %llu", name,
           (unsigned long long)l->rows, (unsigned long long)l->cols);
  if (l->ld < sim_layout_line(l))
    REJECT(CUBLAS_STATUS_INVALID_VALUE,
           "cuBLASLt: the leading dimension of %s is %lld, smaller than its %lld %s", name,
           (long long)l->ld, (long long)sim_layout_line(l),
           l->order == CUBLASLT_ORDER_ROW ? "columns" : "rows");
  if (l->batch < 1)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: %s has %d batches", name, (int)l->batch);
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_types(const SimProduct *p) {
  const SimMatmul *how = &p->how;
  const int32_t bias = how->bias_type;
  if (how->compute != CUBLAS_COMPUTE_32F || how->scale != CUDA_R_32F)
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: computes in %d, not in IEEE f32",
           (int)how->compute);
  if (p->la.type != p->lb.type || p->lc.type != p->ld.type ||
      (p->la.type == CUDA_R_32F && p->ld.type != CUDA_R_32F))
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: data types %d x %d into %d (c: %d)",
           (int)p->la.type, (int)p->lb.type, (int)p->ld.type, (int)p->lc.type);
  if (sim_epilogue_has_bias(how->epilogue) && bias != p->ld.type)
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: a bias of data type %d for a result of %d",
           (int)bias, (int)p->ld.type);
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_how(const SimProduct *p) {
  const SimMatmul *how = &p->how;
  if (how->pointer_mode != CUBLASLT_POINTER_MODE_HOST || how->trans_c != CUBLAS_OP_N ||
      how->fill != CUBLAS_FILL_MODE_FULL || !is_operation(how->trans_a) ||
      !is_operation(how->trans_b))
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED,
           "cuBLASLt: pointer mode %d, operations %d %d %d, fill mode %d", (int)how->pointer_mode,
           (int)how->trans_a, (int)how->trans_b, (int)how->trans_c, (int)how->fill);
  switch (how->epilogue) {
  case CUBLASLT_EPILOGUE_DEFAULT:
  case CUBLASLT_EPILOGUE_RELU:
  case CUBLASLT_EPILOGUE_GELU:
  case CUBLASLT_EPILOGUE_BIAS:
  case CUBLASLT_EPILOGUE_RELU_BIAS:
  case CUBLASLT_EPILOGUE_GELU_BIAS:
    break;
  default:
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: epilogue %u", how->epilogue);
  }
  const int32_t order = p->la.order;
  if (p->lb.order != order || p->lc.order != order || p->ld.order != order ||
      (order == CUBLASLT_ORDER_ROW && how->epilogue != CUBLASLT_EPILOGUE_DEFAULT))
    REJECT(CUBLAS_STATUS_NOT_SUPPORTED,
           "cuBLASLt: memory orders that differ, or rows and an epilogue");
  return CUBLAS_STATUS_SUCCESS;
}

static bool same_layout(const SimLayout *a, const SimLayout *b) {
  return a->type == b->type && a->order == b->order && a->rows == b->rows && a->cols == b->cols &&
         a->ld == b->ld && a->batch == b->batch && a->batch_stride == b->batch_stride;
}

static cublasStatus_t check_shapes(SimProduct *p) {
  const SimLayout *a = &p->la, *b = &p->lb, *c = &p->lc, *d = &p->ld;
  const bool ta = p->how.trans_a == CUBLAS_OP_T, tb = p->how.trans_b == CUBLAS_OP_T;
  p->m = (int64_t)(ta ? a->cols : a->rows);
  p->k = (int64_t)(ta ? a->rows : a->cols);
  p->n = (int64_t)(tb ? b->rows : b->cols);
  const int64_t k2 = (int64_t)(tb ? b->cols : b->rows);
  if (p->k != k2 || p->m != (int64_t)d->rows || p->n != (int64_t)d->cols || c->rows != d->rows ||
      c->cols != d->cols)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: %lld x %lld by %lld x %lld into %llu x %llu",
           (long long)p->m, (long long)p->k, (long long)k2, (long long)p->n,
           (unsigned long long)d->rows, (unsigned long long)d->cols);
  if (a->batch != d->batch || b->batch != d->batch || c->batch != d->batch)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: batches of %d, %d, %d and %d", (int)a->batch,
           (int)b->batch, (int)c->batch, (int)d->batch);
  const int64_t whole = (sim_layout_lines(d) - 1) * d->ld + sim_layout_line(d);
  const int64_t stride = d->batch_stride < 0 ? -d->batch_stride : d->batch_stride;
  if (d->batch > 1 && stride < whole)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: batches of d are %lld apart, one takes %lld",
           (long long)stride, (long long)whole);
  return CUBLAS_STATUS_SUCCESS;
}

#define CHECK_STATUS(call)                                                                         \
  do {                                                                                             \
    const cublasStatus_t status_ = (call);                                                         \
    if (status_ != CUBLAS_STATUS_SUCCESS) return status_;                                          \
  } while (0)

static cublasStatus_t take_problem(SimProduct *p, cublasLtMatmulDesc_t desc,
                                   cublasLtMatrixLayout_t la, cublasLtMatrixLayout_t lb,
                                   cublasLtMatrixLayout_t lc, cublasLtMatrixLayout_t ld) {
  if (desc == NULL || la == NULL || lb == NULL || lc == NULL || ld == NULL)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a descriptor is NULL");
  *p = (SimProduct){.how = *(const SimMatmul *)(void *)desc,
                    .la = *(const SimLayout *)(void *)la,
                    .lb = *(const SimLayout *)(void *)lb,
                    .lc = *(const SimLayout *)(void *)lc,
                    .ld = *(const SimLayout *)(void *)ld};
  if (p->how.bias_type < 0) p->how.bias_type = p->ld.type;
  CHECK_STATUS(check_layout("a", &p->la));
  CHECK_STATUS(check_layout("b", &p->lb));
  CHECK_STATUS(check_layout("c", &p->lc));
  CHECK_STATUS(check_layout("d", &p->ld));
  CHECK_STATUS(check_how(p));
  CHECK_STATUS(check_types(p));
  return check_shapes(p);
}

// ---- algorithms: one that sums halves of k in a workspace, in the result's type where it may, one
// that needs none ----

static uint64_t workspace_of(const SimProduct *p) {
  return ((uint64_t)(p->m * p->n) * 4 * (uint64_t)p->ld.batch + 255) / 256 * 256;
}

// Not looked at by a product without a bias.
static uint32_t bias_alignment(const SimMatmul *how) {
  const uintptr_t address = (uintptr_t)how->bias | 256; // no algorithm needs more
  return sim_epilogue_has_bias(how->epilogue) ? (uint32_t)(address & -address) : 1;
}

EXPORTED cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t results[],
    int *found) {
  const Preference *wish = (const Preference *)(void *)preference;
  SimProduct p;
  if (found != NULL) *found = 0;
  if (lt == NULL) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (wish == NULL || results == NULL || found == NULL || wanted < 1)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulAlgoGetHeuristic: nothing is asked for");
  CHECK_STATUS(take_problem(&p, desc, a, b, c, d));
  const uint64_t needs[] = {workspace_of(&p), 0};
  for (int i = 0; i < 2 && *found < wanted; i++) {
    if (needs[i] > wish->workspace) continue;
    const uint32_t narrow =
        CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    Algorithm algorithm = {.magic = ALGORITHM_MAGIC,
                           .workspace = needs[i],
                           .bias_align = bias_alignment(&p.how),
                           .narrow = needs[i] > 0 && (wish->reductions & narrow) != 0};
    for (int k = 0; k < 4; k++) algorithm.align[k] = wish->align[k] > 1 ? wish->align[k] : 1;
    cublasLtMatmulHeuristicResult_t *to = &results[(*found)++];
    memset(to, 0, sizeof *to);
    memcpy(&to->algo, &algorithm, sizeof algorithm);
    to->workspaceSize = needs[i];
    to->state = CUBLAS_STATUS_SUCCESS;
    to->wavesCount = 1;
  }
  return CUBLAS_STATUS_SUCCESS;
}

// ---- the product ----

static cublasStatus_t check_alignment(const char *name, const void *data, uint32_t align) {
  if (data == NULL) REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: %s is NULL", name);
  if ((uintptr_t)data % align == 0) return CUBLAS_STATUS_SUCCESS;
  sim_report(SIM_MISALIGNED, NULL, (SimLine){0},
             "cublasLtMatmul: %s at %p, %u bytes were promised to the heuristic", name, data,
             align);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool overlap(const void *a, const SimLayout *la, const void *b, const SimLayout *lb) {
  const int64_t ends[] = {(sim_layout_lines(la) - 1) * la->ld + sim_layout_line(la) +
                              (la->batch - 1) * la->batch_stride,
                          (sim_layout_lines(lb) - 1) * lb->ld + sim_layout_line(lb) +
                              (lb->batch - 1) * lb->batch_stride};
  const char *from_a = a, *from_b = b;
  return from_a < from_b + ends[1] * sim_type_size(lb->type) &&
         from_b < from_a + ends[0] * sim_type_size(la->type);
}

static cublasStatus_t check_operands(const SimProduct *p) {
  if (overlap(p->a, &p->la, p->d, &p->ld) || overlap(p->b, &p->lb, p->d, &p->ld))
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: d lies in an operand");
  if (p->beta != 0 && p->c == p->d && !same_layout(&p->lc, &p->ld))
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: c is d, with another layout");
  if (sim_epilogue_has_bias(p->how.epilogue) && p->how.bias == NULL)
    REJECT(CUBLAS_STATUS_INVALID_VALUE,
           "cublasLtMatmul: a bias is to be added, its pointer is NULL");
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t take_algorithm(SimProduct *p, const cublasLtMatmulAlgo_t *algo,
                                     void *workspace, size_t bytes) {
  Algorithm algorithm = {.magic = ALGORITHM_MAGIC, .align = {1, 1, 1, 1}, .bias_align = 1};
  const uint64_t need = workspace_of(p);
  if (algo != NULL)
    memcpy(&algorithm, algo, sizeof algorithm);
  else if (workspace != NULL && need <= bytes) // its own choice
    algorithm = (Algorithm){ALGORITHM_MAGIC, need, {1, 1, 1, 1}, 1, true};
  if (algorithm.magic != ALGORITHM_MAGIC)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: the algorithm is of no heuristic");
  CHECK_STATUS(check_alignment("a", p->a, algorithm.align[0]));
  CHECK_STATUS(check_alignment("b", p->b, algorithm.align[1]));
  if (p->beta != 0) CHECK_STATUS(check_alignment("c", p->c, algorithm.align[2]));
  CHECK_STATUS(check_alignment("d", p->d, algorithm.align[3]));
  if (sim_epilogue_has_bias(p->how.epilogue) && p->how.bias != NULL)
    CHECK_STATUS(check_alignment("bias", p->how.bias, algorithm.bias_align));
  if (algorithm.workspace == 0) return CUBLAS_STATUS_SUCCESS;
  if (workspace == NULL || bytes < need)
    REJECT(CUBLAS_STATUS_INVALID_VALUE,
           "cublasLtMatmul: a workspace of %lld bytes, the algorithm needs %lld",
           workspace == NULL ? 0LL : (long long)bytes, (long long)need);
  if ((uintptr_t)workspace % 256 != 0) {
    sim_report(SIM_MISALIGNED, NULL, (SimLine){0},
               "cublasLtMatmul: its workspace at %p is not aligned to 256 bytes", workspace);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  p->workspace = workspace;
  p->workspace_bytes = (int64_t)need;
  p->narrow = algorithm.narrow;
  return CUBLAS_STATUS_SUCCESS;
}

EXPORTED cublasStatus_t cublasLtMatmul(cublasLtHandle_t lt, cublasLtMatmulDesc_t desc,
                                       const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                                       const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                                       const void *c, cublasLtMatrixLayout_t lc, void *d,
                                       cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo,
                                       void *workspace, size_t workspace_bytes,
                                       cudaStream_t stream) {
  SimProduct p;
  if (lt == NULL) return CUBLAS_STATUS_NOT_INITIALIZED;
  CHECK_STATUS(take_problem(&p, desc, la, lb, lc, ld));
  if (alpha == NULL || beta == NULL)
    REJECT(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: alpha or beta is NULL");
  p.a = a;
  p.b = b;
  p.c = c;
  p.d = d;
  memcpy(&p.alpha, alpha, sizeof p.alpha);
  memcpy(&p.beta, beta, sizeof p.beta);
  CHECK_STATUS(take_algorithm(&p, algo, workspace, workspace_bytes));
  CHECK_STATUS(check_operands(&p));
  return sim_product_queue(&p, stream);
}
