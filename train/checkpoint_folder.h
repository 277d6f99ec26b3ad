// Folders that appear and vanish whole: for checkpoints.
#ifndef VMA_CHECKPOINT_FOLDER_H
#define VMA_CHECKPOINT_FOLDER_H

#include "error.h"

// A string by printf's rules, to be freed by the caller. Ends the process without memory.
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Removes a folder and all in it; what is not there is no error.
Status folder_remove(const char *path, Error *err);

// Makes the names in a folder durable.
Status folder_sync(const char *path, Error *err);

// Puts the finished folder `temp` in the place of `path` (in the same parent, which is made
// durable); one that was there is removed after.
Status folder_replace(const char *temp, const char *path, Error *err);

#endif
