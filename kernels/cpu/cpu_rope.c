#include "cpu_rope.h"

#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_POSITIONS = 256, MOST_FLOATS = 1 << 27 };

static void fill_table(CpuBackend *cpu, int64_t from) {
  int64_t pairs = cpu->rope_pairs;
#pragma omp parallel for schedule(static) num_threads(cpu->threads)
  for (int64_t p = from; p < cpu->rope_positions; p++) {
    float *row = cpu->rope + p * 2 * pairs;
    for (int64_t i = 0; i < pairs; i++) {
      float angle = (float)p * cpu->rope_freq[i];
      row[i] = (float)cos((double)angle);
      row[pairs + i] = (float)sin((double)angle);
    }
  }
}

const float *cpu_rope_table(Backend *be, const RopeArgs *args) {
  CpuBackend *cpu = cpu_of(be);
  int64_t pairs = args->head_dim / 2, needed = FIRST_POSITIONS, from = cpu->rope_positions;
  const int32_t *positions = args->positions.data;
  for (int64_t r = 0; r < args->positions.cols; r++) {
    if (positions[r] < 0) return NULL;
    while (needed <= positions[r]) needed *= 2;
  }
  if (needed * 2 * pairs > MOST_FLOATS) return NULL;
  size_t freq_bytes = (size_t)pairs * sizeof(float);
  if (cpu->rope_pairs != pairs || memcmp(cpu->rope_freq, args->inv_freq.data, freq_bytes) != 0) {
    float *freq = realloc(cpu->rope_freq, freq_bytes);
    CHECK(freq != NULL, "no memory for %lld rope frequencies", (long long)pairs);
    memcpy(freq, args->inv_freq.data, freq_bytes);
    cpu->rope_freq = freq;
    cpu->rope_pairs = pairs;
    from = cpu->rope_positions = 0;
  }
  if (needed > from) {
    float *table = realloc(cpu->rope, (size_t)(needed * 2 * pairs) * sizeof *table);
    CHECK(table != NULL, "no memory for a rope table of %lld positions", (long long)needed);
    cpu->rope = table;
    cpu->rope_positions = needed;
    fill_table(cpu, from);
  }
  return cpu->rope;
}
