#include "mapped_file.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// A fault on a mapped page that the file no longer backs raises SIGBUS in whichever thread touched
// it. The handler finds the mapping in this table, puts a page of zeros there and marks the mapping
// as damaged; the reader goes on, and file_check turns the mark into an error. The table is only
// read in the handler.
enum { MAPPINGS_MAX = 256 };

typedef struct Mapping {
  _Atomic uintptr_t begin, end; // end 0: free
  atomic_bool damaged;
} Mapping;

static Mapping mappings[MAPPINGS_MAX];
static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction handler_before;
static uintptr_t page_bytes;

static void on_sigbus(int signal_number, siginfo_t *info, void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  for (int i = 0; i < MAPPINGS_MAX; i++) {
    if (address < mappings[i].begin || address >= mappings[i].end) continue;
    uintptr_t page = address & ~(page_bytes - 1);
    void *zeros =
        mmap((void *)page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) break;
    mappings[i].damaged = true;
    return;
  }
  if (handler_before.sa_flags & SA_SIGINFO) {
    handler_before.sa_sigaction(signal_number, info, context);
  } else if (handler_before.sa_handler != SIG_DFL && handler_before.sa_handler != SIG_IGN) {
    handler_before.sa_handler(signal_number);
  } else {
    signal(SIGBUS, SIG_DFL); // the access is repeated and ends the process
  }
}

static void install_handler(void) {
  page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
  struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &handler_before);
}

// -1 when the table is full: such a mapping works, but without the protection.
static int add_mapping(const void *data, int64_t size) {
  pthread_once(&handler_once, install_handler);
  int slot = -1;
  pthread_mutex_lock(&mappings_lock);
  for (int i = 0; i < MAPPINGS_MAX && slot < 0; i++) {
    if (mappings[i].end == 0) slot = i;
  }
  if (slot >= 0) {
    uintptr_t pages = ((uintptr_t)size + page_bytes - 1) / page_bytes;
    mappings[slot].damaged = false;
    mappings[slot].begin = (uintptr_t)data;
    mappings[slot].end = (uintptr_t)data + pages * page_bytes;
  }
  pthread_mutex_unlock(&mappings_lock);
  return slot;
}

static Status refuse(const char *path, const char *action, Error *err) {
  int code = errno;
  Status status = code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM ||
                          code == EISDIR || code == ELOOP || code == ENAMETOOLONG
                      ? STATUS_NO_INPUT
                      : STATUS_IO;
  if (code == ENOMEM) status = STATUS_MEMORY;
  return error_set(err, status, "%s: %s: %s", path, action, strerror(code));
}

static int open_for_reading(const char *path) {
  int fd;
  do fd = open(path, O_RDONLY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// From where fd stands to its end, NUL-terminated; `expected` sizes the first buffer.
static Status read_rest(int fd, const char *path, int64_t expected, int64_t limit, char **text,
                        int64_t *size, Error *err) {
  Status status = STATUS_OK;
  int64_t capacity = expected + 4096, used = 0;
  char *buffer = malloc((size_t)capacity);
  if (buffer == NULL) {
    return error_set(err, STATUS_MEMORY, "%s: no memory to read %lld bytes", path,
                     (long long)capacity);
  }
  for (;;) {
    if (used + 1 >= capacity) {
      capacity *= 2;
      char *larger = realloc(buffer, (size_t)capacity);
      if (larger == NULL) {
        status = error_set(err, STATUS_MEMORY, "%s: no memory to read %lld bytes", path,
                           (long long)capacity);
        break;
      }
      buffer = larger;
    }
    ssize_t got = read(fd, buffer + used, (size_t)(capacity - used - 1));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      status = refuse(path, "cannot be read", err);
      break;
    }
    if (got == 0) break;
    used += got;
    if (used > limit) {
      status = error_set(err, STATUS_DATA,
                         "%s: larger than %lld bytes, the most that such a file may have", path,
                         (long long)limit);
      break;
    }
  }
  if (status != STATUS_OK) {
    free(buffer);
    return status;
  }
  buffer[used] = '\0';
  *text = buffer;
  *size = used;
  return STATUS_OK;
}

Status file_map(MappedFile *file, const char *path, Error *err) {
  Status status = STATUS_OK;
  struct stat st;
  *file = (MappedFile){.fd = -1, .slot = -1, .path = strdup(path)};
  if (file->path == NULL) return error_set(err, STATUS_MEMORY, "%s: no memory", path);
  file->fd = open_for_reading(path);
  if (file->fd < 0 || fstat(file->fd, &st) != 0) {
    TRY(refuse(path, "cannot be opened", err));
  }
  if (S_ISDIR(st.st_mode)) {
    TRY(error_set(err, STATUS_NO_INPUT, "%s: expected a file, found a folder", path));
  }
  if (!S_ISREG(st.st_mode)) {
    char *text;
    TRY(read_rest(file->fd, path, 1 << 16, INT64_MAX / 4, &text, &file->size, err));
    file->data = (uint8_t *)text;
    close(file->fd);
    file->fd = -1;
    return STATUS_OK;
  }
  file->size = st.st_size;
  file->mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
  if (file->size == 0) return STATUS_OK;
  void *data = mmap(NULL, (size_t)file->size, PROT_READ, MAP_SHARED, file->fd, 0);
  if (data == MAP_FAILED) {
    TRY(refuse(path, "cannot be mapped", err));
  }
  file->data = data;
  file->slot = add_mapping(data, file->size);
done:
  if (status != STATUS_OK) file_unmap(file);
  return status;
}

Status file_check(const MappedFile *file, Error *err) {
  if (file->fd < 0) return STATUS_OK;
  struct stat st;
  if (fstat(file->fd, &st) != 0) return refuse(file->path, "cannot be examined", err);
  if (st.st_size != file->size) {
    return error_set(err, STATUS_DATA,
                     "%s: changed from %lld to %lld bytes while it was read: run again once it is "
                     "complete",
                     file->path, (long long)file->size, (long long)st.st_size);
  }
  if (st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != file->mtime_ns) {
    return error_set(err, STATUS_DATA,
                     "%s: was written to while it was read: run again once it is complete",
                     file->path);
  }
  if (file->slot >= 0 && mappings[file->slot].damaged) {
    return error_set(err, STATUS_IO, "%s: a part of it could not be read", file->path);
  }
  return STATUS_OK;
}

void file_release_pages(const MappedFile *file, int64_t offset, int64_t bytes) {
  if (file->fd < 0 || bytes <= 0) return;
  CHECK(offset >= 0 && offset <= file->size && bytes <= file->size - offset,
        "%s: [%lld, +%lld) of %lld", file->path, (long long)offset, (long long)bytes,
        (long long)file->size);
  // Only whole pages: the neighbours' share of the first and the last one may be in use.
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t begin = ((uintptr_t)file->data + (uintptr_t)offset + page - 1) & ~(page - 1);
  uintptr_t end = ((uintptr_t)file->data + (uintptr_t)(offset + bytes)) & ~(page - 1);
  if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void file_unmap(MappedFile *file) {
  if (file->path == NULL) return; // never opened
  if (file->slot >= 0) {
    pthread_mutex_lock(&mappings_lock);
    mappings[file->slot].end = 0;
    mappings[file->slot].begin = 0;
    pthread_mutex_unlock(&mappings_lock);
  }
  if (file->fd >= 0) {
    if (file->data != NULL) munmap((void *)(uintptr_t)file->data, (size_t)file->size);
    close(file->fd);
  } else {
    free((void *)(uintptr_t)file->data);
  }
  free(file->path);
  *file = (MappedFile){.fd = -1, .slot = -1};
}

Status file_read_all(char **text, int64_t *size, const char *path, int64_t limit, Error *err) {
  Status status = STATUS_OK;
  struct stat st;
  int fd = open_for_reading(path);
  if (fd < 0 || fstat(fd, &st) != 0) {
    TRY(refuse(path, "cannot be opened", err));
  }
  if (S_ISDIR(st.st_mode)) {
    TRY(error_set(err, STATUS_NO_INPUT, "%s: expected a file, found a folder", path));
  }
  if (S_ISREG(st.st_mode) && st.st_size > limit) {
    TRY(error_set(err, STATUS_DATA, "%s: %lld bytes; such a file may have %lld at most", path,
                  (long long)st.st_size, (long long)limit));
  }
  TRY(read_rest(fd, path, S_ISREG(st.st_mode) ? st.st_size : 4096, limit, text, size, err));
done:
  if (fd >= 0) close(fd);
  return status;
}

bool file_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

bool file_is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
