#include "progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CELLS = 24 };
static const double plain_interval = 10;

double clock_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_start(Progress *p, int64_t first, int64_t total, int64_t per_epoch) {
  *p = (Progress){
      .terminal = isatty(STDERR_FILENO), .first = first, .total = total, .per_epoch = per_epoch};
}

// "1:02:03", "4:05".
static const char *duration(double seconds, char text[32]) {
  int64_t s = (int64_t)(seconds + 0.5);
  if (s >= 3600) {
    snprintf(text, 32, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
  } else {
    snprintf(text, 32, "%d:%02d", (int)(s / 60), (int)(s % 60));
  }
  return text;
}

static void draw_bar(int64_t done, int64_t total) {
  char cells[BAR_CELLS + 1];
  int full = (int)(done * BAR_CELLS / total);
  for (int i = 0; i < BAR_CELLS; i++) cells[i] = i < full ? '=' : i == full ? '>' : ' ';
  cells[BAR_CELLS] = '\0';
  fprintf(stderr, "\r[%s] %" PRId64 "/%" PRId64 "  ", cells, done, total);
}

// What is due after `step` itself is still to come.
static double aside_left(const ProgressAside *aside, int64_t step, int64_t total) {
  int64_t every = aside->every, times = 1;
  if (every > 0) times += (total - 1) / every - (step - 1) / every;
  return (double)times * aside->seconds;
}

double progress_left(const Progress *p, int64_t step) {
  double a_step = step > p->first ? p->seconds / (double)(step - p->first) : 0;
  return a_step * (double)(p->total - step) + aside_left(&p->evaluations, step, p->total) +
         aside_left(&p->checkpoints, step, p->total) + p->at_end;
}

void progress_step(Progress *p, int64_t step, const StepResult *result, double lr, double seconds) {
  char eta[32];
  p->seconds += seconds;
  p->tokens += result->tokens;
  double speed = (double)p->tokens / p->seconds, now = clock_seconds();
  duration(progress_left(p, step), eta);
  if (p->terminal) {
    draw_bar(step, p->total);
    fprintf(stderr, "loss %.4f  %.0f tokens/s  ETA %s\033[K", result->loss, speed, eta);
    fflush(stderr);
    return;
  }
  if (step > p->first + 1 && step < p->total && now - p->shown < plain_interval) return;
  p->shown = now;
  printf("step %" PRId64 "/%" PRId64 "  epoch %.2f  loss %.4f  grad_norm %.4f  lr %.3g  "
         "%.0f tokens/s  ETA %s\n",
         step, p->total, (double)step / (double)p->per_epoch, result->loss, result->grad_norm, lr,
         speed, eta);
  fflush(stdout);
}

void progress_end(const Progress *p) {
  if (!p->terminal) return;
  fprintf(stderr, "\r\033[K");
  fflush(stderr);
}

void progress_note(const Progress *p, const char *fmt, ...) {
  progress_end(p);
  va_list args;
  va_start(args, fmt);
  vprintf(fmt, args);
  va_end(args);
  putchar('\n');
  fflush(stdout);
}
