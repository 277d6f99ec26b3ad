// What every test program uses. A failed EXPECT prints where and what and makes the program exit
// with 1 at its end; TEST_SKIP prints the reason and exits with 77, which ctest shows as skipped.
#ifndef VMA_TEST_H
#define VMA_TEST_H

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int test_failures;

#define EXPECT(cond, ...)                                                                          \
  do {                                                                                             \
    if (!(cond)) test_fail(__FILE__, __LINE__, #cond, " " __VA_ARGS__);                            \
  } while (0)

#define TEST_SKIP(...)                                                                             \
  do {                                                                                             \
    printf("SKIP: " __VA_ARGS__);                                                                  \
    printf("\n");                                                                                  \
    exit(77);                                                                                      \
  } while (0)

// Runs a `static void name(void)` and prints its name with ok or FAILED.
#define RUN(name) test_run(#name, name)

void test_fail(const char *file, int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void test_run(const char *name, void (*fn)(void));

// `return test_done();` at the end of main: 0 when nothing failed.
int test_done(void);

// A call that the test cannot go on without: its message, and the end of the program.
void test_must(Status status, const Error *err);

// The folder of real data (VMA_TEST_DATA, else ../shared/data beside the checkout); NULL when
// absent.
const char *test_shared_data(void);

// The small real model (VMA_MODEL, else build/models/SmolLM2-135M-Instruct.Q4_1.gguf); NULL when
// absent.
const char *test_small_model(void);

// A fresh empty folder for this test's files, removed at exit.
const char *test_tmp_dir(void);

#endif
