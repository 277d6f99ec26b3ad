#include "parity_cuda.h"

#include "arena.h"
#include "check.h"
#include "test.h"

#include <dlfcn.h>

enum { OTHER_SMS = 5 };

bool parity_on_cuda(void) {
  const char *wanted = getenv("VMA_PARITY");
  return wanted != NULL && strcmp(wanted, "cuda") == 0;
}

const SimControl *parity_cuda_control(void) {
  static const SimControl *found;
  static bool looked;
  if (looked) return found;
  looked = true;
  const char *path = getenv("VMA_CUDA_MODULE");
  if (path == NULL) return NULL;
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  CHECK(module != NULL, "%s", dlerror());
  const SimControl *(*entry)(void);
  void *symbol = dlsym(module, "sim_control");
  memcpy(&entry, &symbol, sizeof entry);
  if (entry != NULL) found = entry();
  return found;
}

// ---- ops that the backend lacks ----

static int64_t missing;

static void not_yet(void) {
  missing++;
}

// The table from `fill` on holds ops and nothing else.
static void fill_gaps(Backend *be) {
  void (*stand_in)(void) = not_yet;
  for (size_t at = offsetof(Backend, fill); at + sizeof stand_in <= sizeof *be;
       at += sizeof stand_in) {
    void (*op)(void);
    memcpy(&op, (char *)be + at, sizeof op);
    if (op == NULL) memcpy((char *)be + at, &stand_in, sizeof stand_in);
  }
}

static Backend *opened(bool second) {
  static Backend *backends[2];
  if (backends[second] != NULL) return backends[second];
  const SimControl *sim = parity_cuda_control();
  if (sim != NULL && second) sim->configure(NULL, OTHER_SMS, 0, true);
  Error err;
  Status status = backend_cuda_open(&backends[second], NULL, &err);
  CHECK(status == STATUS_OK, "%s", err.message);
  fill_gaps(backends[second]);
  return backends[second];
}

Backend *parity_cuda(void) {
  return opened(false);
}

static void expect_no_report(const ParityCase *c) {
  const SimControl *sim = parity_cuda_control();
  if (sim == NULL) return;
  for (int64_t i = 0; i < sim->reports(); i++)
    EXPECT(false, "%s: the simulated device: %s", c->name, sim->report(i));
  sim->clear();
}

// No scratch is held, so that what the case asks for is seen.
static void give_scratch_back(Backend *be) {
  Error err;
  be->shadow->forget(be->shadow);
  test_must(be->reserve(be, &err), &err);
  CHECK(be->counts.scratch == 0, "%lld bytes of scratch are kept", (long long)be->counts.scratch);
}

// The plan's stand-in of the backend, shown the same call, notes what the ops have asked for: no
// less, or a planned run ends; no more, or memory is planned for nothing.
static void expect_planned_scratch(const ParityCase *c, const Backend *be, const Tensor *t) {
  Backend shadow = *be->shadow;
  fill_gaps(&shadow); // ops that take none
  shadow.counts.scratch = 0;
  c->call(&shadow, t, c->user);
  EXPECT(shadow.counts.scratch == be->counts.scratch,
         "%s: %lld bytes of scratch are planned, the ops ask for %lld (kernels/cuda_shadow.c)",
         c->name, (long long)shadow.counts.scratch, (long long)be->counts.scratch);
}

void parity_cuda_call(const ParityCase *c, const ParityImage *images, bool second) {
  Backend *be = opened(second);
  if (parity_cuda_control() != NULL) parity_cuda_control()->set_seed(second ? 0x5eed : 1);
  int64_t bytes = 0;
  for (int i = 0; i < c->n; i++) bytes += images[i].bytes;
  void *memory = NULL;
  Error err;
  test_must(be->mem_alloc(be, bytes, &memory, &err), &err);
  Arena arena = {.name = "parity", .base = memory, .capacity = bytes};
  Tensor t[PARITY_MAX], whole[PARITY_MAX];
  char *next = memory;
  for (int i = 0; i < c->n; i++) {
    whole[i] = tensor_make(next, DT_U8, 1, images[i].bytes);
    t[i] = images[i].t;
    t[i].data = next + ((char *)images[i].t.data - (char *)images[i].memory);
    // A tensor is born with no content that counts, so before it is filled.
    if (be->arena_hook != NULL)
      be->arena_hook(be->arena_hook_user, &arena, c->tensors[i].name, t[i].data, tensor_bytes(t[i]),
                     true);
    be->copy_in(be, whole[i], images[i].memory);
    next += images[i].bytes;
  }
  be->sync(be);
  missing = 0;
  give_scratch_back(be);
  c->call(be, t, c->user);
  be->sync(be);
  EXPECT(missing == 0, "%s: not yet on CUDA", c->name);
  expect_planned_scratch(c, be, t);
  for (int i = 0; i < c->n; i++) be->copy_out(be, images[i].memory, whole[i]);
  expect_no_report(c);
  if (be->arena_hook != NULL)
    be->arena_hook(be->arena_hook_user, &arena, NULL, memory, bytes, false);
  be->mem_free(be, memory, bytes);
}
