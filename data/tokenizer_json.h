// The parts of a tokenizer.json that say what happens around the model: normalizer, pre-tokenizer,
// decoder, post-processor. Each is a small JSON value; what is not supported is an error by name.
#ifndef VMA_TOKENIZER_JSON_H
#define VMA_TOKENIZER_JSON_H

#include "tokenizer_impl.h"

#include <jansson.h>

// Whether the pre-tokenizer has a ByteLevel in it: then the model is one of bytes.
bool json_has_byte_level(const json_t *pre_tokenizer);

Status json_read_normalizer(Tokenizer *tokenizer, const json_t *value, const char *path,
                            Error *err);
Status json_read_pre_tokenizer(Tokenizer *tokenizer, const json_t *value, const char *path,
                               Error *err);
Status json_read_decoder(Tokenizer *tokenizer, const json_t *value, const char *path, Error *err);

// Sets bos, eos, adds_bos, adds_eos from a TemplateProcessing; the pieces are there already.
Status json_read_post_processor(Tokenizer *tokenizer, const json_t *value, const char *path,
                                Error *err);

// ---- writing ----

// The text of a tokenizer.json that gives the ids of a tokenizer read from a GGUF file, to be freed
// by the caller.
char *tokenizer_json_text(const Tokenizer *tokenizer);

// Its list of added tokens, by id.
json_t *tokenizer_added_tokens(const Tokenizer *tokenizer);

// The regular expression of a step, NULL when it is spelled in another way.
const char *json_split_regex(SplitStep step);

#endif
