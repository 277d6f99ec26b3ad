// Loss curves of the small real model against torch's: the sequences and batches of a golden file,
// the steps, and the comparison.
#ifndef VMA_CURVE_H
#define VMA_CURVE_H

#include "dataset.h"
#include "golden.h"
#include "trainer.h"

// The sequences of tests/golden/smollm2/curve.safetensors as a data set of its own, in the order in
// which the steps take them.
Dataset curve_dataset(const Safetensors *file);

typedef struct Curve {
  const char *what;
  // step_seqs, lr, and of each dtype, f32 and bf16, DTYPE.loss and DTYPE.grad_norm.
  const Safetensors *golden;
  const Dataset *data;
  int steps, planned; // to run; that the schedule is made for
  int warmup;
  double lr, weight_decay;
  int64_t micro_tokens;
  void (*declare)(Llama *model);           // says what is trained, before the buckets
  void (*fill)(Llama *model, Backend *be); // after loading; may be NULL
} Curve;

typedef struct CurveTolerance {
  double loss; // of every step's loss; the run ends at the first that is four times too far
  double mean; // of the mean of the differences, with their signs
  double norm; // of every gradient norm, relative
} CurveTolerance;

// Expects the golden losses and norms, to the tolerance. VMA_CURVE_CSV=FILE adds the curve there.
void curve_compare(const Curve *curve, DType dtype, const CurveTolerance *tolerance);

#endif
