#include "token_strings.h"

#include "mapped_file.h"
#include "sha256.h"
#include "test.h"

typedef struct Draws {
  uint64_t state;
} Draws;

// splitmix64
static uint64_t below(Draws *draws, uint64_t n) {
  uint64_t z = draws->state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (z ^ z >> 31) % n;
}

#define COUNT(list) (sizeof(list) / sizeof(list)[0])
#define PICK(draws, list) ((list)[below(draws, COUNT(list))])

static const char *const words[] = {"the",
                                    "patient",
                                    "Heart",
                                    "rate",
                                    "blood pressure",
                                    "mmHg",
                                    "WE",
                                    "don't",
                                    "I'm",
                                    "they've",
                                    "he'll",
                                    "you'd",
                                    "it's",
                                    "they're",
                                    "O'Neil",
                                    "'S",
                                    "na\u00efve",
                                    "\u00df",
                                    "ca\u00f1on",
                                    "\u65e5\u672c",
                                    "3.14",
                                    "10,000",
                                    "2024-01-31",
                                    "x=1;",
                                    "==",
                                    "...",
                                    "!?",
                                    "a_b",
                                    "<s>",
                                    "</s>",
                                    "<unk>",
                                    "<0x0A>",
                                    "<pad>",
                                    "<|im_start|>",
                                    "<|im_end|>",
                                    "<|endoftext|>",
                                    "<|begin_of_text|>",
                                    "[INST]",
                                    "[USER]",
                                    "<mask>",
                                    "\u2581",
                                    "\u2581\u2581the",
                                    "\U0001F469\u200D\u2695\uFE0F",
                                    "\U0001F1E9\U0001F1EA",
                                    "\U0001F44D\U0001F3FD",
                                    "\uFEFF",
                                    "\u017F",
                                    "\uFB05",
                                    "heart rate"};
static const char *const gaps[] = {"",   "",     " ",  " ",      " ",  "  ",
                                   "\n", "\r\n", "\t", "\u00A0", ", ", "."};
static const char *const runs[] = {"a",      " ",          "\n", "=",      "1", "\u00e9",
                                   "\u5b57", "\U0001F600", "ab", "\u2581", "<", "'"};
static const char *const spaces[] = {" ",      " ",      " ",        "\n",     "\r",     "\t",
                                     "\x0b",   "\x0c",   "\xC2\x85", "\u00A0", "\u1680", "\u2003",
                                     "\u2028", "\u202F", "\u3000",   "\u200B"};
static const uint32_t digits[] = {0x30,   0x30,    0x30,   0x660,  0x966,
                                  0xFF10, 0x1D7CE, 0x2160, 0x2460, 0x11DE0};
static const char *const apostrophes[] = {"'", "'", " '", "\u2019"};
static const char *const endings[] = {"s",      "t",  "re", "ve",     "m", "ll", "d",
                                      "S",      "T",  "RE", "vE",     "M", "Ll", "D",
                                      "\u017F", "sx", "x",  "\uFB06", "l", "r"};
static const uint32_t ranges[][2] = {
    {0x20, 0x7E},       {0x21, 0x7E},       {0x00, 0x1F},       {0x7F, 0xFF},
    {0x100, 0x24F},     {0x250, 0x2FF},     {0x370, 0x3FF},     {0x400, 0x52F},
    {0x530, 0x58F},     {0x590, 0x5FF},     {0x600, 0x77F},     {0x900, 0xDFF},
    {0xE00, 0xFFF},     {0x1000, 0x139F},   {0x1780, 0x18AF},   {0x1E00, 0x1FFF},
    {0x2000, 0x206F},   {0x2070, 0x218F},   {0x2190, 0x2BFF},   {0x2E80, 0x303F},
    {0x3040, 0x30FF},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xA000, 0xABFF},
    {0xAC00, 0xD7A3},   {0xE000, 0xF8FF},   {0xF900, 0xFAFF},   {0xFB00, 0xFE0F},
    {0xFE10, 0xFFFF},   {0x10000, 0x10FFF}, {0x11000, 0x11FFF}, {0x12000, 0x1BFFF},
    {0x1D000, 0x1DFFF}, {0x1F000, 0x1FAFF}, {0x20000, 0x323AF}, {0xE0000, 0xE01EF}};

static void put_char(Bytes *out, uint32_t c) {
  if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
  if (c < 0x80) {
    bytes_u8(out, (uint8_t)c);
    return;
  }
  int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  bytes_u8(out, (uint8_t)(lead[tail] | c >> (6 * tail)));
  while (tail-- > 0) bytes_u8(out, (uint8_t)(0x80 | (c >> (6 * tail) & 0x3F)));
}

static void put_run(Bytes *out, Draws *d, uint64_t n) {
  const char *text = PICK(d, runs);
  while (n-- > 0) bytes_text(out, text);
}

static void put_part(Bytes *out, Draws *d) {
  uint64_t kind = below(d, 16);
  if (kind < 4) {
    bytes_text(out, PICK(d, words));
    bytes_text(out, PICK(d, gaps));
  } else if (kind < 9) {
    const uint32_t *range = PICK(d, ranges);
    for (uint64_t n = 1 + below(d, 6); n > 0; n--) {
      put_char(out, range[0] + (uint32_t)below(d, range[1] - range[0] + 1));
    }
  } else if (kind == 9) {
    put_run(out, d, 1 + below(d, 40));
  } else if (kind == 10) {
    for (uint64_t n = 1 + below(d, 8); n > 0; n--) {
      uint32_t zero = PICK(d, digits);
      put_char(out, zero + (uint32_t)below(d, 10));
    }
  } else if (kind == 11) {
    for (uint64_t n = 1 + below(d, 6); n > 0; n--) bytes_text(out, PICK(d, spaces));
  } else if (kind == 12) {
    put_char(out, 'a' + (uint32_t)below(d, 26));
    for (uint64_t n = 1 + below(d, 4); n > 0; n--) put_char(out, 0x300 + (uint32_t)below(d, 112));
  } else if (kind == 13) {
    for (uint64_t n = 1 + below(d, 4); n > 0; n--) put_char(out, (uint32_t)below(d, 0x110000));
  } else if (kind == 14) {
    for (uint64_t n = 1 + below(d, 6); n > 0; n--) bytes_u8(out, (uint8_t)below(d, 256));
  } else {
    bytes_text(out, PICK(d, apostrophes));
    bytes_text(out, PICK(d, endings));
  }
}

void token_string_make(Bytes *out, int64_t i) {
  Draws d = {(uint64_t)i};
  if (i % 1000 == 999) {
    put_run(out, &d, 2000 + below(&d, 2000));
    return;
  }
  for (uint64_t n = below(&d, 10); n > 0; n--) put_part(out, &d);
}

void token_ids_make(TokenIds *out, int64_t i, int64_t vocab) {
  Draws d = {((uint64_t)1 << 32) + (uint64_t)i};
  for (uint64_t n = below(&d, 12); n > 0; n--) {
    bool low = below(&d, 4) == 0;
    token_ids_push(out, (int32_t)below(&d, (uint64_t)(low && vocab > 300 ? 300 : vocab)));
  }
}

// The hash of a block so far: the count, then the items.
static void add(Sha256 *sha, const void *data, int64_t count, int64_t size) {
  uint32_t n = (uint32_t)count;
  sha256_add(sha, &n, 4);
  sha256_add(sha, data, count * size);
}

static void finish(Sha256 *sha, char hex[SHA256_HEX]) {
  uint8_t digest[SHA256_BYTES];
  sha256_finish(sha, digest);
  sha256_to_hex(digest, hex);
  hex[16] = 0; // 64 bits are kept
}

static void expect_hash(Sha256 *sha, const char *expected, const char *name, const char *what,
                        int block) {
  char hex[SHA256_HEX];
  finish(sha, hex);
  EXPECT(strcmp(expected, "-") == 0 || strcmp(hex, expected) == 0,
         "%s, strings %d000 to %d999: %s hash to %s, the reference's to %s", name, block, block,
         what, hex, expected);
}

static void hash_encoded(Sha256 *sha, const Tokenizer *tokenizer, int block, SpecialText special) {
  Bytes text = {0};
  TokenIds ids = {0};
  sha256_init(sha);
  for (int64_t i = 0; i < TOKEN_STRINGS_BLOCK; i++) {
    text.size = ids.n = 0;
    token_string_make(&text, (int64_t)block * TOKEN_STRINGS_BLOCK + i);
    tokenizer_encode(tokenizer, (const char *)text.data, text.size, special, &ids);
    add(sha, ids.ids, ids.n, 4);
  }
  bytes_free(&text);
  token_ids_free(&ids);
}

// The text of a stream must be that of the decoder, piece by piece well-formed.
static void check_stream(const Tokenizer *tokenizer, const TokenIds *ids, const char *text,
                         int64_t size) {
  TokenStream stream;
  Bytes all = {0};
  token_stream_init(&stream, tokenizer, true);
  for (int64_t i = 0; i <= ids->n; i++) {
    const char *piece =
        i < ids->n ? token_stream_push(&stream, ids->ids[i]) : token_stream_end(&stream);
    EXPECT(piece[stream.size] == 0);
    bytes_put(&all, piece, stream.size);
  }
  EXPECT(all.size == size && (size == 0 || memcmp(all.data, text, (size_t)size) == 0),
         "streamed '%.*s', decoded '%s'", (int)all.size, (const char *)all.data, text);
  bytes_free(&all);
  token_stream_free(&stream);
}

static void hash_decoded(Sha256 *sha, const Tokenizer *tokenizer, int block) {
  TokenIds ids = {0};
  sha256_init(sha);
  for (int64_t i = 0; i < TOKEN_STRINGS_BLOCK; i++) {
    int64_t size;
    ids.n = 0;
    token_ids_make(&ids, (int64_t)block * TOKEN_STRINGS_BLOCK + i, tokenizer_vocab(tokenizer));
    char *text = tokenizer_decode(tokenizer, ids.ids, ids.n, true, &size);
    add(sha, text, size, 1);
    check_stream(tokenizer, &ids, text, size);
    free(text);
  }
  token_ids_free(&ids);
}

static char *read_hashes(const char *name) {
  char path[1024], *text = NULL;
  int64_t size;
  Error err = {0};
  snprintf(path, sizeof path, "tests/golden/tokenizer/hashes/%s.txt", name);
  Status status = file_read_all(&text, &size, path, 1 << 20, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  return text;
}

void token_strings_check(const char *name, const char *path, int stride) {
  Tokenizer *tokenizer = NULL;
  Error err = {0};
  char *hashes = read_hashes(name);
  Status status = tokenizer_open(&tokenizer, path, &err);
  EXPECT(status == STATUS_OK, "%s", err.message);
  if (hashes == NULL || tokenizer == NULL) return;
  int block = 0;
  for (char *line = hashes; *line != 0; line = strchr(line, '\n') + 1, block++) {
    char expected[3][20];
    int n = sscanf(line, "%19s %19s %19s", expected[0], expected[1], expected[2]);
    EXPECT(n == 3, "%s, line %d", name, block + 1);
    if (n != 3 || block % stride != 0) continue;
    Sha256 sha;
    hash_encoded(&sha, tokenizer, block, SPECIAL_AS_TEXT);
    expect_hash(&sha, expected[0], name, "ids with specials as text", block);
    if (strcmp(expected[1], "-") != 0) {
      hash_encoded(&sha, tokenizer, block, SPECIAL_PARSED);
      expect_hash(&sha, expected[1], name, "ids with specials parsed", block);
    }
    hash_decoded(&sha, tokenizer, block);
    expect_hash(&sha, expected[2], name, "texts", block);
  }
  EXPECT(block * TOKEN_STRINGS_BLOCK == TOKEN_STRINGS, "%s: %d blocks", name, block);
  free(hashes);
  tokenizer_close(tokenizer);
}

void token_strings_check_recipe(void) {
  char *hashes = read_hashes("strings"), *line = hashes;
  Bytes text = {0};
  for (int block = 0; block < TOKEN_STRINGS / TOKEN_STRINGS_BLOCK && line != NULL; block++) {
    char expected[20];
    Sha256 sha;
    sha256_init(&sha);
    for (int64_t i = 0; i < TOKEN_STRINGS_BLOCK; i++) {
      text.size = 0;
      token_string_make(&text, (int64_t)block * TOKEN_STRINGS_BLOCK + i);
      add(&sha, text.data, text.size, 1);
    }
    EXPECT(sscanf(line, "%19s", expected) == 1);
    expect_hash(&sha, expected, "recipe", "strings", block);
    line = strchr(line, '\n') + 1;
  }
  bytes_free(&text);
  free(hashes);
}
