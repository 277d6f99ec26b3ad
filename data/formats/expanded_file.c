#include "expanded_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum {
  EXPAND_CHUNK = 1 << 18,
  RELEASE_BYTES = 1 << 23, // pages behind the reading are given back in steps of this
};

// An unnamed file for `bytes` that vanishes with its descriptor.
static int unnamed_file(void) {
  const char *folder = getenv("TMPDIR");
  if (folder == NULL || folder[0] == '\0') folder = "/tmp";
  int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  char name[4096]; // a file system without O_TMPFILE
  if (snprintf(name, sizeof name, "%s/vma-data-XXXXXX", folder) >= (int)sizeof name) return -1;
  fd = mkostemp(name, O_CLOEXEC);
  if (fd >= 0) unlink(name);
  return fd;
}

static Status put_expanded(int fd, const char *path, const uint8_t *data, size_t bytes,
                           Error *err) {
  while (bytes > 0) {
    ssize_t put = write(fd, data, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      return error_set(err, STATUS_IO,
                       "%s: cannot be expanded into $TMPDIR: %s; expand it with gunzip and give "
                       "the result",
                       path, strerror(errno));
    }
    data += put;
    bytes -= (size_t)put;
  }
  return STATUS_OK;
}

static Status inflate_file(ExpandedFile *f, int fd, Error *err) {
  Status status = STATUS_OK;
  uint8_t *chunk = malloc(EXPAND_CHUNK);
  z_stream stream = {0};
  if (chunk == NULL || inflateInit2(&stream, 15 + 16) != Z_OK) {
    free(chunk);
    return error_set(err, STATUS_MEMORY, "%s: no memory to expand it", f->file.path);
  }
  int64_t used = 0; // of the compressed file
  for (;;) {
    if (stream.avail_in == 0 && used < f->file.size) {
      int64_t left = f->file.size - used;
      uInt feed = (uInt)(left < EXPAND_CHUNK ? left : EXPAND_CHUNK);
      stream.next_in = (Bytef *)(uintptr_t)(f->file.data + used);
      stream.avail_in = feed;
      used += feed;
    }
    stream.next_out = chunk;
    stream.avail_out = EXPAND_CHUNK;
    int code = inflate(&stream, Z_NO_FLUSH);
    size_t got = EXPAND_CHUNK - stream.avail_out;
    int64_t at = used - (int64_t)stream.avail_in;
    TRY(put_expanded(fd, f->file.path, chunk, got, err));
    f->size += (int64_t)got;
    if (code == Z_STREAM_END) {
      if (at == f->file.size) break;
      if (inflateReset(&stream) != Z_OK) { // the next member of a concatenation
        TRY(error_set(err, STATUS_MEMORY, "%s: no memory to expand it", f->file.path));
      }
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      TRY(error_set(err, STATUS_DATA, "%s: byte %lld: not gzip data: %s", f->file.path,
                    (long long)at, stream.msg != NULL ? stream.msg : "damaged"));
    } else if (got == 0 && at == f->file.size) {
      TRY(error_set(err, STATUS_DATA,
                    "%s: byte %lld: the gzip data ends too early: the file is cut", f->file.path,
                    (long long)at));
    }
  }
done:
  inflateEnd(&stream);
  free(chunk);
  return status;
}

static Status expand(ExpandedFile *f, Error *err) {
  Status status = STATUS_OK;
  int fd = unnamed_file();
  if (fd < 0) {
    return error_set(err, STATUS_IO,
                     "%s: no temporary file can be made to expand it: %s; set TMPDIR, or expand it "
                     "with gunzip and give the result",
                     f->file.path, strerror(errno));
  }
  TRY(inflate_file(f, fd, err));
  if (f->size > 0) {
    void *data = mmap(NULL, (size_t)f->size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      TRY(error_set(err, STATUS_IO, "%s: cannot be mapped expanded: %s", f->file.path,
                    strerror(errno)));
    }
    f->expanded = data;
    f->data = data;
  }
  TRY(file_check(&f->file, err));
done:
  close(fd);
  return status;
}

Status expanded_file_open(ExpandedFile *f, const char *path, Error *err) {
  Status status = STATUS_OK;
  *f = (ExpandedFile){0};
  TRY(file_map(&f->file, path, err));
  if (f->file.size >= 2 && f->file.data[0] == 0x1F && f->file.data[1] == 0x8B) {
    TRY(expand(f, err));
  } else {
    f->data = f->file.data;
    f->size = f->file.size;
  }
done:
  if (status != STATUS_OK) expanded_file_close(f);
  return status;
}

void expanded_file_close(ExpandedFile *f) {
  if (f->expanded != NULL) munmap(f->expanded, (size_t)f->size);
  file_unmap(&f->file);
  *f = (ExpandedFile){0};
}

Status expanded_file_check(const ExpandedFile *f, Error *err) {
  return f->expanded == NULL ? file_check(&f->file, err) : STATUS_OK;
}

void expanded_file_release(ExpandedFile *f, int64_t pos) {
  if (pos - f->released < RELEASE_BYTES) return;
  if (f->expanded == NULL) {
    file_release_pages(&f->file, f->released, pos - f->released);
  } else {
    int64_t page = sysconf(_SC_PAGESIZE), from = f->released / page * page;
    madvise(f->expanded + from, (size_t)(pos / page * page - from), MADV_DONTNEED);
  }
  f->released = pos;
}
