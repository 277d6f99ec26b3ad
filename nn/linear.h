// A linear layer with its LoRA adapters: y = x W^T + b (+ for each adapter of a row: s * B A
// dropout(x)).
//
// Models only know Linear; adapters are attached from outside (lora.h) and op_linear applies them.
// One Linear may cover several weights of the file that lie side by side (q|k|v): its parts, each
// of which can carry adapters.
#ifndef VMA_LINEAR_H
#define VMA_LINEAR_H

#include "param.h"

enum { LINEAR_MAX_PARTS = 3, MAX_ADAPTERS = 8 };

typedef struct Adapter {
  Param *a, *b;       // f32 [r,in], [out,r]; NULL = this part has none
  float scale;        // alpha / r, or alpha / sqrt(r)
  float dropout;      // while training
  uint32_t tensor_id; // of the dropout mask: unique per adapted part
} Adapter;

typedef struct LinearPart {
  Param *weight; // [rows, in]
  Param *bias;   // [rows] or NULL
  Adapter adapters[MAX_ADAPTERS];
} LinearPart;

typedef struct Linear {
  int64_t in, out;
  int n_parts;
  LinearPart parts[LINEAR_MAX_PARTS];
} Linear;

// Adds the next weight (and bias or NULL); the weights of all parts are declared one after the
// other in one group.
void linear_add_part(Linear *linear, Param *weight, Param *bias);

// Whether op_linear's backward reads its input: the caller gives it a KEEP life then.
Life linear_input_life(const Ctx *ctx, const Linear *linear);

#endif
