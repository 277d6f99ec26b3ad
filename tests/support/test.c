#include "test.h"

#include <ftw.h>
#include <stdarg.h>
#include <unistd.h>

int test_failures;

void test_fail(const char *file, int line, const char *cond, const char *fmt, ...) {
  test_failures++;
  printf("%s:%d: expected %s: ", file, line, cond);
  va_list args;
  va_start(args, fmt);
  vprintf(fmt, args);
  va_end(args);
  printf("\n");
  fflush(stdout);
}

void test_run(const char *name, void (*fn)(void)) {
  int before = test_failures;
  fn();
  printf("%-60s %s\n", name, test_failures == before ? "ok" : "FAILED");
  fflush(stdout);
}

int test_done(void) {
  if (test_failures > 0) printf("%d expectations failed\n", test_failures);
  return test_failures > 0 ? 1 : 0;
}

static const char *if_exists(const char *path) {
  return path != NULL && access(path, R_OK) == 0 ? path : NULL;
}

const char *test_shared_data(void) {
  const char *path = getenv("VMA_TEST_DATA");
  return if_exists(path != NULL ? path : "../shared/data");
}

const char *test_small_model(void) {
  const char *path = getenv("VMA_MODEL");
  return if_exists(path != NULL ? path : "build/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

static char tmp_dir[256];

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static void remove_tmp_dir(void) {
  nftw(tmp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_tmp_dir(void) {
  if (tmp_dir[0] == '\0') {
    const char *base = getenv("TMPDIR");
    snprintf(tmp_dir, sizeof tmp_dir, "%s/vma-test-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(tmp_dir) == NULL) {
      perror(tmp_dir);
      exit(1);
    }
    atexit(remove_tmp_dir);
  }
  return tmp_dir;
}

void test_must(Status status, const Error *err) {
  if (status == STATUS_OK) return;
  printf("FAILED: %s\n", err->message);
  exit(1);
}
