#include "standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

void standard_streams_hold(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is fd; open the wrong way round, so that using it is an error.
    if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}
