// The SHA-256 of a file.
#ifndef VMA_FILE_HASH_H
#define VMA_FILE_HASH_H

#include "error.h"
#include "sha256.h"

Status file_hash(const char *path, char hex[SHA256_HEX], Error *err);

#endif
