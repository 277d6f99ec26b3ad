// Values of any dtype as doubles: what lets the plain C reference be written once for all dtypes.
// The reference loads whole operands, computes in double and rounds once, at the store. It is the
// standard that others are measured against: simple, not fast, and it takes scratch memory as it
// goes.
#ifndef VMA_REF_VALUES_H
#define VMA_REF_VALUES_H

#include "tensor.h"

// Scratch of n doubles, zero; freed by free(). A machine without memory for it ends the program.
double *ref_scratch(int64_t n);

// Row r of t (any dtype but i64 and u8) into out[t.cols].
void ref_load_row(double *out, Tensor t, int64_t row);

// All of t, dense; freed by free().
double *ref_load(Tensor t);

// Rounds to nearest even, once, from double.
void ref_store_row(Tensor t, int64_t row, const double *values);
void ref_store(Tensor t, const double *values);

double ref_get(Tensor t, int64_t row, int64_t col); // not of quantised types
void ref_set(Tensor t, int64_t row, int64_t col, double value);

// What storing v as `dtype` and loading it again gives.
double ref_round(DType dtype, double v);

// Element i of an i32 [1,n] tensor; `fallback` where the tensor is not given.
int32_t ref_i32(Tensor t, int64_t i, int32_t fallback);

// The same, and it must lie in [0, limit): an id outside of its table is our mistake.
int64_t ref_index(const char *op, const char *name, Tensor t, int64_t i, int64_t limit);

#endif
