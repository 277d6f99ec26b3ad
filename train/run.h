// A training run from its config to the files in output.dir:
//
//   config.yaml      the effective config
//   metrics.jsonl    metrics.h
//   checkpoints/     checkpoint.h
//   adapter/         the result (PEFT files), written at the end; with method full instead
//   model/           a Hugging Face folder
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
