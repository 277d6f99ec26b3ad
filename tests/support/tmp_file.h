// Small files in the test's temporary folder, written by the thousand.
#ifndef VMA_TMP_FILE_H
#define VMA_TMP_FILE_H

#include <stdint.h>

// "TMP/name", valid until four calls later.
const char *tmp_path(const char *name);

// Makes the folder TMP/name if it is not there.
void tmp_folder(const char *name);

// A new file of this content; what was there is removed first, so that no file system waits for the
// disk. A failure ends the program.
void tmp_put(const char *name, const void *data, int64_t size);
void tmp_put_text(const char *name, const char *text);

void tmp_remove(const char *name);

#endif
