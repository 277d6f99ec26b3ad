// The LLaMA family (Touvron et al. 2023; grouped heads: Ainslie et al. 2023; llama3 rope scaling as
// in transformers): LLaMA 1/2/3, TinyLlama, SmolLM2, from their configs.
//
//   x = embed[ids]
//   per block:  x += o_proj(attention(rope(q_proj h), rope(k_proj h), v_proj h)),  h = rmsnorm(x)
//               x += down_proj(silu(gate_proj h) * up_proj h),                     h = rmsnorm(x)
//   logits = lm_head(rmsnorm(x));   tied: lm_head is the embedding
#ifndef VMA_LLAMA_H
#define VMA_LLAMA_H

#include "llama_config.h"
#include "lora.h"
#include "ops.h"
#include "tensor_store.h"

typedef struct LlamaBlock {
  Param *input_norm, *post_norm;
  Linear qkv, o, gate_up, down;
} LlamaBlock;

typedef struct Llama {
  LlamaConfig config;
  DType dtype; // of weights and activations
  ParamTable params;
  Param *embed, *norm;
  Linear head;
  LlamaBlock *blocks;
  Tensor inv_freq;           // f32 [1,D/2], in the weights arena
  float *host_freq;          // its values
  int64_t checkpoint_blocks; // the first so many blocks are run again in the backward
} Llama;

// Declares all weights (frozen). Then: set `trainable` or attach adapters (lora.h),
// param_make_buckets, llama_place, llama_load.
void llama_init(Llama *model, const LlamaConfig *config, DType dtype);
void llama_free(Llama *model);

// Marks every weight of the file trainable (full fine-tuning); param_freeze takes some out again.
void llama_train_all(Llama *model);

// lora_attach on all linear layers of the blocks (the head has no adapters), block by block in the
// order q, k, v, o, gate, up, down; an adapter's bucket is its block's.
Status llama_attach_lora(Llama *model, const LoraSpec *spec, int index, bool trainable, Error *err);

// param_place, and inv_freq (1 more tensor in the weights arena); copies what is constant when `be`
// computes.
void llama_place(Llama *model, Backend *be, Arena *weights, Arena *state);
void llama_plan(const Llama *model, int64_t *weights_bytes, int64_t *state_bytes);

// Whether the store has each of the model's weights in its shape, and no others (a spelled-out head
// of a tied model is passed over): what llama_load checks first. STATUS_DATA names the tensor.
Status llama_check_store(const Llama *model, const TensorStore *store, Error *err);

// Reads every weight from the store, converted to its resident dtype: a trainable bf16 weight gets
// the file's values in its f32 master and is their rounding. A missing, extra or mis-shaped tensor
// is an error that names it. Source pages are given back.
Status llama_load(Llama *model, Backend *be, TensorStore *store, Error *err);

// The residual stream after the last block, [R,C], before the final norm.
Value *llama_trunk(Ctx *ctx, Llama *model, const DeviceBatch *batch, KvCache *cache);

// Sum of the cross entropies of the batch's labels, added to loss (f64 [1,1]); gradients scaled by
// inv_count.
void llama_loss(Ctx *ctx, Llama *model, const DeviceBatch *batch, Tensor inv_count, Tensor loss);

// Logits [L,V] of the given rows of the trunk. rows i32 [1,L] on the device. In TEMP memory.
Tensor llama_logits(Ctx *ctx, Llama *model, Value *trunk, Tensor rows);

#endif
