#include "file_hash.h"

#include "mapped_file.h"

enum { PIECE = 1 << 20 };

Status file_hash(const char *path, char hex[SHA256_HEX], Error *err) {
  Status status = STATUS_OK;
  MappedFile file = {.fd = -1};
  uint8_t digest[SHA256_BYTES];
  Sha256 sha;
  TRY(file_map(&file, path, err));
  sha256_init(&sha);
  for (int64_t at = 0, n; at < file.size; at += n) { // a mapped page read is memory of the process
    n = file.size - at < PIECE ? file.size - at : PIECE;
    sha256_add(&sha, file.data + at, n);
    file_release_pages(&file, at, n);
  }
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
  TRY(file_check(&file, err));
done:
  file_unmap(&file);
  return status;
}
