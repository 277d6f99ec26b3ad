#include "open_device.h"

#include "check.h"
#include "quote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICE_LAST = 1023 };

bool device_name_is_cpu(const char *name) {
  return strcmp(name, "cpu") == 0;
}

bool device_name_is_cuda(const char *name) {
  return strcmp(name, "cuda") == 0 || strncmp(name, "cuda:", 5) == 0;
}

// The number behind "cuda:"; -1: it is none.
static int device_number(const char *name) {
  if (strcmp(name, "cuda") == 0) return 0;
  const char *digits = name + 5;
  size_t n = strspn(digits, "0123456789");
  if (n == 0 || n > 4 || digits[n] != '\0') return -1;
  long number = strtol(digits, NULL, 10);
  return number <= DEVICE_LAST ? (int)number : -1;
}

Status device_name_check(const char *name, Error *err) {
  if (strcmp(name, "auto") == 0 || device_name_is_cpu(name)) return STATUS_OK;
  if (device_name_is_cuda(name) && device_number(name) >= 0) return STATUS_OK;
  return error_set(err, STATUS_USAGE, "expected auto, cpu, cuda or cuda:N, found %s",
                   quote_text(name).text);
}

// Nodes that NVIDIA's driver makes, or Windows' for it; a module that is named is asked anyway.
static bool may_have_driver(void) {
  const char *module = getenv("VMA_CUDA_MODULE");
  return (module != NULL && module[0] != '\0') || access("/dev/nvidiactl", F_OK) == 0 ||
         access("/dev/nvidia0", F_OK) == 0 || access("/dev/dxg", F_OK) == 0;
}

Status device_open_cuda(Backend **out, const char *name, char *why, Error *err) {
  Error unused;
  *out = NULL;
  if (why != NULL) why[0] = '\0';
  if (device_name_is_cpu(name)) return STATUS_OK;
  bool wanted = device_name_is_cuda(name);
  if (!wanted && !may_have_driver()) {
    if (why != NULL) snprintf(why, DEVICE_WHY_BYTES, "there is no NVIDIA driver");
    return STATUS_OK;
  }
  CudaOptions options = {.device = wanted ? device_number(name) : 0};
  CHECK(options.device >= 0, "a device name %s that was not checked", name);
  Status status = backend_cuda_open(out, &options, wanted ? err : &unused);
  if (status == STATUS_OK || wanted) return status;
  *out = NULL;
  if (why != NULL) snprintf(why, DEVICE_WHY_BYTES, "%s", unused.message);
  return STATUS_OK;
}
