// Learning-rate schedules, by transformers' formulas (models.md 10): the rate of optimizer step k
// (from 0) is lr * factor(k); with warm-up the first step's rate is 0.
#ifndef VMA_SCHEDULE_H
#define VMA_SCHEDULE_H

#include "config.h"

// k < warmup: k / max(1, warmup). After it, with T = total:
//   linear    max(0, (T - k) / max(1, T - warmup))
//   cosine    max(0, (1 + cos(pi (k - warmup) / max(1, T - warmup))) / 2)
//   constant  1
double schedule_factor(ScheduleKind kind, int64_t k, int64_t warmup, int64_t total);

// warmup_steps when > 0, else ceil(total * ratio).
int64_t schedule_warmup(int64_t warmup_steps, double ratio, int64_t total);

#endif
