// Runs a fuzz target over a folder of inputs without libFuzzer: each file as it is, cut, and with
// single bits flipped, always the same ones.
#include "bytes.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUTS = 16, FLIPS = 48, INPUT_MAX = 1 << 20 };

static long n_runs;

// From memory of exactly this size, so that the address sanitizer sees a read behind it.
static void run(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size > 0 ? size : 1);
  if (copy == NULL) exit(1);
  if (size > 0) memcpy(copy, data, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
  n_runs++;
}

static void replay(const char *folder, const char *name) {
  static uint8_t data[INPUT_MAX];
  char path[1024];
  uint64_t state = 1;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  size_t size = fread(data, 1, sizeof data, file);
  fclose(file);
  run(data, size);
  for (int i = 0; i < CUTS && size > 0; i++) run(data, bytes_draw(&state) % size);
  for (int i = 0; i < FLIPS && size > 0; i++) {
    size_t at = bytes_draw(&state) % size;
    uint8_t bit = (uint8_t)(1u << bytes_draw(&state) % 8);
    data[at] ^= bit;
    run(data, size);
    data[at] ^= bit;
  }
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv) {
  struct dirent **entries;
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  int n = scandir(argv[1], &entries, NULL, by_name), files = 0;
  for (int i = 0; i < n; i++) {
    if (entries[i]->d_name[0] != '.') {
      replay(argv[1], entries[i]->d_name);
      files++;
    }
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  printf("%d files, %ld runs\n", files, n_runs);
  return files > 0 ? 0 : 1;
}
