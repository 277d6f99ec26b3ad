#include "sim_module.h"

#include "test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *module_path(void) {
  const char *path = getenv("VMA_SIM_MODULE");
  if (path != NULL && access(path, R_OK) == 0) return path;
  printf("SKIP: no CUDA toolkit: there is no simulated device in this build\n");
  exit(77);
}

// ---- of a real device ----

static void no_configure(const char *device, int sms, uint64_t seed, bool checks) {
  (void)device, (void)sms, (void)seed, (void)checks;
}
static void no_seed(uint64_t seed) {
  (void)seed;
}
static int64_t none(void) {
  return 0;
}
static const char *no_report(int64_t i) {
  (void)i;
  return "";
}
static void no_clear(void) {
}

// What no test of sim_module_simulated() asks for is not there.
static const SimControl of_a_device = {.configure = no_configure,
                                       .set_seed = no_seed,
                                       .reports = none,
                                       .report = no_report,
                                       .clear = no_clear,
                                       .product_shapes = none,
                                       .host_waits = none,
                                       .overlapped = none,
                                       .device_bytes = none,
                                       .device_peak = none};

// ---- either ----

bool sim_module_simulated(void) {
  return sim_module_control() != &of_a_device;
}

const SimControl *sim_module_control(void) {
  static const SimControl *control;
  if (control != NULL) return control;
  void *module = dlopen(module_path(), RTLD_NOW | RTLD_LOCAL);
  const SimControl *(*get)(void);
  if (module == NULL) {
    printf("%s\n", dlerror());
    exit(1);
  }
  void *symbol = dlsym(module, "sim_control");
  memcpy(&get, &symbol, sizeof get);
  control = symbol != NULL ? get() : &of_a_device;
  return control;
}

Backend *sim_module_open(void) {
  Backend *be = NULL;
  Error err;
  sim_module_control();
  CudaOptions options = {.module = module_path()};
  if (backend_cuda_open(&be, &options, &err) == STATUS_OK) return be;
  printf("%s\n", err.message);
  exit(1);
}

void sim_module_expect_clean(void) {
  const SimControl *sim = sim_module_control();
  for (int64_t i = 0; i < sim->reports(); i++)
    EXPECT(false, "the simulated device reports: %s", sim->report(i));
  sim->clear();
}
