// Many questions from a file, answered several at a time (vma-infer --batch).
//
// In, one JSON item a line (or a JSON list), gzip or not:
//   {"prompt": P} or {"instruction": I, "input": X}   as --prompt, --instruction and --input
//   "adapter": NAME   one of the loaded ones; without it the one that has no name, or none
//   "id": ID          a string or a number, given back; without it the line's number
// Out, a line for each in the same order:
//   {"id": ID, "text": T, "ids": [...], "finish": F}
//
// What is answered to a line is what it would be answered alone, whatever stands beside it. Lines
// are read and encoded first, so that a wrong one is named before the weights are read.
#ifndef VMA_ASK_FILE_H
#define VMA_ASK_FILE_H

#include "engine.h"
#include "generate.h"
#include "prompt.h"

#include <jansson.h>

typedef struct AskOptions {
  const char *input, *output; // paths; `-`: standard input, standard output
  int slots;                  // texts at a time
  int64_t batch_tokens;       // rows of a step at most, if that is enough for all slots
  const Template *template;   // as in PromptRequest, for every line
  GenerateOptions generate;   // of every line; stop ids, context and adapter are seen to here
} AskOptions;

enum { ASK_SLOTS = 16, ASK_BATCH_TOKENS = 512 };

typedef struct AskStats {
  int64_t lines, prompt_tokens, tokens; // tokens: of the answers
  double seconds;                       // of the model's work
} AskStats;

// Called after every step: lines answered of all, tokens drawn so far.
typedef void (*AskProgress)(int64_t done, int64_t lines, int64_t tokens, double seconds);

// Reads all of the input, loads the engine (opened, not loaded), answers, writes. Errors in the
// input name its line; the output appears whole or not at all.
Status ask_file(Engine *engine, const AskOptions *options, AskProgress progress, AskStats *stats,
                Error *err);

// ---- the pieces ----

typedef struct AskItem {
  json_t *id;
  int64_t first, n; // of its ids in AskItems.ids
  GenerateOptions options;
} AskItem;

// The ids that end the answers of one template.
typedef struct AskStops {
  const Template *template;
  int n;
  int32_t ids[ENGINE_STOPS_MAX];
} AskStops;

typedef struct AskItems {
  TokenIds ids; // of all prompts, one after the other
  AskItem *items;
  int64_t n, capacity;
  AskStops stops[TEMPLATE_COUNT + MAX_ADAPTERS + 1]; // of built-in ones, the adapters', the given
  int n_stops;
} AskItems;

// ask_input.c; `items` must stay where it is. To be freed in any case.
Status ask_items_read(AskItems *items, const Engine *engine, const AskOptions *options, Error *err);
void ask_items_free(AskItems *items);

#endif
