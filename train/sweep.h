// --sweep KEY=A,B,...: a run for every combination of values, one after the other.
//
// Each run is a process of its own, in a folder of output.dir that is named by its combination
// ("lr=1e-4_r=8"), where its output lies in log.txt beside what every run leaves. One that fails
// does not stop the others. The same command goes on with a sweep that was stopped: runs that
// finished are not run again, others go on from their newest checkpoint.
//
// At the end, on standard output and in output.dir: sweep.md (a table) and sweep.jsonl (a line for
// every run: combination, folder, state, losses, seconds, peak memory).
#ifndef VMA_SWEEP_H
#define VMA_SWEEP_H

#include "config.h"

#include <signal.h>

enum { SWEEP_KEYS_MAX = 8, SWEEP_RUNS_MAX = 1000 };

typedef struct SweepRequest {
  const char *config;           // path; NULL: none
  const char *const *overrides; // [n_overrides] "key=value"
  int n_overrides;
  // [n_sweeps] "key=a,b,c"; a value with commas of its own stands in brackets: [q_proj,v_proj]
  const char *const *sweeps;
  int n_sweeps;
} SweepRequest;

// Keys and values are all looked at before the first run starts: STATUS_USAGE. *stop becomes true
// from outside: the run at hand is told to stop and save, and STATUS_TEMPORARY returned.
// STATUS_FAILED when a run has failed; the others have been run.
Status sweep_run(const SweepRequest *request, const volatile sig_atomic_t *stop, Error *err);

#endif
