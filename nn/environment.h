// What a program has to work with on this machine, as its `env` command prints it.
#ifndef VMA_ENVIRONMENT_H
#define VMA_ENVIRONMENT_H

#include "backend.h"

#include <stdio.h>

// CPU, libraries, CUDA's driver, toolkit and devices, and, where CUDA cannot be used, why. Needs
// neither a driver nor the CUDA module.
void environment_print(FILE *to, const char *program);

// The name that the kernel gives the CPU; "" where it gives none.
void environment_cpu_name(char *name, size_t size);

// The `env` command of a program: STATUS_OK and printed, or not that command. argv[1] is "env".
bool environment_wanted(int argc, char **argv);
Status environment_run(int argc, const char *program, Error *err);

#endif
