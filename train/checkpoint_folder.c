#include "checkpoint_folder.h"

#include "check.h"
#include "mapped_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

Status folder_remove(const char *path, Error *err) {
  Status status = STATUS_OK;
  DIR *dir = opendir(path);
  if (dir == NULL) return errno == ENOENT ? STATUS_OK : refuse(path, "cannot be removed", err);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    // Checkpoints hold files only: a folder inside is not ours and stays.
    if (unlinkat(dirfd(dir), entry->d_name, 0) != 0 && errno != ENOENT) {
      status = refuse(path, "cannot be removed", err);
      break;
    }
  }
  closedir(dir);
  if (status == STATUS_OK && rmdir(path) != 0 && errno != ENOENT)
    status = refuse(path, "cannot be removed", err);
  return status;
}

Status folder_sync(const char *path, Error *err) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return refuse(path, "cannot be opened", err);
  int synced = fsync(fd), code = errno;
  close(fd);
  errno = code;
  // Some network file systems refuse to sync a folder: nothing more can be done there.
  if (synced != 0 && code != EINVAL && code != ENOTSUP)
    return refuse(path, "cannot be made durable", err);
  return STATUS_OK;
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
