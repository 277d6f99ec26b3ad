#include "environment.h"

#include <dlfcn.h>
#include <sched.h>
#include <string.h>

#define GIB(bytes) ((double)(bytes) / (1 << 30))

// ---- the CPU ----

void environment_cpu_name(char *name, size_t size) {
  char line[256];
  FILE *file = fopen("/proc/cpuinfo", "re");
  name[0] = '\0';
  if (file == NULL) return;
  while (name[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
    snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
  }
  fclose(file);
}

static void print_instruction_sets(FILE *to) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const struct {
    const char *name;
    bool here;
  } sets[] = {{"avx2", __builtin_cpu_supports("avx2")},
              {"fma", __builtin_cpu_supports("fma")},
              {"avx512f", __builtin_cpu_supports("avx512f")},
              {"avx512bw", __builtin_cpu_supports("avx512bw")},
              {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
              {"avx512bf16", __builtin_cpu_supports("avx512bf16")}};
  fputs("x86-64", to);
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    if (sets[i].here) fprintf(to, " %s", sets[i].name);
  }
#else
  fputs("baseline", to);
#endif
}

static void print_cpu(FILE *to) {
  char name[256];
  cpu_set_t cores;
  environment_cpu_name(name, sizeof name);
  int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0;
  fprintf(to, "CPU           %s\n", name[0] != '\0' ? name : "(the system gives no name)");
  fprintf(to, "  cores       %d that this process may use\n", n);
  fputs("  sets        ", to);
  print_instruction_sets(to);
  fputs("\n", to);
}

// ---- libraries: what is linked says its own version ----

typedef struct OnednnVersion { // dnnl_version_t begins so
  int major, minor, patch;
} OnednnVersion;

static void print_onednn(FILE *to) {
  const OnednnVersion *(*version)(void);
  void *symbol = dlsym(RTLD_DEFAULT, "dnnl_version");
  memcpy(&version, &symbol, sizeof version);
  if (symbol == NULL) return;
  fprintf(to, "  oneDNN      %d.%d.%d\n", version()->major, version()->minor, version()->patch);
}

static void print_libraries(FILE *to) {
  static const struct {
    const char *name, *symbol;
  } libraries[] = {{"libyaml", "yaml_get_version_string"},
                   {"jansson", "jansson_version_str"},
                   {"utf8proc", "utf8proc_version"},
                   {"zlib", "zlibVersion"}};
  fputs("libraries\n", to);
  print_onednn(to);
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    const char *(*version)(void);
    void *symbol = dlsym(RTLD_DEFAULT, libraries[i].symbol);
    memcpy(&version, &symbol, sizeof version);
    if (symbol != NULL) fprintf(to, "  %-11s %s\n", libraries[i].name, version());
  }
}

// ---- CUDA ----

static void print_version(FILE *to, const char *name, int version, const char *none) {
  if (version > 0) {
    fprintf(to, "  %-11s CUDA %d.%d\n", name, version / 1000, version % 1000 / 10);
  } else {
    fprintf(to, "  %-11s %s\n", name, none);
  }
}

// Why a device that the driver sees is of no use; NULL: it is of use.
static const char *unusable(const CudaDeviceInfo *d) {
  if (d->major < 8) return "its compute capability is too low, vma's kernels need 8.0";
  if (d->mode != NULL && strcmp(d->mode, "prohibited") == 0) return "it lets no process compute";
  if (d->memory_free < 0) return "it is busy: another process holds it exclusively";
  return NULL;
}

static void print_device(FILE *to, int number, const CudaDeviceInfo *d) {
  fprintf(to, "  cuda:%-6d %s, compute capability %d.%d, %d multiprocessors, ", number, d->name,
          d->major, d->minor, d->sms);
  if (d->memory_free >= 0) {
    fprintf(to, "%.2f of %.2f GiB free", GIB(d->memory_free), GIB(d->memory));
  } else {
    fprintf(to, "%.2f GiB", GIB(d->memory));
  }
  const char *why = unusable(d);
  fprintf(to, ", %s%s%s\n", d->mode, why != NULL ? "; of no use: " : "", why != NULL ? why : "");
}

static void print_cuda(FILE *to) {
  static CudaSystem system; // large
  backend_cuda_describe(&system, NULL);
  fputs("CUDA\n", to);
  fprintf(to, "  module      %s\n", system.module[0] != '\0' ? system.module : "none");
  print_version(to, "toolkit", system.toolkit, "not known");
  print_version(to, "driver", system.driver, "none");
  // Of cuBLAS 12: MMmmpp; of 13: MMmmpp too, with two digits each.
  if (system.cublaslt > 0) {
    fprintf(to, "  cuBLASLt    %d.%d.%d\n", (int)(system.cublaslt / 10000),
            (int)(system.cublaslt / 100 % 100), (int)(system.cublaslt % 100));
  }
  for (int i = 0; i < system.n_devices; i++) print_device(to, i, &system.devices[i]);
  bool any = false;
  for (int i = 0; i < system.n_devices; i++) any = any || unusable(&system.devices[i]) == NULL;
  if (system.problem[0] == '\0' && !any)
    snprintf(system.problem, sizeof system.problem, "no GPU that the driver sees is of use");
  fprintf(to, "  %s%s\n", system.problem[0] != '\0' ? "cannot be used: " : "can be used",
          system.problem);
}

void environment_print(FILE *to, const char *program) {
  fprintf(to, "%s %s\n", program, VMA_VERSION);
  print_cpu(to);
  print_libraries(to);
  print_cuda(to);
}

bool environment_wanted(int argc, char **argv) {
  return argc >= 2 && strcmp(argv[1], "env") == 0;
}

Status environment_run(int argc, const char *program, Error *err) {
  if (argc > 2) return error_set(err, STATUS_USAGE, "env: takes nothing behind it");
  environment_print(stdout, program);
  if (fflush(stdout) == 0) return STATUS_OK;
  return error_set(err, STATUS_IO, "standard output cannot be written");
}
