// The numbers that make a LLaMA-family model, from a Hugging Face folder (config.json of
// transformers 4 or 5, generation_config.json) or from GGUF metadata.
//
// What the model code does not do is refused here by name: other architectures, a sliding window in
// use, other activations than SiLU, partial rotary, rope scalings other than linear and llama3,
// mixtures of experts, head widths that are no multiple of 8.
#ifndef VMA_LLAMA_CONFIG_H
#define VMA_LLAMA_CONFIG_H

#include "error.h"
#include "gguf.h"
#include "tensor_store.h"

#include <stdbool.h>
#include <stdint.h>

enum { LLAMA_EOS_MAX = 16, LLAMA_HEAD_DIM_MAX = 512 };

typedef enum RopeScaling {
  ROPE_PLAIN,  // inv_freq as it is
  ROPE_LINEAR, // inv_freq / factor
  ROPE_LLAMA3, // long waves / factor, short ones as they are, a ramp between (transformers)
} RopeScaling;

typedef struct LlamaConfig {
  int64_t hidden;   // C
  int64_t ffn;      // F
  int64_t layers;   //
  int64_t heads;    // H
  int64_t kv_heads; // K, divides H
  int64_t head_dim; // D, a multiple of 8; H * D need not be C
  int64_t vocab;    // V
  double rms_eps;
  double rope_theta;
  int64_t max_positions;
  bool tied;           // the output head is the embedding
  bool attention_bias; // q, k, v and o have biases
  bool mlp_bias;
  RopeScaling rope_scaling;
  double rope_factor;              // of linear and llama3
  double rope_low_freq;            // llama3: low_freq_factor
  double rope_high_freq;           // llama3: high_freq_factor
  int64_t rope_original_positions; // llama3: original_max_position_embeddings
  int64_t n_rope_freqs;            // 0, or D / 2: then inv_freq[i] /= rope_freqs[i] (GGUF's
  float rope_freqs[LLAMA_HEAD_DIM_MAX / 2]; // rope_freqs.weight) is the whole scaling
  int64_t bos_id, pad_id;                   // -1: none
  int n_eos;
  int64_t eos_ids[LLAMA_EOS_MAX]; // any of them ends a text
} LlamaConfig;

// From the folder that holds the store's files, or from its GGUF metadata.
Status llama_config_load(LlamaConfig *config, const TensorStore *store, Error *err);

// From config.json and, if there, generation_config.json of a folder.
Status llama_config_from_folder(LlamaConfig *config, const char *folder, Error *err);

Status llama_config_from_gguf(LlamaConfig *config, const Gguf *gguf, Error *err);

// A published model's sizes by name ("llama-7b"), for plans without files; token ids are LLaMA's
// and mean nothing. weights, if not NULL: how many it is known to have. An unknown name is
// STATUS_USAGE with the nearest, or all. llama_preset_name: of preset i, NULL behind the last.
Status llama_config_preset(LlamaConfig *config, int64_t *weights, const char *name, Error *err);
const char *llama_preset_name(int i);

// config.json and generation_config.json of the model, as transformers 4 and 5 read them, to be
// freed by the caller; dtype is that of the weights. Read again, they give the same numbers, but
// for an epsilon that is a float: its shortest decimal. STATUS_FAILED when rope_freqs are not those
// of a llama3 scaling, the only ones that config.json can express: `path` is for this message.
Status llama_config_text(char **config_text, char **generation_text, const LlamaConfig *config,
                         DType dtype, const char *path, Error *err);

// inv_freq[i], i < D / 2, with its scaling, to the bit as torch computes it (models.md 1.4: e =
// (float)(2i) / (float)D, p = (float)pow(theta, e), 1.0f / p; scalings in f32).
void llama_config_inv_freq(const LlamaConfig *config, float *inv_freq);

#endif
