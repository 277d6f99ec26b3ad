// What a run shows while it goes: a bar on a terminal (standard error), plain lines on standard
// output elsewhere.
#ifndef VMA_PROGRESS_H
#define VMA_PROGRESS_H

#include "trainer.h"

typedef struct Progress {
  bool terminal;
  int64_t total, first; // steps of the run; done before this process
  int64_t per_epoch;
  double seconds; // of the steps so far
  int64_t tokens;
  double shown; // when the last line was printed
} Progress;

double clock_seconds(void); // of a clock that never jumps

void progress_start(Progress *progress, int64_t first, int64_t total, int64_t per_epoch);

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
