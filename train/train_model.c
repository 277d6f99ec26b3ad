#include "train_model.h"

#include "check.h"
#include "lora_config.h"

#include <stdlib.h>
#include <string.h>

static Status train_adapters(Llama *model, const RunConfig *config, Error *err) {
  Status status = STATUS_OK;
  LoraConfig lora = {0};
  if (config->train.freeze.n > 0) {
    return error_set(err, STATUS_USAGE,
                     "train.freeze is of method: full; with method: lora every weight of the model "
                     "is frozen");
  }
  TRY(lora_config_open(&lora, config, err));
  TRY(llama_attach_lora(model, &lora.spec, 0, true, err));
  TRY(lora_config_check_patterns(&lora, config, &model->params, err));
done:
  lora_config_free(&lora);
  return status;
}

static Status train_all(Llama *model, const RunConfig *config, Error *err) {
  const char *patterns[CONFIG_LIST_MAX];
  const ConfigWords *freeze = &config->train.freeze;
  if (config->lora.init_from[0] != '\0') {
    return error_set(err, STATUS_USAGE,
                     "lora.init_from is of method: lora; to train all weights from %s, merge it "
                     "into its base first (vma-model merge)",
                     config->lora.init_from);
  }
  for (int i = 0; i < freeze->n; i++) patterns[i] = freeze->words[i];
  llama_train_all(model);
  model->params.grad_dtype = config->train.grad_dtype;
  Status status = param_freeze(&model->params, patterns, freeze->n, err);
  if (status != STATUS_OK) error_prefix(err, "train.freeze");
  return status;
}

Status train_model_declare(Llama *model, const LlamaConfig *llama, const RunConfig *config,
                           Error *err) {
  Status status = STATUS_OK;
  llama_init(model, llama, config->model.dtype);
  TRY(config->method == METHOD_FULL ? train_all(model, config, err)
                                    : train_adapters(model, config, err));
  param_make_buckets(&model->params);
done:
  if (status != STATUS_OK) llama_free(model);
  return status;
}

Status train_model_initial(PeftAdapter *adapter, const RunConfig *config, Error *err) {
  const char *folder = config->lora.init_from;
  *adapter = (PeftAdapter){0};
  if (folder[0] == '\0') return STATUS_OK;
  Status status = peft_adapter_read(adapter, folder, err);
  if (status != STATUS_OK) return status;
  status = lora_config_check_initial(config, adapter, err);
  if (status != STATUS_OK) peft_adapter_free(adapter);
  return status;
}

Status train_model_check_initial(const Llama *model, const RunConfig *config,
                                 const PeftAdapter *initial, Error *err) {
  if (initial->n_pairs == 0) return STATUS_OK;
  Status status = lora_check(&model->params, initial, 0, err);
  if (status != STATUS_OK) error_prefix(err, "lora.init_from: %s", config->lora.init_from);
  return status;
}

Status train_model_fill(Llama *model, Backend *be, TensorStore *store, const RunConfig *config,
                        const PeftAdapter *initial, Error *err) {
  Status status = llama_load(model, be, store, err);
  if (status != STATUS_OK || config->method == METHOD_FULL) return status;
  if (initial->n_pairs > 0) return lora_load(&model->params, be, initial, 0, err);
  lora_init_weights(&model->params, be, 0, (uint64_t)config->train.seed);
  return STATUS_OK;
}

static Status copy_text(char **to, const char *text, Error *err) {
  *to = strdup(text);
  return *to != NULL ? STATUS_OK : error_set(err, STATUS_MEMORY, "no memory for an adapter");
}

Status train_model_adapter(PeftAdapter *adapter, const Llama *model, Backend *be,
                           const RunConfig *config, const Template *template, const char *base_hash,
                           Error *err) {
  Status status = STATUS_OK;
  LoraConfig lora;
  CHECK(config->method == METHOD_LORA, "the adapter of a run without one");
  *adapter = (PeftAdapter){0};
  TRY(lora_config_open(&lora, config, err));
  TRY(lora_collect(adapter, &model->params, be, 0, &lora.spec, err));
  TRY(copy_text(&adapter->base_model, config->model.path, err));
  TRY(copy_text(&adapter->template_name, template_identity(template), err));
  TRY(copy_text(&adapter->base_hash, base_hash, err));
  TRY(copy_text(&adapter->vma_version, VMA_VERSION, err));
done:
  lora_config_free(&lora);
  if (status != STATUS_OK) peft_adapter_free(adapter);
  return status;
}
