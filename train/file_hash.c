#include "file_hash.h"

#include "mapped_file.h"

Status file_hash(const char *path, char hex[SHA256_HEX], Error *err) {
  Status status = STATUS_OK;
  MappedFile file = {.fd = -1};
  uint8_t digest[SHA256_BYTES];
  Sha256 sha;
  TRY(file_map(&file, path, err));
  sha256_init(&sha);
  sha256_add(&sha, file.data, file.size);
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
  TRY(file_check(&file, err));
done:
  file_unmap(&file);
  return status;
}
