// LoRA adapters as PEFT keeps them: a folder with adapter_config.json and
// adapter_model.safetensors.
//
//   y = W x + s * B(A x),   s = alpha / r, or alpha / sqrt(r) with use_rslora
//
// Modules may have ranks and alphas of their own (rank_pattern, alpha_pattern). Tensors are named
// "base_model.model." + module + ".lora_A.weight" [r,in] and ".lora_B.weight" [out,r]. What a LoRA
// of linear layers cannot express is refused by name: DoRA, trained biases or whole modules,
// embeddings, initialisations that change the base weights, adapter_model.bin (a pickle).
#ifndef VMA_PEFT_ADAPTER_H
#define VMA_PEFT_ADAPTER_H

#include "error.h"
#include "peft_patterns.h"

#include <stdbool.h>
#include <stdint.h>

// PEFT's word for every linear layer but the output head.
#define PEFT_ALL_LINEAR "all-linear"

typedef struct PeftPair {
  char *module; // "model.layers.0.self_attn.q_proj"
  int64_t in, out, r;
  float *a; // [r,in]
  float *b; // [out,r]
} PeftPair;

typedef struct PeftAdapter {
  int64_t r; // r and alpha of the modules that no pattern matches
  double alpha, dropout;
  PeftPatterns ranks, alphas;
  bool rank_stabilised; // use_rslora
  int64_t n_targets;
  char **targets; // names as lora targets match them: equal to a module's path, or its end after a
                  // dot; PEFT_ALL_LINEAR alone: every linear layer of the blocks. Whole paths where
                  // the config's own rule (a regular expression, some layers only) is none of these
  int64_t n_pairs;
  PeftPair *pairs;     // sorted by module
  char *base_model;    // base_model_name_or_path, or NULL
  char *template_name; // the rest from the file's metadata, NULL when absent: the prompt template,
  char *base_hash;     // the identity of the base weights (store_hash),
  char *vma_version;   // who wrote it
} PeftAdapter;

// STATUS_NO_INPUT when there is no adapter in the folder, STATUS_DATA when it is not sound or not
// supported. Data become f32 (F32, F16 and BF16 are read). Release with peft_adapter_free.
Status peft_adapter_read(PeftAdapter *adapter, const char *folder, Error *err);

// Also right for a zero-initialised struct and after a failed read.
void peft_adapter_free(PeftAdapter *adapter);

// Writes the folder's two files (f32; the keys that PEFT itself writes, sorted). A folder that does
// not exist appears whole, by a rename; in one that does each file is replaced by a rename, and its
// other files stay. Then it is opened again and compared: names, shapes and bytes. An adapter
// without pairs or with values that are not finite is our mistake or a broken run: STATUS_FAILED.
Status peft_adapter_write(const PeftAdapter *adapter, const char *folder, Error *err);

// s of a module, see above.
double peft_adapter_scale(const PeftAdapter *adapter, const PeftPair *pair);

// Whether a module is one of the targets.
bool peft_adapter_targets(const char *const *targets, int64_t n, const char *module);

#endif
