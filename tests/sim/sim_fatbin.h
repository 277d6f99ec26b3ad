// Finds the PTX in a registered fat binary.
#ifndef VMA_SIM_FATBIN_H
#define VMA_SIM_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The text of compute_`arch`, or of the highest below it; *found: which. NULL: `message` says why.
const char *sim_fatbin_ptx(const void *wrapper, int arch, int64_t *bytes, int *found, char *message,
                           size_t message_size);

#endif
