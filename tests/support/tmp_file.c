#include "tmp_file.h"

#include "test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tmp_path(const char *name) {
  static char paths[4][600];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof *paths, "%s/%s", test_tmp_dir(), name);
  return path;
}

static void stop(const char *name) {
  perror(name);
  exit(1);
}

void tmp_folder(const char *name) {
  if (mkdir(tmp_path(name), 0777) != 0 && errno != EEXIST) stop(name);
}

void tmp_put(const char *name, const void *data, int64_t size) {
  const char *path = tmp_path(name);
  unlink(path);
  FILE *file = fopen(path, "wb");
  if (file == NULL) stop(path);
  if (fwrite(data, 1, (size_t)size, file) != (size_t)size) stop(path);
  if (fclose(file) != 0) stop(path);
}

void tmp_put_text(const char *name, const char *text) {
  tmp_put(name, text, (int64_t)strlen(text));
}

void tmp_remove(const char *name) {
  unlink(tmp_path(name));
}
