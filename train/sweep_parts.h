// The parts of a sweep (sweep.h), shared by its source files.
#ifndef VMA_SWEEP_PARTS_H
#define VMA_SWEEP_PARTS_H

#include "checkpoint_folder.h"
#include "sweep.h"

typedef struct SweepRun {
  char *name;                                          // "lr=1e-4_r=8": its folder in output.dir
  char *dir;                                           // the whole path
  char *words[SWEEP_KEYS_MAX];                         // "train.lr=1e-4"
  char state[16];                                      // "finished", "failed", "stopped", "waiting"
  double held_first, held_last, held_best, train_last; // losses; NAN: there is none
  double seconds;                                      // of steps and evaluations
  int64_t peak;                                        // bytes of the process; 0: not known
} SweepRun;

typedef struct Sweep {
  const SweepRequest *request;
  char dir[CONFIG_TEXT_BYTES];
  int n_keys;
  char *keys[SWEEP_KEYS_MAX];
  char **values[SWEEP_KEYS_MAX];
  int n_values[SWEEP_KEYS_MAX];
  SweepRun *runs; // [n]
  int n;
} Sweep;

// sweep_plan.c: the combinations, each with a config that is right.
Status sweep_plan(Sweep *sweep, const SweepRequest *request, Error *err);
void sweep_free(Sweep *sweep);
// The config of a run, in its own folder.
Status sweep_config(RunConfig *config, const Sweep *sweep, const SweepRun *run, Error *err);

// sweep_table.c: what the run's files say of it; the table of all.
void sweep_read_result(SweepRun *run);
Status sweep_write(const Sweep *sweep, Error *err);

#endif
