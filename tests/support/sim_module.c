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

const SimControl *sim_module_control(void) {
  static const SimControl *control;
  if (control != NULL) return control;
  void *module = dlopen(module_path(), RTLD_NOW | RTLD_LOCAL);
  const SimControl *(*get)(void);
  void *symbol = module != NULL ? dlsym(module, "sim_control") : NULL;
  memcpy(&get, &symbol, sizeof get);
  if (symbol == NULL) {
    printf("%s\n", dlerror());
    exit(1);
  }
  control = get();
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
