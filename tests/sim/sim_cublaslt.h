// The stand-in for cuBLASLt: what its entry points (sim_cublaslt.c: descriptors, rules, choice of
// an algorithm) hand to the product itself (sim_product.c).
#ifndef VMA_SIM_CUBLASLT_H
#define VMA_SIM_CUBLASLT_H

#include "sim_stream.h"

#include <cublasLt.h>

typedef struct SimLayout { // fields as wide as the library's attributes
  int32_t type, order;
  uint64_t rows, cols;
  int64_t ld;
  int32_t batch;
  int64_t batch_stride; // elements
} SimLayout;

typedef struct SimMatmul { // a descriptor
  int32_t compute, scale, pointer_mode, trans_a, trans_b, trans_c, fill;
  uint32_t epilogue;
  const void *bias;
  int64_t bias_batch_stride;
  int32_t bias_type; // -1: that of the result
} SimMatmul;

typedef struct SimProduct { // complete and sound: only its memory may still be wrong
  SimMatmul how;
  SimLayout la, lb, lc, ld;
  const void *a, *b, *c;
  void *d, *workspace;
  int64_t m, n, k, workspace_bytes; // that the algorithm uses
  float alpha, beta;
  bool narrow;  // the halves of k are added up in the result's type
  bool harmful; // memory that is none of the device's: not run
} SimProduct;

static inline bool sim_epilogue_has_bias(uint32_t epilogue) {
  return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ||
         epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
}

static inline int64_t sim_type_size(int32_t type) { // 0: a type that is not known here
  return type == CUDA_R_32F ? 4 : type == CUDA_R_16BF ? 2 : 0;
}

// Columns of a matrix as they lie in memory (rows where the order is by rows).
static inline int64_t sim_layout_lines(const SimLayout *l) {
  return (int64_t)(l->order == CUBLASLT_ORDER_ROW ? l->rows : l->cols);
}

static inline int64_t sim_layout_line(const SimLayout *l) { // elements
  return (int64_t)(l->order == CUBLASLT_ORDER_ROW ? l->cols : l->rows);
}

// Checks the memory against what there is and what the op has declared, and puts it on the stream.
cublasStatus_t sim_product_queue(const SimProduct *product, cudaStream_t stream);

#endif
