// Opening the CUDA backend at run time: a program runs on a machine that has no driver and no
// toolkit, and says what is missing when it is asked for the device.
#include "cuda/cuda_module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The module's path: given, from the environment, or beside the program.
static bool module_path(char *path, size_t size, const char *given) {
  if (given == NULL) given = getenv("VMA_CUDA_MODULE");
  if (given != NULL && given[0] != '\0') {
    snprintf(path, size, "%s", given);
    return access(path, R_OK) == 0;
  }
  ssize_t n = readlink("/proc/self/exe", path, size - 1);
  if (n <= 0) n = 0;
  path[n] = '\0';
  char *slash = strrchr(path, '/');
  size_t at = slash != NULL ? (size_t)(slash + 1 - path) : 0;
  snprintf(path + at, size - at, "libvma_cuda.so");
  return access(path, R_OK) == 0;
}

// "libcublasLt.so.13: cannot open shared object file: ..." names what is missing; so does a symbol
// of a version that the library lacks.
static Status cannot_load(const char *path, Error *err) {
  const char *why = dlerror();
  if (why == NULL) why = "unknown reason";
  const char *library = strstr(why, ": cannot open shared object file");
  if (library != NULL && strncmp(why, path, strlen(path)) != 0) {
    return error_set(err, STATUS_FAILED,
                     "%s needs %.*s, which was not found: load the CUDA toolkit of this build "
                     "(module load cuda, or LD_LIBRARY_PATH), or run on the CPU",
                     path, (int)(library - why), why);
  }
  return error_set(err, STATUS_FAILED,
                   "%s cannot be loaded: %s: build it anew with the CUDA toolkit of this machine, "
                   "or run on the CPU",
                   path, why);
}

static Status open_module(const CudaModule **out, char *path, size_t size, const char *given,
                          Error *err) {
  if (!module_path(path, size, given)) {
    return error_set(err, STATUS_FAILED,
                     "there is no CUDA module at %s: this build was made without nvcc; build where "
                     "it is (cmake says CUDA found), or run on the CPU",
                     path);
  }
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) return cannot_load(path, err);
  CudaModuleEntry *entry;
  void *symbol = dlsym(handle, CUDA_MODULE_ENTRY);
  memcpy(&entry, &symbol, sizeof entry);
  if (symbol == NULL) {
    return error_set(err, STATUS_FAILED,
                     "%s is no CUDA module of vma: it has no %s; give that of this build, or run "
                     "on the CPU",
                     path, CUDA_MODULE_ENTRY);
  }
  const CudaModule *module = entry();
  if (module->abi != CUDA_MODULE_ABI || module->backend_bytes != (int64_t)sizeof(Backend)) {
    return error_set(err, STATUS_FAILED,
                     "%s belongs to another version of vma (%d, this program has %d): build both "
                     "together",
                     path, module->abi, CUDA_MODULE_ABI);
  }
  *out = module;
  return STATUS_OK;
}

Status backend_cuda_open(Backend **out, const CudaOptions *options, Error *err) {
  CudaOptions chosen = options != NULL ? *options : (CudaOptions){0};
  const CudaModule *module;
  char path[512];
  Status status = open_module(&module, path, sizeof path, chosen.module, err);
  if (status != STATUS_OK) return status;
  return module->open(out, chosen.device, err);
}

void backend_cuda_describe(CudaSystem *system, const char *given) {
  *system = (CudaSystem){0};
  const CudaModule *module;
  Error err;
  char path[512];
  if (open_module(&module, path, sizeof path, given, &err) == STATUS_OK) {
    module->describe(system);
  } else {
    snprintf(system->problem, sizeof system->problem, "%s", err.message);
  }
  if (access(path, R_OK) == 0) snprintf(system->module, sizeof system->module, "%s", path);
}
