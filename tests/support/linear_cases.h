// Parity cases of linear, linear_back_x_acc and linear_back_w_acc, for any GEMM path. The tolerance
// comes from a naive loop that sums in f32, one product after the other.
#ifndef VMA_LINEAR_CASES_H
#define VMA_LINEAR_CASES_H

#include "parity.h"

typedef enum LinearOp { LINEAR_FORWARD, LINEAR_BACK_X, LINEAR_BACK_W } LinearOp;

enum {
  LINEAR_PLAIN = 0,
  LINEAR_ACC = 1,
  LINEAR_BIAS = 2
}; // LINEAR_BIAS of LINEAR_BACK_W: db is wanted

// No tensor has elements between its rows, and all begin aligned.
enum { LINEAR_DENSE = -1 };

// Up to so many rows a quantised weight is never expanded.
enum { LINEAR_FEW = 16 };

typedef struct LinearShape {
  int64_t rows, out, in, pad; // R, N, K; elements between rows, or LINEAR_DENSE
} LinearShape;

// f: x, dy, bias; w: the weight; y: of LINEAR_FORWARD's output and LINEAR_BACK_W's dw and db.
void linear_run(const char *gemm, LinearOp op, const LinearShape *shape, DType f, DType w, DType y,
                int flags);

#endif
