// labels: quick
// The GGUF reader: what it reads, and one file for each of its rules broken.
#include "bytes.h"
#include "gguf.h"
#include "mapped_file.h"
#include "test.h"

#include <time.h>

enum { T_F32 = 0, T_Q4_1 = 3, T_Q6_K = 14, T_BF16 = 30 };

static const uint64_t dims_8x3[] = {8, 3}, dims_64[] = {64}, dims_32x2[] = {32, 2};

// One value of each kind, three tensors; the header's length in *header when not NULL.
static Bytes make_good(uint32_t version, uint32_t alignment) {
  Bytes b = {0};
  gguf_put_header(&b, version, 3, 13);
  gguf_put_key_string(&b, "general.architecture", "llama");
  gguf_put_key_u32(&b, "general.alignment", alignment);
  gguf_put_key_u32(&b, "a.u32", 4000000000u);
  gguf_put_key_u64(&b, "a.u64", 5000000000u);
  gguf_put_key_u64(&b, "a.big", UINT64_MAX);
  gguf_put_key_f32(&b, "a.f32", 0.5f);
  gguf_put_key_bool(&b, "a.bool", 1);
  gguf_put_string(&b, "a.i8");
  bytes_u32(&b, 1);
  bytes_u8(&b, 0xFE);
  gguf_put_string(&b, "a.f64");
  bytes_u32(&b, 12);
  double third = 1.0 / 3;
  bytes_put(&b, &third, 8);
  gguf_put_key_array(&b, "b.strings", 8, 3);
  gguf_put_string(&b, "one");
  gguf_put_string(&b, "");
  gguf_put_string(&b, "th\xFFree");
  gguf_put_key_array(&b, "b.floats", 6, 2);
  bytes_f32(&b, 1.5f);
  bytes_f32(&b, -2.0f);
  gguf_put_key_array(&b, "b.ints", 5, 2);
  bytes_u32(&b, (uint32_t)-3);
  bytes_u32(&b, 7);
  gguf_put_key_array(&b, "b.empty", 8, 0);
  int64_t a = alignment;
  int64_t second = (96 + a - 1) / a * a, third_at = second + (40 + a - 1) / a * a;
  gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 0);
  gguf_put_tensor(&b, "q", 2, dims_32x2, T_Q4_1, (uint64_t)second);
  gguf_put_tensor(&b, "n", 1, dims_64, T_BF16, (uint64_t)third_at);
  gguf_put_padding(&b, a);
  for (int i = 0; i < 24; i++) bytes_f32(&b, (float)i);
  gguf_put_padding(&b, a);
  bytes_fill(&b, 1, 40);
  gguf_put_padding(&b, a);
  bytes_fill(&b, 2, 128); // the last one needs no padding
  return b;
}

static void check_values(const Gguf *g) {
  Error err = {0};
  int64_t n = -1;
  double x = 0;
  bool flag = false;
  GgufString string = {0};
  EXPECT(gguf_get_int(g, "a.u32", GGUF_REQUIRED, 0, INT64_MAX, &n, &err) == STATUS_OK &&
         n == 4000000000);
  EXPECT(gguf_get_int(g, "a.u64", GGUF_REQUIRED, 0, INT64_MAX, &n, &err) == STATUS_OK &&
         n == 5000000000);
  EXPECT(gguf_get_int(g, "a.i8", GGUF_REQUIRED, -5, 5, &n, &err) == STATUS_OK && n == -2);
  EXPECT(gguf_get_float(g, "a.f32", GGUF_REQUIRED, &x, &err) == STATUS_OK && x == 0.5);
  EXPECT(gguf_get_float(g, "a.f64", GGUF_REQUIRED, &x, &err) == STATUS_OK && x == 1.0 / 3);
  EXPECT(gguf_get_bool(g, "a.bool", GGUF_REQUIRED, &flag, &err) == STATUS_OK && flag);
  EXPECT(gguf_get_string(g, "general.architecture", GGUF_REQUIRED, &string, &err) == STATUS_OK &&
         gguf_string_is(string, "llama") && !gguf_string_is(string, "llam"));
  // Missing, of another type, out of range.
  n = 42;
  EXPECT(gguf_get_int(g, "none", GGUF_OPTIONAL, 0, 9, &n, &err) == STATUS_OK && n == 42);
  EXPECT(gguf_get_int(g, "none", GGUF_REQUIRED, 0, 9, &n, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "no 'none'") != NULL, "%s", err.message);
  EXPECT(gguf_get_int(g, "a.f32", GGUF_OPTIONAL, 0, 9, &n, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "'a.f32': expected an integer, found f32") != NULL, "%s", err.message);
  EXPECT(gguf_get_int(g, "b.ints", GGUF_OPTIONAL, 0, 9, &n, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "found an array of i32") != NULL, "%s", err.message);
  EXPECT(gguf_get_int(g, "a.u32", GGUF_OPTIONAL, 0, 9, &n, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "expected 0 to 9, found 4000000000") != NULL, "%s", err.message);
  EXPECT(gguf_get_int(g, "a.big", GGUF_OPTIONAL, 0, INT64_MAX, &n, &err) == STATUS_DATA && n == 42);
  EXPECT(gguf_get_float(g, "a.u32", GGUF_OPTIONAL, &x, &err) == STATUS_DATA);
  EXPECT(gguf_get_bool(g, "a.u32", GGUF_OPTIONAL, &flag, &err) == STATUS_DATA);
  EXPECT(gguf_get_string(g, "a.u32", GGUF_OPTIONAL, &string, &err) == STATUS_DATA);
  EXPECT(gguf_has(g, "a.i8") && !gguf_has(g, "a.i") && !gguf_has(g, "a.i88"));
}

static void check_arrays(const Gguf *g) {
  Error err = {0};
  GgufString *strings = NULL;
  float *floats = NULL;
  int32_t *ints = NULL;
  int64_t n = 0;
  EXPECT(gguf_get_strings(g, "b.strings", GGUF_REQUIRED, &strings, &n, &err) == STATUS_OK &&
         n == 3);
  EXPECT(gguf_string_is(strings[0], "one") && gguf_string_is(strings[1], "") &&
         gguf_string_is(strings[2], "th\xFFree"));
  free(strings);
  EXPECT(gguf_get_floats(g, "b.floats", GGUF_REQUIRED, &floats, &n, &err) == STATUS_OK && n == 2 &&
         floats[0] == 1.5f && floats[1] == -2.0f);
  free(floats);
  EXPECT(gguf_get_ints(g, "b.ints", GGUF_REQUIRED, &ints, &n, &err) == STATUS_OK && n == 2 &&
         ints[0] == -3 && ints[1] == 7);
  free(ints);
  strings = (GgufString *)1;
  EXPECT(gguf_get_strings(g, "b.empty", GGUF_REQUIRED, &strings, &n, &err) == STATUS_OK && n == 0 &&
         strings == NULL);
  n = 5;
  EXPECT(gguf_get_strings(g, "none", GGUF_OPTIONAL, &strings, &n, &err) == STATUS_OK && n == 5);
  EXPECT(gguf_get_strings(g, "b.ints", GGUF_OPTIONAL, &strings, &n, &err) == STATUS_DATA);
  EXPECT(gguf_get_strings(g, "a.u32", GGUF_OPTIONAL, &strings, &n, &err) == STATUS_DATA);
  EXPECT(gguf_get_floats(g, "b.ints", GGUF_OPTIONAL, &floats, &n, &err) == STATUS_DATA);
  EXPECT(gguf_get_floats(g, "b.strings", GGUF_OPTIONAL, &floats, &n, &err) == STATUS_DATA);
  EXPECT(gguf_get_ints(g, "b.floats", GGUF_OPTIONAL, &ints, &n, &err) == STATUS_DATA);
  EXPECT(gguf_get_ints(g, "b.strings", GGUF_OPTIONAL, &ints, &n, &err) == STATUS_DATA);
}

static void test_reads(void) {
  for (uint32_t version = 2; version <= 3; version++) {
    for (uint32_t alignment = 1; alignment <= 1024; alignment *= 32) {
      Error err = {0};
      Bytes b = make_good(version, alignment);
      Gguf *g = NULL;
      EXPECT(gguf_open_memory(&g, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
      if (g == NULL) continue;
      check_values(g);
      check_arrays(g);
      EXPECT(gguf_tensor_count(g) == 3);
      const GgufTensor *w = gguf_tensor_find(g, "w"), *n = gguf_tensor_find(g, "n"),
                       *q = gguf_tensor_find(g, "q");
      EXPECT(w == gguf_tensor_at(g, 0) && w->ndim == 2 && w->dims[0] == 8 && w->dims[1] == 3 &&
             w->dims[2] == 1 && w->dtype == DT_F32 && w->bytes == 96);
      EXPECT(q->dtype == DT_Q4_1 && q->bytes == 40 && strcmp(q->type_name, "Q4_1") == 0);
      EXPECT(n->ndim == 1 && n->bytes == 128 && gguf_data(g)[n->offset] == 2 &&
             n->offset + n->bytes == b.size);
      float value;
      memcpy(&value, gguf_data(g) + w->offset + 4 * 23, 4);
      EXPECT(value == 23);
      EXPECT(gguf_tensor_find(g, "x") == NULL && gguf_tensor_find(g, "") == NULL);
      gguf_close(g);
      bytes_free(&b);
    }
  }
}

// Every proper prefix of a good file is refused.
static void test_prefixes(void) {
  Bytes b = make_good(3, 32);
  for (int64_t size = 0; size < b.size; size++) {
    Error err = {0};
    Gguf *g = NULL;
    uint8_t *copy = malloc((size_t)size + 1); // of exact size, for the address sanitizer
    copy = realloc(copy, size > 0 ? (size_t)size : 1);
    memcpy(copy, b.data, (size_t)size);
    EXPECT(gguf_open_memory(&g, "t.gguf", copy, size, &err) == STATUS_DATA, "%lld",
           (long long)size);
    EXPECT(g == NULL && strncmp(err.message, "t.gguf: byte ", 13) == 0, "%s", err.message);
    free(copy);
  }
  bytes_free(&b);
}

static void expect_refused(const char *what, Bytes *b, int64_t byte, const char *message) {
  Error err = {0};
  Gguf *g = NULL;
  char place[64];
  snprintf(place, sizeof place, "t.gguf: byte %lld: ", (long long)byte);
  Status status = gguf_open_memory(&g, "t.gguf", b->data, b->size, &err);
  EXPECT(status == STATUS_DATA && g == NULL, "%s: status %d", what, status);
  EXPECT(strncmp(err.message, place, strlen(place)) == 0, "%s: not at %lld: %s", what,
         (long long)byte, err.message);
  EXPECT(strstr(err.message, message) != NULL, "%s: no '%s': %s", what, message, err.message);
  gguf_close(g);
  bytes_free(b);
}

static void test_bad_headers(void) {
  static const struct {
    const char *magic;
    uint32_t version;
    uint64_t n_tensors, n_values;
    int64_t byte;
    const char *message;
  } cases[] = {
      {"GGML", 3, 0, 0, 0, "expected a GGUF file, which begins with 'GGUF', found 'GGML'"},
      {"FUGG", 3, 0, 0, 0, "found 'FUGG'"},
      {"\x08\0\0", 3, 0, 0, 0, "expected a GGUF file"},
      {"GGUF", 0, 0, 0, 4, "expected GGUF version 2 or 3, found 0"},
      {"GGUF", 1, 0, 0, 4, "found 1"},
      {"GGUF", 4, 0, 0, 4, "found 4"},
      {"GGUF", UINT32_MAX, 0, 0, 4, "found 4294967295"},
      {"GGUF", 3u << 24, 0, 0, 4, "big-endian"},
      {"GGUF", 2u << 24, 0, 0, 4, "big-endian"},
      {"GGUF", 3, 0, 1, 16, "1 metadata entries do not fit the 0 bytes"},
      {"GGUF", 3, 0, UINT64_MAX, 16, "18446744073709551615 metadata entries do not fit"},
      {"GGUF", 3, 0, 1ull << 63, 16, "metadata entries do not fit"},
      {"GGUF", 3, 1, 0, 8, "1 tensors do not fit the 0 bytes"},
      {"GGUF", 3, UINT64_MAX, 0, 8, "18446744073709551615 tensors do not fit"},
      {"GGUF", 3, 1ull << 60, 0, 8, "tensors do not fit"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Bytes b = {0};
    bytes_put(&b, cases[i].magic, 4);
    bytes_u32(&b, cases[i].version);
    bytes_u64(&b, cases[i].n_tensors);
    bytes_u64(&b, cases[i].n_values);
    expect_refused(cases[i].message, &b, cases[i].byte, cases[i].message);
  }
  Bytes empty = {0};
  expect_refused("empty", &empty, 0, "the file is cut");
  // A good header without anything is a good file.
  Bytes b = {0};
  Gguf *g = NULL;
  Error err = {0};
  gguf_put_header(&b, 3, 0, 0);
  EXPECT(gguf_open_memory(&g, "t.gguf", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  gguf_close(g);
  bytes_free(&b);
}

// A header that announces `values` entries and a first good one of 24 + 8 + 1 + 4 + 4 = 41 bytes.
static Bytes begin(uint64_t n_tensors, uint64_t n_values) {
  Bytes b = {0};
  gguf_put_header(&b, 3, n_tensors, n_values);
  gguf_put_key_u32(&b, "k", 1);
  return b;
}

static void test_bad_values(void) {
  Bytes b = begin(0, 2);
  bytes_u64(&b, 0); // an empty key
  bytes_fill(&b, 0, 12);
  expect_refused("empty key", &b, 41, "key 1: an empty key");

  b = begin(0, 2);
  bytes_u64(&b, UINT64_MAX);
  bytes_fill(&b, 'x', 12);
  expect_refused("key length 2^64-1", &b, 41, "a string of 18446744073709551615 bytes");

  b = begin(0, 2);
  bytes_u64(&b, 13);
  bytes_fill(&b, 'x', 12);
  expect_refused("key past the end", &b, 41, "a string of 13 bytes where 12 bytes are left");

  b = begin(0, 2);
  bytes_u64(&b, 70000);
  bytes_fill(&b, 'x', 70000);
  bytes_fill(&b, 0, 8);
  expect_refused("key too long", &b, 41, "a key of 70000 bytes (65535 at most)");

  b = begin(0, 2);
  gguf_put_key_u32(&b, "k", 2);
  expect_refused("duplicate key", &b, 49, "key 'k': this key stands twice");

  static const uint32_t types[] = {13, 14, 255, UINT32_MAX, 0x80000004u};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    b = begin(0, 2);
    gguf_put_string(&b, "t");
    bytes_u32(&b, types[i]);
    bytes_fill(&b, 0, 16);
    expect_refused("value type", &b, 50, "the value of 't': expected a value type from 0 to 12");
  }

  b = begin(0, 2);
  gguf_put_key_bool(&b, "t", 2);
  expect_refused("bool of 2", &b, 54, "expected a bool, 0 or 1, found 2");

  b = begin(0, 2);
  gguf_put_string(&b, "t");
  bytes_u32(&b, 8);
  bytes_u64(&b, (1ull << 30) + 1);
  bytes_fill(&b, 0, 4);
  expect_refused("string above 2^30", &b, 54, "a string of 1073741825 bytes");

  b = begin(0, 2);
  gguf_put_string(&b, "t");
  bytes_u32(&b, 10);
  bytes_u32(&b, 0);
  expect_refused("u64 cut", &b, 54, "expected 8 more bytes, found 4: the file is cut");

  b = begin(0, 2);
  gguf_put_key_array(&b, "t", 9, 1);
  gguf_put_key_array(&b, "u", 4, 0);
  expect_refused("array of arrays", &b, 54, "an array of arrays");

  b = begin(0, 2);
  gguf_put_key_array(&b, "t", 13, 1);
  bytes_fill(&b, 0, 8);
  expect_refused("array of unknown", &b, 54, "expected a value type");

  static const struct {
    uint32_t element;
    uint64_t count;
  } arrays[] = {{4, UINT64_MAX}, {4, 1ull << 62}, {4, 1ull << 61},     {10, 1ull << 61}, {4, 5},
                {0, 17},         {8, 3},          {8, UINT64_MAX / 8}, {7, 1ull << 32}};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
    b = begin(0, 2);
    gguf_put_key_array(&b, "t", arrays[i].element, arrays[i].count);
    bytes_fill(&b, 0, 16);
    expect_refused("array past the end", &b, 58, "items where 16 bytes are left");
  }

  b = begin(0, 2);
  gguf_put_key_array(&b, "t", 8, 2);
  gguf_put_string(&b, "x");
  bytes_u64(&b, 9);
  bytes_fill(&b, 'y', 8);
  expect_refused("string of an array past the end", &b, 75, "a string of 9 bytes where 8");

  b = begin(0, 2);
  gguf_put_key_array(&b, "t", 7, 3);
  bytes_u8(&b, 0);
  bytes_u8(&b, 1);
  bytes_u8(&b, 255);
  expect_refused("array of bools with 255", &b, 68, "found 255");
}

static void test_bad_alignment(void) {
  static const uint32_t bad[] = {0, 3, 24, 33, UINT32_MAX, 0x80000001u};
  const uint64_t one[] = {1};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Bytes b = begin(0, 2);
    gguf_put_key_u32(&b, "general.alignment", bad[i]);
    expect_refused("alignment", &b, 70, "'general.alignment': expected a power of two");
  }
  Bytes b = begin(0, 2);
  gguf_put_key_u64(&b, "general.alignment", 32);
  expect_refused("alignment of u64", &b, 70, "expected u32, found u64");
  b = begin(0, 2);
  gguf_put_key_string(&b, "general.alignment", "32");
  expect_refused("alignment of string", &b, 70, "expected u32, found string");
  static const uint32_t large[] = {1u << 30, 1u << 31};
  for (int i = 0; i < 2; i++) {
    b = begin(1, 2);
    gguf_put_key_u32(&b, "general.alignment", large[i]);
    gguf_put_tensor(&b, "w", 1, one, T_F32, 0);
    int64_t end = b.size;
    bytes_fill(&b, 0, 64);
    expect_refused("alignment beyond the file", &b, end, "the file is cut");
  }
}

// A file of one tensor; 41 is its first byte. Fields as given.
static Bytes one_tensor(const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                        uint64_t offset, int64_t data) {
  Bytes b = begin(1, 1);
  gguf_put_tensor(&b, name, n_dims, dims, type, offset);
  gguf_put_padding(&b, 32);
  bytes_fill(&b, 0, data);
  return b;
}

static void test_bad_tensors(void) {
  char name[80];
  memset(name, 'n', sizeof name);
  name[64] = '\0';
  Bytes b = one_tensor(name, 2, dims_8x3, T_F32, 0, 96);
  expect_refused("name of 64 bytes", &b, 41, "expected a name of 1 to 63 bytes");
  b = one_tensor("", 2, dims_8x3, T_F32, 0, 96);
  expect_refused("empty name", &b, 41, "expected a name of 1 to 63 bytes");
  b = one_tensor("a?b", 2, dims_8x3, T_F32, 0, 96);
  b.data[50] = 0;
  expect_refused("name with NUL", &b, 41, "without NUL, found 'a\\x00b'");
  b = begin(1, 1);
  bytes_u64(&b, 1ull << 40);
  bytes_fill(&b, 'x', 100);
  expect_refused("name past the end", &b, 41, "a string of 1099511627776 bytes");

  static const uint32_t n_dims[] = {0, 5, 6, UINT32_MAX};
  const uint64_t many[6] = {1, 1, 1, 1, 1, 1};
  for (int i = 0; i < 4; i++) {
    b = begin(1, 1);
    gguf_put_string(&b, "w");
    bytes_u32(&b, n_dims[i]);
    bytes_put(&b, many, sizeof many);
    bytes_fill(&b, 0, 64);
    expect_refused("n_dims", &b, 50, "tensor 'w': expected 1 to 4 dimensions");
  }

  static const struct {
    uint32_t n_dims;
    uint64_t dims[4];
    uint32_t type;
    int64_t byte;
    const char *message;
  } cases[] = {
      {1, {0}, T_F32, 54, "dimension 0: expected 1 or more, found 0"},
      {2, {8, 0}, T_F32, 62, "dimension 1: expected 1 or more, found 0"},
      {2, {8, UINT64_MAX}, T_F32, 62, "dimension 1: expected 1 or more, found -1"},
      {2, {8, 1ull << 63}, T_F32, 62, "dimension 1: expected 1 or more"},
      {2, {1ull << 32, 1ull << 32}, T_F32, 62, "the product of its dimensions does not fit"},
      {4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}, T_F32, 78, "the product of its dimensions"},
      {1, {1ull << 62}, T_F32, 62, "its size in bytes does not fit 64 bits"},
      {2, {1ull << 31, 1ull << 31}, 28, 70, "its size in bytes does not fit"}, // F64
      {1, {33}, T_Q4_1, 62, "rows of 33 elements are no whole number of Q4_1 blocks (32)"},
      {1, {31}, T_Q4_1, 62, "no whole number of Q4_1 blocks"},
      {1, {128}, T_Q6_K, 62, "no whole number of Q6_K blocks (256)"},
      {2, {16, 2}, T_Q4_1, 70, "no whole number of Q4_1 blocks"}, // the rows, not the count
      {1, {32}, 4, 62, "the tensor type 4 is not known"},         // removed: Q4_2
      {1, {32}, 5, 62, "the tensor type 5 is not known"},
      {1, {32}, 31, 62, "the tensor type 31 is not known"},
      {1, {32}, 36, 62, "the tensor type 36 is not known"},
      {1, {32}, 100, 62, "the tensor type 100 is not known"},
      {1, {32}, UINT32_MAX, 62, "the tensor type 4294967295 is not known"},
      {1, {32}, 1u << 31, 62, "is not known"},
      {1, {1ull << 50}, T_F32, 66, "do not fit a file of"},
      {1, {(1ull << 61) - 1}, T_F32, 66, "do not fit a file of"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    b = one_tensor("w", cases[i].n_dims, cases[i].dims, cases[i].type, 0, 128);
    expect_refused(cases[i].message, &b, cases[i].byte, cases[i].message);
  }
}

static void test_bad_offsets(void) {
  static const uint64_t first[] = {1, 32, UINT64_MAX, 1ull << 63, (uint64_t)-32};
  Bytes b;
  for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
    b = one_tensor("w", 2, dims_8x3, T_F32, first[i], 256);
    expect_refused("first offset", &b, 74, "expected offset 0, where the tensor before ends");
  }
  static const uint64_t second[] = {0, 64, 95, 97, 128, UINT64_MAX}; // 96 is right
  for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
    b = begin(2, 1);
    gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 0);
    gguf_put_tensor(&b, "v", 2, dims_8x3, T_F32, second[i]);
    gguf_put_padding(&b, 32);
    bytes_fill(&b, 0, 512);
    expect_refused("second offset", &b, 115, "tensor 'v': expected offset 96");
  }
  b = begin(2, 1);
  gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 0);
  gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 96);
  gguf_put_padding(&b, 32);
  bytes_fill(&b, 0, 192);
  expect_refused("two of a name", &b, 123, "tensor 'w': two tensors have this name");
  b = one_tensor("w", 2, dims_8x3, T_F32, 0, 95);
  expect_refused("data cut by one byte", &b, 82, "expected 96 bytes after the header");
  b = begin(1, 1);
  gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 0);
  expect_refused("no data", &b, 74, "its 96 bytes at offset 0 do not fit a file of 82 bytes");
  b = begin(2, 1);
  gguf_put_tensor(&b, "w", 2, dims_8x3, T_F32, 0);
  expect_refused("one of two tensors", &b, 8, "2 tensors do not fit the 41 bytes");
}

// 200,000 keys and as many tensors take no quadratic time; one duplicate among them is seen.
static void test_many(void) {
  enum { MANY = 200000 };
  const uint64_t one[] = {1};
  for (int duplicate = 0; duplicate < 2; duplicate++) {
    Error err = {0};
    Gguf *g = NULL;
    Bytes b = {0};
    char name[32];
    gguf_put_header(&b, 3, MANY, MANY);
    for (int i = 0; i < MANY; i++) {
      snprintf(name, sizeof name, "key.%d", i);
      gguf_put_key_bool(&b, name, 0);
    }
    for (int i = 0; i < MANY; i++) {
      snprintf(name, sizeof name, "t%d", duplicate && i == MANY - 1 ? 7 : i);
      gguf_put_tensor(&b, name, 1, one, T_F32, (uint64_t)i * 32);
    }
    gguf_put_padding(&b, 32);
    int64_t size = b.size + (MANY - 1) * 32 + 4;
    b.data = realloc(b.data, (size_t)size);
    memset(b.data + b.size, 0, (size_t)(size - b.size));
    b.size = b.capacity = size;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    Status status = gguf_open_memory(&g, "t.gguf", b.data, b.size, &err);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    EXPECT(status == (duplicate ? STATUS_DATA : STATUS_OK), "%s", err.message);
    EXPECT(seconds < 5, "%g s", seconds); // 0.1 s here; quadratic would be minutes
    gguf_close(g);
    bytes_free(&b);
  }
}

static void test_files(void) {
  Error err = {0};
  Gguf *g = NULL;
  char path[512];
  EXPECT(gguf_open(&g, "/nonexistent.gguf", &err) == STATUS_NO_INPUT && g == NULL);
  EXPECT(gguf_open(&g, test_tmp_dir(), &err) == STATUS_NO_INPUT && g == NULL);
  snprintf(path, sizeof path, "%s/empty.gguf", test_tmp_dir());
  EXPECT(file_write(path, "", 0, &err) == STATUS_OK);
  EXPECT(gguf_open(&g, path, &err) == STATUS_DATA && g == NULL);
  EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
  Bytes b = make_good(3, 32);
  snprintf(path, sizeof path, "%s/good.gguf", test_tmp_dir());
  EXPECT(file_write(path, b.data, b.size, &err) == STATUS_OK);
  EXPECT(gguf_open(&g, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(gguf_version(g) == 3 && gguf_file(g)->size == b.size && strcmp(gguf_path(g), path) == 0);
  gguf_close(g);
  bytes_free(&b);
}

int main(void) {
  RUN(test_reads);
  RUN(test_prefixes);
  RUN(test_bad_headers);
  RUN(test_bad_values);
  RUN(test_bad_alignment);
  RUN(test_bad_tensors);
  RUN(test_bad_offsets);
  RUN(test_many);
  RUN(test_files);
  return test_done();
}
