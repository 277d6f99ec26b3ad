// Opening the CPU backend: which instruction set, how many threads, which GEMM.
#include "bf16.h"
#include "check.h"
#include "cpu_backend.h"
#include "cpu_reference.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct CpuIsa {
  const char *name;
  void (*install)(Backend *be);
  bool (*supported)(void);
} CpuIsa;

static bool has_base(void) {
  return true;
}

#ifdef VMA_X86
static bool has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
}

static bool has_avx512bf16(void) {
  return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

static const CpuIsa isas[] = {
    // from the plainest to the best
    {"base", simd_install_base, has_base},
#ifdef VMA_X86
    {"avx2", simd_install_avx2, has_avx2},
    {"avx512", simd_install_avx512, has_avx512},
    {"avx512bf16", simd_install_avx512bf16, has_avx512bf16},
#endif
};

enum { N_ISAS = sizeof isas / sizeof *isas };

static Status choose_isa(const CpuIsa **out, const char *name, Error *err) {
  static const char *const known[] = {"base", "avx2", "avx512", "avx512bf16"};
  for (int i = N_ISAS - 1; i >= 0; i--) {
    if (name != NULL && strcmp(name, isas[i].name) != 0) continue;
    if (isas[i].supported()) {
      *out = &isas[i];
      return STATUS_OK;
    }
    if (name != NULL) break;
  }
  for (int i = 0; i < 4; i++) {
    if (strcmp(name, known[i]) == 0) {
      return error_set(err, STATUS_USAGE,
                       "this CPU has no %s: leave the instruction set to be chosen", name);
    }
  }
  return error_set(err, STATUS_USAGE,
                   "unknown instruction set '%s'; expected base, avx2, avx512 or avx512bf16", name);
}

static int usable_cores(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return n > 0 ? n : 1;
}

// ---- which GEMM ----

typedef enum GemmKind { GEMM_OWN, GEMM_LIBRARY_F32, GEMM_LIBRARY_BF16, GEMM_KINDS } GemmKind;

static const char *const gemm_names[GEMM_KINDS] = {"own", "onednn-f32", "onednn-bf16"};

// false where the library lacks the kind on this CPU.
static bool set_gemm(CpuBackend *cpu, GemmKind kind, const char *isa) {
  cpu->be.linear = cpu->own.linear;
  cpu->be.linear_back_x_acc = cpu->own.linear_back_x_acc;
  cpu->be.linear_back_w_acc = cpu->own.linear_back_w_acc;
  if (kind != GEMM_OWN && !cpu_library_install(cpu, kind == GEMM_LIBRARY_BF16)) return false;
  snprintf(cpu->gemm_path, sizeof cpu->gemm_path, "%s/%s", gemm_names[kind], isa);
  cpu->be.gemm_path = cpu->gemm_path;
  return true;
}

// CPU time of this thread: what else runs on the machine must not decide.
static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// The best of some runs of a GEMM like those of a small model's step: bf16 storage, 256 x 512 x
// 512. The first run, which makes primitives and scratch, does not count.
static double measure(CpuBackend *cpu, Tensor y, Tensor x, Tensor w) {
  double best = INFINITY;
  for (int i = 0; i < 6; i++) {
    double start = seconds_now();
    cpu->be.linear(&cpu->be, y, x, w, TENSOR_NONE, false);
    if (i > 0) best = fmin(best, seconds_now() - start);
  }
  return best;
}

// Measured on one thread, about 10 ms a kind. The choice decides bits, so it must not flicker
// between two runs on one machine: the own GEMM, whose bits no number of threads changes, stays
// unless another is faster by a clear margin.
static Status measure_gemms(CpuBackend *cpu, const char *isa, Error *err) {
  enum { M = 256, N = 512, K = 512 };
  const double margin = 1.25;
  bf16 *memory = malloc((M * N + M * K + N * K) * sizeof *memory);
  if (memory == NULL) return error_set(err, STATUS_MEMORY, "no memory to measure the GEMM");
  for (int64_t i = 0; i < M * N + M * K + N * K; i++)
    memory[i] = bf16_from_f32((float)(i % 61 - 30));
  Tensor y = tensor_make(memory, DT_BF16, M, N), x = tensor_make(memory + M * N, DT_BF16, M, K),
         w = tensor_make(memory + M * N + M * K, DT_BF16, N, K);
  GemmKind best = GEMM_OWN;
  double best_seconds = INFINITY;
  int threads = cpu->threads;
  cpu->threads = 1;
  for (int kind = 0; kind < GEMM_KINDS; kind++) {
    if (!set_gemm(cpu, (GemmKind)kind, isa)) continue;
    double seconds = measure(cpu, y, x, w) * (kind == GEMM_OWN ? 1 : margin);
    if (seconds < best_seconds) {
      best = (GemmKind)kind;
      best_seconds = seconds;
    }
  }
  cpu->threads = threads;
  cpu_library_close(cpu); // its primitives are made for one thread
  set_gemm(cpu, best, isa);
  free(memory);
  return STATUS_OK;
}

static Status choose_gemm(CpuBackend *cpu, const char *isa, const char *name, Error *err) {
  if (name == NULL) return measure_gemms(cpu, isa, err);
  for (int i = 0; i < GEMM_KINDS; i++) {
    if (strcmp(name, gemm_names[i]) == 0) {
      if (set_gemm(cpu, (GemmKind)i, isa)) return STATUS_OK;
      return error_set(err, STATUS_USAGE, "this CPU has no arithmetic for the GEMM %s", name);
    }
  }
  return error_set(err, STATUS_USAGE, "unknown GEMM '%s'; expected own, onednn-f32 or onednn-bf16",
                   name);
}

Status backend_cpu_open(Backend **out, const CpuOptions *options, Error *err) {
  Status status = STATUS_OK;
  CpuOptions chosen = options != NULL ? *options : (CpuOptions){0};
  CpuBackend *cpu = calloc(1, sizeof *cpu);
  if (cpu == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CPU backend");
  cpu_memory_install(&cpu->be);
  cpu_reference_install(&cpu->be);
  cpu->ref = cpu->be;
  cpu->be.name = "cpu-reference";
  cpu->be.gemm_path = "reference";
  if (chosen.threads < 0) {
    TRY(error_set(err, STATUS_USAGE, "%d threads; expected 1 or more, or 0 for one a core",
                  chosen.threads));
  }
  cpu->threads = chosen.threads > 0 ? chosen.threads : usable_cores();
  if (!chosen.reference) {
    const CpuIsa *isa = NULL;
    TRY(choose_isa(&isa, chosen.isa, err));
    isa->install(&cpu->be);
    cpu->own = cpu->be;
    cpu->be.name = "cpu";
    TRY(choose_gemm(cpu, isa->name, chosen.gemm, err));
    cpu->be.counts = (BackendCounts){.scratch = cpu->be.counts.scratch};
    TRY(cpu_shadow_open(cpu, err));
  }
  *out = &cpu->be;
  return STATUS_OK;
done:
  cpu->be.close(&cpu->be);
  return status;
}
