#include "schedule.h"

#include <math.h>

double schedule_factor(ScheduleKind kind, int64_t k, int64_t warmup, int64_t total) {
  if (k < warmup) return (double)k / (double)(warmup > 1 ? warmup : 1);
  double span = (double)(total - warmup > 1 ? total - warmup : 1);
  if (kind == SCHEDULE_LINEAR) return fmax(0.0, (double)(total - k) / span);
  if (kind == SCHEDULE_COSINE)
    return fmax(0.0, 0.5 * (1.0 + cos(M_PI * ((double)(k - warmup) / span))));
  return 1.0;
}

int64_t schedule_warmup(int64_t warmup_steps, double ratio, int64_t total) {
  return warmup_steps > 0 ? warmup_steps : (int64_t)ceil((double)total * ratio);
}
