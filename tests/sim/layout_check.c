// Whether the simulated device knows how a toolkit lays out its objects: linked with
// layout_probe.cu alone, it looks into what that registers for the PTX, the names and the registers
// of its kernels, for each architecture that it is given. Exit status 1 and one line where it does
// not.
#include "sim_fatbin.h"
#include "sim_host_stubs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS_MAX = 8 };

static const void *wrapper;
static const char *kernels[KERNELS_MAX];
static int n_kernels, n_variables;

// ---- what host stubs call ----

unsigned __cudaPushCallConfiguration(void);
int __cudaPopCallConfiguration(void), __cudaGetKernel(void), __cudaLaunchKernel(void),
    cudaLaunchKernel(void);

void **__cudaRegisterFatBinary(void *fat_binary) {
  static void *handle;
  wrapper = fat_binary;
  return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle) {
  (void)handle;
}

void __cudaUnregisterFatBinary(void **handle) {
  (void)handle;
}

char __cudaInitModule(void **handle) {
  (void)handle;
  return 1;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, void *tid, void *bid, void *block, void *grid, int *warp) {
  (void)handle, (void)host, (void)device, (void)limit;
  (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
  if (n_kernels < KERNELS_MAX) kernels[n_kernels++] = name;
}

void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external,
                       size_t bytes, int constant, int global) {
  (void)handle, (void)host, (void)device, (void)name;
  (void)external, (void)constant, (void)global;
  if (bytes == 16) n_variables++;
}

// Never called here: only their names must be there to be linked.
unsigned __cudaPushCallConfiguration(void) {
  return 0;
}
int __cudaPopCallConfiguration(void) {
  return 0;
}
int __cudaGetKernel(void) {
  return 0;
}
int __cudaLaunchKernel(void) {
  return 0;
}
int cudaLaunchKernel(void) {
  return 0;
}

// ---- the look ----

static void fail(const char *what, const char *detail, int arch) {
  printf("%s%s%s", what, detail != NULL ? " " : "", detail != NULL ? detail : "");
  if (arch > 0) printf(" (compute capability %d)", arch);
  printf("\n");
  exit(1);
}

static void check_architecture(int arch) {
  char message[300], entry[200];
  int64_t bytes = 0, code_bytes = 0;
  int found = 0;
  const char *ptx = sim_fatbin_ptx(wrapper, arch, &bytes, &found, message, sizeof message);
  if (ptx == NULL) fail(message, NULL, arch);
  if (found != arch) fail("its PTX is that of another architecture", NULL, arch);
  char *text = strndup(ptx, (size_t)bytes);
  if (text == NULL || strstr(text, ".version") == NULL) fail("its PTX is no text", NULL, arch);
  if (strstr(text, ".loc") == NULL) fail("its PTX names no source lines (-lineinfo)", NULL, arch);
  const uint8_t *code = sim_fatbin_machine_code(wrapper, arch, &code_bytes);
  for (int i = 0; i < n_kernels; i++) {
    snprintf(entry, sizeof entry, ".entry %s(", kernels[i]);
    if (strstr(text, entry) == NULL) fail("its PTX lacks the kernel", kernels[i], arch);
    const int registers = sim_cubin_registers(code, code_bytes, kernels[i]);
    if (registers < 8 || registers > 255)
      fail("its machine code tells no registers of the kernel", kernels[i], arch);
  }
  free(text);
}

int main(int argc, char **argv) {
  if (wrapper == NULL) fail("it registers no fat binary when a program starts", NULL, 0);
  if (n_kernels != 2) fail("it does not register the two kernels of the file", NULL, 0);
  if (n_variables != 1) fail("it does not register the variable of the file", NULL, 0);
  for (int i = 1; i < argc; i++) check_architecture((int)strtol(argv[i], NULL, 10));
  return 0;
}
