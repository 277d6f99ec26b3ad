// A JSON text read value by value, front to back, without building a tree: for lists of items and
// safetensors headers, whose size must not become memory. RFC 8259, strictly: UTF-8 is checked, no
// comments, no trailing commas, no control characters inside strings, no lone surrogates; nesting
// is limited; a number is in range (integers fit int64_t, others are finite as a double).
//
//   TRY(json_scan_object(scan, err));
//   for (;;) {
//     bool more;
//     TRY(json_scan_member(scan, &key, &more, err));
//     if (!more) break;
//     if (json_string_is(&key, "shape")) ... else TRY(json_scan_skip(scan, err));
//   }
//   TRY(json_scan_end(scan, err));
//
// Every failure is STATUS_DATA and names the place: "path:line:column: ..." or, when `base` is
// given, "path: byte N: ...". After a failure the scan is of no further use.
#ifndef VMA_JSON_SCAN_H
#define VMA_JSON_SCAN_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  JSON_DEPTH_MAX = 64,    // nested arrays and objects
  JSON_NUMBER_MAX = 1024, // characters of a number
};

typedef enum JsonKind {
  JSON_KIND_END, // no value: the text ends here
  JSON_KIND_OBJECT,
  JSON_KIND_ARRAY,
  JSON_KIND_STRING,
  JSON_KIND_NUMBER,
  JSON_KIND_TRUE,
  JSON_KIND_FALSE,
  JSON_KIND_NULL,
  JSON_KIND_BAD, // no value can begin like this
} JsonKind;

typedef struct JsonScan {
  const char *path; // for messages; must outlive the scan
  const uint8_t *text;
  int64_t size;
  int64_t pos;       // the next byte to read
  int64_t base;      // >= 0: errors name the byte base + position; -1: line and column
  const char *whole; // what ends at `size`, for messages: "text", "line", "header"
  uint64_t fresh;    // bit d: no element of the container at depth d + 1 was read yet
  int depth;         // open arrays and objects
} JsonScan;

// A string as it stands in the text, without its quotes, already checked.
typedef struct JsonString {
  const uint8_t *raw;
  int64_t size;
  bool escaped; // holds a backslash
} JsonString;

// text: [size] bytes, not copied. A UTF-8 byte order mark at the start is stepped over.
JsonScan json_scan_make(const char *path, const void *text, int64_t size);

// Steps over white space and says what begins there.
JsonKind json_scan_peek(JsonScan *scan);

// Steps into an object or array.
Status json_scan_object(JsonScan *scan, Error *err);
Status json_scan_array(JsonScan *scan, Error *err);

// The next member's key, after which its value must be read or skipped; *more is false at the
// object's end, which is stepped over.
Status json_scan_member(JsonScan *scan, JsonString *key, bool *more, Error *err);

// The same for an array.
Status json_scan_element(JsonScan *scan, bool *more, Error *err);

Status json_scan_string(JsonScan *scan, JsonString *string, Error *err);

// An integer (no fraction, no exponent) in [min, max]; "-0" only where min < 0.
Status json_scan_int(JsonScan *scan, int64_t min, int64_t max, int64_t *value, Error *err);

Status json_scan_number(JsonScan *scan, double *value, Error *err);
Status json_scan_bool(JsonScan *scan, bool *value, Error *err);

// Steps over one value of any kind, checking all of it.
Status json_scan_skip(JsonScan *scan, Error *err);

// Nothing but white space may be left.
Status json_scan_end(JsonScan *scan, Error *err);

// Sets "path:line:column: message" (or with the byte) for the byte at `pos`; returns STATUS_DATA.
Status json_scan_error(const JsonScan *scan, int64_t pos, Error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

// Line and column (both from 1, the column in characters) of the byte at `pos`: counts from the
// start of the text.
void json_scan_place(const JsonScan *scan, int64_t pos, int64_t *line, int64_t *column);

// Whether the string, escapes undone, equals `text`.
bool json_string_is(const JsonString *string, const char *text);

// Undoes the escapes into out, which has room for size + 1 bytes; NUL-terminates and returns the
// length. A "\u0000" becomes a NUL inside.
int64_t json_string_decode(const JsonString *string, char *out);

// A decoded copy to be freed by the caller; NULL without memory.
char *json_string_copy(const JsonString *string, int64_t *length);

#endif
