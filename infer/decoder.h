// A LLaMA model that reads one text token by token, or many at once, over the paged cache.
//
// The cache lies in its own arena, all else that a step needs in the context's two; nothing is
// allocated after decoder_init. The same functions run on the null backend for the memory plan.
#ifndef VMA_DECODER_H
#define VMA_DECODER_H

#include "llama.h"

typedef struct Decoder {
  Ctx *ctx; // not recording
  Llama *model;
  KvCache cache;      // of one sequence
  int64_t chunk;      // rows of a step at most
  int32_t *positions; // host [chunk]
  float *logits;      // host [V], of the last token fed
} Decoder;

typedef struct DecoderSize {
  int64_t max_len; // tokens that the cache takes
  int64_t chunk;   // rows of a step at most
} DecoderSize;

void decoder_init(Decoder *decoder, Ctx *ctx, Llama *model, Arena *cache, DecoderSize size);
void decoder_free(Decoder *decoder);

// Forgets the text; the cache's memory stays.
void decoder_reset(Decoder *decoder);

// Tokens read so far.
int64_t decoder_length(const Decoder *decoder);

// Reads n > 0 more tokens, in pieces of at most `chunk` rows, and leaves the logits after the last
// one in `logits`. Ids are in [0, V), and the cache has room for them: checked.
void decoder_feed(Decoder *decoder, const int32_t *ids, int64_t n);

// The largest step of a decoder of that DecoderSize, for the memory plan (engine.h: Rehearsal).
void decoder_rehearse(Ctx *ctx, Llama *model, Arena *cache, const void *size);

#endif
