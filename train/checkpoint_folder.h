// Folders that replace one another whole: for checkpoints.
#ifndef VMA_CHECKPOINT_FOLDER_H
#define VMA_CHECKPOINT_FOLDER_H

#include "folder.h"

// A string by printf's rules, to be freed by the caller. Ends the process without memory.
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Puts the finished folder `temp` in the place of `path` (in the same parent, which is made
// durable); one that was there is removed after.
Status folder_replace(const char *temp, const char *path, Error *err);

#endif
