// What a run shows while it goes: a bar on a terminal (standard error), plain lines on standard
// output elsewhere.
#ifndef VMA_PROGRESS_H
#define VMA_PROGRESS_H

#include "trainer.h"

// What a run does besides its steps: after every `every` steps (0: never) and once more after the
// last.
typedef struct ProgressAside {
  int64_t every;
  double seconds; // of the newest one; 0: not known yet, or never done
} ProgressAside;

typedef struct Progress {
  bool terminal;
  int64_t total, first; // steps of the run; done before this process
  int64_t per_epoch;
  double seconds; // of the steps so far
  int64_t tokens;
  double shown; // when the last line was printed
  ProgressAside evaluations, checkpoints;
  double at_end; // seconds of what comes after all of these
} Progress;

double clock_seconds(void); // of a clock that never jumps

void progress_start(Progress *progress, int64_t first, int64_t total, int64_t per_epoch);

// The seconds that the run still needs after step `step`, as far as its parts have been measured.
double progress_left(const Progress *progress, int64_t step);

// After step `step` (from 1), which took `seconds`. Plain lines: the first and the last step, and
// one at most every ten seconds.
void progress_step(Progress *progress, int64_t step, const StepResult *result, double lr,
                   double seconds);

// A line of its own on standard output.
void progress_note(const Progress *progress, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

// Removes the bar.
void progress_end(const Progress *progress);

#endif
