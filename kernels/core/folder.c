#include "folder.h"

#include "mapped_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Status refuse(const char *path, const char *action, Error *err) {
  return error_set(err, STATUS_IO, "%s: %s: %s", path, action, strerror(errno));
}

Status folder_remove(const char *path, Error *err) {
  Status status = STATUS_OK;
  DIR *dir = opendir(path);
  if (dir == NULL) return errno == ENOENT ? STATUS_OK : refuse(path, "cannot be removed", err);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
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

static void forget(NewFolder *folder) {
  free(folder->path);
  free(folder->temp);
  free(folder->parent);
  *folder = (NewFolder){0};
}

Status new_folder_open(NewFolder *folder, const char *path, Error *err) {
  Status status = STATUS_OK;
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  *folder = (NewFolder){.path = strndup(path, length)};
  if (folder->path == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  if (file_exists(folder->path)) {
    TRY(error_set(err, STATUS_USAGE,
                  "%s: exists already; give a folder that is not there yet, or remove it first",
                  folder->path));
  }
  const char *slash = strrchr(folder->path, '/');
  folder->parent =
      slash == NULL
          ? strdup(".")
          : strndup(folder->path, slash == folder->path ? 1 : (size_t)(slash - folder->path));
  if (folder->parent == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  TRY(file_make_folders(folder->parent, err));
  if (asprintf(&folder->temp, "%s.tmp-XXXXXX", folder->path) < 0) {
    folder->temp = NULL;
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  }
  if (mkdtemp(folder->temp) == NULL) {
    status = refuse(folder->path, "cannot be made as a folder", err);
    free(folder->temp);
    folder->temp = NULL;
    goto done;
  }
  mode_t mask = umask(0);
  umask(mask);
  chmod(folder->temp, 0777 & ~mask); // mkdtemp's is for the owner only
done:
  if (status != STATUS_OK) forget(folder);
  return status;
}

Status new_folder_commit(NewFolder *folder, Error *err) {
  Status status = STATUS_OK;
  TRY(folder_sync(folder->temp, err));
  if (rename(folder->temp, folder->path) != 0) {
    TRY(refuse(folder->path, "cannot be renamed from its temporary name", err));
  }
  free(folder->temp);
  folder->temp = NULL;
  TRY(folder_sync(folder->parent, err));
done:
  new_folder_abort(folder);
  return status;
}

void new_folder_abort(NewFolder *folder) {
  if (folder->temp != NULL) folder_remove(folder->temp, NULL);
  forget(folder);
}

Status folder_write_text(const char *folder, const char *name, const char *text, Error *err) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0)
    return error_set(err, STATUS_MEMORY, "%s: no memory", folder);
  Status status = file_write(path, text, (int64_t)strlen(text), err);
  free(path);
  return status;
}
