// Private to llama_save.c and llama_merge.c.
#ifndef VMA_LLAMA_SAVE_PARTS_H
#define VMA_LLAMA_SAVE_PARTS_H

#include "llama_save.h"

// The begin of a fill's context.
typedef struct LlamaSaveItems {
  const Param **params; // [item], while the folder is written
} LlamaSaveItems;

// Writes the folder of the model's weights (no adapters), whose values `fill` gives: it is called
// with `source` as its context.
Status llama_save_folder(const Llama *model, const char *path, const LlamaSave *save,
                         SafetensorsFill fill, LlamaSaveItems *source, Error *err);

// dst[0..n) = values as f32, or as bf16 rounded to nearest even.
void llama_save_values(void *dst, DType dtype, const float *values, int64_t n);

#endif
