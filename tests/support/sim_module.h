// The simulated device for tests of whole models: its module, opened as a program opens it, and its
// control. Where VMA_SIM_MODULE is the module of a real device, the same tests run on that: its
// control asks nothing and reports nothing.
#ifndef VMA_SIM_MODULE_H
#define VMA_SIM_MODULE_H

#include "../sim/sim_control.h"
#include "backend.h"

// The control of the module ($VMA_SIM_MODULE); ends the test as skipped (77) where the build has
// none, since no toolkit was found.
const SimControl *sim_module_control(void);

// Whether the device is simulated, so that what only a simulator can see is to be expected.
bool sim_module_simulated(void);

// A backend on it; ends the program where it cannot be opened.
Backend *sim_module_open(void);

// Fails the test for every report, and clears them.
void sim_module_expect_clean(void);

#endif
