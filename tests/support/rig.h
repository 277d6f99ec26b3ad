// A backend with its five arenas and a context on them: what a test of nn needs to run ops.
#ifndef VMA_RIG_H
#define VMA_RIG_H

#include "memory.h"
#include "tape.h"

typedef struct Rig {
  Memory memory;
  Ctx ctx;
  int32_t step; // what dropout_step holds
} Rig;

// Arenas of `mib` MiB each on the backend, which must outlive the rig; memory released by a mark is
// poisoned where the backend has any (not null). Activations of `dtype`. Ends the program when
// there is no memory. Ctx.dropout_step is in the cache arena and holds 1.
void rig_open(Rig *rig, Backend *be, DType dtype, int64_t mib);
void rig_close(Rig *rig);

// A tensor at the low end of the step arena: dense values of the host, converted to dtype.
Tensor rig_tensor(Rig *rig, DType dtype, int64_t rows, int64_t cols, const double *values);
Tensor rig_ints(Rig *rig, int64_t rows, int64_t cols, const int32_t *values);

// Element by element, as double. t: f32, bf16 or f64.
void rig_read(Rig *rig, double *out, Tensor t);

// The largest |a - b|; infinity when either is not finite.
double rig_distance(const double *a, const double *b, int64_t n);

// sqrt(sum a^2)
double rig_norm(const double *a, int64_t n);

// n deviates from N(0, scale^2), the same for the same seed.
void rig_draw(double *out, int64_t n, uint64_t seed, double scale);

// Runs fn in a child process and says whether it ended by a failed CHECK whose message contains
// `text`.
bool rig_aborts(void (*fn)(void *), void *user, const char *text);

#endif
