#include "json_scan.h"

#include "quote.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

JsonScan json_scan_make(const char *path, const void *text, int64_t size) {
  JsonScan scan = {.path = path, .text = text, .size = size, .base = -1, .whole = "text"};
  if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) scan.pos = 3;
  return scan;
}

void json_scan_place(const JsonScan *scan, int64_t pos, int64_t *line, int64_t *column) {
  int64_t at_line = 1, start = 0;
  while (start < pos) {
    const uint8_t *newline = memchr(scan->text + start, '\n', (size_t)(pos - start));
    if (newline == NULL) break;
    at_line++;
    start = newline - scan->text + 1;
  }
  if (at_line == 1 && scan->size >= 3 && memcmp(scan->text, "\xEF\xBB\xBF", 3) == 0 && pos >= 3) {
    start = 3; // the byte order mark is no column
  }
  int64_t characters = 1;
  for (int64_t i = start; i < pos; i++) characters += (scan->text[i] & 0xC0) != 0x80;
  *line = at_line;
  *column = characters;
}

Status json_scan_error(const JsonScan *scan, int64_t pos, Error *err, const char *fmt, ...) {
  if (err == NULL) return STATUS_DATA;
  char message[800];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  if (scan->base >= 0) {
    return error_set(err, STATUS_DATA, "%s: byte %lld: %s", scan->path,
                     (long long)(scan->base + pos), message);
  }
  int64_t line, column;
  json_scan_place(scan, pos, &line, &column);
  return error_set(err, STATUS_DATA, "%s:%lld:%lld: %s", scan->path, (long long)line,
                   (long long)column, message);
}

// "expected X, found Y" at the place where the scan stands.
static Status refuse(const JsonScan *scan, const char *expected, Error *err) {
  if (scan->pos >= scan->size) {
    return json_scan_error(scan, scan->pos, err, "expected %s, found the end of the %s", expected,
                           scan->whole);
  }
  int length = utf8_character_length(scan->text + scan->pos, scan->size - scan->pos);
  return json_scan_error(scan, scan->pos, err, "expected %s, found %s", expected,
                         quote_bytes(scan->text + scan->pos, length > 0 ? length : 1).text);
}

static void skip_space(JsonScan *scan) {
  int64_t pos = scan->pos;
  while (pos < scan->size) {
    uint8_t c = scan->text[pos];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
    pos++;
  }
  scan->pos = pos;
}

JsonKind json_scan_peek(JsonScan *scan) {
  skip_space(scan);
  if (scan->pos >= scan->size) return JSON_KIND_END;
  uint8_t c = scan->text[scan->pos];
  switch (c) {
  case '{':
    return JSON_KIND_OBJECT;
  case '[':
    return JSON_KIND_ARRAY;
  case '"':
    return JSON_KIND_STRING;
  case 't':
    return JSON_KIND_TRUE;
  case 'f':
    return JSON_KIND_FALSE;
  case 'n':
    return JSON_KIND_NULL;
  default:
    return c == '-' || (c >= '0' && c <= '9') ? JSON_KIND_NUMBER : JSON_KIND_BAD;
  }
}

static Status enter(JsonScan *scan, Error *err) {
  if (scan->depth == JSON_DEPTH_MAX) {
    return json_scan_error(scan, scan->pos, err, "nested deeper than %d levels", JSON_DEPTH_MAX);
  }
  scan->fresh |= (uint64_t)1 << scan->depth;
  scan->depth++;
  scan->pos++;
  return STATUS_OK;
}

Status json_scan_object(JsonScan *scan, Error *err) {
  if (json_scan_peek(scan) != JSON_KIND_OBJECT) return refuse(scan, "an object '{'", err);
  return enter(scan, err);
}

Status json_scan_array(JsonScan *scan, Error *err) {
  if (json_scan_peek(scan) != JSON_KIND_ARRAY) return refuse(scan, "a list '['", err);
  return enter(scan, err);
}

// Before an element or the closing bracket of the innermost container.
static Status step(JsonScan *scan, uint8_t close, bool *more, Error *err) {
  uint64_t bit = (uint64_t)1 << (scan->depth - 1);
  bool fresh = scan->fresh & bit;
  skip_space(scan);
  uint8_t c = scan->pos < scan->size ? scan->text[scan->pos] : 0;
  if (scan->pos < scan->size && c == close) {
    scan->pos++;
    scan->depth--;
    *more = false;
    return STATUS_OK;
  }
  if (!fresh) {
    if (scan->pos >= scan->size || c != ',') {
      return refuse(scan, close == '}' ? "',' or '}'" : "',' or ']'", err);
    }
    scan->pos++;
  }
  scan->fresh &= ~bit;
  *more = true;
  return STATUS_OK;
}

Status json_scan_element(JsonScan *scan, bool *more, Error *err) {
  Status status = STATUS_OK;
  TRY(step(scan, ']', more, err));
  if (!*more) return STATUS_OK;
  JsonKind kind = json_scan_peek(scan);
  if (kind == JSON_KIND_END || kind == JSON_KIND_BAD) return refuse(scan, "a value", err);
done:
  return status;
}

Status json_scan_member(JsonScan *scan, JsonString *key, bool *more, Error *err) {
  Status status = STATUS_OK;
  TRY(step(scan, '}', more, err));
  if (!*more) return STATUS_OK;
  if (json_scan_peek(scan) != JSON_KIND_STRING) return refuse(scan, "a key in '\"'", err);
  TRY(json_scan_string(scan, key, err));
  skip_space(scan);
  if (scan->pos >= scan->size || scan->text[scan->pos] != ':') return refuse(scan, "':'", err);
  scan->pos++;
  JsonKind kind = json_scan_peek(scan);
  if (kind == JSON_KIND_END || kind == JSON_KIND_BAD) return refuse(scan, "a value", err);
done:
  return status;
}

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The 16 bits of the four hex digits at `at`, or -1.
static int hex4(const uint8_t *at, const uint8_t *end) {
  if (end - at < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(at[i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

// Checks the escape whose backslash is at pos and returns its length, or 0 with the error set.
static int check_escape(const JsonScan *scan, int64_t pos, Error *err) {
  const uint8_t *at = scan->text + pos, *end = scan->text + scan->size;
  if (end - at >= 2 && at[1] != 0 && strchr("\"\\/bfnrt", at[1]) != NULL) return 2;
  if (end - at < 2 || at[1] != 'u') {
    json_scan_error(scan, pos, err,
                    "expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX, found %s",
                    quote_bytes(at, end - at < 2 ? 1 : 2).text);
    return 0;
  }
  int unit = hex4(at + 2, end);
  if (unit < 0) {
    json_scan_error(scan, pos, err, "expected four hex digits after \\u");
    return 0;
  }
  if (unit < 0xD800 || unit > 0xDFFF) return 6;
  if (unit < 0xDC00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
    int low = hex4(at + 8, end);
    if (low >= 0xDC00 && low <= 0xDFFF) return 12;
  }
  json_scan_error(scan, pos, err, "\\u%04x is half of a surrogate pair without the other half",
                  (unsigned)unit);
  return 0;
}

Status json_scan_string(JsonScan *scan, JsonString *string, Error *err) {
  if (json_scan_peek(scan) != JSON_KIND_STRING) return refuse(scan, "a string in '\"'", err);
  int64_t open = scan->pos, pos = open + 1;
  bool escaped = false;
  for (;;) {
    while (pos < scan->size && scan->text[pos] >= 0x20 && scan->text[pos] < 0x80 &&
           scan->text[pos] != '"' && scan->text[pos] != '\\') {
      pos++;
    }
    if (pos >= scan->size) {
      return json_scan_error(scan, open, err, "this string has no closing '\"'");
    }
    uint8_t c = scan->text[pos];
    int length;
    if (c == '"') {
      break;
    } else if (c == '\\') {
      escaped = true;
      length = check_escape(scan, pos, err);
      if (length == 0) return STATUS_DATA;
    } else if (c < 0x20) {
      return json_scan_error(scan, pos, err,
                             "a bare control character 0x%02x inside a string: write it as \\u%04x",
                             c, c);
    } else {
      length = utf8_character_length(scan->text + pos, scan->size - pos);
      if (length == 0) return json_scan_error(scan, pos, err, "invalid UTF-8: byte 0x%02x", c);
    }
    pos += length;
  }
  *string = (JsonString){scan->text + open + 1, pos - open - 1, escaped};
  scan->pos = pos + 1;
  return STATUS_OK;
}

// The number at the scan's place: its length, and whether it is an integer by its spelling.
static Status measure_number(const JsonScan *scan, int64_t *length, bool *integer, Error *err) {
  int64_t pos = scan->pos, end = scan->size;
  const uint8_t *text = scan->text;
#define DIGIT(p) ((p) < end && text[p] >= '0' && text[p] <= '9')
  if (text[pos] == '-') pos++;
  if (!DIGIT(pos)) return json_scan_error(scan, pos, err, "expected a digit");
  if (text[pos] == '0') {
    pos++;
    if (DIGIT(pos)) return json_scan_error(scan, pos - 1, err, "a number with a leading zero");
  } else {
    while (DIGIT(pos)) pos++;
  }
  *integer = true;
  if (pos < end && text[pos] == '.') {
    pos++;
    *integer = false;
    if (!DIGIT(pos)) return json_scan_error(scan, pos, err, "expected a digit after '.'");
    while (DIGIT(pos)) pos++;
  }
  if (pos < end && (text[pos] == 'e' || text[pos] == 'E')) {
    pos++;
    *integer = false;
    if (pos < end && (text[pos] == '+' || text[pos] == '-')) pos++;
    if (!DIGIT(pos)) return json_scan_error(scan, pos, err, "expected a digit in the exponent");
    while (DIGIT(pos)) pos++;
  }
#undef DIGIT
  *length = pos - scan->pos;
  if (*length > JSON_NUMBER_MAX) {
    return json_scan_error(scan, scan->pos, err, "a number of %lld characters (%d at most)",
                           (long long)*length, JSON_NUMBER_MAX);
  }
  return STATUS_OK;
}

// False when the value does not fit.
static bool parse_int(const uint8_t *text, int64_t length, int64_t *value) {
  bool negative = text[0] == '-';
  uint64_t sum = 0, limit = negative ? (uint64_t)1 << 63 : INT64_MAX;
  for (int64_t i = negative; i < length; i++) {
    uint64_t digit = (uint64_t)(text[i] - '0');
    if (sum > (limit - digit) / 10) return false;
    sum = sum * 10 + digit;
  }
  *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
  return true;
}

Status json_scan_int(JsonScan *scan, int64_t min, int64_t max, int64_t *value, Error *err) {
  Status status = STATUS_OK;
  if (json_scan_peek(scan) != JSON_KIND_NUMBER) return refuse(scan, "an integer", err);
  int64_t length;
  bool integer;
  TRY(measure_number(scan, &length, &integer, err));
  const uint8_t *text = scan->text + scan->pos;
  if (!integer || (text[0] == '-' && text[1] == '0' && min >= 0)) {
    return json_scan_error(scan, scan->pos, err, "expected an integer, found %s",
                           quote_bytes(text, length).text);
  }
  if (!parse_int(text, length, value) || *value < min || *value > max) {
    return json_scan_error(scan, scan->pos, err, "expected an integer from %lld to %lld, found %s",
                           (long long)min, (long long)max, quote_bytes(text, length).text);
  }
  scan->pos += length;
done:
  return status;
}

Status json_scan_number(JsonScan *scan, double *value, Error *err) {
  Status status = STATUS_OK;
  if (json_scan_peek(scan) != JSON_KIND_NUMBER) return refuse(scan, "a number", err);
  int64_t length, whole;
  bool integer;
  TRY(measure_number(scan, &length, &integer, err));
  const uint8_t *text = scan->text + scan->pos;
  if (integer) {
    if (!parse_int(text, length, &whole)) {
      return json_scan_error(scan, scan->pos, err, "the integer %s does not fit 64 bits",
                             quote_bytes(text, length).text);
    }
    *value = (double)whole;
  } else {
    char copy[JSON_NUMBER_MAX + 1];
    memcpy(copy, text, (size_t)length);
    copy[length] = '\0';
    *value = strtod(copy, NULL);
    if (!isfinite(*value)) {
      return json_scan_error(scan, scan->pos, err, "the number %s is out of range",
                             quote_bytes(text, length).text);
    }
  }
  scan->pos += length;
done:
  return status;
}

static Status skip_word(JsonScan *scan, const char *word, Error *err) {
  int64_t length = (int64_t)strlen(word);
  if (scan->size - scan->pos < length ||
      memcmp(scan->text + scan->pos, word, (size_t)length) != 0) {
    return json_scan_error(scan, scan->pos, err, "expected true, false, null or another value");
  }
  scan->pos += length;
  return STATUS_OK;
}

Status json_scan_bool(JsonScan *scan, bool *value, Error *err) {
  JsonKind kind = json_scan_peek(scan);
  if (kind != JSON_KIND_TRUE && kind != JSON_KIND_FALSE) return refuse(scan, "true or false", err);
  *value = kind == JSON_KIND_TRUE;
  return skip_word(scan, *value ? "true" : "false", err);
}

// One value that is no container, or the opening of one.
static Status skip_atom(JsonScan *scan, uint64_t *is_object, Error *err) {
  JsonString string;
  double number;
  switch (json_scan_peek(scan)) {
  case JSON_KIND_OBJECT:
  case JSON_KIND_ARRAY: {
    bool object = scan->text[scan->pos] == '{';
    Status status = enter(scan, err);
    if (status != STATUS_OK) return status;
    uint64_t bit = (uint64_t)1 << (scan->depth - 1);
    *is_object = object ? *is_object | bit : *is_object & ~bit;
    return STATUS_OK;
  }
  case JSON_KIND_STRING:
    return json_scan_string(scan, &string, err);
  case JSON_KIND_NUMBER:
    return json_scan_number(scan, &number, err);
  case JSON_KIND_TRUE:
    return skip_word(scan, "true", err);
  case JSON_KIND_FALSE:
    return skip_word(scan, "false", err);
  case JSON_KIND_NULL:
    return skip_word(scan, "null", err);
  default:
    return refuse(scan, "a value", err);
  }
}

// No recursion: a bit per level says whether it is an object.
Status json_scan_skip(JsonScan *scan, Error *err) {
  Status status = STATUS_OK;
  int outside = scan->depth;
  uint64_t is_object = 0;
  TRY(skip_atom(scan, &is_object, err));
  while (scan->depth > outside) {
    bool more;
    JsonString key;
    if (is_object >> (scan->depth - 1) & 1) {
      TRY(json_scan_member(scan, &key, &more, err));
    } else {
      TRY(json_scan_element(scan, &more, err));
    }
    if (more) TRY(skip_atom(scan, &is_object, err));
  }
done:
  return status;
}

Status json_scan_end(JsonScan *scan, Error *err) {
  if (json_scan_peek(scan) == JSON_KIND_END) return STATUS_OK;
  char expected[32];
  snprintf(expected, sizeof expected, "the end of the %s", scan->whole);
  return refuse(scan, expected, err);
}

static int put_utf8(uint32_t c, char *out) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xE0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3F));
    out[2] = (char)(0x80 | (c & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3F));
  out[2] = (char)(0x80 | (c >> 6 & 0x3F));
  out[3] = (char)(0x80 | (c & 0x3F));
  return 4;
}

// The bytes of the character (or plain byte) at *at, which is stepped over: four at most, and never
// more than it had there.
static int decode_next(const uint8_t **at, const uint8_t *end, char out[4]) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  if (**at != '\\') {
    out[0] = (char)*(*at)++;
    return 1;
  }
  const char *name = strchr(names, (*at)[1]);
  if (name != NULL) {
    out[0] = values[name - names];
    *at += 2;
    return 1;
  }
  uint32_t c = (uint32_t)hex4(*at + 2, end);
  *at += 6;
  if (c >= 0xD800 && c < 0xDC00) {
    c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)hex4(*at + 2, end) - 0xDC00);
    *at += 6;
  }
  return put_utf8(c, out);
}

int64_t json_string_decode(const JsonString *string, char *out) {
  const uint8_t *at = string->raw, *end = at + string->size;
  char *to = out;
  while (at < end) {
    const uint8_t *slash = memchr(at, '\\', (size_t)(end - at));
    size_t plain = (size_t)((slash == NULL ? end : slash) - at);
    memcpy(to, at, plain);
    to += plain;
    at += plain;
    if (slash != NULL) to += decode_next(&at, end, to);
  }
  *to = '\0';
  return to - out;
}

char *json_string_copy(const JsonString *string, int64_t *length) {
  char *copy = malloc((size_t)string->size + 1);
  if (copy == NULL) return NULL;
  int64_t n = json_string_decode(string, copy);
  if (length != NULL) *length = n;
  return copy;
}

bool json_string_is(const JsonString *string, const char *text) {
  size_t left = strlen(text);
  if (!string->escaped) {
    return string->size == (int64_t)left && memcmp(string->raw, text, left) == 0;
  }
  const uint8_t *at = string->raw, *end = at + string->size;
  while (at < end) {
    char bytes[4];
    size_t n = (size_t)decode_next(&at, end, bytes);
    if (n > left || memcmp(text, bytes, n) != 0) return false;
    text += n;
    left -= n;
  }
  return left == 0;
}
