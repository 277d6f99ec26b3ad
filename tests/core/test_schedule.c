// Learning-rate factors against those of transformers 4's get_*_schedule_with_warmup (printed once
// by a script that stepped each scheduler 13 times; rates of a base rate of 1).
#include "schedule.h"
#include "test.h"

#include <math.h>

enum { STEPS = 10, CASES = 5 };
static const int64_t steps[STEPS] = {0, 1, 2, 3, 4, 5, 6, 8, 9, 12};
static const int64_t warmups[CASES] = {0, 1, 3, 5, 9}, totals[CASES] = {7, 7, 10, 5, 4};

static void check(ScheduleKind kind, const double expected[CASES][STEPS]) {
  for (int c = 0; c < CASES; c++) {
    for (int i = 0; i < STEPS; i++) {
      double f = schedule_factor(kind, steps[i], warmups[c], totals[c]);
      // A few roundings of double apart: the order of the operations is not part of the formula.
      EXPECT(fabs(f - expected[c][i]) <= 1e-15,
             "kind %d, warm-up %d of %d, step %d: %.17g, not %.17g", (int)kind, (int)warmups[c],
             (int)totals[c], (int)steps[i], f, expected[c][i]);
    }
  }
}

static void linear(void) {
  check(SCHEDULE_LINEAR,
        (const double[CASES][STEPS]){
            {1.0, 0.8571428571428571, 0.7142857142857143, 0.5714285714285714, 0.42857142857142855,
             0.2857142857142857, 0.14285714285714285, 0.0, 0.0, 0.0},
            {0.0, 1.0, 0.8333333333333334, 0.6666666666666666, 0.5, 0.3333333333333333,
             0.16666666666666666, 0.0, 0.0, 0.0},
            {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.8571428571428571,
             0.7142857142857143, 0.5714285714285714, 0.2857142857142857, 0.14285714285714285, 0.0},
            {0.0, 0.2, 0.4, 0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0},
            {0.0, 0.1111111111111111, 0.2222222222222222, 0.3333333333333333, 0.4444444444444444,
             0.5555555555555556, 0.6666666666666666, 0.8888888888888888, 0.0, 0.0}});
}

static void cosine(void) {
  check(
      SCHEDULE_COSINE,
      (const double[CASES][STEPS]){
          {1.0, 0.9504844339512095, 0.8117449009293668, 0.6112604669781572, 0.38873953302184283,
           0.18825509907063326, 0.04951556604879048, 0.04951556604879043, 0.18825509907063315,
           0.8117449009293667},
          {0.0, 1.0, 0.9330127018922194, 0.75, 0.5, 0.2500000000000001, 0.06698729810778065,
           0.0669872981077807, 0.24999999999999978, 0.9330127018922192},
          {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.9504844339512095, 0.8117449009293668,
           0.6112604669781572, 0.18825509907063326, 0.04951556604879048, 0.18825509907063315},
          {0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.0, 0.0, 1.0, 0.0},
          {0.0, 0.1111111111111111, 0.2222222222222222, 0.3333333333333333, 0.4444444444444444,
           0.5555555555555556, 0.6666666666666666, 0.8888888888888888, 1.0, 0.0}});
}

static void constant(void) {
  check(SCHEDULE_CONSTANT,
        (const double[CASES][STEPS]){
            {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0},
            {0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0},
            {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0},
            {0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0},
            {0.0, 0.1111111111111111, 0.2222222222222222, 0.3333333333333333, 0.4444444444444444,
             0.5555555555555556, 0.6666666666666666, 0.8888888888888888, 1.0, 1.0}});
}

// Trainer: warmup_steps when > 0, else ceil(total * warmup_ratio).
static void warmup(void) {
  EXPECT(schedule_warmup(5, 0.5, 100) == 5);
  EXPECT(schedule_warmup(0, 0.0, 100) == 0);
  EXPECT(schedule_warmup(0, 0.03, 100) == 3);
  EXPECT(schedule_warmup(0, 0.03, 101) == 4);
  EXPECT(schedule_warmup(0, 0.1, 62) == 7);
  EXPECT(schedule_warmup(0, 1.0, 62) == 62);
}

int main(void) {
  RUN(linear);
  RUN(cosine);
  RUN(constant);
  RUN(warmup);
  return test_done();
}
