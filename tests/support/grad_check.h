// Gradients by the tape against central differences, in double on the plain C reference backend.
//
// A case declares its weights and inputs in `setup` and builds a graph of layer ops from them in
// `build`, as often as it is called. The function that is differentiated is the sum of all elements
// of its outputs, each times a fixed random factor, plus the case's loss (op_linear_cross_entropy)
// times inv_count. grad_run builds and runs it backward, then moves every element (of large tensors
// a sample) up and down and compares. It also checks that a second backward adds to the gradients
// of weights, and that the arenas are back where they began.
#ifndef VMA_GRAD_CHECK_H
#define VMA_GRAD_CHECK_H

#include "ops.h"
#include "rig.h"

enum { GRAD_MAX = 16 };

typedef struct GradCheck {
  Rig rig;
  ParamTable params;
  Param *p[GRAD_MAX]; // in order of grad_param
  int n_params;
  Tensor leaf[GRAD_MAX]; // in order of grad_leaf
  Value *x[GRAD_MAX];    // made anew over the leaves before each build
  int n_leaves;
  Tensor ints[GRAD_MAX]; // in order of grad_ints
  int n_ints;
  Linear linear[4]; // for the case to fill
  DeviceBatch batch;
  Tensor inv_count, loss;
  Value *out[GRAD_MAX]; // what build puts here
  int n_out;
  bool checkpoint; // for cases with segments
} GradCheck;

typedef struct GradCase {
  const char *name;
  void (*setup)(GradCheck *g);
  void (*build)(GradCheck *g);
} GradCase;

// A weight [rows, cols], or [cols] when rows is 0, of N(mean, scale^2).
Param *grad_param(GradCheck *g, int64_t rows, int64_t cols, bool trainable, double mean,
                  double scale);

// The same with a group: the weights of one group lie side by side.
Param *grad_group_param(GradCheck *g, int group, int64_t rows, int64_t cols, bool trainable);

// An input [rows, cols] of N(0, scale^2) whose gradient is wanted.
void grad_leaf(GradCheck *g, int64_t rows, int64_t cols, double scale);

// Integers on the backend, [1, n].
Tensor grad_ints(GradCheck *g, int64_t n, const int32_t *values);

// sequences, positions and adapters (or NULL) of a batch of n rows.
void grad_batch(GradCheck *g, int64_t n, const int32_t *sequences, const int32_t *positions,
                const int32_t *adapters);

void grad_run(const GradCase *c);

// Runs c with checkpointing off and on and expects the same bits in all gradients.
void grad_run_checkpoint(const GradCase *c);

#endif
