// One instruction of one kernel dropped at a time, over all kernels that the module registered.
#include "sim_runtime.h"
#include "sim_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Mutation {
  SimKernel *kernel;
  SimPoint point;
  char text[400];
} Mutation;

static const char *const kinds[] = {"barrier", "warp sync", "cp.async wait", "bounds"};
static Mutation *mutations;
static int64_t n_mutations = -1;

int64_t sim_mutation_points(void) {
  if (n_mutations >= 0) return n_mutations;
  n_mutations = 0;
  for (int f = 0; f < sim_kernel_count(); f++) {
    SimKernel *k = sim_kernel_at(f);
    if (k == NULL) continue;
    const int64_t n = sim_kernel_points(k, NULL, 0);
    SimPoint *points = malloc((size_t)(n + 1) * sizeof *points);
    mutations = realloc(mutations, (size_t)(n_mutations + n + 1) * sizeof *mutations);
    if (points == NULL || mutations == NULL) abort();
    sim_kernel_points(k, points, n);
    for (int64_t p = 0; p < n; p++) {
      Mutation *m = &mutations[n_mutations++];
      *m = (Mutation){.kernel = k, .point = points[p]};
      snprintf(m->text, sizeof m->text, "%.100s: %s: %.120s at %.40s:%d", k->title,
               kinds[points[p].kind], points[p].text, points[p].line.file, points[p].line.line);
    }
    free(points);
  }
  return n_mutations;
}

const char *sim_mutation_point(int64_t i) {
  return i >= 0 && i < sim_mutation_points() ? mutations[i].text : "";
}

void sim_mutate(int64_t i) {
  const int64_t n = sim_mutation_points();
  sim_stream_run_all();
  for (int64_t k = 0; k < n; k++) mutations[k].kernel->dropped = -1;
  if (i >= 0 && i < n) mutations[i].kernel->dropped = mutations[i].point.pc;
}

void sim_mutation_watch(void) {
  sim_stream_run_all();
  for (int f = 0; f < sim_kernel_count(); f++) {
    SimKernel *k = sim_kernel_at(f);
    if (k == NULL) continue;
    if (k->matters == NULL) k->matters = malloc((size_t)k->n_instrs + 1);
    if (k->matters == NULL) abort();
    memset(k->matters, 0, (size_t)k->n_instrs);
  }
}

bool sim_mutation_matters(int64_t i) {
  if (i < 0 || i >= sim_mutation_points()) return false;
  sim_stream_run_all();
  const Mutation *m = &mutations[i];
  return m->kernel->matters != NULL && m->kernel->matters[m->point.pc] != 0;
}
