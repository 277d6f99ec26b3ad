#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *func, const char *cond, const char *fmt,
                  ...) {
  fprintf(stderr, "%s:%d: %s: check '%s' failed: ", file, line, func, cond);
  va_list args;
  va_start(args, fmt);
  vfprintf(stderr, fmt, args);
  va_end(args);
  fputc('\n', stderr);
  abort();
}
