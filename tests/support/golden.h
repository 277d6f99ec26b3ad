// The golden files of tests/golden, and relations that tests ask of numbers.
#ifndef VMA_GOLDEN_H
#define VMA_GOLDEN_H

#include "safetensors.h"

// Opens tests/golden/`path`; a failure ends the program with the message.
void golden_open(Safetensors *file, const char *path);

// The data of a tensor, alive until safetensors_close; *count elements (count may be NULL). A
// missing tensor or another dtype ends the program.
const float *golden_f32(const Safetensors *file, int64_t *count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const int32_t *golden_i32(const Safetensors *file, int64_t *count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *golden_u8(const Safetensors *file, int64_t *count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
