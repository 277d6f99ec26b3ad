// What a user asks as token ids: which template serves, and what is put into it.
#ifndef VMA_PROMPT_H
#define VMA_PROMPT_H

#include "engine.h"

typedef struct PromptRequest {
  const char *prompt;       // one of these two; NULL: not given
  const char *instruction;  //
  const char *input;        // to an instruction; NULL: none
  int64_t prompt_bytes;     // of `prompt`, which may hold NULs
  int adapter;              // that answers (engine_adapter); -1: none
  const Template *template; // what was given; NULL: nothing
} PromptRequest;

// The template: what was given, else the adapter's, else chatml where the tokenizer has
// its marks, else alpaca. A prompt is taken as it is (none) unless a template is given.
// STATUS_USAGE when one is given that contradicts the adapter's, and when the tokenizer lacks the
// special tokens of the one given or the adapter's.
Status prompt_template(const PromptRequest *request, const Engine *engine,
                       const Template **template, Error *err);

// Appends the ids: BOS where the tokenizer's config asks for it, then the text. Special tokens that
// the user's text spells stay text. STATUS_USAGE when there is nothing; STATUS_DATA when a
// prompt with a NUL is to go into a template, or the tokenizer is another model's.
Status prompt_encode(const PromptRequest *request, const Engine *engine, const Template *template,
                     TokenIds *ids, Error *err);

#endif
