// The model of a run: declared and adapted as the config says, filled from its files, and its
// adapter taken out for saving.
#ifndef VMA_TRAIN_MODEL_H
#define VMA_TRAIN_MODEL_H

#include "config.h"
#include "llama.h"
#include "template.h"

// Declares the weights, attaches fresh adapters (method lora) or makes all weights trainable but
// those of train.freeze (method full), makes the buckets. STATUS_USAGE for targets and patterns
// that match nothing and for what cannot be trained.
Status train_model_declare(Llama *model, const LlamaConfig *llama, const RunConfig *config,
                           Error *err);

// Reads lora.init_from (an empty adapter when there is none), and checks that its ranks and scales
// are the config's.
Status train_model_initial(PeftAdapter *adapter, const RunConfig *config, Error *err);

// Whether it is an adapter of the declared model: lora_check. Before any weight is read.
Status train_model_check_initial(const Llama *model, const RunConfig *config,
                                 const PeftAdapter *initial, Error *err);

// After placing: the base weights from the store; then, with method lora, the adapters: `initial`
// when it has pairs, else fresh ones from the run's seed.
Status train_model_fill(Llama *model, Backend *be, TensorStore *store, const RunConfig *config,
                        const PeftAdapter *initial, Error *err);

// Method lora: the trained adapter with all that its files say; released by peft_adapter_free.
Status train_model_adapter(PeftAdapter *adapter, const Llama *model, Backend *be,
                           const RunConfig *config, const Template *template, const char *base_hash,
                           Error *err);

#endif
