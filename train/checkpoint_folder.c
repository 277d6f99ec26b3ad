#include "checkpoint_folder.h"

#include "check.h"
#include "mapped_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_format(const char *fmt, ...) {
  char *text = NULL;
  va_list args;
  va_start(args, fmt);
  int n = vasprintf(&text, fmt, args);
  va_end(args);
  CHECK(n >= 0, "no memory for a text");
  return text;
}

static Status refuse(const char *path, const char *action, Error *err) {
  return error_set(err, STATUS_IO, "%s: %s: %s", path, action, strerror(errno));
}

Status folder_replace(const char *temp, const char *path, Error *err) {
  Status status = STATUS_OK;
  const char *slash = strrchr(path, '/');
  CHECK(slash != NULL, "%s has no parent", path);
  char *parent = text_format("%.*s", (int)(slash - path), path);
  char *old = text_format("%s/.old-%s", parent, slash + 1);
  bool exists = file_exists(path);
  TRY(folder_sync(temp, err));
  if (exists) {
    TRY(folder_remove(old, err));
    if (rename(path, old) != 0) TRY(refuse(path, "cannot be replaced", err));
  }
  if (rename(temp, path) != 0) TRY(refuse(path, "cannot be renamed from its temporary name", err));
  TRY(folder_sync(parent, err));
  if (exists) TRY(folder_remove(old, err));
done:
  free(old);
  free(parent);
  return status;
}
