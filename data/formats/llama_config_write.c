// LlamaConfig as config.json and generation_config.json. Theta and scaling have the spelling of
// transformers 4, which version 5 reads as well.
#include "llama_config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Fewest digits that give the value again: as a float where it is one and `as_float`, since the
// files that it comes from held a float.
static void put_number(FILE *out, double value, bool as_float) {
  char text[40];
  if (value == floor(value) && fabs(value) < 1e15) {
    fprintf(out, "%.1f", value);
    return;
  }
  as_float = as_float && (double)(float)value == value;
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    double back = strtod(text, NULL);
    if (as_float ? (float)back == (float)value : back == value) break;
  }
  fputs(text, out);
}

static void put_id(FILE *out, const char *key, int64_t id) {
  fprintf(out, "  \"%s\": ", key);
  if (id < 0) {
    fputs("null,\n", out);
  } else {
    fprintf(out, "%lld,\n", (long long)id);
  }
}

// None, one id or a list.
static void put_eos(FILE *out, const LlamaConfig *c) {
  if (c->n_eos < 2) {
    put_id(out, "eos_token_id", c->n_eos == 0 ? -1 : c->eos_ids[0]);
    return;
  }
  fputs("  \"eos_token_id\": [", out);
  for (int i = 0; i < c->n_eos; i++)
    fprintf(out, "%s%lld", i > 0 ? ", " : "", (long long)c->eos_ids[i]);
  fputs("],\n", out);
}

static void put_scaling(FILE *out, const LlamaConfig *c) {
  if (c->rope_scaling == ROPE_PLAIN) {
    fputs("  \"rope_scaling\": null,\n", out);
    return;
  }
  bool llama3 = c->rope_scaling == ROPE_LLAMA3;
  fputs("  \"rope_scaling\": {\n    \"factor\": ", out);
  put_number(out, c->rope_factor, false);
  if (llama3) {
    fputs(",\n    \"high_freq_factor\": ", out);
    put_number(out, c->rope_high_freq, false);
    fputs(",\n    \"low_freq_factor\": ", out);
    put_number(out, c->rope_low_freq, false);
    fprintf(out, ",\n    \"original_max_position_embeddings\": %lld",
            (long long)c->rope_original_positions);
  }
  // "type" is the key of versions before 4.43.
  const char *kind = llama3 ? "llama3" : "linear";
  fprintf(out, ",\n    \"rope_type\": \"%s\",\n    \"type\": \"%s\"\n  },\n", kind, kind);
}

static void put_config(FILE *out, const LlamaConfig *c, DType dtype) {
  static const char *const flags[] = {"false", "true"};
  fputs("{\n  \"architectures\": [\"LlamaForCausalLM\"],\n", out);
  fprintf(out, "  \"attention_bias\": %s,\n", flags[c->attention_bias]);
  fputs("  \"attention_dropout\": 0.0,\n", out);
  put_id(out, "bos_token_id", c->bos_id);
  put_eos(out, c);
  fprintf(out, "  \"head_dim\": %lld,\n", (long long)c->head_dim);
  fputs("  \"hidden_act\": \"silu\",\n", out);
  fprintf(out, "  \"hidden_size\": %lld,\n", (long long)c->hidden);
  fputs("  \"initializer_range\": 0.02,\n", out);
  fprintf(out, "  \"intermediate_size\": %lld,\n", (long long)c->ffn);
  fprintf(out, "  \"max_position_embeddings\": %lld,\n", (long long)c->max_positions);
  fprintf(out, "  \"mlp_bias\": %s,\n", flags[c->mlp_bias]);
  fputs("  \"model_type\": \"llama\",\n", out);
  fprintf(out, "  \"num_attention_heads\": %lld,\n", (long long)c->heads);
  fprintf(out, "  \"num_hidden_layers\": %lld,\n", (long long)c->layers);
  fprintf(out, "  \"num_key_value_heads\": %lld,\n", (long long)c->kv_heads);
  put_id(out, "pad_token_id", c->pad_id);
  fputs("  \"pretraining_tp\": 1,\n  \"rms_norm_eps\": ", out);
  put_number(out, c->rms_eps, true);
  fputs(",\n", out);
  put_scaling(out, c);
  fputs("  \"rope_theta\": ", out);
  put_number(out, c->rope_theta, false);
  fprintf(out, ",\n  \"tie_word_embeddings\": %s,\n", flags[c->tied]);
  fprintf(out, "  \"torch_dtype\": \"%s\",\n", dtype == DT_BF16 ? "bfloat16" : "float32");
  fprintf(out, "  \"use_cache\": true,\n  \"vocab_size\": %lld\n}\n", (long long)c->vocab);
}

static void put_generation(FILE *out, const LlamaConfig *c) {
  fputs("{\n  \"_from_model_config\": true,\n", out);
  put_id(out, "bos_token_id", c->bos_id);
  put_eos(out, c);
  put_id(out, "pad_token_id", c->pad_id);
  fputs("  \"use_cache\": true\n}\n", out);
}

// GGUF files hold a llama3 scaling as its divisors. All released models have the same borders
// between long and short waves; the factor is the largest divisor.
static Status name_scaling(LlamaConfig *c, const char *path, Error *err) {
  if (c->n_rope_freqs == 0) return STATUS_OK;
  CHECK(c->rope_scaling == ROPE_PLAIN && c->n_rope_freqs == c->head_dim / 2, "%lld",
        (long long)c->n_rope_freqs);
  float wanted[LLAMA_HEAD_DIM_MAX / 2], named[LLAMA_HEAD_DIM_MAX / 2];
  LlamaConfig guess = *c;
  llama_config_inv_freq(c, wanted);
  guess.n_rope_freqs = 0;
  guess.rope_scaling = ROPE_LLAMA3;
  guess.rope_factor = 1;
  guess.rope_low_freq = 1;
  guess.rope_high_freq = 4;
  guess.rope_original_positions = 8192;
  bool plain = true;
  for (int64_t i = 0; i < c->n_rope_freqs; i++) {
    plain = plain && c->rope_freqs[i] == 1;
    if (c->rope_freqs[i] > guess.rope_factor) guess.rope_factor = c->rope_freqs[i];
  }
  if (plain) guess.rope_scaling = ROPE_PLAIN;
  llama_config_inv_freq(&guess, named);
  for (int64_t i = 0; i < c->n_rope_freqs; i++) {
    if (fabsf(named[i] - wanted[i]) <= 1e-5f * wanted[i]) continue;
    return error_set(err, STATUS_FAILED,
                     "%s: not written: config.json cannot express the base's rope_freqs.weight: "
                     "divisor %lld is %g, a llama3 scaling by %g has %g",
                     path, (long long)i, (double)c->rope_freqs[i], guess.rope_factor,
                     (double)(wanted[i] * c->rope_freqs[i] / named[i]));
  }
  *c = guess;
  return STATUS_OK;
}

Status llama_config_text(char **config_text, char **generation_text, const LlamaConfig *config,
                         DType dtype, const char *path, Error *err) {
  LlamaConfig c = *config;
  *config_text = *generation_text = NULL;
  Status status = name_scaling(&c, path, err);
  if (status != STATUS_OK) return status;
  char **texts[] = {config_text, generation_text};
  for (int i = 0; i < 2; i++) {
    size_t size;
    FILE *out = open_memstream(texts[i], &size);
    if (out != NULL && i == 0) put_config(out, &c, dtype);
    if (out != NULL && i == 1) put_generation(out, &c);
    if (out == NULL || fclose(out) != 0) {
      free(*config_text);
      *config_text = *generation_text = NULL;
      return error_set(err, STATUS_MEMORY, "%s: no memory", path);
    }
  }
  return STATUS_OK;
}
