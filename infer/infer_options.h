// The command line of vma-infer.
#ifndef VMA_INFER_OPTIONS_H
#define VMA_INFER_OPTIONS_H

#include "generate.h"
#include "prompt.h"
#include "score.h"

enum { INFER_STOPS_MAX = 64 };

typedef struct InferOptions {
  EngineOptions engine;
  PromptRequest request; // prompt "-": standard input
  SamplerOptions sampler;
  int64_t max_new_tokens;
  const char *stops[INFER_STOPS_MAX];
  int n_stops;
  bool json;
  ScoreOptions score; // input NULL: generate
} InferOptions;

// Reads the command line; prints --help and --version and exits where they are asked for. What is
// wrong is STATUS_USAGE.
Status infer_options_parse(InferOptions *options, int argc, char **argv, Error *err);

#endif
