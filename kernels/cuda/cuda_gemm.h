// Plain matrix products through cuBLASLt, behind one function.
//
// The heuristic is asked once for each shape, so shapes must be few: rows of a batch, those of them
// with labels, prompts' and many texts' tokens come here rounded up to CUDA_ROW_MULTIPLE by rows of
// zeros (nn/device_batch.h). Up to CUDA_MATVEC_ROWS tokens of a step of generation are not rounded:
// cuda_matvec.cu takes them, and no product of theirs comes here. From there to 128 rows rounding
// costs little: the weight's bytes decide, which are read once either way.
#ifndef VMA_CUDA_GEMM_H
#define VMA_CUDA_GEMM_H

#include "cuda_backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// d = op(a) op(b) + bias, or d += ...; row-major matrices, op the transpose where asked for:
//   d    [m,n] f32 or bf16
//   a    [m,k], or [k,m] with trans_a: f32 or bf16
//   b    [k,n], or [n,k] with trans_b: a's dtype
//   bias [1,n] f32 or bf16, or none
// Products are summed in f32 (IEEE: never TF32), parts of a cut k too, and rounded once. Rows may
// have any stride and begin anywhere: what cuBLASLt does not take (not 16-byte aligned) is copied
// to `scratch` first, of cuda_scratch_gemm(d, a, b) bytes; NULL where that is 0.
void cuda_gemm(CudaBackend *cuda, Tensor d, Tensor a, bool trans_a, Tensor b, bool trans_b,
               Tensor bias, bool acc, void *scratch);

#ifdef __cplusplus
}
#endif
#endif
