// labels: quick
// Lists of items and JSONL: detection, items with their line and index, faults with their place,
// compressed files, and memory that does not grow with the file.
#include "json_items.h"
#include "mapped_file.h"
#include "test.h"

#include <sys/resource.h>
#include <zlib.h>

static char path[512];

static void put(const char *name, const void *data, size_t size) {
  Error err = {0};
  snprintf(path, sizeof path, "%s/%s", test_tmp_dir(), name);
  EXPECT(file_write(path, data, (int64_t)size, &err) == STATUS_OK, "%s", err.message);
}

typedef struct Good {
  const char *text;
  int items;
  int lines[4];
} Good;

static void test_good(void) {
  static const Good goods[] = {
      {"[]", 0, {0}},
      {"\xEF\xBB\xBF [ ]\r\n", 0, {0}},
      {"[{\"i\":0},{\"i\":1}]", 2, {1, 1}},
      {"[\n  {\"i\": 0},\n\n  {\n\"i\": 1}\n]\n", 2, {2, 4}},
      {"{\"i\":0}", 1, {1}},
      {"{\"i\":0}\n", 1, {1}},
      {"\xEF\xBB\xBF\n\n{\"i\":0}\r\n\r\n   \n{\"i\":1}\r\n{\"i\":2}", 3, {3, 6, 7}},
      {"[{\"i\":0}, {\"i\":1, \"s\":\"a\\u0000b\"}, {\"i\":2,\n\"x\":[[]]}]", 3, {1, 1, 1}},
  };
  for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
    Error err = {0};
    put("items.json", goods[i].text, strlen(goods[i].text));
    JsonItems *items = NULL;
    EXPECT(json_items_open(&items, path, &err) == STATUS_OK, "%zu: %s", i, err.message);
    if (items == NULL) continue;
    JsonItem item;
    int n = 0;
    Status status;
    while ((status = json_items_next(items, &item, &err)) == STATUS_OK && item.value != NULL) {
      EXPECT(item.index == n && item.line == goods[i].lines[n < 4 ? n : 3], "%zu: %lld line %lld",
             i, (long long)item.index, (long long)item.line);
      EXPECT(json_integer_value(json_object_get(item.value, "i")) == n);
      EXPECT(item.text[0] == '{' && item.text[item.size - 1] == '}');
      n++;
    }
    EXPECT(status == STATUS_OK, "%zu: %s", i, err.message);
    EXPECT(n == goods[i].items, "%zu: %d", i, n);
    EXPECT(json_items_next(items, &item, &err) == STATUS_OK && item.value == NULL);
    json_items_close(items);
  }
}

typedef struct Bad {
  const char *text;
  int after;           // items before the fault; -1: the file does not open
  const char *message; // what follows the path
} Bad;

static void test_bad(void) {
  static const Bad bads[] = {
      {"", -1, ": expected a JSON list or one JSON object a line, found an empty file"},
      {" \n", -1, ": expected a JSON list"},
      {"\"text\"", -1, ":1:1: expected a JSON list ('[') or one JSON object a line ('{')"},
      {"instruction,output\n", -1, ":1:1: expected a JSON list"},
      {"[{}", 1, ":1:4: expected ',' or ']', found the end of the text"},
      {"[{}]\n[{}]", 1, ":2:1: expected the end of the text, found '[' (the list was closed"},
      {"[{} {}]", 1, ":1:5: expected ',' or ']'"},
      {"[{},]", 1, ":1:5: expected a value"},
      {"[\n{},\n{\"a\":\"\xC3\"}]", 1, ":3:7: invalid UTF-8"},
      {"[{\"a\":1,\"a\":2}]", 0, ":1:9: the key 'a' stands twice in this object"},
      {"{\n\"a\": 1\n}", 0, ":1:2: expected a key in '\"', found the end of the line (a file that"},
      {"{\"a\":1}\n{\"a\":\n", 1, ":2:6: expected a value, found the end of the line"},
      {"{\"a\":1} {\"a\":2}\n", 0, ":1:9: expected the end of the line after the item"},
      {"{\"a\":1},\n{\"a\":2}\n", 0, ":1:8: expected the end of the line after the item"},
      {"{\"a\":1}\n\n{\"a\":1e999}\n", 1, ":3:6: the number"},
      {"{\"a\":1}\n{\"b\":1,\n\"b\":2}\n", 1, ":2:8: expected a key"},
  };
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    Error err = {0};
    put("items.json", bads[i].text, strlen(bads[i].text));
    JsonItems *items = NULL;
    Status status = json_items_open(&items, path, &err);
    JsonItem item = {0};
    int n = 0;
    while (status == STATUS_OK) {
      status = json_items_next(items, &item, &err);
      if (status == STATUS_OK && item.value == NULL) break;
      n += status == STATUS_OK;
    }
    EXPECT(status == STATUS_DATA, "%zu: status %d", i, status);
    EXPECT(items == NULL ? bads[i].after == -1 : bads[i].after == n, "%zu: %d items", i, n);
    EXPECT(strncmp(err.message, path, strlen(path)) == 0 &&
               strstr(err.message + strlen(path), bads[i].message) == err.message + strlen(path),
           "%zu: %s", i, err.message);
    json_items_close(items);
  }
}

static void test_caller_fault(void) {
  Error err = {0};
  put("items.json", "{\"a\":1}\n7\n", 10);
  JsonItems *items = NULL;
  JsonItem item;
  EXPECT(json_items_open(&items, path, &err) == STATUS_OK);
  EXPECT(json_items_next(items, &item, &err) == STATUS_OK);
  EXPECT(json_items_next(items, &item, &err) == STATUS_OK && json_is_integer(item.value));
  EXPECT(json_items_error(items, &item, &err, "expected an object") == STATUS_DATA);
  EXPECT(strstr(err.message, "items.json:2: item 1: expected an object") != NULL, "%s",
         err.message);
  json_items_close(items);
}

static void test_missing(void) {
  Error err = {0};
  JsonItems *items = NULL;
  EXPECT(json_items_open(&items, "/nonexistent/x.json", &err) == STATUS_NO_INPUT);
  EXPECT(strstr(err.message, "/nonexistent/x.json: cannot be opened: No such file") != NULL, "%s",
         err.message);
  EXPECT(json_items_open(&items, test_tmp_dir(), &err) == STATUS_NO_INPUT);
  EXPECT(strstr(err.message, "folder") != NULL, "%s", err.message);
}

static void test_gzip(void) {
  Error err = {0};
  snprintf(path, sizeof path, "%s/items.jsonl.gz", test_tmp_dir());
  gzFile file = gzopen(path, "wb");
  for (int i = 0; i < 20000; i++) gzprintf(file, "{\"i\": %d}\n", i);
  gzclose(file);
  file = gzopen(path, "ab"); // a second member
  for (int i = 20000; i < 20010; i++) gzprintf(file, "{\"i\": %d}\n", i);
  gzclose(file);
  JsonItems *items = NULL;
  JsonItem item;
  int n = 0;
  EXPECT(json_items_open(&items, path, &err) == STATUS_OK, "%s", err.message);
  while (items != NULL && json_items_next(items, &item, &err) == STATUS_OK && item.value != NULL) {
    EXPECT(json_integer_value(json_object_get(item.value, "i")) == n);
    n++;
  }
  EXPECT(n == 20010, "%d: %s", n, err.message);
  json_items_close(items);

  char *text;
  int64_t size;
  EXPECT(file_read_all(&text, &size, path, 1 << 24, &err) == STATUS_OK);
  put("cut.gz", text, (size_t)size - 20);
  EXPECT(json_items_open(&items, path, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "the file is cut") != NULL, "%s", err.message);
  text[size / 3] = (char)(text[size / 3] ^ 0x55);
  put("damaged.gz", text, (size_t)size);
  EXPECT(json_items_open(&items, path, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "not gzip data") != NULL, "%s", err.message);
  free(text);
}

static long peak_kib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// 96 MB of items raise the peak by less than 24 MB: the step in which pages are given back, an item
// and the allocator.
static void test_memory(void) {
  Error err = {0};
  enum { ITEMS = 12000, TEXT = 8000 };
  snprintf(path, sizeof path, "%s/big.json", test_tmp_dir());
  char *text = malloc(TEXT + 1);
  memset(text, 'x', TEXT);
  text[TEXT] = '\0';
  FILE *file = fopen(path, "w");
  for (int i = 0; i < ITEMS; i++) {
    fprintf(file, "%s{\"i\": %d, \"s\": \"%s\"}", i == 0 ? "[\n" : ",\n", i, text);
  }
  fprintf(file, "]\n");
  fclose(file);
  free(text);
  long before = peak_kib();
  JsonItems *items = NULL;
  JsonItem item;
  int n = 0;
  EXPECT(json_items_open(&items, path, &err) == STATUS_OK, "%s", err.message);
  while (items != NULL && json_items_next(items, &item, &err) == STATUS_OK && item.value != NULL) {
    n++;
  }
  json_items_close(items);
  long grown = peak_kib() - before;
  EXPECT(n == ITEMS, "%d: %s", n, err.message);
#if !defined(__SANITIZE_ADDRESS__) // whose quarantine keeps what was freed
  EXPECT(grown < 24 * 1024, "%ld KiB", grown);
#else
  (void)grown;
#endif
}

static void test_real_data(void) {
  const char *data = test_shared_data();
  if (data == NULL) return;
  static const struct {
    const char *name;
    int items;
  } files[] = {{"instruct/medical_meadow_small.json", 5942}, {"instruct/medquad.jsonl.gz", 16407}};
  for (int f = 0; f < 2; f++) {
    Error err = {0};
    snprintf(path, sizeof path, "%s/%s", data, files[f].name);
    JsonItems *items = NULL;
    JsonItem item;
    int n = 0;
    EXPECT(json_items_open(&items, path, &err) == STATUS_OK, "%s", err.message);
    while (items != NULL && json_items_next(items, &item, &err) == STATUS_OK &&
           item.value != NULL) {
      EXPECT(json_is_string(json_object_get(item.value, "output")));
      n++;
    }
    EXPECT(n == files[f].items, "%s: %d: %s", files[f].name, n, err.message);
    json_items_close(items);
  }
}

int main(void) {
  RUN(test_memory); // first: the peak is the process's
  RUN(test_good);
  RUN(test_bad);
  RUN(test_caller_fault);
  RUN(test_missing);
  RUN(test_gzip);
  RUN(test_real_data);
  return test_done();
}
