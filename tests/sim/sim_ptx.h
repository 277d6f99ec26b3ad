// Kernels out of fat binaries: what the stand-in for libcudart asks of the PTX loader. A module is
// one registered fat binary (one .cu); its kernels stay valid until the module is freed.
#ifndef VMA_SIM_PTX_H
#define VMA_SIM_PTX_H

#include "sim.h"

typedef struct SimVariable { // of .global or .const space, at a host address: 256-byte aligned
  char *name;                // mangled
  uint8_t *data;
  int64_t bytes;
  bool constant;
} SimVariable;

typedef struct SimModule {
  int arch; // 80, 86, 90: of the PTX that was taken
  int64_t n_kernels, n_variables;
  SimKernel **kernels;
  SimVariable *variables;
  char *text; // the PTX, NUL-terminated
} SimModule;

// `wrapper` is what __cudaRegisterFatBinary is given. Takes the PTX of compute_`arch` (80, 86, 90),
// or else the highest that is lower. NULL: `message` says in one line what was wrong (layout not
// known, compressed, no PTX, a line that does not parse).
SimModule *sim_module_load(const void *wrapper, int arch, char *message, size_t message_size);
// The same from PTX text, for tests.
SimModule *sim_module_parse(const char *ptx, char *message, size_t message_size);
void sim_module_free(SimModule *module);

// By mangled name; NULL: there is none.
SimKernel *sim_module_kernel(const SimModule *module, const char *name);
SimVariable *sim_module_variable(const SimModule *module, const char *name);

// A kernel's parameters are kernel->params[0 .. n_params): the launch copies each of them from
// args[i] to `offset` of a buffer of kernel->param_bytes.
//
// Dynamic shared memory begins at kernel->static_shared, which is rounded up for it already:
// SimLaunch.shared_bytes = static_shared + dynamic_shared.

// Opcodes of the kernel that are not known, as one line ("mbarrier.init, wgmma.x"), or NULL.
// Running into one reports SIM_UNSUPPORTED and ends the launch.
const char *sim_kernel_unknown(const SimKernel *kernel);

// ---- mutation: what kernel->dropped may name ----

typedef enum SimPointKind {
  SIM_POINT_BARRIER,    // bar.sync and kin: skipped
  SIM_POINT_WARP_SYNC,  // bar.warp.sync: skipped
  SIM_POINT_ASYNC_WAIT, // cp.async.wait_*: skipped
  SIM_POINT_BOUNDS,     // a compare's guard before loads and stores: taken as always in bounds
} SimPointKind;

typedef struct SimPoint {
  SimPointKind kind;
  int64_t pc; // for kernel->dropped
  SimLine line;
  const char *text; // of the instruction: "bar.sync 0", "@%p1 bra $L__BB0_4", ...
} SimPoint;

// Writes at most `room` points in order of pc and returns how many there are.
int64_t sim_kernel_points(const SimKernel *kernel, SimPoint *points, int64_t room);

// Text of an instruction, for reports and listings.
const char *sim_kernel_text(const SimKernel *kernel, int64_t pc);

#endif
