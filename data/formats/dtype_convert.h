// File dtypes to f32 and bf16, for the readers of weights.
#ifndef VMA_DTYPE_CONVERT_H
#define VMA_DTYPE_CONVERT_H

#include "tensor.h"

// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K and Q6_K can be converted.
bool dtype_can_convert(DType src_dtype);

// dst[0..n) = src as f32 or bf16 (dtype); n is a multiple of src_dtype's block. f16 and bf16 are
// exact in f32; quantised weights as in quant.h; to bf16 rounded once, to nearest even, from f32.
// No alignment is asked of src.
void dtype_convert(DType dtype, void *dst, DType src_dtype, const uint8_t *src, int64_t n);

#endif
