// A LLaMA model that reads texts over the paged cache, many at once: a step holds stretches of
// prompts and single tokens of texts that go on, each with an adapter of its own.
//
// The cache lies in its own arena, all else that a step needs in the context's two; nothing is
// allocated after decoder_init. The same functions run on the null backend for the memory plan.
#ifndef VMA_DECODER_H
#define VMA_DECODER_H

#include "llama.h"
#include "sampler.h"

typedef struct DecoderSize {
  int64_t max_len; // tokens that each sequence can hold
  int64_t chunk;   // rows of a step at most; cut to max_len + seqs - 1
  int64_t seqs;    // 0: 1
  int64_t pages;   // of the cache (kv_cache.h), at least those of max_len + seqs - 1; 0: for all
                   // sequences at their longest
} DecoderSize;

typedef struct Decoder {
  Ctx *ctx; // not recording
  Llama *model;
  KvCache cache;
  bool draws;    // pieces may have `draw`: the backend has memory of its own, and logits stay there
  int64_t chunk; // rows of a step at most
  float *logits; // host [seqs, V] of the last step
  // The step that is put together, host: [chunk] and [seqs].
  int32_t *ids, *positions, *borders, *seqs, *adapters, *rows;
} Decoder;

// A token that the backend itself is to draw (the op `sample`), so that no logits come to the host.
typedef struct DecoderDraw {
  SamplerOptions options;
  uint64_t drawn;         // numbers that were drawn for the text before; options.seed is their key
  const int32_t *context; // [n_context] prompt and what was drawn: for the penalty
  int64_t n_context;
} DecoderDraw;

// What a step reads of one sequence.
typedef struct DecoderPiece {
  int32_t seq;        // of the cache
  int32_t adapter;    // -1: none
  const int32_t *ids; // [n] in [0, V): checked
  int64_t n;          // > 0
  bool ends;          // the logits after the last id are wanted
  float *logits;      // out, where `ends`: [V], until the next step; NULL where ids are drawn
  // Where `ends`, and only where the decoder draws: the token to draw; all pieces of a step that
  // end have one, or none has.
  const DecoderDraw *draw;
  int32_t id; // out: the token; -1: the logits are not finite
} DecoderPiece;

void decoder_init(Decoder *decoder, Ctx *ctx, Llama *model, Arena *cache, DecoderSize size);
void decoder_free(Decoder *decoder);

// Forgets the texts; the cache's memory stays.
void decoder_reset(Decoder *decoder);

// Reads the pieces: of distinct sequences, at most `chunk` ids in all, for which the cache has
// room.
void decoder_step(Decoder *decoder, DecoderPiece *pieces, int64_t n);

// For one text, in sequence 0 and with adapter 0 (if there is one): how long it is; and reads n > 0
// more tokens, in pieces of at most `chunk` rows. The logits after the last one are in `logits`.
int64_t decoder_length(const Decoder *decoder);
void decoder_feed(Decoder *decoder, const int32_t *ids, int64_t n);

// The largest step of a decoder of that DecoderSize, for the memory plan (engine.h: Rehearsal).
void decoder_rehearse(Ctx *ctx, Llama *model, Arena *cache, const void *size);

#endif
