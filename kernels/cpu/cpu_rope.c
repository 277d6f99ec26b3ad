#include "cpu_rope.h"

#include <math.h>
#include <string.h>

enum { FIRST_POSITIONS = 256, MOST_FLOATS = 1 << 27 };

static void fill_table(CpuBackend *cpu, const float *freq, float *table, int64_t pairs) {
#pragma omp parallel for schedule(static) num_threads(cpu->threads)
  for (int64_t p = 0; p < cpu->rope_positions; p++) {
    float *row = table + p * 2 * pairs;
    for (int64_t i = 0; i < pairs; i++) {
      float angle = (float)p * freq[i];
      row[i] = (float)cos((double)angle);
      row[pairs + i] = (float)sin((double)angle);
    }
  }
}

// In doublings: a text that is written token by token asks for each new position.
static int64_t positions_for(int64_t largest) {
  int64_t n = FIRST_POSITIONS;
  while (n <= largest) n *= 2;
  return n;
}

// The table lies behind its frequencies, which take whole vectors.
static int64_t freq_floats(int64_t pairs) {
  return (pairs + 15) / 16 * 16;
}

void cpu_rope_note(Backend *be, const RopeArgs *args) {
  int64_t pairs = args->head_dim / 2, floats = positions_for(args->max_position) * 2 * pairs;
  if (floats <= MOST_FLOATS) cpu_scratch(be, SCRATCH_ROPE, freq_floats(pairs) + floats);
}

const float *cpu_rope_table(Backend *be, const RopeArgs *args) {
  CpuBackend *cpu = cpu_of(be);
  int64_t pairs = args->head_dim / 2, largest = 0;
  const int32_t *positions = args->positions.data;
  for (int64_t r = 0; r < args->positions.cols; r++) {
    if (positions[r] < 0) return NULL;
    if (positions[r] > largest) largest = positions[r];
  }
  int64_t needed = positions_for(largest);
  if (needed * 2 * pairs > MOST_FLOATS) return NULL;
  size_t freq_bytes = (size_t)pairs * sizeof(float);
  float *freq = cpu_scratch(be, SCRATCH_ROPE, freq_floats(pairs) + needed * 2 * pairs),
        *table = freq + freq_floats(pairs);
  bool same = cpu->rope_positions > 0 && cpu->rope_pairs == pairs &&
              memcmp(freq, args->inv_freq.data, freq_bytes) == 0;
  if (same && needed <= cpu->rope_positions) return table;
  memcpy(freq, args->inv_freq.data, freq_bytes);
  cpu->rope_pairs = pairs;
  cpu->rope_positions = needed;
  fill_table(cpu, freq, table, pairs);
  return table;
}
