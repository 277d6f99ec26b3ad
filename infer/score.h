// Log probabilities of texts that are given, for evaluation: the contract of lm-evaluation-harness.
//
// In, one JSON item a line (or a JSON list):
//   {"text": T}                       ids = encode(T)
//   {"ids": [...]}                    as they are
//   {"prompt": P, "completion": C}    ids = encode(P + C), trailing spaces of P moved to C
// Out, a line for each in the same order:
//   {"ids": [...], "logprobs": [null, ...], "completion_start": n, "greedy": bool}
//
// logprobs[i] = log p(ids[i] | ids before it), null for the first. completion_start =
// length(encode(P)), 0 for text and ids. greedy: every token from max(1, completion_start) on is
// the argmax. No special tokens are added unless asked for: then BOS comes first and EOS last as
// the tokenizer's config says, and completion_start counts BOS.
#ifndef VMA_SCORE_H
#define VMA_SCORE_H

#include "engine.h"

typedef struct ScoreOptions {
  const char *input, *output; // paths; `-`: standard input, standard output
  bool add_special;
  int64_t batch_tokens; // sequences are packed up to so many; a longer one runs alone
} ScoreOptions;

enum { SCORE_BATCH_TOKENS = 2048 };

typedef struct ScoreStats {
  int64_t lines, tokens;
  double seconds; // of the model's work
} ScoreStats;

// Reads all of the input, loads the engine (opened, not loaded), scores, writes. Errors in the
// input name its line; the output appears whole or not at all.
Status score_file(Engine *engine, const ScoreOptions *options, ScoreStats *stats, Error *err);

// ---- the pieces ----

typedef struct ScoreItem {
  int64_t first; // of its ids in ScoreItems.ids.ids
  int64_t n;
  int64_t completion_start;
} ScoreItem;

typedef struct ScoreItems {
  TokenIds ids; // of all items, one after the other
  ScoreItem *items;
  int64_t n, capacity;
} ScoreItems;

// score_input.c
Status score_items_read(ScoreItems *items, const Engine *engine, const ScoreOptions *options,
                        Error *err);
void score_items_free(ScoreItems *items);

#endif
