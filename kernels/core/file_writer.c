// The writing half of mapped_file.h.
#include "mapped_file.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18 };

static Status refuse(const char *path, const char *action, Error *err) {
  int code = errno;
  return error_set(err, STATUS_IO, "%s: %s: %s%s", path, action, strerror(code),
                   code == ENOSPC || code == EDQUOT ? "; free some space and run again" : "");
}

// The folder that holds `path`, as a new string; NULL without memory.
static char *folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL) return strdup(".");
  return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

Status file_make_folders(const char *path, Error *err) {
  Status status = STATUS_OK;
  char *copy = strdup(path);
  if (copy == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  for (char *at = copy + 1;; at++) {
    if (*at != '/' && *at != '\0') continue;
    char kept = *at;
    *at = '\0';
    if (mkdir(copy, 0777) != 0 && !(errno == EEXIST && file_is_folder(copy))) {
      TRY(refuse(copy, "cannot be made as a folder", err));
    }
    *at = kept;
    if (kept == '\0') break;
  }
done:
  free(copy);
  return status;
}

static void close_writer(FileWriter *writer) {
  if (writer->fd >= 0) close(writer->fd);
  free(writer->path);
  free(writer->temp);
  free(writer->buffer);
  *writer = (FileWriter){.fd = -1};
}

void file_writer_abort(FileWriter *writer) {
  if (writer->path == NULL) return;
  if (writer->temp != NULL && writer->named) unlink(writer->temp);
  close_writer(writer);
}

// Names that the system gives to what is open already: a rename would replace the name itself
// (/dev/stdout is a link) instead of the file behind it.
static bool is_system_name(const char *path) {
  return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

static int open_direct(const char *path) {
  // The standard streams keep their place in a file that others write to as well.
  if (strcmp(path, "/dev/stdout") == 0) return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  if (strcmp(path, "/dev/stderr") == 0) return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  return open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

// The path, through a link where it is one: the link stays and what it names is replaced.
static char *resolve(const char *path) {
  struct stat st;
  char *target = NULL;
  if (!is_system_name(path) && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
    target = realpath(path, NULL);
  return target != NULL ? target : strdup(path);
}

Status file_writer_open(FileWriter *writer, const char *path, Error *err) {
  Status status = STATUS_OK;
  struct stat st;
  char *folder = NULL;
  *writer = (FileWriter){.fd = -1, .path = resolve(path), .buffer = malloc(BUFFER_BYTES)};
  if (writer->path == NULL || writer->buffer == NULL) {
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  }
  path = writer->path;
  bool exists = stat(path, &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) {
    TRY(error_set(err, STATUS_IO, "%s: cannot be written: it is a folder", path));
  }
  if (exists && (!S_ISREG(st.st_mode) || is_system_name(path))) { // a named pipe: nothing to rename
    writer->fd = open_direct(path);
    if (writer->fd < 0) TRY(refuse(path, "cannot be opened for writing", err));
    return STATUS_OK;
  }
  folder = folder_of(path);
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  if (folder == NULL || asprintf(&writer->temp, "%s/.%.200s.XXXXXX", folder, name) < 0) {
    writer->temp = NULL;
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  }
  writer->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (writer->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    writer->fd = mkostemp(writer->temp, O_CLOEXEC);
    writer->named = writer->fd >= 0;
  }
  if (writer->fd < 0) {
    status = refuse(path, "cannot be written", err);
    free(writer->temp);
    writer->temp = NULL;
    goto done;
  }
  mode_t mask = umask(0); // the file is private so far; a new file follows the umask
  umask(mask);
  fchmod(writer->fd, exists ? st.st_mode & 0777 : 0666 & ~mask);
done:
  free(folder);
  if (status != STATUS_OK) file_writer_abort(writer);
  return status;
}

static Status write_all(FileWriter *writer, const uint8_t *data, int64_t bytes, Error *err) {
  while (bytes > 0) {
    ssize_t put = write(writer->fd, data, (size_t)(bytes < 1 << 30 ? bytes : 1 << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return refuse(writer->path, "cannot be written", err);
    data += put;
    bytes -= put;
  }
  return STATUS_OK;
}

Status file_writer_put(FileWriter *writer, const void *data, int64_t bytes, Error *err) {
  CHECK(writer->fd >= 0 && bytes >= 0, "%lld bytes", (long long)bytes);
  Status status = STATUS_OK;
  writer->bytes += bytes;
  if (writer->buffered + bytes > BUFFER_BYTES) {
    TRY(write_all(writer, writer->buffer, writer->buffered, err));
    writer->buffered = 0;
  }
  if (bytes >= BUFFER_BYTES) return write_all(writer, data, bytes, err);
  if (bytes > 0) memcpy(writer->buffer + writer->buffered, data, (size_t)bytes);
  writer->buffered += bytes;
done:
  return status;
}

// Gives a file without a name its temporary one: a link replaces nothing, only a rename does.
static Status give_name(FileWriter *writer, Error *err) {
  char source[64];
  snprintf(source, sizeof source, "/proc/self/fd/%d", writer->fd);
  char *tail = writer->temp + strlen(writer->temp) - 6; // the XXXXXX of mkostemp
  for (unsigned attempt = 0; !writer->named && attempt < 1000; attempt++) {
    snprintf(tail, 7, "%06x", ((unsigned)getpid() * 1000 + attempt) & 0xffffff);
    writer->named = linkat(AT_FDCWD, source, AT_FDCWD, writer->temp, AT_SYMLINK_FOLLOW) == 0;
    if (!writer->named && errno != EEXIST) break;
  }
  return writer->named ? STATUS_OK : refuse(writer->path, "cannot be given its name", err);
}

Status file_writer_commit(FileWriter *writer, Error *err) {
  Status status = STATUS_OK;
  char *folder = NULL;
  TRY(write_all(writer, writer->buffer, writer->buffered, err));
  if (writer->temp != NULL) {
    if (fsync(writer->fd) != 0) TRY(refuse(writer->path, "cannot be made durable", err));
    TRY(give_name(writer, err));
    int closed = close(writer->fd); // NFS reports a full disk here
    writer->fd = -1;
    if (closed != 0) TRY(refuse(writer->path, "cannot be written", err));
    if (rename(writer->temp, writer->path) != 0) {
      TRY(refuse(writer->path, "cannot be renamed from its temporary name", err));
    }
    free(writer->temp);
    writer->temp = NULL; // from here on the new file is there
    folder = folder_of(writer->path);
    int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
      // Some network file systems refuse to sync a folder (EINVAL): nothing more can be done there.
      int synced = fsync(fd);
      int code = errno;
      close(fd);
      errno = code;
      if (synced != 0 && code != EINVAL && code != ENOTSUP) {
        TRY(refuse(writer->path, "its name cannot be made durable", err));
      }
    }
  }
done:
  free(folder);
  file_writer_abort(writer);
  return status;
}

Status file_write(const char *path, const void *data, int64_t bytes, Error *err) {
  Status status = STATUS_OK;
  FileWriter writer = {0};
  TRY(file_writer_open(&writer, path, err));
  TRY(file_writer_put(&writer, data, bytes, err));
  TRY(file_writer_commit(&writer, err));
done:
  file_writer_abort(&writer);
  return status;
}
