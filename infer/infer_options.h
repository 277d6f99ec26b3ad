// The command line of vma-infer: option_table.c has the options, infer_options.c reads them and
// says what belongs together.
#ifndef VMA_INFER_OPTIONS_H
#define VMA_INFER_OPTIONS_H

#include "ask_file.h"
#include "score.h"

enum { INFER_STOPS_MAX = 64, INFER_BEAMS_MAX = 64, INFER_SLOTS_MAX = 1024 };

typedef enum InferJob { JOB_ANSWER, JOB_BATCH, JOB_CHAT, JOB_SCORE, JOB_COUNT } InferJob;

typedef struct InferOptions {
  InferJob job;
  EngineOptions engine;
  PromptRequest request;                     // prompt "-": standard input
  Template *own_template;                    // of --template-file, to be freed; NULL: none
  GenerateOptions generate;                  // stop ids, context and adapter are not set here
  const char *stops[INFER_STOPS_MAX];        // generate.stops
  bool json, alpaca_lora;                    // the preset
  const char *batch, *score, *output;        // of these jobs
  int64_t batch_size, batch_tokens, context; // 0: the job's default
  bool add_special;
} InferOptions;

// Reads the command line; prints --help and --version and exits where they are asked for. What is
// wrong is STATUS_USAGE. The options point into themselves: they stay where they are.
Status infer_options_parse(InferOptions *options, int argc, char **argv, Error *err);

// ---- the table ----

enum {
  FOR_ANSWER = 1 << JOB_ANSWER,
  FOR_BATCH = 1 << JOB_BATCH,
  FOR_CHAT = 1 << JOB_CHAT,
  FOR_SCORE = 1 << JOB_SCORE
};

typedef struct InferOption {
  const char *name; // NULL: `help` heads those that follow
  int letter;       // 0: none
  const char *value;
  unsigned jobs; // that it goes with
  Status (*set)(InferOptions *options, const char *name, char *text, Error *err);
  const char *help;
} InferOption;

extern const InferOption infer_option_table[];
extern const int infer_option_count;

#endif
