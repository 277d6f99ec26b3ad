// What a run still needs: its steps, evaluations, checkpoints and sample answers, counted by hand.
#include "progress.h"
#include "test.h"

#include <math.h>

static Progress at(int64_t first, int64_t total, int64_t evals, int64_t saves) {
  return (Progress){.first = first,
                    .total = total,
                    .per_epoch = 5,
                    .evaluations = {.every = evals, .seconds = 100},
                    .checkpoints = {.every = saves, .seconds = 10000},
                    .at_end = 1e6};
}

// Steps of one second each.
static void expect_left(Progress *p, int64_t step, int64_t steps, int evals, int saves) {
  p->seconds = (double)(step - p->first);
  double left = progress_left(p, step);
  double expected = (double)steps + 100.0 * evals + 10000.0 * saves + 1e6;
  EXPECT(fabs(left - expected) < 1e-6, "after step %d: %g, not %g", (int)step, left, expected);
}

static void parts_are_counted(void) {
  Progress p = at(0, 10, 3, 0);
  expect_left(&p, 1, 9, 4, 1); // after 3, 6, 9, 10
  expect_left(&p, 3, 7, 4, 1); // after this step its own evaluation is still to come
  expect_left(&p, 4, 6, 3, 1);
  expect_left(&p, 9, 1, 2, 1);
  expect_left(&p, 10, 0, 1, 1);
  p = at(0, 9, 3, 4);
  expect_left(&p, 2, 7, 3, 3); // 3, 6, 9; 4, 8, 9: what falls on the last step comes once
  expect_left(&p, 8, 1, 1, 2);
}

// A run that went on: only its own steps say what a step takes.
static void going_on(void) {
  Progress p = at(6, 10, 2, 1);
  expect_left(&p, 7, 3, 2, 4);
  p = at(6, 10, 2, 1);
  EXPECT(fabs(progress_left(&p, 6) - (3 * 100 + 5 * 10000 + 1e6)) < 1e-6, "before the first step");
}

int main(void) {
  RUN(parts_are_counted);
  RUN(going_on);
  return test_done();
}
