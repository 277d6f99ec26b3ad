// Parity of a backend's op with the plain C reference (design: tests). A case names its tensors and
// how to call the op; parity_run does the rest:
//
//   exact      every f32 and bf16 tensor converted to f64, the op on the reference backend
//   naive      the same op in the case's own dtypes, by the case's own naive loop or, where it has
//              none, by the reference, which rounds once
//   tolerance  2 x the naive result's largest error + 1e-6 x the largest |exact|, tensor by tensor
//
// then for every instruction set of this CPU: outputs are poisoned with NaN before the call, guard
// bytes on both sides of every tensor and between its rows must be as before after it, inputs too,
// the result lies within the tolerance, and a second run and runs with other numbers of threads
// give the same bytes.
//
// With VMA_PARITY=cuda in the environment the same is done on the CUDA backend instead, simulated
// or real (VMA_CUDA_MODULE): tensors of the device, reports of the simulated device are failures,
// the second run takes another order of blocks, warps and streams and another number of
// multiprocessors, and what the op asks for as scratch is what its shadow plans.
#ifndef VMA_PARITY_H
#define VMA_PARITY_H

#include "backend.h"

typedef enum ParityRole {
  PARITY_IN,  // read; must not change
  PARITY_OUT, // overwritten: poisoned before
  PARITY_ACC, // its content is an input too: added to, or changed in place
} ParityRole;

typedef struct ParityTensor {
  const char *name;
  ParityRole role;
  Tensor t; // the initial content; never handed to an op itself
} ParityTensor;

enum { PARITY_MAX = 24, PARITY_NAME = 160 };

typedef struct ParityCase {
  char name[PARITY_NAME];
  int n;
  ParityTensor tensors[PARITY_MAX];
  // Calls the op; t[i] is the i-th tensor of the case. User data says what else (dims, flags).
  void (*call)(Backend *be, const Tensor *t, const void *user);
  const void *user;
  // The op done naively in f32 (accumulating in f32, storing as the tensors' dtypes), for ops whose
  // long sums no one rounds only once. NULL: see above.
  void (*naive)(const Tensor *t, const void *user);
  bool exact;               // the bytes of the reference in the same dtypes, no tolerance
  bool threads_change_bits; // the backend documents it so
  const char *gemm;         // CpuOptions.gemm; NULL = "own"
} ParityCase;

// Adds a tensor of normal deviates times `scale`, drawn by Philox from a seed that name and
// position in the case fix; returns its index. pad: extra elements between rows; an odd pad also
// starts the tensor off its alignment. An i32 tensor is zero, and so is a quantised one: fill them
// by hand.
int parity_add(ParityCase *c, const char *name, ParityRole role, DType dtype, int64_t rows,
               int64_t cols, int64_t pad, double scale);

// The data of an i32 tensor of the case, to fill it.
int32_t *parity_i32(ParityCase *c, int index);

// Adds an i32 [1,n] tensor with the given values, or when `values` is NULL with draws from [0,
// below).
int parity_add_i32(ParityCase *c, const char *name, const int32_t *values, int64_t n,
                   int64_t below);

// Fills a quantised tensor of the case with random blocks of moderate scale.
void parity_quantised(ParityCase *c, int index);

// Runs the case as above and releases its tensors. Failures are reported as of test.h, with the
// case's name, the instruction set, the tensor and the worst element.
void parity_run(ParityCase *c);

// ---- the pieces, for tests of another form ----

// A guarded tensor filled with NaN (or -1). Released by parity_release_all.
Tensor parity_tensor(DType dtype, int64_t rows, int64_t cols, int64_t pad);
Tensor parity_clone(Tensor t, DType dtype); // converted; i32, f16 and quantised stay as they are
void parity_random(Tensor t, uint64_t seed, double scale);
bool parity_guards_intact(Tensor t);
void parity_release_all(void);

double parity_get(Tensor t, int64_t row, int64_t col); // f32, bf16, f16, f64, i32
void parity_set(Tensor t, int64_t row, int64_t col, double value);

// max |a - b|; equal infinities count as 0, a NaN in either as infinity.
double parity_distance(Tensor a, Tensor b);
double parity_largest(Tensor t); // max |t|, infinities left out

// Whether cases run on the CUDA backend: tests may leave out what a simulated device is too slow
// for, where a smaller case asks the same, and what is about the CPU.
bool parity_on_cuda(void);
Backend *parity_cuda(void);

// The backends of the tests, opened once: the reference, and cpu with `isa`, `threads` and `gemm`;
// NULL when this CPU lacks the instruction set.
Backend *parity_reference(void);
Backend *parity_cpu(const char *isa, int threads, const char *gemm);

extern const char *const parity_isas[4]; // "base", "avx2", "avx512", "avx512bf16"

#endif
