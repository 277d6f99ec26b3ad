// LoRA adapters on a model's linear layers (Hu et al. 2021; PEFT's conventions).
#ifndef VMA_LORA_H
#define VMA_LORA_H

#include "linear.h"
#include "peft_adapter.h"

typedef struct LoraSpec {
  int64_t r;
  float alpha;
  float dropout;
  bool rank_stabilised; // scale alpha / sqrt(r)
  int n_targets;
  const char *const *targets; // module names, matched as PEFT does: equal, or the end after a dot
  uint64_t seed;              // of A's initial values
} LoraSpec;

// Declares A and B (f32) beside every targeted part of the n linears, as adapter number `index`,
// and trainable if asked. STATUS_USAGE when a target matches nothing: names it and lists what there
// is.
Status lora_attach(ParamTable *table, Linear *const *linears, const int *buckets, int n,
                   const LoraSpec *spec, int index, bool trainable, Error *err);

// A = kaiming_uniform(a = sqrt 5) = U(-1/sqrt(in), 1/sqrt(in)) from (seed, the weight's name); B =
// 0.
void lora_init_weights(ParamTable *table, Backend *be, uint64_t seed);

// Copies an adapter that was read from a folder into the attached A and B; wrong names or shapes
// are errors.
Status lora_load(ParamTable *table, Backend *be, const PeftAdapter *adapter, int index, Error *err);

#endif
