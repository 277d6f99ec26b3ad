// Folders of files that appear and vanish whole.
#ifndef VMA_FOLDER_H
#define VMA_FOLDER_H

#include "error.h"

// Removes a folder and the files in it; what is not there is no error. A folder inside is not ours:
// it stays and is an error.
Status folder_remove(const char *path, Error *err);

// Makes the names in a folder durable.
Status folder_sync(const char *path, Error *err);

// Writes the text as the file `name` of a folder.
Status folder_write_text(const char *folder, const char *name, const char *text, Error *err);

// A folder that is filled under a temporary name beside its place and then renamed. A killed
// process leaves the temporary one, PATH.tmp-XXXXXX.
typedef struct NewFolder {
  char *path;   // without slashes at its end
  char *temp;   // where its files go until the commit
  char *parent; // made if need be
} NewFolder;

// STATUS_USAGE when `path` exists already.
Status new_folder_open(NewFolder *folder, const char *path, Error *err);

// Makes it durable under its name.
Status new_folder_commit(NewFolder *folder, Error *err);

// Removes the temporary folder; does nothing after a commit or for a zero-initialised struct.
void new_folder_abort(NewFolder *folder);

#endif
