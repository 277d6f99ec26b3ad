// A training run from its config to the files in output.dir:
//
//   config.yaml      the config with all that it left open settled, so that it repeats the run
//   metrics.jsonl    metrics.h
//   checkpoints/     checkpoint.h
//   manifest.json    what the run was made by, of what, and what became of it
//   adapter/         the result (PEFT files), the weights after the last step; with method full
//   model/           instead, a Hugging Face folder
//   best/            the same with the weights of the best held-out loss (output.best)
//   report.html      for people (output.report), with the answers of samples.json
//
// Shown on standard output: the config, statistics of the data, the memory plan, progress.
#ifndef VMA_RUN_H
#define VMA_RUN_H

#include "config.h"
#include "error.h"

#include <signal.h>

// Runs to the end. *stop becomes true from outside (a signal): the step that runs is finished, a
// checkpoint saved and STATUS_TEMPORARY returned. An output.dir that holds a run already is
// STATUS_USAGE unless `resume` is set, and one in which another process trains is in any case.
Status train_run(const RunConfig *config, const volatile sig_atomic_t *stop, Error *err);

#endif
