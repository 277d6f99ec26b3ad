// The tokenizer of a GGUF file as Hugging Face files, and the files beside a model's weights that
// are taken over from its base.
#ifndef VMA_TOKENIZER_SAVE_H
#define VMA_TOKENIZER_SAVE_H

#include "tokenizer.h"

// Writes tokenizer.json and tokenizer_config.json into the folder: vocabulary, merges (of a
// SentencePiece vocabulary: made from its scores as transformers does), pre-tokenizer, BOS and EOS,
// and the file's chat template, as text that nobody here evaluates.
//
// Then they are opened again, and ids are compared: of texts that tokenizers are known to differ
// in, of every piece of the vocabulary and of two neighbours, special tokens as text and parsed.
// STATUS_FAILED when one differs: a vocabulary that tokenizer.json cannot express (the text is
// named).
Status tokenizer_save_gguf(const Gguf *gguf, const char *folder, Error *err);

// The tokenizer of `base` in a folder: of a folder, or the folder of a .safetensors file, its files
// byte for byte, as far as they are there; of a GGUF file, tokenizer_save_gguf unless it has none.
Status tokenizer_save(const char *base, const char *folder, Error *err);

// The same, and the base's generation_config.json if it has one. The signature is that of
// ModelFolder.add_files; `base` is the path, a string.
Status tokenizer_save_base(void *base, const char *folder, Error *err);

#endif
