#include "rig.h"

#include "bf16.h"
#include "check.h"
#include "rng.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void rig_open(Rig *rig, Backend *be, DType dtype, int64_t mib) {
  Error err;
  int64_t bytes = mib << 20;
  MemoryPlan plan = {
      .weights = bytes, .state = bytes, .step = bytes, .cache = bytes, .host = bytes};
  CHECK(memory_open(&rig->memory, be, &plan, &err) == STATUS_OK, "%s", err.message);
  // The host writes there: not on a device, where work may still be queued for that memory.
  rig->memory.step.poison = rig->memory.host.poison =
      strcmp(be->name, "null") != 0 && strcmp(be->name, "cuda") != 0;
  rig->step = 1;
  rig->ctx = (Ctx){.be = be,
                   .step = &rig->memory.step,
                   .host = &rig->memory.host,
                   .dtype = dtype,
                   .dropout_seed = 7,
                   .dropout_step =
                       arena_tensor(&rig->memory.cache, ARENA_LOW, DT_I32, 1, 1, "step number")};
  be->copy_in(be, rig->ctx.dropout_step, &rig->step);
}

void rig_close(Rig *rig) {
  memory_close(&rig->memory);
}

Tensor rig_tensor(Rig *rig, DType dtype, int64_t rows, int64_t cols, const double *values) {
  Tensor t = ctx_tensor(&rig->ctx, KEEP, dtype, rows, cols, "test");
  int64_t n = rows * cols;
  void *host = malloc((size_t)n * sizeof(double) + 1);
  CHECK(host != NULL, "no memory");
  for (int64_t i = 0; i < n; i++) {
    if (dtype == DT_F64) ((double *)host)[i] = values[i];
    if (dtype == DT_F32) ((float *)host)[i] = (float)values[i];
    if (dtype == DT_BF16) ((bf16 *)host)[i] = bf16_from_f32((float)values[i]);
  }
  rig->ctx.be->copy_in(rig->ctx.be, t, host);
  free(host);
  return t;
}

Tensor rig_ints(Rig *rig, int64_t rows, int64_t cols, const int32_t *values) {
  Tensor t = ctx_tensor(&rig->ctx, KEEP, DT_I32, rows, cols, "test");
  rig->ctx.be->copy_in(rig->ctx.be, t, values);
  return t;
}

void rig_read(Rig *rig, double *out, Tensor t) {
  int64_t n = tensor_count(t);
  void *host = malloc((size_t)n * sizeof(double) + 1);
  CHECK(host != NULL, "no memory");
  rig->ctx.be->copy_out(rig->ctx.be, host, t);
  for (int64_t i = 0; i < n; i++) {
    if (t.dtype == DT_F64) out[i] = ((double *)host)[i];
    if (t.dtype == DT_F32) out[i] = ((float *)host)[i];
    if (t.dtype == DT_BF16) out[i] = bf16_to_f32(((bf16 *)host)[i]);
  }
  free(host);
}

double rig_distance(const double *a, const double *b, int64_t n) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(a[i] - b[i]);
    if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
  }
  return worst;
}

double rig_norm(const double *a, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * a[i];
  return sqrt(sum);
}

void rig_draw(double *out, int64_t n, uint64_t seed, double scale) {
  Rng rng = {.key = seed};
  for (int64_t i = 0; i < n; i++) out[i] = scale * rng_normal(&rng);
}

bool rig_aborts(void (*fn)(void *), void *user, const char *text) {
  int ends[2];
  CHECK(pipe(ends) == 0, "no pipe");
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0, "no process");
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    fn(user);
    _exit(0);
  }
  close(ends[1]);
  char said[2048];
  size_t used = 0;
  ssize_t got;
  while (used + 1 < sizeof said && (got = read(ends[0], said + used, sizeof said - 1 - used)) > 0)
    used += (size_t)got;
  said[used] = '\0';
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  bool right = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, text) != NULL;
  if (!right) printf("expected an abort with \"%s\", got status %d: %s\n", text, status, said);
  return right;
}
