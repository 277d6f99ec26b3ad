// AdamW over the flat buckets of a weight table: clip by the global norm, then one update a range
// (decayed or not, by rate). What changes from step to step (rates, step number, clip factor) lies
// in device scalars, so that a step is the same sequence of launches every time. Decay is by the
// rate of the range, as torch does with parameter groups.
#ifndef VMA_OPTIMIZER_H
#define VMA_OPTIMIZER_H

#include "param.h"

typedef struct OptimizerOptions {
  double beta1, beta2, eps, weight_decay;
  double clip;       // largest gradient norm; 0: no clipping
  double plus_ratio; // LoRA+: the rate of RATE_PLUS ranges by that of the others
} OptimizerOptions;

typedef struct Optimizer {
  OptimizerOptions options;
  ParamTable *table;
  Backend *be;
  Tensor lr;   // f32 [1,RATE_GROUPS]
  Tensor step; // i32 [1,1] t, from 1
  Tensor clip; // f32 [1,2] {factor, norm}
  Tensor sums; // f64 [1,buckets]
} Optimizer;

// Takes the scalars from `state` and zeroes the moments. The table's buckets have been placed.
// Called again with other arenas after a rehearsal.
void optimizer_place(Optimizer *optimizer, const OptimizerOptions *options, ParamTable *table,
                     Backend *be, Arena *state);

// Queues the norm of all gradients before clipping, and the clip factor, which stay on the device;
// _end gives the norm, and waits. A `guard` (f64 [1,1], or none) that is not finite, the loss say,
// counts as a norm that is not. Sums run per bucket in a fixed order, in f64.
int64_t optimizer_norm_begin(Optimizer *optimizer, Tensor guard);
double optimizer_norm_end(Optimizer *optimizer, int64_t ticket);

// One AdamW update at the base rate lr, t counted from 1, after optimizer_norm_begin. A norm or
// guard that is not finite: no weight and no moment is written.
void optimizer_update(Optimizer *optimizer, double lr, int64_t t);

// What a checkpoint keeps of each trainable weight: itself (of a bf16 weight the f32 master) and
// its two moments.
typedef enum StateKind { STATE_WEIGHT, STATE_FIRST_MOMENT, STATE_SECOND_MOMENT } StateKind;
enum { STATE_KINDS = 3 };

// The [1,n] view of a trainable weight's state in its bucket.
Tensor optimizer_state(const ParamTable *table, const Param *param, StateKind kind);

#endif
