// The commands of vma-model, each in a file of its own, and what they share.
#ifndef VMA_MODEL_COMMANDS_H
#define VMA_MODEL_COMMANDS_H

#include "error.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// Each takes the command line from the command's name on (argv[0] is "vma-model NAME").
Status model_info(int argc, char **argv, Error *err);
Status model_tokenize(int argc, char **argv, Error *err);
Status model_export(int argc, char **argv, Error *err);
Status model_merge(int argc, char **argv, Error *err);

// STATUS_FAILED without a message when the two differ.
Status model_diff(int argc, char **argv, Error *err);

// Arguments that are no options are paths, `free_arguments` of them at most: the model first.
typedef struct ModelArguments {
  const char *model, *second;
  int free_arguments;
  Status status; // of the first mistake, with its message in *err
  Error *err;
} ModelArguments;

#define MODEL_OPTION(text)                                                                         \
  { "model", 'm', "PATH", 0, text, 0 }

// -m and the paths; ARGP_ERR_UNKNOWN for any other key.
error_t model_argument(ModelArguments *common, int key, char *text, struct argp_state *state);

// argp_parse with `input`, whose first member is a ModelArguments.
Status model_parse(const struct argp *argp, int argc, char **argv, ModelArguments *input);

// STATUS_USAGE when no model was given.
Status model_required(const char *command, const ModelArguments *common);

// A line on a terminal's standard error that says how far it is; done == all removes it. Its
// signature is that of ModelFolder.progress; `context` is what is being done.
void model_progress(void *context, int64_t done, int64_t all);

#endif
