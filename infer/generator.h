// Answers to many prompts at a time over one decoder (generate.h is the case of one). A slot takes
// a prompt; each step reads, for every slot in use, the next stretch of its prompt or its newest
// tokens; a slot whose text ends is free for the next prompt at once. What is drawn for a prompt
// does not hang on what the other slots do.
//
// Memory is made once, for the largest request; a request takes what its answer is returned in.
#ifndef VMA_GENERATOR_H
#define VMA_GENERATOR_H

#include "generate.h"

typedef struct GeneratorSize {
  int slots;
  int beams;          // of every request; each slot has so many sequences of the decoder's cache
  int64_t max_tokens; // prompt and answer of a request
  int64_t max_new;    // tokens of an answer
  int n_stop_ids;     // of a request at most
} GeneratorSize;

typedef struct GenerateRequest {
  const int32_t *prompt; // [n_prompt]
  int64_t n_prompt;
  int64_t n_cached; // the first of them, less than all, that the cache holds already from the
                    // request before: 0 but for a generator of one slot (generator_cached)
  const GenerateOptions *options; // stays as it is until the answer is done
  TextSink sink;                  // gets the text as soon as it is certain (put NULL: nobody)
} GenerateRequest;

typedef struct Generator {
  Decoder *decoder;
  const Tokenizer *tokenizer;
  GeneratorSize size;
  int n_seqs, n_used; // sequences of a slot; slots in use
  Sampler sampler;    // its options and state are those of the slot that draws
  struct GeneratorSlot *slots;
  DecoderPiece *pieces; // [slots * n_seqs] of the next step
  const float **rows;   // [n_seqs] log probabilities of a slot's beams
} Generator;

// The decoder's cache has room for slots * beams sequences of max_tokens - 1 tokens, or pages for
// those requests that come; it is reset.
void generator_init(Generator *generator, Decoder *decoder, const Tokenizer *tokenizer,
                    GeneratorSize size);
void generator_free(Generator *generator);

bool generator_full(const Generator *generator);

// Gives a free slot the request; `out` is filled from now on and done when out->done. Errors:
// generate_check's. `out` is to be freed by generation_free in any case.
Status generator_add(Generator *generator, const GenerateRequest *request, Generation *out,
                     Error *err);

// Tokens of the newest request of a generator of one slot, prompt and answer, that its cache holds.
int64_t generator_cached(const Generator *generator);

// Ends all that is not done: the answers are what has been drawn so far.
Status generator_stop(Generator *generator, Error *err);

// One step of the model for all slots in use, of which there is one. Errors: STATUS_FAILED when
// logits are not finite, what a sink returns; nothing goes on then.
Status generator_step(Generator *generator, Error *err);

#endif
