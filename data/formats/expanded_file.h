// A file's content, read once from front to back; what gzip has compressed is expanded to an
// unnamed file in $TMPDIR (or /tmp) first, so that it is pages of a file either way, not memory.
#ifndef VMA_EXPANDED_FILE_H
#define VMA_EXPANDED_FILE_H

#include "mapped_file.h"

typedef struct ExpandedFile {
  MappedFile file;     // as it is on the disk
  const uint8_t *data; // [size] its content
  int64_t size;
  uint8_t *expanded; // a mapping of the unnamed file; NULL: it was not compressed
  int64_t released;  // pages before it were given back
} ExpandedFile;

// STATUS_NO_INPUT, STATUS_IO, or STATUS_DATA for gzip data that is damaged.
Status expanded_file_open(ExpandedFile *file, const char *path, Error *err);

// Also right for a zero-initialised struct.
void expanded_file_close(ExpandedFile *file);

// As file_check: after the last use of what was read.
Status expanded_file_check(const ExpandedFile *file, Error *err);

// Everything before `pos` has been read: its pages are given back now and then.
void expanded_file_release(ExpandedFile *file, int64_t pos);

#endif
