// labels: quick
// The JSON scanner: what it accepts and refuses, where it says the fault is, and that jansson
// agrees.
#include "json_items.h"
#include "json_scan.h"
#include "test.h"

#include <math.h>

static Status check(const char *text, int64_t size, Error *err) {
  JsonScan scan = json_scan_make("t.json", text, size);
  Status status = json_scan_skip(&scan, err);
  return status == STATUS_OK ? json_scan_end(&scan, err) : status;
}

static void test_valid(void) {
  static const char *const texts[] = {
      "0",
      "-0",
      "-0.0",
      "1e300",
      "1E+2",
      "0.5e-3",
      "9223372036854775807",
      "-9223372036854775808",
      "true",
      " false ",
      "null",
      "\"\"",
      "\"\\u00e9\\n\\/\\\"\"",
      "\"\\ud83d\\ude00\"",
      "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
      "\"\\u0000\"",
      "[]",
      "{}",
      "[ ]",
      "[1,[2,[3]],{}]",
      "{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"e\"}}",
      "\t\r\n {\"a\" : [ 1 , 2 ] }\n",
      "\xEF\xBB\xBF{\"a\":1}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    Error err = {0};
    EXPECT(check(texts[i], (int64_t)strlen(texts[i]), &err) == STATUS_OK, "%s: %s", texts[i],
           err.message);
    json_t *root = NULL;
    Status status = json_document_parse(&root, "t.json", texts[i], (int64_t)strlen(texts[i]), &err);
    EXPECT(status == STATUS_OK, "%s: %s", texts[i], err.message);
    json_decref(root);
  }
}

typedef struct Bad {
  const char *text;
  const char *message; // a part of it
} Bad;

static void test_invalid(void) {
  static const Bad bads[] = {
      {"", ":1:1: expected a value, found the end of the text"},
      {"  ", ":1:3: expected a value"},
      {"nul", ":1:1:"},
      {"TRUE", ":1:1: expected a value, found 'T'"},
      {"01", ":1:1: a number with a leading zero"},
      {"-", ":1:2: expected a digit"},
      {"+1", ":1:1: expected a value"},
      {".5", ":1:1: expected a value"},
      {"1.", ":1:3: expected a digit after '.'"},
      {"1e", ":1:3: expected a digit in the exponent"},
      {"1e400", ":1:1: the number '1e400' is out of range"},
      {"-1e400", "out of range"},
      {"9223372036854775808", "does not fit 64 bits"},
      {"-9223372036854775809", "does not fit 64 bits"},
      {"NaN", ":1:1: expected a value"},
      {"Infinity", ":1:1:"},
      {"\"a", ":1:1: this string has no closing"},
      {"\"a\nb\"", ":1:3: a bare control character 0x0a"},
      {"\"\\x\"", ":1:2: expected one of"},
      {"\"\\u12g4\"", "four hex digits"},
      {"\"\\u12", "four hex digits"},
      {"\"\\ud800\"", "half of a surrogate pair"},
      {"\"\\udc00\"", "half of a surrogate pair"},
      {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
      {"\"\\", ":1:2: expected one of"},
      {"\"\xFF\"", ":1:2: invalid UTF-8: byte 0xff"},
      {"\"\xC0\xAF\"", "invalid UTF-8"},         // overlong
      {"\"\xE0\x80\xAF\"", "invalid UTF-8"},     // overlong
      {"\"\xF0\x80\x80\xAF\"", "invalid UTF-8"}, // overlong
      {"\"\xED\xA0\x80\"", "invalid UTF-8"},     // surrogate
      {"\"\xF4\x90\x80\x80\"", "invalid UTF-8"}, // above U+10FFFF
      {"\"\xE2\x82\"", "invalid UTF-8"},         // cut
      {"\"\x80\"", "invalid UTF-8"},
      {"[1,]", ":1:4: expected a value, found ']'"},
      {"[1 2]", ":1:4: expected ',' or ']', found '2'"},
      {"[1", ":1:3: expected ',' or ']', found the end"},
      {"[,1]", ":1:2: expected a value"},
      {"{\"a\":1,}", ":1:8: expected a key"},
      {"{a:1}", ":1:2: expected a key"},
      {"{\"a\" 1}", ":1:6: expected ':'"},
      {"{\"a\":}", ":1:6: expected a value"},
      {"{\"a\":1 \"b\":2}", ":1:8: expected ',' or '}'"},
      {"[1}", ":1:3: expected ',' or ']'"},
      {"{\"a\":[1,\n2,\n  x]}", ":3:3: expected a value, found 'x'"},
      {"[\"\xC3\xA9\xC3\xA9\", x]", ":1:8: expected a value"}, // columns are characters
      {"1 2", ":1:3: expected the end of the text, found '2'"},
      {"{} x", ":1:4: expected the end"},
      {"/* c */ 1", ":1:1: expected a value"},
  };
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    Error err = {0};
    Status status = check(bads[i].text, (int64_t)strlen(bads[i].text), &err);
    EXPECT(status == STATUS_DATA, "%s: status %d", bads[i].text, status);
    EXPECT(strncmp(err.message, "t.json:", 7) == 0 && strstr(err.message, bads[i].message) != NULL,
           "%s: %s", bads[i].text, err.message);
    json_t *root = NULL;
    EXPECT(json_document_parse(&root, "t", bads[i].text, (int64_t)strlen(bads[i].text), &err) ==
           STATUS_DATA);
    EXPECT(root == NULL);
  }
  Error err = {0};
  EXPECT(check("\"a\0b\"", 5, &err) == STATUS_DATA && strstr(err.message, "0x00") != NULL, "%s",
         err.message);
  EXPECT(check("\"\\\0\"", 4, &err) == STATUS_DATA && strstr(err.message, ":1:2:") != NULL, "%s",
         err.message);
}

static void test_depth(void) {
  enum { DEEP = 1000000 };
  char *text = malloc(DEEP);
  memset(text, '[', DEEP);
  Error err = {0};
  EXPECT(check(text, DEEP, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, ":1:65: nested deeper than 64") != NULL, "%s", err.message);
  for (int i = 0; i < JSON_DEPTH_MAX; i++) text[JSON_DEPTH_MAX + i] = ']';
  EXPECT(check(text, 2 * JSON_DEPTH_MAX, &err) == STATUS_OK, "%s", err.message);
  memset(text, '1', DEEP); // a number as long as the file
  EXPECT(check(text, DEEP, &err) == STATUS_DATA && strstr(err.message, "characters") != NULL, "%s",
         err.message);
  free(text);
}

static void test_duplicates(void) {
  Error err = {0};
  json_t *root = NULL;
  const char *text = "{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}";
  EXPECT(json_document_parse(&root, "t.json", text, (int64_t)strlen(text), &err) == STATUS_DATA);
  EXPECT(strcmp(err.message, "t.json:2:16: the key 'c' stands twice in this object") == 0, "%s",
         err.message);
  text = "{\"a\\\"\": 1, \"\\u0061\\\"\" : 2}"; // the same key spelled otherwise
  EXPECT(json_document_parse(&root, "t.json", text, (int64_t)strlen(text), &err) == STATUS_DATA);
  EXPECT(strcmp(err.message, "t.json:1:12: the key '\\u0061\\\"' stands twice in this object") == 0,
         "%s", err.message);
}

static void test_typed(void) {
  Error err = {0};
  const char *text =
      "{\"n\": 12, \"list\": [1.5, -2, true], \"\\u0073\": \"x\\u00e9\\ud83d\\ude00\", "
      "\"skip\": {\"deep\": [[]]}}";
  JsonScan scan = json_scan_make("t.json", text, (int64_t)strlen(text));
  JsonString key;
  bool more, flag = false;
  int64_t n = 0;
  double x = 0;
  EXPECT(json_scan_object(&scan, &err) == STATUS_OK);
  EXPECT(json_scan_member(&scan, &key, &more, &err) == STATUS_OK && more);
  EXPECT(json_string_is(&key, "n") && !json_string_is(&key, "m") && !json_string_is(&key, "nn"));
  EXPECT(json_scan_int(&scan, 0, 12, &n, &err) == STATUS_OK && n == 12);
  EXPECT(json_scan_member(&scan, &key, &more, &err) == STATUS_OK && more);
  EXPECT(json_scan_array(&scan, &err) == STATUS_OK);
  EXPECT(json_scan_element(&scan, &more, &err) == STATUS_OK && more);
  EXPECT(json_scan_number(&scan, &x, &err) == STATUS_OK && x == 1.5);
  EXPECT(json_scan_element(&scan, &more, &err) == STATUS_OK && more);
  EXPECT(json_scan_number(&scan, &x, &err) == STATUS_OK && x == -2);
  EXPECT(json_scan_element(&scan, &more, &err) == STATUS_OK && more);
  EXPECT(json_scan_bool(&scan, &flag, &err) == STATUS_OK && flag);
  EXPECT(json_scan_element(&scan, &more, &err) == STATUS_OK && !more);
  EXPECT(json_scan_member(&scan, &key, &more, &err) == STATUS_OK && more);
  EXPECT(json_string_is(&key, "s") && !json_string_is(&key, "t"));
  JsonString string;
  EXPECT(json_scan_string(&scan, &string, &err) == STATUS_OK && string.escaped);
  char *copy = json_string_copy(&string, &n);
  EXPECT(n == 7 && strcmp(copy, "x\xC3\xA9\xF0\x9F\x98\x80") == 0, "%s", copy);
  free(copy);
  EXPECT(json_scan_member(&scan, &key, &more, &err) == STATUS_OK && more);
  EXPECT(json_scan_skip(&scan, &err) == STATUS_OK);
  EXPECT(json_scan_member(&scan, &key, &more, &err) == STATUS_OK && !more);
  EXPECT(json_scan_end(&scan, &err) == STATUS_OK, "%s", err.message);

  static const Bad bads[] = {{"13", "from 0 to 12, found '13'"},
                             {"-1", "from 0 to 12, found '-1'"},
                             {"-0", "expected an integer, found '-0'"},
                             {"1.0", "expected an integer, found '1.0'"},
                             {"1e1", "expected an integer"},
                             {"99999999999999999999", "from 0 to 12"},
                             {"\"1\"", "expected an integer, found '\"'"}};
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    scan = json_scan_make("t.json", bads[i].text, (int64_t)strlen(bads[i].text));
    scan.base = 8;
    EXPECT(json_scan_int(&scan, 0, 12, &n, &err) == STATUS_DATA);
    EXPECT(strstr(err.message, "t.json: byte 8: ") == err.message &&
               strstr(err.message, bads[i].message) != NULL,
           "%s: %s", bads[i].text, err.message);
  }
}

// Comparing and copying undo escapes alike, for strings of any length.
static void test_strings(void) {
  Error err = {0};
  JsonString string;
  char zeros[601], json[1024], plain[1024];
  for (int n = 0; n < 600; n++) {
    memset(zeros, '0', sizeof zeros);
    zeros[n] = '\0';
    int length = snprintf(json, sizeof json, "\"\\t%s\\u00e9\\ud83d\\ude00\"", zeros);
    snprintf(plain, sizeof plain, "\t%s\xC3\xA9\xF0\x9F\x98\x80", zeros);
    JsonScan scan = json_scan_make("t.json", json, length);
    EXPECT(json_scan_string(&scan, &string, &err) == STATUS_OK, "%s", err.message);
    int64_t copied;
    char *copy = json_string_copy(&string, &copied);
    EXPECT(copied == (int64_t)strlen(plain) && strcmp(copy, plain) == 0, "%s: %s", json, copy);
    EXPECT(json_string_is(&string, plain), "%s", json);
    plain[strlen(plain) - 1]++;
    EXPECT(!json_string_is(&string, plain), "%s", json);
    plain[strlen(plain) - 1] = '\0';
    EXPECT(!json_string_is(&string, plain), "%s", json);
    free(copy);
  }
}

int main(void) {
  RUN(test_valid);
  RUN(test_invalid);
  RUN(test_depth);
  RUN(test_duplicates);
  RUN(test_typed);
  RUN(test_strings);
  return test_done();
}
