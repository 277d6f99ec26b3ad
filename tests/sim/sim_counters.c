// What launches did, summed for each kernel; with VMA_SIM_COUNTERS for each shape that a kernel was
// launched in, and as a table at the end.
#include "sim_runtime.h"
#include "sim_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Counted {
  char *kernel;                 // its title, and the shape behind it
  SimCounters counters, before; // before: what had been counted when they were cleared
} Counted;

static Counted *counted;
static int n_counted, current;

static const char *wanted_file(void) {
  const char *file = getenv("VMA_SIM_COUNTERS");
  return file != NULL && file[0] != 0 ? file : NULL;
}

static const char *key_of(const SimLaunch *l, char *text, size_t size) {
  if (wanted_file() == NULL) return l->kernel->title;
  snprintf(text, size, "%s <<<%u x %u x %u blocks, %u x %u x %u threads, %lld bytes shared>>>",
           l->kernel->title, l->grid.x, l->grid.y, l->grid.z, l->block.x, l->block.y, l->block.z,
           (long long)l->shared_bytes);
  return text;
}

void sim_counters_begin(const SimLaunch *launch) {
  char text[400];
  const char *key = key_of(launch, text, sizeof text);
  if (current < n_counted && strcmp(counted[current].kernel, key) == 0) return;
  for (current = 0; current < n_counted; current++) {
    if (strcmp(counted[current].kernel, key) == 0) return;
  }
  if (n_counted == 0 && wanted_file() != NULL) atexit(sim_counters_write);
  counted = realloc(counted, (size_t)(n_counted + 1) * sizeof *counted);
  if (counted == NULL) abort();
  counted[n_counted++] = (Counted){.kernel = strdup(key)};
}

SimCounters *sim_counters_now(void) {
  static SimCounters nobody;
  return current < n_counted ? &counted[current].counters : &nobody;
}

SimCounters sim_counters_sum(const char *name) {
  sim_stream_run_all();
  SimCounters sum = {0};
  int64_t *to = (int64_t *)&sum;
  for (int i = 0; i < n_counted; i++) {
    const int64_t *now = (const int64_t *)&counted[i].counters,
                  *before = (const int64_t *)&counted[i].before;
    if (name != NULL && strstr(counted[i].kernel, name) == NULL) continue;
    for (size_t k = 0; k < sizeof sum / sizeof *to; k++) to[k] += now[k] - before[k];
  }
  return sum;
}

void sim_counters_clear(void) {
  for (int i = 0; i < n_counted; i++) counted[i].before = counted[i].counters;
}

// ---- the table: of the whole run, whatever a test has cleared ----

static int by_instructions(const void *a, const void *b) {
  const int64_t x = ((const Counted *)a)->counters.warp_instrs,
                y = ((const Counted *)b)->counters.warp_instrs;
  return x < y ? 1 : x > y ? -1 : 0;
}

typedef struct Column {
  const char *name;
  size_t offset;
} Column;

#define COLUMN(name, member)                                                                       \
  { (name), offsetof(SimCounters, member) }

static const Column columns[] = {COLUMN("launches", launches),
                                 COLUMN("blocks", blocks),
                                 COLUMN("warp instrs", warp_instrs),
                                 COLUMN("thread instrs", thread_instrs),
                                 COLUMN("mma", mma),
                                 COLUMN("float", float_ops),
                                 COLUMN("int", int_ops),
                                 COLUMN("special", special),
                                 COLUMN("branches", branches),
                                 COLUMN("barriers", barriers),
                                 COLUMN("shuffles", shuffles),
                                 COLUMN("atomics", atomics),
                                 COLUMN("local", local_instrs),
                                 COLUMN("shared", shared_instrs),
                                 COLUMN("wavefronts", shared_wavefronts),
                                 COLUMN("conflicts", shared_extra),
                                 COLUMN("global", global_instrs),
                                 COLUMN("sectors", global_sectors),
                                 COLUMN("ideal", global_ideal),
                                 COLUMN("bytes read", bytes_read),
                                 COLUMN("bytes written", bytes_written)};

enum { COLUMNS = sizeof columns / sizeof *columns };

void sim_counters_write(void) {
  const char *name = wanted_file();
  static bool written;
  if (name == NULL || written) return;
  written = true;
  sim_stream_run_all();
  FILE *f = strcmp(name, "-") == 0 ? stderr : fopen(name, "w");
  if (f == NULL) {
    fprintf(stderr, "simulated device: cannot write counters to %s\n", name);
    return;
  }
  qsort(counted, (size_t)n_counted, sizeof *counted, by_instructions);
  current = n_counted;
  for (int c = 0; c < COLUMNS; c++) fprintf(f, "%14s", columns[c].name);
  fprintf(f, "  kernel on a simulated %s\n", sim_runtime()->device.name);
  for (int i = 0; i < n_counted; i++) {
    for (int c = 0; c < COLUMNS; c++) {
      int64_t value;
      memcpy(&value, (const char *)&counted[i].counters + columns[c].offset, sizeof value);
      fprintf(f, "%14lld", (long long)value);
    }
    fprintf(f, "  %s\n", counted[i].kernel);
  }
  if (f != stderr) fclose(f);
}
