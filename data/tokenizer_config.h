// The files beside a tokenizer that say about its special tokens.
#ifndef VMA_TOKENIZER_CONFIG_H
#define VMA_TOKENIZER_CONFIG_H

#include "tokenizer_impl.h"

// tokenizer_config.json: bos_token, eos_token, add_bos_token, add_eos_token; the tokens of
// added_tokens_decoder unless all of them are known. STATUS_DATA for what is not of the right type
// or not in the vocabulary.
Status tokenizer_config_apply(Tokenizer *tokenizer, const char *path, bool all_tokens_known,
                              Error *err);

// config.json: bos_token_id and eos_token_id (a number or a list), where nothing else said so.
Status tokenizer_config_apply_model(Tokenizer *tokenizer, const char *path, Error *err);

#endif
