#include "lora_config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- patterns ----

typedef struct PatternKind {
  const char *key, *expected;
  double least, most;
  bool whole;
} PatternKind;

static const PatternKind ranks_kind = {"lora.rank_pattern", "MODULE=RANK, a rank from 1 to 1024", 1,
                                       1024, true};
static const PatternKind alphas_kind = {
    "lora.alpha_pattern", "MODULE=ALPHA, an alpha above 0 and up to 1000000", DBL_MIN, 1e6, false};

// "down_proj=16"
static Status add_pattern(PeftPatterns *patterns, const char *word, const PatternKind *kind,
                          Error *err) {
  char glob[CONFIG_WORD_BYTES] = "";
  const char *equals = strrchr(word, '=');
  char *end = NULL;
  double value = equals != NULL ? strtod(equals + 1, &end) : 0;
  bool sound = equals != NULL && equals > word && end > equals + 1 && *end == '\0' &&
               memchr(word, '=', (size_t)(equals - word)) == NULL && value >= kind->least &&
               value <= kind->most && (!kind->whole || value == floor(value));
  if (!sound) {
    return error_set(err, STATUS_USAGE, "%s: expected %s, found '%s'", kind->key, kind->expected,
                     word);
  }
  memcpy(glob, word, (size_t)(equals - word));
  return peft_patterns_add_glob(patterns, glob, value, err);
}

static Status add_patterns(PeftPatterns *patterns, const ConfigWords *words,
                           const PatternKind *kind, Error *err) {
  Status status = STATUS_OK;
  for (int i = 0; status == STATUS_OK && i < words->n; i++)
    status = add_pattern(patterns, words->words[i], kind, err);
  return status;
}

// ---- the spec ----

Status lora_config_open(LoraConfig *lora, const RunConfig *config, Error *err) {
  Status status = STATUS_OK;
  *lora = (LoraConfig){0};
  TRY(add_patterns(&lora->ranks, &config->lora.rank_pattern, &ranks_kind, err));
  TRY(add_patterns(&lora->alphas, &config->lora.alpha_pattern, &alphas_kind, err));
  for (int i = 0; i < config->lora.targets.n; i++) lora->targets[i] = config->lora.targets.words[i];
  lora->spec = (LoraSpec){.r = config->lora.r,
                          .alpha = (float)config->lora.alpha,
                          .ranks = &lora->ranks,
                          .alphas = &lora->alphas,
                          .dropout = (float)config->lora.dropout,
                          .rank_stabilised = config->lora.rank_stabilised,
                          .plus = config->lora.plus_ratio != 1,
                          .n_targets = config->lora.targets.n,
                          .targets = lora->targets};
done:
  return status;
}

void lora_config_free(LoraConfig *lora) {
  peft_patterns_free(&lora->ranks);
  peft_patterns_free(&lora->alphas);
}

// ---- checks ----

// Whether a pattern matches the module of any A.
static bool is_used(const PeftPattern *pattern, const ParamTable *table) {
  char tail[LORA_TAIL_MAX], module[PARAM_NAME_MAX];
  lora_tail(tail, 'A', 0);
  for (int64_t i = 0; i < table->n; i++) {
    const char *name = table->items[i].name, *at = strstr(name, tail);
    if (!table->items[i].adapter || at == NULL) continue;
    memcpy(module, name, (size_t)(at - name));
    module[at - name] = '\0';
    if (peft_pattern_matches(pattern, module)) return true;
  }
  return false;
}

static Status check_used(const PeftPatterns *patterns, const ConfigWords *words,
                         const ParamTable *table, const PatternKind *kind, Error *err) {
  for (int64_t i = 0; i < patterns->n; i++) {
    if (is_used(&patterns->items[i], table)) continue;
    return error_set(err, STATUS_USAGE,
                     "%s: '%s' matches no layer that lora.targets gives an adapter; expected a "
                     "layer's name or its end, as q_proj or layers.0.*",
                     kind->key, words->words[i]);
  }
  return STATUS_OK;
}

Status lora_config_check_patterns(const LoraConfig *lora, const RunConfig *config,
                                  const ParamTable *table, Error *err) {
  Status status = STATUS_OK;
  TRY(check_used(&lora->ranks, &config->lora.rank_pattern, table, &ranks_kind, err));
  TRY(check_used(&lora->alphas, &config->lora.alpha_pattern, table, &alphas_kind, err));
done:
  return status;
}

Status lora_config_check_initial(const RunConfig *config, const PeftAdapter *initial, Error *err) {
  LoraConfig lora;
  Status status = lora_config_open(&lora, config, err);
  LoraSpec theirs = lora_spec_of(initial);
  for (int64_t i = 0; status == STATUS_OK && i < initial->n_pairs; i++) {
    const char *module = initial->pairs[i].module;
    long long r = lora_rank(&lora.spec, module), file_r = lora_rank(&theirs, module);
    double scale = (double)lora_scale(&lora.spec, module);
    double file_scale = (double)lora_scale(&theirs, module);
    if (r == file_r && scale == file_scale) continue;
    status = error_set(
        err, STATUS_USAGE,
        "lora.init_from: in %s, %s has rank %lld and scale %g, by the config rank %lld and scale "
        "%g; set lora.r, lora.alpha, lora.rank_stabilised and the patterns to the adapter's",
        config->lora.init_from, module, file_r, file_scale, r, scale);
  }
  lora_config_free(&lora);
  return status;
}
