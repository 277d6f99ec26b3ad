// Time to turn files of examples into token ids, and the process's peak memory beside what the
// tokens themselves take.
//
//   bench_data TOKENIZER TEMPLATE FILE...
#include "dataset.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// The process's peak of resident memory in MiB, from the kernel.
static double peak_mib(void) {
  char line[256];
  double kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  if (f == NULL) return 0;
  while (fgets(line, sizeof line, f) != NULL) sscanf(line, "VmHWM: %lf", &kib);
  fclose(f);
  return kib / 1024;
}

int main(int argc, char **argv) {
  Error err = {0};
  Tokenizer *tokenizer = NULL;
  TemplateKind kind = argc > 2 ? template_kind_from_name(argv[2]) : TEMPLATE_COUNT;
  if (argc < 4 || kind == TEMPLATE_COUNT) {
    fprintf(stderr, "usage: bench_data TOKENIZER TEMPLATE FILE...\n");
    return STATUS_USAGE;
  }
  if (tokenizer_open(&tokenizer, argv[1], &err) != STATUS_OK) {
    fprintf(stderr, "%s\n", err.message);
    return (int)err.status;
  }
  DatasetOptions options = {.template = template_builtin(kind), .cutoff_len = 512};
  for (int i = 3; i < argc; i++) {
    Dataset d;
    double before = peak_mib(), start = now();
    if (dataset_load(&d, argv[i], tokenizer, &options, &err) != STATUS_OK) {
      fprintf(stderr, "%s\n", err.message);
      return (int)err.status;
    }
    double seconds = now() - start;
    double kept = (double)(d.n_tokens * 4 + d.n * (int64_t)sizeof(Example)) / (1 << 20);
    printf("%s: %lld examples, %lld tokens in %.2f s (%.2f million tokens/s); peak %.1f MiB, %.1f "
           "before, tokens and examples %.1f\n",
           argv[i], (long long)d.n, (long long)d.n_tokens, seconds,
           (double)d.n_tokens / seconds / 1e6, peak_mib(), before, kept);
    dataset_free(&d);
  }
  tokenizer_close(tokenizer);
  return 0;
}
