// The plain C variant of every op: written from the formulas of backend.h, one value at a time in
// double, for every dtype including f64. The fast ops and the other backends are measured against
// it, and the gradient tests stand on it.
#ifndef VMA_CPU_REFERENCE_H
#define VMA_CPU_REFERENCE_H

#include "backend.h"

// Sets every op of the table; leaves life and memory (close, mem_alloc, ..., sync) as they are.
void cpu_reference_install(Backend *be);

// The parts of it.
void ref_install_elementwise(Backend *be);
void ref_install_rows(Backend *be);
void ref_install_norm(Backend *be);
void ref_install_rope(Backend *be);
void ref_install_attention(Backend *be);
void ref_install_linear(Backend *be);
void ref_install_lora(Backend *be);
void ref_install_loss(Backend *be);
void ref_install_optim(Backend *be);
void ref_install_choice(Backend *be);

// The dropout factors of one row: 0 or 1 / (1 - p) for each of n columns; all 1 when p == 0.
void ref_dropout_row(double *factors, int64_t n, const Dropout *dropout, int64_t row);

#endif
