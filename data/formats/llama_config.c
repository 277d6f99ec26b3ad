#include "llama_config.h"

#include "check.h"
#include "llama_config_parts.h"

#include <math.h>

Status llama_config_check(LlamaConfig *c, const char *path, Error *err) {
  if (c->head_dim == 0) {
    if (c->hidden % c->heads != 0) {
      return error_set(err, STATUS_DATA,
                       "%s: a hidden size of %lld is no multiple of %lld heads, and no head width "
                       "is given",
                       path, (long long)c->hidden, (long long)c->heads);
    }
    c->head_dim = c->hidden / c->heads;
  }
  if (c->head_dim % 8 != 0 || c->head_dim > LLAMA_HEAD_DIM_MAX) {
    return error_set(err, STATUS_DATA,
                     "%s: heads of width %lld are not supported: a multiple of 8, %d at most", path,
                     (long long)c->head_dim, LLAMA_HEAD_DIM_MAX);
  }
  if (c->heads % c->kv_heads != 0) {
    return error_set(err, STATUS_DATA, "%s: %lld heads cannot share %lld key-value heads", path,
                     (long long)c->heads, (long long)c->kv_heads);
  }
  if (!(c->rope_theta > 0) || !(c->rms_eps > 0) || c->rms_eps >= 1) {
    return error_set(err, STATUS_DATA,
                     "%s: expected a rope theta above 0 and an RMS norm epsilon between 0 and 1, "
                     "found %g and %g",
                     path, c->rope_theta, c->rms_eps);
  }
  bool llama3 = c->rope_scaling == ROPE_LLAMA3;
  if (c->rope_scaling != ROPE_PLAIN && !(c->rope_factor > 0)) {
    return error_set(err, STATUS_DATA, "%s: expected a rope scaling factor above 0, found %g", path,
                     c->rope_factor);
  }
  if (llama3 && !(c->rope_low_freq > 0 && c->rope_high_freq > c->rope_low_freq)) {
    return error_set(err, STATUS_DATA,
                     "%s: llama3 rope scaling: expected 0 < low_freq_factor < high_freq_factor, "
                     "found %g and %g",
                     path, c->rope_low_freq, c->rope_high_freq);
  }
  for (int i = 0; i < 1 + c->n_eos; i++) {
    int64_t id = i == 0 ? c->bos_id : c->eos_ids[i - 1];
    if (id >= -1 && id < c->vocab) continue;
    return error_set(err, STATUS_DATA, "%s: the %s token id %lld is not in the vocabulary of %lld",
                     path, i == 0 ? "bos" : "eos", (long long)id, (long long)c->vocab);
  }
  // Nothing is padded here, and some models give the id behind their last token as padding.
  if (c->pad_id >= c->vocab) c->pad_id = -1;
  return STATUS_OK;
}

Status llama_config_load(LlamaConfig *config, const TensorStore *store, Error *err) {
  const Gguf *gguf = store_gguf(store);
  if (gguf != NULL) return llama_config_from_gguf(config, gguf, err);
  return llama_config_from_folder(config, store_folder(store), err);
}

// Every operation in f32, as torch does them, and "a / tensor" as reciprocal times a.
void llama_config_inv_freq(const LlamaConfig *c, float *inv_freq) {
  int64_t half = c->head_dim / 2;
  CHECK(c->n_rope_freqs == 0 || c->n_rope_freqs == half, "%lld", (long long)c->n_rope_freqs);
  float factor = (float)c->rope_factor, low = (float)c->rope_low_freq;
  float length = (float)c->rope_original_positions;
  float low_wave = (float)((double)c->rope_original_positions / c->rope_low_freq);
  float high_wave = (float)((double)c->rope_original_positions / c->rope_high_freq);
  float band = (float)(c->rope_high_freq - c->rope_low_freq);
  for (int64_t i = 0; i < half; i++) {
    float exponent = (float)(2 * i) / (float)c->head_dim;
    float inv = 1.0f / (float)pow(c->rope_theta, (double)exponent);
    if (c->n_rope_freqs > 0) {
      inv /= c->rope_freqs[i];
    } else if (c->rope_scaling == ROPE_LINEAR) {
      inv /= factor;
    } else if (c->rope_scaling == ROPE_LLAMA3) {
      float wave = (1.0f / inv) * (float)(2 * M_PI);
      if (wave > low_wave) {
        inv /= factor;
      } else if (!(wave < high_wave)) {
        float smooth = ((1.0f / wave) * length - low) / band;
        inv = (1.0f - smooth) * inv / factor + smooth * inv;
      }
    }
    inv_freq[i] = inv;
  }
}
