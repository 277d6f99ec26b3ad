#include "parity_mutate.h"

#include "check.h"
#include "rng.h"
#include "test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 24 };               // of a mutant, each in a case that it changes
enum { SURVIVED = 50, CAUGHT };    // exit codes; all others are a crash: caught
static const double SLOW = 0.5;    // a case of more seconds mutates only what no other case has
static const double PATIENCE = 20; // times the case's own seconds, then a mutant hangs: caught

typedef struct Point {
  int tries;
  bool caught, chosen;
} Point;

static const SimControl *device;
static Point *points;
static int64_t n_points = -1;

const char *parity_mutation_file(void) {
  return getenv("VMA_MUTATE");
}

static int64_t number(const char *name, int64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoll(text, NULL, 10) : otherwise;
}

static void save(void) {
  FILE *f = fopen(parity_mutation_file(), "w");
  CHECK(f != NULL, "%s: cannot be written", parity_mutation_file());
  for (int64_t i = 0; i < n_points; i++) {
    if (points[i].chosen)
      fprintf(f, "%d\t%d\t%s\n", points[i].tries, points[i].caught, device->mutation_point(i));
  }
  fclose(f);
}

static void start(const SimControl *sim) {
  device = sim;
  n_points = sim->mutation_points();
  points = calloc((size_t)n_points + 1, sizeof *points);
  CHECK(points != NULL, "no memory for %lld points", (long long)n_points);
  const int64_t every = number("VMA_MUTATE_SAMPLE", 1);
  const char *kernel = getenv("VMA_MUTATE_KERNEL");
  Rng rng = {.key = (uint64_t)number("VMA_MUTATE_SEED", 0)};
  for (int64_t i = 0; i < n_points; i++) {
    const char *text = sim->mutation_point(i), *end = strstr(text, ": ");
    const char *named = kernel != NULL ? strstr(text, kernel) : text;
    points[i].chosen = rng_below(&rng, (uint64_t)every) == 0 && named != NULL && named < end;
  }
  FILE *f = fopen(parity_mutation_file(), "r");
  if (f != NULL) {
    char line[1200];
    for (int64_t i = 0; i < n_points; i++) {
      if (!points[i].chosen) continue;
      if (fgets(line, sizeof line, f) == NULL) break;
      char *rest = NULL;
      points[i].tries = (int)strtol(line, &rest, 10);
      points[i].caught = strtol(rest, NULL, 10) != 0;
    }
    fclose(f);
  }
  atexit(save);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// In a child: what the mutant breaks stays there.
static void try_mutant(int64_t i, void (*run)(const void *), const void *user, double seconds) {
  fflush(stdout);
  fflush(stderr);
  const pid_t child = fork();
  CHECK(child >= 0, "cannot fork");
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    const rlim_t patience = (rlim_t)(2 + PATIENCE * seconds);
    setrlimit(RLIMIT_CPU, &(struct rlimit){patience, patience});
    test_failures = 0;
    device->mutate(i);
    run(user);
    _exit(test_failures > 0 || device->reports() > 0 ? CAUGHT : SURVIVED);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child, "a child was lost");
  points[i].tries++;
  points[i].caught = !WIFEXITED(status) || WEXITSTATUS(status) != SURVIVED;
}

void parity_mutate(const SimControl *sim, void (*run)(const void *), const void *user) {
  if (n_points < 0) start(sim);
  const int failures = test_failures;
  const double began = now();
  device->mutation_watch();
  run(user);
  const double seconds = now() - began;
  if (test_failures > failures) return; // a case that fails by itself says nothing of mutants
  for (int64_t i = 0; i < n_points; i++) {
    Point *p = &points[i];
    if (!p->chosen || p->caught || p->tries >= (seconds > SLOW ? 1 : TRIES)) continue;
    if (device->mutation_matters(i)) try_mutant(i, run, user, seconds);
  }
}
