// Finds the PTX and the machine code in a registered fat binary.
#ifndef VMA_SIM_FATBIN_H
#define VMA_SIM_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The text of compute_`arch`, or of the highest below it; *found: which. NULL: `message` says why.
const char *sim_fatbin_ptx(const void *wrapper, int arch, int64_t *bytes, int *found, char *message,
                           size_t message_size);
// The ELF file of the highest architecture up to that, or NULL.
const uint8_t *sim_fatbin_machine_code(const void *wrapper, int arch, int64_t *bytes);

// What ptxas gave a kernel (mangled name): registers of a thread. 0: not found.
int sim_cubin_registers(const uint8_t *elf, int64_t bytes, const char *kernel);

#endif
