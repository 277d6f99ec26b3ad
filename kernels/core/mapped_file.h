// Files: mapped for reading, read whole, written so that a crash or a full disk leaves either the
// old content or the new.
//
// Errors: a path that does not exist or may not be read is STATUS_NO_INPUT, all else that the
// system refuses is STATUS_IO; every message starts with the path.
#ifndef VMA_MAPPED_FILE_H
#define VMA_MAPPED_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct MappedFile {
  const uint8_t *data; // [size], read-only; NULL when size is 0. Page-aligned when it is a mapping
  int64_t size;
  char *path;
  int64_t mtime_ns; // when the file was last changed, as seen at the opening
  int fd;           // open while it is a mapping, else -1
  int slot;         // place in the table of mappings, -1: heap memory
} MappedFile;

// The content of `path` for reading. A regular file is mapped; a pipe or a device is read to its
// end. When a mapped file is cut or its disk fails while it is in use, the pages that cannot be had
// read as zeros instead of ending the process by SIGBUS, and file_check says so: call it after the
// last use of what was read, before the result counts.
Status file_map(MappedFile *file, const char *path, Error *err);

// STATUS_DATA when the file's size or time has changed since it was mapped, STATUS_IO when a part
// of it could not be read.
Status file_check(const MappedFile *file, Error *err);

// Gives the pages of [offset, offset + bytes) back to the system; they are read again from the file
// when touched again. A hint: nothing happens for heap memory.
void file_release_pages(const MappedFile *file, int64_t offset, int64_t bytes);

// Also right for a zero-initialised struct and after a failed file_map.
void file_unmap(MappedFile *file);

// The whole content, NUL-terminated (the NUL is not counted in *size), to be freed by the caller.
// More than `limit` bytes is STATUS_DATA.
Status file_read_all(char **text, int64_t *size, const char *path, int64_t limit, Error *err);

bool file_exists(const char *path);
bool file_is_folder(const char *path);

// Makes the folder and those above it that do not exist.
Status file_make_folders(const char *path, Error *err);

// Writing into a file of the same folder that has no name yet, so that a process that is killed
// leaves nothing (where the file system knows no such files: under a temporary name); commit makes
// it durable and gives it its name. A path that names a pipe or a device is written to directly.
typedef struct FileWriter {
  char *path, *temp; // temp is NULL when written to directly
  bool named;        // the file has its temporary name
  uint8_t *buffer;
  int64_t buffered;
  int64_t bytes; // put so far
  int fd;
} FileWriter;

Status file_writer_open(FileWriter *writer, const char *path, Error *err);
Status file_writer_put(FileWriter *writer, const void *data, int64_t bytes, Error *err);

// fsync, rename, fsync of the folder. On failure the temporary file is gone and the old one is as
// it was.
Status file_writer_commit(FileWriter *writer, Error *err);

// Removes the temporary file; does nothing after a commit or for a zero-initialised struct.
void file_writer_abort(FileWriter *writer);

// All at once.
Status file_write(const char *path, const void *data, int64_t bytes, Error *err);

#endif
