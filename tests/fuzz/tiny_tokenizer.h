// Tokenizers for fuzz targets: a small sound one, and the use of any.
#ifndef VMA_TINY_TOKENIZER_H
#define VMA_TINY_TOKENIZER_H

#include "bytes.h"
#include "tokenizer.h"

// A GGUF file with a byte-level vocabulary: all bytes, a few merges, chatml's special tokens. To be
// released with bytes_free.
Bytes tiny_tokenizer_file(void);

// Encodes and decodes a few texts that no tokenizer may stumble over: ids are in the vocabulary,
// streaming gives what decoding at once gives.
void use_tokenizer(const Tokenizer *tokenizer);

// The same for one text.
void use_tokenizer_on(const Tokenizer *tokenizer, const void *text, int64_t bytes);

#endif
