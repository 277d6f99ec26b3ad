// The simulated device for tests of whole models: its module, opened as a program opens it, and its
// control.
#ifndef VMA_SIM_MODULE_H
#define VMA_SIM_MODULE_H

#include "../sim/sim_control.h"
#include "backend.h"

// The control of the module ($VMA_SIM_MODULE); ends the test as skipped (77) where the build has
// none, since no toolkit was found.
const SimControl *sim_module_control(void);

// A backend on it; ends the program where it cannot be opened.
Backend *sim_module_open(void);

// Fails the test for every report, and clears them.
void sim_module_expect_clean(void);

#endif
