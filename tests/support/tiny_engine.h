// A tiny golden model with a tokenizer of its size: what inference tests run on.
//
// tests/support/tiny_tokenizer is a byte-level BPE of 131 ids: 0 <|endoftext|>, 1 <|im_start|>,
// 2 <|im_end|>, the printable ASCII characters from 3 on, space, newline, the two bytes of an
// e-acute, and 30 merges.
#ifndef VMA_TINY_ENGINE_H
#define VMA_TINY_ENGINE_H

#include "engine.h"

// The path of a folder that holds tests/golden/tiny_llama/`variant` and the tokenizer; valid until
// the next call.
const char *tiny_model_folder(const char *variant);

// Opens it on the CPU backend, not loaded; `adapter` is a folder or NULL. A failure ends the
// program with its message.
void tiny_engine_open(Engine *engine, const char *variant, const char *adapter);

#endif
