// The lora section of a config as a LoraSpec.
#ifndef VMA_LORA_CONFIG_H
#define VMA_LORA_CONFIG_H

#include "config.h"
#include "lora.h"

typedef struct LoraConfig {
  LoraSpec spec; // points into the rest and into the RunConfig
  const char *targets[CONFIG_LIST_MAX];
  PeftPatterns ranks, alphas;
} LoraConfig;

// `lora` must not move while its spec is in use; released by lora_config_free, also after a
// failure. STATUS_USAGE for a pattern that is not "MODULE=RANK" or "MODULE=ALPHA".
Status lora_config_open(LoraConfig *lora, const RunConfig *config, Error *err);
void lora_config_free(LoraConfig *lora);

// After lora_attach of adapter 0: STATUS_USAGE for a pattern that matches no adapted layer.
Status lora_config_check_patterns(const LoraConfig *lora, const RunConfig *config,
                                  const ParamTable *table, Error *err);

// STATUS_USAGE when a module of lora.init_from has another rank or scale than the config gives it.
Status lora_config_check_initial(const RunConfig *config, const PeftAdapter *initial, Error *err);

#endif
