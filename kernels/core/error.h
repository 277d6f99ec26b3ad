// Errors caused by the world: a missing file, a bad value, a full disk (design: three classes of
// error).
//
// A function that such an error can reach returns Status and takes an Error* last. Only a program's
// main prints the message and exits with the status, which is also the process's exit code
// (sysexits.h where one fits). The message is one line: what file, where in it, what was expected,
// what was found, what to do.
#ifndef VMA_ERROR_H
#define VMA_ERROR_H

#include <stdarg.h>

typedef enum Status {
  STATUS_OK = 0,
  STATUS_FAILED = 1,     // an error with no better name
  STATUS_USAGE = 2,      // command line or config: a user's mistake in what was asked
  STATUS_DATA = 65,      // a file's content is not what its format says
  STATUS_NO_INPUT = 66,  // a file is missing or cannot be opened for reading
  STATUS_MEMORY = 71,    // memory cannot be had
  STATUS_IO = 74,        // reading or writing failed: full disk, I/O error
  STATUS_TEMPORARY = 75, // stopped by a signal after saving: run again to go on
} Status;

typedef struct Error {
  Status status;
  char message[1200]; // NUL-terminated UTF-8, no newline at the end
} Error;

// Formats the message into err (which may be NULL), cut at its size, and returns status.
Status error_set(Error *err, Status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "prefix: " before a message that a lower layer has set (for a path or a line that it did not
// know).
void error_prefix(Error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Runs a call that returns Status; on failure keeps it in `status` and jumps to the one `done`
// label, where everything is released in reverse order.
#define TRY(call)                                                                                  \
  do {                                                                                             \
    status = (call);                                                                               \
    if (status != STATUS_OK) goto done;                                                            \
  } while (0)

// The nearest of n candidates to `word` (Damerau-Levenshtein), or NULL when none is near enough to
// be a typing error.
const char *error_nearest(const char *word, const char *const *candidates, int n);

#endif
