// labels: quick
// safetensors: what is read and written, and one file for each broken rule.
#include "bytes.h"
#include "safetensors.h"
#include "test.h"

#include <time.h>

static Bytes make_file(const char *header, int64_t data) {
  Bytes b = {0};
  bytes_u64(&b, strlen(header));
  bytes_text(&b, header);
  for (int64_t i = 0; i < data; i++) bytes_u8(&b, (uint8_t)i);
  return b;
}

static void test_reads(void) {
  Error err = {0};
  Safetensors st = {0};
  Bytes b = make_file(
      "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"x\\u00e9\"},"
      "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
      "\"a\\u0062\":{\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"F32\",\"unknown\":[1,{}]},"
      "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[4,4]},"
      "\"nibbles\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[16,19]},"
      "\"\xC3\xA9\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[19,21]}}"
      "   ",
      21);
  EXPECT(safetensors_open_memory(&st, "t", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  EXPECT(st.n_tensors == 5 && st.n_metadata == 2);
  const SafeTensor *t = safetensors_find(&st, "ab");
  EXPECT(t != NULL && t->ndim == 0 && t->dtype == DT_F32 && t->bytes == 4 &&
         st.data[t->offset] == 0);
  t = safetensors_find(&st, "b");
  EXPECT(t != NULL && t->ndim == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->dtype == DT_BF16 &&
         t->bytes == 12 && st.data[t->offset] == 4);
  t = safetensors_find(&st, "empty");
  EXPECT(t != NULL && t->bytes == 0 && t->shape[1] == 5);
  t = safetensors_find(&st, "nibbles");
  EXPECT(t != NULL && t->dtype == DT_COUNT && t->bytes == 3 && strcmp(t->dtype_name, "F4") == 0);
  t = safetensors_find(&st, "\xC3\xA9");
  EXPECT(t != NULL && t->ndim == 8 && t->dtype == DT_COUNT);
  EXPECT(safetensors_find(&st, "c") == NULL);
  EXPECT(strcmp(safetensors_metadata(&st, "note"), "x\xC3\xA9") == 0);
  EXPECT(safetensors_metadata(&st, "none") == NULL);
  for (int64_t i = 1; i < st.n_tensors; i++) {
    EXPECT(strcmp(st.tensors[i - 1].name, st.tensors[i].name) < 0);
  }
  safetensors_close(&st);
  safetensors_close(&st);
  for (int64_t size = 0; size < b.size; size++) {        // every prefix is refused
    uint8_t *copy = malloc(size > 0 ? (size_t)size : 1); // of exact size, for the address sanitizer
    memcpy(copy, b.data, (size_t)size);
    EXPECT(safetensors_open_memory(&st, "t", copy, size, &err) == STATUS_DATA, "%lld",
           (long long)size);
    EXPECT(strncmp(err.message, "t: byte ", 8) == 0, "%s", err.message);
    free(copy);
  }
  bytes_free(&b);
  b = make_file("{}", 0);
  EXPECT(safetensors_open_memory(&st, "t", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  safetensors_close(&st);
  bytes_free(&b);
}

typedef struct Bad {
  const char *header;
  int64_t data;
  int64_t byte; // that the message names
  const char *message;
} Bad;

#define A(fields) "{\"a\":{" fields "}}"
#define F4(shape, offsets) "\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets

static const Bad bads[] = {
    // The header's text.
    {"", 0, 8, "begins with '{'"},
    {" {}", 0, 8, "begins with '{'"},
    {"[]", 0, 8, "begins with '{'"},
    {"\xEF\xBB\xBF{}", 0, 8, "begins with '{'"},
    {"{", 0, 9, "expected a key"},
    {"{}\n", 0, 10, "expected spaces to the header's end"},
    {"{}x", 0, 10, "expected spaces"},
    {"{} {}", 0, 11, "expected spaces"},
    {"{\"a\":1}", 0, 13, "expected an object"},
    {"{\"a\":null}", 0, 13, "expected an object"},
    {"{\"\xFF\":{}}", 0, 10, "invalid UTF-8"},
    {"{\"a\\u0000b\":{" F4("[1]", "[0,4]") "}}", 4, 10, "NUL"},
    {"{\"\\ud800\":{" F4("[1]", "[0,4]") "}}", 4, 10, "surrogate"},
    {"{'a':{}}", 0, 9, "expected a key"},
    {"{\"a\":{},}", 0, 10, "has no 'dtype'"},
    // Metadata.
    {"{\"__metadata__\":1}", 0, 24, "expected an object"},
    {"{\"__metadata__\":null}", 0, 24, "expected an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, 29, "expected a string"},
    {"{\"__metadata__\":{\"a\":null}}", 0, 29, "expected a string"},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, 29, "expected a string"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, 8, "'a' stands twice in '__metadata__'"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, 42, "'__metadata__' stands twice"},
    {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, 30, "NUL"},
    // A tensor's fields.
    {A("\"shape\":[1],\"data_offsets\":[0,4]"), 4, 10, "tensor 'a' has no 'dtype'"},
    {A("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, 10, "tensor 'a' has no 'shape'"},
    {A("\"dtype\":\"F32\",\"shape\":[1]"), 4, 10, "tensor 'a' has no 'data_offsets'"},
    {A("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, 23,
     "dtype 'F31' is not known"},
    {A("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, 23, "'f32' is not known"},
    {A("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]"), 4, 22, "expected a string"},
    {A("\"dtype\":\"F32\",\"dtype\":\"F32\"," F4("[1]", "[0,4]")), 4, 29, "'dtype' stands twice"},
    {A("\"shape\":[1]," F4("[1]", "[0,4]")), 4, 41, "'shape' stands twice"},
    {A("\"data_offsets\":[0,4]," F4("[1]", "[0,4]")), 4, 62, "'data_offsets' stands twice"},
    {A(F4("1", "[0,4]")), 4, 36, "expected a list"},
    {A(F4("[-1]", "[0,4]")), 4, 37, "from 0 to 9223372036854775807, found '-1'"},
    {A(F4("[-0]", "[0,0]")), 0, 37, "expected an integer, found '-0'"},
    {A(F4("[1.0]", "[0,4]")), 4, 37, "expected an integer, found '1.0'"},
    {A(F4("[1e0]", "[0,4]")), 4, 37, "expected an integer"},
    {A(F4("[1e400]", "[0,4]")), 4, 37, "expected an integer"},
    {A(F4("[\"1\"]", "[0,4]")), 4, 37, "expected an integer"},
    {A(F4("[9223372036854775808]", "[0,4]")), 4, 37, "from 0 to"},
    {A(F4("[1,1,1,1,1,1,1,1,1]", "[0,4]")), 4, 53, "more than 8 dimensions"},
    {A(F4("[1]", "[0]")), 4, 58, "expected two integers"},
    {A(F4("[1]", "[]")), 4, 57, "expected two integers"},
    {A(F4("[1]", "[0,4,8]")), 4, 60, "expected two integers"},
    {A(F4("[1]", "[0,-4]")), 4, 58, "from 0 to"},
    {A(F4("[1]", "[-4,0]")), 4, 56, "from 0 to"},
    {A(F4("[1]", "[0,4.0]")), 4, 58, "expected an integer"},
    {A(F4("[1]", "{\"b\":0}")), 4, 55, "expected a list"},
    // Sizes.
    {A(F4("[4294967296,4294967296]", "[0,4]")), 4, 10, "does not fit 64 bits"},
    {A(F4("[1152921504606846976]", "[0,4]")), 4, 10, "does not fit 64 bits"},
    {A(F4("[4611686018427387904,4]", "[0,0]")), 0, 10, "does not fit 64 bits"},
    {A(F4("[9223372036854775807,9223372036854775807,0]", "[0,0]")), 0, 10, "does not fit 64"},
    {A("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, 10, "no whole number of bytes"},
    {A("\"dtype\":\"F6_E2M3\",\"shape\":[2],\"data_offsets\":[0,2]"), 2, 10, "no whole number"},
    {A(F4("[1]", "[4,0]")), 4, 10, "go backwards"},
    {A(F4("[1]", "[0,8]")), 8, 10, "expected 4 bytes for its shape and dtype F32, found"},
    {A(F4("[2]", "[0,4]")), 4, 10, "expected 8 bytes for its shape"},
    {A(F4("[0]", "[0,4]")), 4, 10, "expected 0 bytes"},
    {A(F4("[]", "[0,0]")), 0, 10, "expected 4 bytes"},
    // The layout of the data.
    {A(F4("[1]", "[4,8]")), 8, 10,
     "expected data_offsets from 0, where the tensor before ends, "
     "found 4: a hole"},
    {A(F4("[1]", "[0,4]")), 3, 62, "expected 4 bytes of data, found 3: the file is cut"},
    {A(F4("[1]", "[0,4]")), 0, 62, "expected 4 bytes of data, found 0"},
    {A(F4("[1]", "[0,4]")), 5, 62, "expected 4 bytes of data, found 5: something is appended"},
    {"{}", 1, 10, "something is appended"},
    {A(F4("[2305843009213693951]", "[0,9223372036854775804]")), 4, 10, "does not fit 64 bits"},
    {A(F4("[288230376151711743]", "[0,1152921504606846972]")), 4, 99, "the file is cut"},
    {A(F4("[1]", "[9223372036854775803,9223372036854775807]")), 4, 10, "a hole"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"b\":{" F4("[1]", "[8,12]") "}}", 12, 63,
     "'b': expected "
     "data_offsets from 4"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"b\":{" F4("[1]", "[2,6]") "}}", 6, 63, "an overlap"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"b\":{" F4("[1]", "[0,4]") "}}", 4, 0, "an overlap"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"a\":{" F4("[1]", "[4,8]") "}}", 8, 63, "'a' stands twice"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"\\u0061\":{" F4("[1]", "[4,8]") "}}", 8, 63,
     "'a' stands twice"},
    {"{\"a\":{" F4("[1]", "[0,4]") "},\"b\":{" F4("[0]", "[2,2]") "}}", 4, 63, "an overlap"},
};

static void test_refuses(void) {
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    Error err = {0};
    Safetensors st = {0};
    Bytes b = make_file(bads[i].header, bads[i].data);
    Status status = safetensors_open_memory(&st, "t", b.data, b.size, &err);
    EXPECT(status == STATUS_DATA, "%s: %d", bads[i].header, status);
    char place[40];
    snprintf(place, sizeof place, "t: byte %lld: ", (long long)bads[i].byte);
    if (bads[i].byte == 0 || bads[i].byte == 99) place[8] = '\0'; // either of two, or the end
    EXPECT(strncmp(err.message, place, strlen(place)) == 0, "%s: not %s: %s", bads[i].header, place,
           err.message);
    EXPECT(strstr(err.message, bads[i].message) != NULL, "%s: %s", bads[i].header, err.message);
    EXPECT(st.tensors == NULL && st.path == NULL);
    bytes_free(&b);
  }
}

static void test_header_lengths(void) {
  static const uint64_t lengths[] = {1,
                                     3,
                                     100000000,
                                     100000001,
                                     1ull << 32,
                                     1ull << 63,
                                     UINT64_MAX - 7,
                                     UINT64_MAX,
                                     UINT64_MAX - 1};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    Error err = {0};
    Safetensors st = {0};
    Bytes b = {0};
    bytes_u64(&b, lengths[i]);
    bytes_text(&b, "{}");
    EXPECT(safetensors_open_memory(&st, "t", b.data, b.size, &err) == STATUS_DATA);
    EXPECT(strncmp(err.message, "t: byte ", 8) == 0, "%s", err.message);
    EXPECT(lengths[i] == 1 || strstr(err.message, "bytes in a file of 10") != NULL, "%s",
           err.message);
    bytes_free(&b);
  }
  // The limit itself, although the file would be large enough.
  Error err = {0};
  Safetensors st = {0};
  Bytes b = {0};
  int64_t size = 100000001 + 8;
  b.data = malloc((size_t)size);
  memset(b.data, ' ', (size_t)size);
  memcpy(b.data + 8, "{}", 2);
  uint64_t length = 100000001;
  memcpy(b.data, &length, 8);
  EXPECT(safetensors_open_memory(&st, "t", b.data, size, &err) == STATUS_DATA);
  length = 100000000;
  memcpy(b.data, &length, 8);
  EXPECT(safetensors_open_memory(&st, "t", b.data, size - 1, &err) == STATUS_OK, "%s", err.message);
  safetensors_close(&st);
  bytes_free(&b);
}

static void test_deep_and_many(void) {
  Error err = {0};
  Safetensors st = {0};
  Bytes b = {0};
  enum { DEEP = 1000000, MANY = 300000 };
  bytes_u64(&b, 5 + DEEP);
  bytes_text(&b, "{\"a\":");
  bytes_fill(&b, '[', DEEP);
  EXPECT(safetensors_open_memory(&st, "t", b.data, b.size, &err) == STATUS_DATA);
  bytes_free(&b);
  b = (Bytes){0};
  bytes_u64(&b, 0);
  bytes_text(&b, "{");
  for (int i = 0; i < MANY; i++) {
    char text[100];
    snprintf(text, sizeof text, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
             i > 0 ? "," : "", i);
    bytes_text(&b, text);
  }
  bytes_text(&b, "}");
  uint64_t length = (uint64_t)b.size - 8;
  memcpy(b.data, &length, 8);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  EXPECT(safetensors_open_memory(&st, "t", b.data, b.size, &err) == STATUS_OK, "%s", err.message);
  clock_gettime(CLOCK_MONOTONIC, &end);
  double seconds =
      (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
  EXPECT(st.n_tensors == MANY && seconds < 5, "%g s", seconds);
  safetensors_close(&st);
  bytes_free(&b);
}

static void read_back(const char *path, Bytes *b) {
  Error err = {0};
  char *text;
  int64_t size;
  *b = (Bytes){0};
  EXPECT(file_read_all(&text, &size, path, 1 << 26, &err) == STATUS_OK, "%s", err.message);
  bytes_put(b, text, size);
  free(text);
}

static void test_writes(void) {
  Error err = {0};
  char path[512];
  snprintf(path, sizeof path, "%s/w.safetensors", test_tmp_dir());
  float f32[6] = {1, 2, 3, 4, 5, 6};
  uint16_t bf16[2] = {0x3F80, 0x4000}, f16 = 0x3C00;
  int64_t i64 = -5;
  double f64 = 0.5;
  uint8_t u8[3] = {7, 8, 9};
  int32_t i32 = 11;
  const SafetensorsItem items[] = {
      {"b", DT_F32, 2, {2, 3}, f32},
      {"a", DT_BF16, 1, {2}, bf16},
      {"\xC3\xA9\"\n\x01\x7F/", DT_F16, 1, {1}, &f16},
      {"c", DT_I64, 1, {1}, &i64},
      {"d", DT_F64, 1, {1}, &f64},
      {"e", DT_U8, 1, {3}, u8},
      {"f", DT_I32, 0, {0}, &i32},
      {"aa", DT_F32, 2, {0, 3}, NULL},
  };
  EXPECT(safetensors_write(path, items, 8, NULL, 0, &err) == STATUS_OK, "%s", err.message);
  // What safetensors.torch.save of the reference library (0.8.0) gives for these tensors and
  // {"format":"pt"}.
  const char *header =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
      "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},"
      "\"aa\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[16,16]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40]},"
      "\"f\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[40,44]},"
      "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[44,48]},"
      "\"\xC3\xA9\\\"\\n\\u0001\x7F/\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[48,50]},"
      "\"e\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[50,53]}}";
  Bytes expected = {0}, written;
  bytes_u64(&expected, (strlen(header) + 7) / 8 * 8);
  bytes_text(&expected, header);
  while (expected.size % 8 != 0) bytes_u8(&expected, ' ');
  bytes_put(&expected, &i64, 8);
  bytes_put(&expected, &f64, 8);
  bytes_put(&expected, f32, 24);
  bytes_put(&expected, &i32, 4);
  bytes_put(&expected, bf16, 4);
  bytes_put(&expected, &f16, 2);
  bytes_put(&expected, u8, 3);
  read_back(path, &written);
  EXPECT(written.size == expected.size &&
             memcmp(written.data, expected.data, (size_t)expected.size) == 0,
         "%.*s", (int)(written.size - 8), written.data + 8);
  bytes_free(&expected);
  bytes_free(&written);
  // And with pairs of metadata, read again.
  const SafetensorsPair pairs[] = {{"vma.version", "1"}, {"a", "\"quoted\"\t\xE2\x82\xAC"}};
  EXPECT(safetensors_write(path, items, 8, pairs, 2, &err) == STATUS_OK, "%s", err.message);
  Safetensors st;
  EXPECT(safetensors_open(&st, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(st.n_metadata == 3 && st.n_tensors == 8);
  EXPECT(strcmp(safetensors_metadata(&st, "a"), pairs[1].value) == 0 &&
         strcmp(safetensors_metadata(&st, "format"), "pt") == 0);
  for (int i = 0; i < 8; i++) {
    const SafeTensor *t = safetensors_find(&st, items[i].name);
    EXPECT(t != NULL && t->dtype == items[i].dtype && t->ndim == items[i].ndim &&
           (t->bytes == 0 || memcmp(st.data + t->offset, items[i].data, (size_t)t->bytes) == 0));
  }
  safetensors_close(&st);
  EXPECT(safetensors_write("/dev/full", items, 8, pairs, 2, &err) == STATUS_IO);
  EXPECT(safetensors_write("/nonexistent/x", items, 8, pairs, 2, &err) == STATUS_IO);
  EXPECT(safetensors_open(&st, "/nonexistent/x", &err) == STATUS_NO_INPUT);
}

// Values of the streamed items: byte k of item i, so that any misplaced range shows.
static uint8_t byte_at(int64_t item, int64_t k) {
  return (uint8_t)(k * 31 + (k >> 9) + item * 77);
}

typedef struct Asked {
  const SafetensorsItem *items;
  int64_t item, next; // where the next range must begin
  int64_t calls, fail_at;
} Asked;

static Status fill(void *context, int64_t item, int64_t first, int64_t count, void *dst,
                   Error *err) {
  Asked *asked = context;
  const SafetensorsItem *it = &asked->items[item];
  if (asked->item != item) asked->next = 0;
  int64_t row = it->ndim < 2 ? 1 : it->shape[1], bytes = dtype_bytes(it->dtype, count);
  EXPECT(first == asked->next && count > 0 && first % row == 0 && count % row == 0);
  EXPECT(bytes <= 4 << 20 || count == row, "%lld bytes at once", (long long)bytes);
  asked->item = item;
  asked->next = first + count;
  int64_t begin = dtype_bytes(it->dtype, first);
  for (int64_t k = 0; k < bytes; k++) ((uint8_t *)dst)[k] = byte_at(item, begin + k);
  if (++asked->calls == asked->fail_at)
    return error_set(err, STATUS_FAILED, "item %lld cannot be had", (long long)item);
  return STATUS_OK;
}

static void test_streams(void) {
  Error err = {0};
  enum { N = 6 };
  SafetensorsItem whole[N] =
      {
          {"matrix", DT_F32, 2, {701, 4099}, NULL},
          {"flat", DT_BF16, 1, {2500001}, NULL},
          {"wide", DT_F32, 2, {2, (5 << 20) / 4}, NULL},
          {"tiny", DT_U8, 0, {0}, NULL},
          {"mine", DT_F32, 2, {3, 5}, NULL},
          {"none", DT_F32, 2, {0, 7}, NULL},
      },
                  asked_for[N];
  memcpy(asked_for, whole, sizeof whole);
  for (int64_t i = 0; i < N; i++) {
    int64_t count = 1;
    for (int d = 0; d < whole[i].ndim; d++) count *= whole[i].shape[d];
    int64_t bytes = dtype_bytes(whole[i].dtype, count);
    uint8_t *data = malloc((size_t)bytes + 1);
    for (int64_t k = 0; k < bytes; k++) data[k] = byte_at(i, k);
    whole[i].data = data;
  }
  asked_for[4].data = whole[4].data; // one that has its data among those that are asked for
  char path[512], streamed[512];
  snprintf(path, sizeof path, "%s/whole.safetensors", test_tmp_dir());
  snprintf(streamed, sizeof streamed, "%s/streamed.safetensors", test_tmp_dir());
  EXPECT(safetensors_write(path, whole, N, NULL, 0, &err) == STATUS_OK, "%s", err.message);
  Asked asked = {.items = asked_for, .item = -1};
  EXPECT(safetensors_write_stream(streamed, asked_for, N, NULL, 0, fill, &asked, &err) == STATUS_OK,
         "%s", err.message);
  EXPECT(asked.calls == 3 + 2 + 2 + 1, "%lld", (long long)asked.calls);
  Bytes a, b;
  read_back(path, &a);
  read_back(streamed, &b);
  EXPECT(a.size == b.size && memcmp(a.data, b.data, (size_t)a.size) == 0);
  bytes_free(&b);
  // A source that fails in the middle: its own error, and the old file as it was.
  asked = (Asked){.items = asked_for, .item = -1, .fail_at = 4};
  EXPECT(safetensors_write_stream(streamed, asked_for, N, NULL, 0, fill, &asked, &err) ==
         STATUS_FAILED);
  EXPECT(strstr(err.message, "cannot be had") != NULL && asked.calls == 4, "%s", err.message);
  read_back(streamed, &b);
  EXPECT(a.size == b.size && memcmp(a.data, b.data, (size_t)a.size) == 0);
  asked = (Asked){.items = asked_for, .item = -1};
  EXPECT(safetensors_write_stream("/dev/full", asked_for, N, NULL, 0, fill, &asked, &err) ==
         STATUS_IO);
  bytes_free(&a);
  bytes_free(&b);
  for (int i = 0; i < N; i++) free((void *)whole[i].data);
}

int main(void) {
  RUN(test_reads);
  RUN(test_refuses);
  RUN(test_header_lengths);
  RUN(test_deep_and_many);
  RUN(test_writes);
  RUN(test_streams);
  return test_done();
}
