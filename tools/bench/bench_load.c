// Time to load a model's weights: opening with all checks, converting every tensor to f32 and to
// bf16 (median of five, into memory that was touched before and, as a process does it, into fresh
// memory), and the hash that identifies them.
//
//   bench_load MODEL
#include "llama_config.h"
#include "tensor_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 5 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static Status convert(const TensorStore *store, DType dtype, char *to, Error *err) {
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    Status status = store_read_rows(store, t, 0, t->rows, dtype, to, t->cols, err);
    if (status != STATUS_OK) return status;
    store_release_pages(store, t);
    to += t->rows * t->cols * (dtype == DT_F32 ? 4 : 2);
  }
  return STATUS_OK;
}

// Median seconds of converting everything.
static Status time_conversion(const TensorStore *store, DType dtype, int64_t elements, bool fresh,
                              double *median, Error *err) {
  Status status = STATUS_OK;
  double seconds[REPEATS];
  size_t bytes = (size_t)elements * (dtype == DT_F32 ? 4 : 2);
  char *room = NULL;
  for (int i = 0; i < REPEATS; i++) {
    if (fresh || room == NULL) {
      free(room);
      room = malloc(bytes);
      if (room == NULL) TRY(error_set(err, STATUS_MEMORY, "no memory for the weights"));
      if (!fresh) memset(room, 1, bytes);
    }
    double start = now();
    TRY(convert(store, dtype, room, err));
    seconds[i] = now() - start;
  }
  qsort(seconds, REPEATS, sizeof *seconds, ascending);
  *median = seconds[REPEATS / 2];
done:
  free(room);
  return status;
}

static Status bench(const char *path, Error *err) {
  Status status = STATUS_OK;
  TensorStore *store = NULL;
  LlamaConfig config;
  char hex[65];
  int64_t elements = 0;
  double start = now(), seconds;
  TRY(store_open(&store, path, err));
  TRY(llama_config_load(&config, store, err));
  printf("open and check   %7.3f s\n", now() - start);
  for (int64_t i = 0; i < store_count(store); i++) {
    elements += store_at(store, i)->rows * store_at(store, i)->cols;
  }
  for (int k = 0; k < 4; k++) {
    DType dtype = k < 2 ? DT_F32 : DT_BF16;
    TRY(time_conversion(store, dtype, elements, k % 2 == 0, &seconds, err));
    printf("to %-4s, %s %7.3f s, %.0f million weights/s\n", dtype_info(dtype)->name,
           k % 2 == 0 ? "fresh" : "warm ", seconds, 1e-6 * (double)elements / seconds);
  }
  start = now();
  TRY(store_hash(store, hex, err));
  printf("hash             %7.3f s, %s\n", now() - start, hex);
done:
  store_close(store);
  return status;
}

int main(int argc, char **argv) {
  Error err = {0};
  if (argc != 2) {
    fprintf(stderr, "usage: bench_load MODEL\n");
    return STATUS_USAGE;
  }
  Status status = bench(argv[1], &err);
  if (status != STATUS_OK) fprintf(stderr, "bench_load: %s\n", err.message);
  return (int)status;
}
