// Which device a program computes on: what its user asks for, and opening it.
#ifndef VMA_OPEN_DEVICE_H
#define VMA_OPEN_DEVICE_H

#include "backend.h"

// "auto", "cpu", "cuda" (the first GPU) or "cuda:N". STATUS_USAGE says what is expected; the
// caller puts the option's name before it.
Status device_name_check(const char *name, Error *err);

// Whether the name asks for the CPU, or for a GPU and nothing else.
bool device_name_is_cpu(const char *name);
bool device_name_is_cuda(const char *name);

enum { DEVICE_WHY_BYTES = 1200 };

// Opens the GPU that the name asks for. With "auto" a GPU that cannot be used is no error: *out is
// NULL, and `why` (DEVICE_WHY_BYTES, or NULL) gets the one line that says what is missing; with
// "cpu" *out is NULL and `why` empty. A machine without any trace of a driver is not asked further
// by "auto", so that its programs do not load libraries for nothing.
Status device_open_cuda(Backend **out, const char *name, char *why, Error *err);

#endif
