// A Llama as a Hugging Face folder (data/formats/model_folder.h): the weights of a run, or those of
// files with LoRA adapters folded in.
#ifndef VMA_LLAMA_SAVE_H
#define VMA_LLAMA_SAVE_H

#include "llama.h"
#include "model_folder.h"

enum { MERGE_ADAPTERS_MAX = 16 };

typedef struct LlamaSave {
  DType dtype;         // DT_F32 or DT_BF16
  int64_t shard_bytes; // 0: MODEL_SHARD_BYTES
  const char *base;    // name or path of the model that it was made from, for the card; NULL: none
  const char *about;   // a sentence or more for the card; NULL: none
  // The template that prompts were made with, kept in the weights' metadata: its name, or the text
  // of one of its own (template_identity); NULL: none.
  const char *template_name;
  // As in ModelFolder; tokenizer_save_base (data/tokenizer_save.h) takes over what the
  // base has.
  Status (*add_files)(void *context, const char *folder, Error *err);
  void *add_context;
  void (*progress)(void *context, int64_t bytes_done, int64_t bytes_all);
  void *progress_context;
} LlamaSave;

// Writes the model's own weights (no adapters), read from the backend a few MiB at a time:
// converted to `dtype`, rounded once to nearest even. Errors as model_folder_write.
Status llama_save(const Llama *model, Backend *be, const char *path, const LlamaSave *save,
                  Error *err);

// Writes W + sum over adapters of s * B A, of weights from the store's files: a few MiB at a time,
// each sum in f64 (B A over the rank, then s, then the adapters in their order), rounded once to
// `dtype`. Without adapters it converts a model. The same bits for any number of threads.
// STATUS_DATA when a tensor of the base is missing, extra or mis-shaped, or an adapter has a module
// that the base does not have or that its config ties to the embedding.
Status llama_merge(TensorStore *base, const PeftAdapter *adapters, int64_t n_adapters,
                   const char *path, const LlamaSave *save, Error *err);

#endif
