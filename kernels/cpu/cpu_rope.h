// The cosines and sines of rope: a table [positions][cos of each pair | sin of each pair], computed
// in double from angles rounded to f32 (as Hugging Face computes them) and kept for the frequencies
// that a model uses all its life.
#ifndef VMA_CPU_ROPE_H
#define VMA_CPU_ROPE_H

#include "cpu_backend.h"

// Asks for the memory of a table for all positions up to args->max_position.
void cpu_rope_note(Backend *be, const RopeArgs *args);

// The table for positions 0 .. the largest of the call, [position][2 * pairs]; NULL where that
// would be unreasonably large or a position is negative (then the reference serves).
const float *cpu_rope_table(Backend *be, const RopeArgs *args);

#endif
