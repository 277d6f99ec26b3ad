// labels: quick
// SHA-256: the vectors of FIPS 180-4 and NIST's example values, each with and without the CPU's SHA
// instructions, and in pieces of every size.
#include "sha256.h"
#include "test.h"

#include <time.h>

typedef struct Vector {
  const char *text;
  int64_t repeat;
  const char *hex;
} Vector;

static const Vector vectors[] = {
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnop"
     "q"
     "rsmnopqrstnopqrstu",
     1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void hash(const void *data, int64_t size, int64_t repeat, int64_t piece, char *hex) {
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  sha256_init(&sha);
  for (int64_t r = 0; r < repeat; r++) {
    for (int64_t at = 0; at < size; at += piece) {
      sha256_add(&sha, (const char *)data + at, size - at < piece ? size - at : piece);
    }
  }
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
}

static void test_vectors(void) {
  for (int on = 0; on < 2; on++) {
    bool used = sha256_use_instructions(on);
    EXPECT(on || !used);
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
      char hex[SHA256_HEX];
      int64_t size = (int64_t)strlen(vectors[i].text);
      hash(vectors[i].text, size, vectors[i].repeat, 1000, hex);
      EXPECT(strcmp(hex, vectors[i].hex) == 0, "%zu: %s", i, hex);
      hash(vectors[i].text, size, vectors[i].repeat, 7, hex);
      EXPECT(strcmp(hex, vectors[i].hex) == 0, "%zu in pieces: %s", i, hex);
    }
    printf("  SHA instructions: %s\n", used ? "used" : "not used");
  }
}

// Both paths agree for every length around the block borders, whatever the pieces.
static void test_paths_agree(void) {
  uint8_t data[400];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 41 + 3);
  for (int64_t size = 0; size <= (int64_t)sizeof data; size++) {
    char plain[SHA256_HEX], other[SHA256_HEX];
    sha256_use_instructions(false);
    hash(data, size, 1, 400, plain);
    sha256_use_instructions(true);
    for (int64_t piece = 1; piece <= 200; piece += 13) {
      hash(data, size, 1, piece, other);
      EXPECT(strcmp(plain, other) == 0, "%lld bytes in pieces of %lld", (long long)size,
             (long long)piece);
    }
  }
}

int main(void) {
  RUN(test_vectors);
  RUN(test_paths_agree);
  enum { SIZE = 1 << 26 };
  uint8_t *data = calloc(1, SIZE);
  for (int on = 0; on < 2; on++) {
    struct timespec start, end;
    char hex[SHA256_HEX];
    sha256_use_instructions(on);
    clock_gettime(CLOCK_MONOTONIC, &start);
    hash(data, SIZE, 1, SIZE, hex);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf(
        "  %s: %.2f GB/s\n", on ? "default" : "plain",
        SIZE * 1e-9 /
            ((double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec)));
  }
  free(data);
  return test_done();
}
