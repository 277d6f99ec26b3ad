#include "thread_wait.h"

#include <stdlib.h>
#include <unistd.h>

void thread_wait_asleep(char **argv) {
  if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL) return;
  if (setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return;
  execv("/proc/self/exe", argv); // the variable is the mark that it was done
}
