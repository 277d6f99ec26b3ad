// Private to peft_*.c: adapter_config.json, read into a PeftAdapter and written from one.
#ifndef VMA_PEFT_CONFIG_H
#define VMA_PEFT_CONFIG_H

#include "peft_adapter.h"

// Fills r, alpha, dropout, rank_stabilised, base_model and, when the config names its modules by a
// plain list, targets (else n_targets stays 0). What was allocated is released by
// peft_adapter_free also after a failure.
Status peft_config_read(PeftAdapter *adapter, const char *path, Error *err);

// The text of adapter_config.json, to be freed by the caller; NULL without memory.
char *peft_config_text(const PeftAdapter *adapter);

#endif
