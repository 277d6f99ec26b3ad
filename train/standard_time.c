#include "standard_time.h"

#include <time.h>

const char *standard_time(char text[STANDARD_TIME_BYTES]) {
  struct tm parts;
  time_t now = time(NULL);
  gmtime_r(&now, &parts);
  strftime(text, STANDARD_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}
