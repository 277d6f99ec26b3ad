// Our own mistakes: a shape that does not match, an arena that overflows, an index out of range.
// The process says where and aborts; these checks are on in release builds. Never used for what a
// user or a file can cause: see error.h.
#ifndef VMA_CHECK_H
#define VMA_CHECK_H

#define CHECK(cond, ...)                                                                           \
  do {                                                                                             \
    if (__builtin_expect(!(cond), 0))                                                              \
      check_failed(__FILE__, __LINE__, __func__, #cond, __VA_ARGS__);                              \
  } while (0)

// Prints "file:line: function: check 'cond' failed: message" on stderr and aborts.
void check_failed(const char *file, int line, const char *func, const char *cond, const char *fmt,
                  ...) __attribute__((noreturn, format(printf, 5, 6)));

#endif
