// The parts of simd_install_*: each file of this folder is compiled once per instruction set, and
// SIMD(name) is the name with that set as its suffix.
#ifndef VMA_SIMD_INSTALL_H
#define VMA_SIMD_INSTALL_H

#include "cpu_backend.h"

#define SIMD_JOIN_TOKENS(a, b) a##_##b
#define SIMD_JOIN(a, b) SIMD_JOIN_TOKENS(a, b)
#define SIMD(name) SIMD_JOIN(name, VMA_ISA)

void SIMD(simd_install_elementwise)(Backend *be);
void SIMD(simd_install_rows)(Backend *be);
void SIMD(simd_install_norm)(Backend *be);
void SIMD(simd_install_rope)(Backend *be);
void SIMD(simd_install_attention)(Backend *be);
void SIMD(simd_install_attention_back)(Backend *be);
void SIMD(simd_install_gemm)(Backend *be);
void SIMD(simd_install_lora)(Backend *be);
void SIMD(simd_install_loss)(Backend *be);
void SIMD(simd_install_optim)(Backend *be);

#endif
