#include "json_fields.h"

#include "quote.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status json_fields_wrong(const JsonFields *f, const char *key, const char *expected) {
  json_t *value = json_object_get(f->object, key);
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  Status status = error_set(f->err, STATUS_DATA, "%s: '%s%s': expected %s, found %s", f->path,
                            f->name, key, expected, text == NULL ? "?" : quote_text(text).text);
  free(text);
  return status;
}

Status json_fields_unsupported(const JsonFields *f, const char *key, const char *what) {
  json_t *value = json_object_get(f->object, key);
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  Status status = error_set(f->err, STATUS_DATA, "%s: '%s%s' is %s: %s not supported", f->path,
                            f->name, key, text == NULL ? "?" : quote_text(text).text, what);
  free(text);
  return status;
}

json_t *json_fields_given(const JsonFields *f, const char *key) {
  json_t *value = json_object_get(f->object, key);
  return json_is_null(value) ? NULL : value;
}

Status json_fields_missing(const JsonFields *f, const char *key) {
  return error_set(f->err, STATUS_DATA, "%s: '%s%s' is missing", f->path, f->name, key);
}

Status json_fields_int(const JsonFields *f, const char *key, int64_t min, int64_t max,
                       int64_t *value) {
  json_t *found = json_fields_given(f, key);
  if (found == NULL) return STATUS_OK;
  // Some tools write whole numbers with a fraction.
  double real = json_is_real(found) ? json_real_value(found) : 0;
  bool whole = json_is_integer(found) ||
               (json_is_real(found) && real == floor(real) && fabs(real) < 9007199254740992.0);
  int64_t number = json_is_real(found) ? (whole ? (int64_t)real : 0) : json_integer_value(found);
  if (!whole || number < min || number > max) {
    char expected[80];
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)min,
             (long long)max);
    return json_fields_wrong(f, key, expected);
  }
  *value = number;
  return STATUS_OK;
}

Status json_fields_number(const JsonFields *f, const char *key, double *value) {
  json_t *found = json_fields_given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_number(found)) return json_fields_wrong(f, key, "a number");
  *value = json_number_value(found);
  return STATUS_OK;
}

Status json_fields_bool(const JsonFields *f, const char *key, bool *value) {
  json_t *found = json_fields_given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_boolean(found)) return json_fields_wrong(f, key, "true or false");
  *value = json_is_true(found);
  return STATUS_OK;
}

Status json_fields_string(const JsonFields *f, const char *key, const char **value) {
  json_t *found = json_fields_given(f, key);
  if (found == NULL) return STATUS_OK;
  if (!json_is_string(found)) return json_fields_wrong(f, key, "a string");
  if (strlen(json_string_value(found)) != json_string_length(found)) {
    return json_fields_wrong(f, key, "a string without NUL");
  }
  *value = json_string_value(found);
  return STATUS_OK;
}
