// Planted defects of kernels (sim_planted.cu), run as ops of the CUDA backend on the simulated
// device: each is reported as what it is, at its line, under every order of warps and blocks; its
// correct twin is not. A sum of atomics in f32, which is no race, turns the same-bytes check of the
// parity harness red.
// labels: sim
#include "parity.h"
#include "parity_cuda.h"
#include "test.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WIDTH = 64, SEEDS = 6 };

typedef struct Defect {
  const char *name;
  SimFault fault;
  const char *says; // a part of the report
  bool has_line;
} Defect;

static const Defect defects[] = {
    {"raw", SIM_RACE_RAW, "shared memory: read by thread", true},
    {"war", SIM_RACE_WAR, "shared memory: write by thread", true},
    {"blocks", SIM_RACE_BLOCKS, "of block", true},
    {"async", SIM_ASYNC_IN_FLIGHT, "has not been waited for", true},
    {"async source", SIM_ASYNC_IN_FLIGHT, "to what a cp.async reads", true},
    {"warp sync", SIM_WARP_SYNC, "shared memory: read by thread", true},
    {"half a warp", SIM_WARP_SYNC, "shared memory: read by thread", true},
    {"bounds", SIM_OUT_OF_BOUNDS, "tensor planted/y of 512 bytes, byte 512", true},
    {"shared", SIM_UNINITIALISED, "shared memory", true},
    {"global", SIM_UNINITIALISED, "planted/y", true},
    {"local", SIM_UNINITIALISED, "local memory", true},
    {"misaligned", SIM_MISALIGNED, "16 bytes", true},
    {"divergent", SIM_DIVERGENT_BARRIER, "waits for threads that never come", true},
    {"threads", SIM_LAUNCH_LIMITS, "160 threads", false},
    {"shared memory", SIM_LAUNCH_LIMITS, "102400 bytes shared", false}};

typedef bool PlantedOp(Backend *be, const char *name, bool wrong, Tensor y, Tensor x);
typedef void PlantedSum(Backend *be, bool atomic, Tensor y, Tensor x);

static PlantedOp *planted_op;
static PlantedSum *planted_sum;
static int (*planted_error)(void);
static bool (*planted_attribute)(int bytes);

static void find(void *module, const char *name, void *function, size_t size) {
  void *symbol = dlsym(module, name);
  EXPECT(symbol != NULL, "%s", name);
  memcpy(function, &symbol, size);
}

// The line of the source that says so.
static int line_of(const char *defect) {
  char wanted[80], line[300];
  snprintf(wanted, sizeof wanted, "// reports: %s\n", defect);
  FILE *f = fopen("tests/sim/sim_planted.cu", "r");
  EXPECT(f != NULL, "run from the top of the tree");
  if (f == NULL) return 0;
  int found = 0;
  for (int n = 1; fgets(line, sizeof line, f) != NULL; n++)
    if (strstr(line, wanted) != NULL) found = n;
  fclose(f);
  EXPECT(found > 0, "no line reports %s", defect);
  return found;
}

// y holds two rows, of which nothing is written; x one row of numbers. Each in memory of its own.
static void run(const Defect *d, bool wrong, uint64_t seed) {
  Backend *be = parity_cuda();
  const SimControl *sim = parity_cuda_control();
  enum { ROOM = 4096 };
  Tensor t[2];
  void *memory[2];
  Error err;
  float numbers[ROOM / 4];
  for (int i = 0; i < ROOM / 4; i++) numbers[i] = 1.0f + (float)i;
  sim->set_seed(seed);
  for (int i = 0; i < 2; i++) {
    test_must(be->mem_alloc(be, ROOM, &memory[i], &err), &err);
    t[i] = tensor_make(memory[i], DT_F32, 2, WIDTH);
    Arena arena = {.name = "planted", .base = memory[i], .capacity = ROOM};
    be->arena_hook(be->arena_hook_user, &arena, i == 0 ? "y" : "x", memory[i], tensor_bytes(t[i]),
                   true);
  }
  be->copy_in(be, t[1], numbers);
  be->sync(be);
  sim->clear();
  EXPECT(planted_op(be, d->name, wrong, t[0], t[1]), "no such defect: %s", d->name);
  const bool ends = d->fault == SIM_LAUNCH_LIMITS || d->fault == SIM_DIVERGENT_BARRIER;
  EXPECT((planted_error() != 0) == (ends && wrong), "%s: what the launch says", d->name);
  const int64_t n = sim->reports();
  if (!wrong) {
    EXPECT(n == 0, "%s, right, seed %d: %s", d->name, (int)seed, sim->report(0));
  } else {
    char place[60] = "";
    if (d->has_line) snprintf(place, sizeof place, "at sim_planted.cu:%d", line_of(d->name));
    bool found = false;
    for (int64_t i = 0; i < n; i++)
      found |= sim->report_fault(i) == d->fault && strstr(sim->report(i), d->says) != NULL &&
               strstr(sim->report(i), place) != NULL;
    EXPECT(found, "%s, seed %d: fault %d with \"%s\" %s; %lld reports, the first %d: %s", d->name,
           (int)seed, (int)d->fault, d->says, place, (long long)n,
           n > 0 ? (int)sim->report_fault(0) : -1, n > 0 ? sim->report(0) : "");
    if (seed == 1 && n > 0) printf("  %s: %s\n", d->name, sim->report(0));
  }
  sim->clear();
  if (wrong) return;
  for (int i = 0; i < 2; i++) be->mem_free(be, memory[i], ROOM);
  sim->clear();
}

// In a process of its own: a kernel that had to be ended leaves the device unusable.
static void run_apart(const Defect *d, uint64_t seed) {
  fflush(stdout);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    test_failures = 0;
    run(d, true, seed);
    fflush(stdout);
    _exit(test_failures > 0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0, "%s, seed %d", d->name, (int)seed);
}

static void defects_are_reported(void) {
  for (size_t i = 0; i < sizeof defects / sizeof *defects; i++)
    for (uint64_t seed = 1; seed <= SEEDS; seed++) run_apart(&defects[i], seed);
}

static void twins_are_not(void) {
  for (size_t i = 0; i < sizeof defects / sizeof *defects; i++)
    for (uint64_t seed = 1; seed <= SEEDS; seed++) run(&defects[i], false, seed);
}

// Shared memory that this device has and smaller ones lack.
static void attribute(void) {
  EXPECT(planted_attribute(100 * 1024));
  EXPECT(!planted_attribute(200 * 1024) && planted_error() != 0);
}

static void call_sum(Backend *be, const Tensor *t, const void *user) {
  const bool *atomic = user;
  if (be == parity_reference()) {
    for (int64_t c = 0; c < t[1].cols; c++)
      for (int64_t r = 0; r < t[1].rows; r++)
        parity_set(t[0], 0, c, parity_get(t[0], 0, c) + parity_get(t[1], r, c));
    return;
  }
  if (be->shadow != NULL) planted_sum(be, *atomic, t[0], t[1]); // else it is the plan's stand-in
}

// The values are right to the tolerance either way, and nothing is a race: only the bytes tell.
static int sum(bool atomic) {
  ParityCase c = {.call = call_sum, .user = &atomic};
  snprintf(c.name, sizeof c.name, "a sum %s", atomic ? "of atomics" : "in a fixed order");
  parity_add(&c, "y", PARITY_ACC, DT_F32, 1, 16, 0, 100);
  parity_add(&c, "x", PARITY_IN, DT_F32, 97, 16, 0, 1);
  const int before = test_failures;
  parity_run(&c);
  const int failed = test_failures - before;
  test_failures = before;
  return failed;
}

static void atomics_change_bytes(void) {
  EXPECT(sum(false) == 0);
  EXPECT(sum(true) == 1, "one check, that of the same bytes, fails");
}

int main(void) {
  if (!parity_on_cuda() || parity_cuda_control() == NULL)
    TEST_SKIP("VMA_PARITY and VMA_CUDA_MODULE name no simulated CUDA module");
  void *module = dlopen(getenv("VMA_CUDA_MODULE"), RTLD_NOW | RTLD_LOCAL);
  find(module, "planted_op", &planted_op, sizeof planted_op);
  find(module, "planted_sum", &planted_sum, sizeof planted_sum);
  find(module, "planted_error", &planted_error, sizeof planted_error);
  find(module, "planted_attribute", &planted_attribute, sizeof planted_attribute);
  if (test_failures > 0) return test_done();
  RUN(defects_are_reported);
  RUN(twins_are_not);
  RUN(attribute);
  RUN(atomics_change_bytes);
  return test_done();
}
