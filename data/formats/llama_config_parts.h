// Private to llama_config*.c: what both sources of a LlamaConfig share.
#ifndef VMA_LLAMA_CONFIG_PARTS_H
#define VMA_LLAMA_CONFIG_PARTS_H

#include "llama_config.h"

// Above what any model has, and small enough that the products of two fit 64 bits.
enum {
  LLAMA_HIDDEN_MAX = 1 << 20,
  LLAMA_FFN_MAX = 1 << 24,
  LLAMA_LAYERS_MAX = 1 << 14,
  LLAMA_HEADS_MAX = 1 << 16,
};

// The rules between the numbers; fills head_dim when it is 0.
Status llama_config_check(LlamaConfig *config, const char *path, Error *err);

#endif
