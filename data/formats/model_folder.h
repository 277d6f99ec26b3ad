// Writing a model as a Hugging Face folder, which transformers 4 and 5 open: weights in one file
// or in shards with an index, config.json, generation_config.json, a model card, and what the
// caller adds (the tokenizer's files).
//
// The folder appears whole or not at all. Before it does, it is opened again and each tensor's
// name, dtype, shape and SHA-256 and the config are compared with what was asked for.
#ifndef VMA_MODEL_FOLDER_H
#define VMA_MODEL_FOLDER_H

#include "llama_config.h"
#include "safetensors.h"

// The most bytes of tensors in one file, as transformers 4 cuts them.
#define MODEL_SHARD_BYTES ((int64_t)5000000000)

typedef struct ModelFolder {
  const LlamaConfig *config;
  DType dtype; // DT_F32 or DT_BF16, of all items
  // In the order of the model's weights; names as in transformers. `fill` as in safetensors.h:
  // asked item by item (of a shard in the file's order), each from its begin to its end.
  const SafetensorsItem *items;
  int64_t n_items;
  SafetensorsFill fill;
  void *fill_context;
  int64_t shard_bytes;             // 0: MODEL_SHARD_BYTES. A larger tensor has a file of its own
  const SafetensorsPair *metadata; // of every weights file; may be NULL
  int64_t n_metadata;
  const char *card; // README.md
  // Puts more files into the folder before the weights are written; may be NULL. A
  // generation_config.json that it puts there is kept.
  Status (*add_files)(void *context, const char *folder, Error *err);
  void *add_context;
  // Told after each range of values; may be NULL.
  void (*progress)(void *context, int64_t bytes_done, int64_t bytes_all);
  void *progress_context;
} ModelFolder;

// STATUS_USAGE when `path` exists; STATUS_FAILED for a weight that is not finite (named: a run that
// has diverged) or a config that config.json cannot express; STATUS_IO for what the system refuses.
Status model_folder_write(const char *path, const ModelFolder *model, Error *err);

#endif
