// The members of a JSON object that is a configuration, each checked as it is read. A missing key
// and null both leave the value as it is: set the default before. Failures are STATUS_DATA: "path:
// 'key': expected ..., found ...".
#ifndef VMA_JSON_FIELDS_H
#define VMA_JSON_FIELDS_H

#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct JsonFields {
  const char *path; // for messages
  const char *name; // put before keys in messages: "" or "rope_scaling."
  json_t *object;
  Error *err;
} JsonFields;

// The value, or NULL when it is missing or null.
json_t *json_fields_given(const JsonFields *fields, const char *key);

// A whole number, also one written as 4096.0.
Status json_fields_int(const JsonFields *fields, const char *key, int64_t min, int64_t max,
                       int64_t *value);
Status json_fields_number(const JsonFields *fields, const char *key, double *value);
Status json_fields_bool(const JsonFields *fields, const char *key, bool *value);

// *value lives as long as the object.
Status json_fields_string(const JsonFields *fields, const char *key, const char **value);

// "path: 'key': expected EXPECTED, found VALUE"
Status json_fields_wrong(const JsonFields *fields, const char *key, const char *expected);

// "path: 'key' is VALUE: WHAT not supported"
Status json_fields_unsupported(const JsonFields *fields, const char *key, const char *what);

// "path: 'key' is missing"
Status json_fields_missing(const JsonFields *fields, const char *key);

#endif
