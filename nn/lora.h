// LoRA adapters on a model's linear layers (Hu et al. 2021; PEFT's conventions).
#ifndef VMA_LORA_H
#define VMA_LORA_H

#include "linear.h"
#include "peft_adapter.h"

typedef struct LoraSpec {
  int64_t r; // r and alpha of the layers that no pattern matches
  float alpha;
  const PeftPatterns *ranks, *alphas; // NULL: none
  float dropout;
  bool rank_stabilised; // scale alpha / sqrt(r)
  bool plus;            // B learns at a rate of its own: RATE_PLUS
  int n_targets;
  // Module names, matched as PEFT does: equal, or the end after a dot; "all-linear": every layer.
  const char *const *targets;
} LoraSpec;

// Rank and scale of a module's adapter.
int64_t lora_rank(const LoraSpec *spec, const char *module);
float lora_scale(const LoraSpec *spec, const char *module);

// Declares A and B (f32) beside every targeted part of the n linears, as adapter number `index`,
// and trainable if asked. STATUS_USAGE when a target matches nothing: names it and lists what there
// is.
Status lora_attach(ParamTable *table, Linear *const *linears, const int *buckets, int n,
                   const LoraSpec *spec, int index, bool trainable, Error *err);

// Of adapter `index`: A = kaiming_uniform(a = sqrt 5) = U(-1/sqrt(in), 1/sqrt(in)) from (seed, the
// weight's name); B = 0.
void lora_init_weights(ParamTable *table, Backend *be, int index, uint64_t seed);

enum { LORA_TAIL_MAX = 32 };

// What follows the module in the name of an adapter's weight, matrix 'A' or 'B': PEFT's own for
// adapter 0, ".lora_A.weight" ("base_model.model." before the module is only in files); further
// ones carry their number, ".lora_A.1.weight".
void lora_tail(char tail[LORA_TAIL_MAX], char matrix, int index);

// The spec of an adapter that was read from a folder; its targets and patterns are the adapter's
// own.
LoraSpec lora_spec_of(const PeftAdapter *adapter);

// Whether an adapter that was read from a folder is what was attached as adapter `index`; module
// names are the same on both sides. STATUS_DATA when it has a module that the model lacks or that
// was not attached, lacks one that was, or differs in a shape: the message names the tensor, not
// the folder. Needs no memory of the weights.
Status lora_check(const ParamTable *table, const PeftAdapter *adapter, int index, Error *err);

// Copies it into the attached A and B. Errors: lora_check's, and then nothing is copied.
Status lora_load(ParamTable *table, Backend *be, const PeftAdapter *adapter, int index, Error *err);

// The attached A and B of adapter `index` as an adapter to write: their values, r, alpha, dropout,
// scale, targets ("all-linear" as the layers' names) and patterns of the spec, which mean the same
// when PEFT has sorted them; what the file's metadata holds (base_model, template_name, ...) is
// the caller's to set. Release with peft_adapter_free, also after STATUS_MEMORY, the only error.
Status lora_collect(PeftAdapter *adapter, const ParamTable *table, Backend *be, int index,
                    const LoraSpec *spec, Error *err);

#endif
