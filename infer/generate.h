// Going on with a text: prompt in, tokens out until something ends it. The order of things is that
// of transformers' generate: one text token by token, or, with several beams, by beam_search.h.
#ifndef VMA_GENERATE_H
#define VMA_GENERATE_H

#include "beam_search.h"
#include "decoder.h"
#include "sampler.h"
#include "stop_text.h"
#include "tokenizer.h"

typedef enum Finish {
  FINISH_EOS,     // one of the stop ids came
  FINISH_STOP,    // one of the stop texts came
  FINISH_LENGTH,  // max_new_tokens
  FINISH_CONTEXT, // prompt and answer fill the context
} Finish;

typedef struct GenerateOptions {
  SamplerOptions sampler; // with beams only the repetition penalty counts: nothing is drawn
  BeamOptions beam;       // beams 0 or 1: one text
  int64_t max_new_tokens;
  int64_t context; // the model's limit on prompt + new tokens
  const int32_t *stop_ids;
  int n_stop_ids;
  const char *const *stops; // texts
  int n_stops;
  int adapter; // number of the adapter that answers, if the model has it; -1: none
} GenerateOptions;

typedef struct Generation {
  int32_t *ids; // [n] all that was drawn: a stop id, and what spells a stop text, included
  int64_t n;
  char *text; // [bytes], NUL-terminated: special tokens and the stop text left out
  int64_t bytes;
  Finish finish;
  bool done; // by a generator (generator.h)
  int64_t n_prompt;
  float score;                            // of a beam search
  double prefill_seconds, decode_seconds; // reading the prompt; the further steps
} Generation;

// "eos", "stop", "length", "context".
const char *finish_name(Finish finish);

// Sequences of the cache that a text takes: one for each beam.
int generate_seqs(const GenerateOptions *options);

// Tokens that may be drawn after a prompt of that length; 0 or less: none.
int64_t generate_limit(int64_t n_prompt, const GenerateOptions *options);

// STATUS_USAGE when a prompt of that length leaves no room for a token in the context.
Status generate_check(int64_t n_prompt, const GenerateOptions *options, Error *err);

// How many tokens a sequence of the decoder's cache must hold for it, and how many pages all of its
// sequences take of it at most.
int64_t generate_cache_len(int64_t n_prompt, const GenerateOptions *options);
int64_t generate_cache_pages(int64_t n_prompt, const GenerateOptions *options);

// Reads the prompt (n_prompt >= 1 ids) into the decoder, which is reset before, and draws. Text is
// given to the sink as soon as it is certain (put NULL: none). Errors: generate_check's;
// STATUS_FAILED when the model's logits are not finite; what the sink returns. `out` is to be freed
// by generation_free in any case.
Status generate(Generation *out, Decoder *decoder, const Tokenizer *tokenizer,
                const int32_t *prompt, int64_t n_prompt, const GenerateOptions *options,
                TextSink sink, Error *err);
void generation_free(Generation *generation);

#endif
