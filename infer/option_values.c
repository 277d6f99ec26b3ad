#include "option_values.h"

#include "quote.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status option_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
                  Error *err) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  bool number = end != text && *end == '\0' && !(*text == ' ' || *text == '\t');
  if (number && errno == 0 && value >= min && value <= max) {
    *out = value;
    return STATUS_OK;
  }
  return error_set(err, STATUS_USAGE, "--%s: expected an integer in %lld..%lld, found %s", name,
                   (long long)min, (long long)max, quote_text(text).text);
}

Status option_float(const char *name, const char *text, double min, double max, bool min_is_legal,
                    float *out, Error *err) {
  char *end = NULL;
  double value = strtod(text, &end);
  bool number = end != text && *end == '\0' && *text != ' ' && isfinite(value);
  if (number && (min_is_legal ? value >= min : value > min) && value <= max &&
      (value == 0 || (float)value != 0)) {
    *out = (float)value;
    return STATUS_OK;
  }
  return error_set(err, STATUS_USAGE, "--%s: expected a number %s %g and at most %g, found %s",
                   name, min_is_legal ? "of at least" : "above", min, max, quote_text(text).text);
}

Status option_path(const char *name, const char *text, const char **out, Error *err) {
  *out = text;
  if (*text != '\0') return STATUS_OK;
  return error_set(err, STATUS_USAGE, "--%s is empty: expected a path", name);
}

Status option_word(const char *name, const char *text, const char *const *words, int n, int *out,
                   Error *err) {
  char list[400] = "";
  for (int i = 0; i < n; i++) {
    if (strcmp(text, words[i]) == 0) {
      *out = i;
      return STATUS_OK;
    }
    const char *between = i == 0 ? "" : i == n - 1 ? " or " : ", ";
    size_t used = strlen(list);
    snprintf(list + used, sizeof list - used, "%s%s", between, words[i]);
  }
  const char *near = error_nearest(text, words, n);
  return error_set(err, STATUS_USAGE, "--%s: expected %s, found %s%s%s%s", name, list,
                   quote_text(text).text, near != NULL ? " (meant '" : "", near != NULL ? near : "",
                   near != NULL ? "'?)" : "");
}

Status option_utf8(const char *name, const char *text, Error *err) {
  if (*text == '\0') return error_set(err, STATUS_USAGE, "--%s: expected a text, found ''", name);
  int64_t left = (int64_t)strlen(text);
  for (const uint8_t *at = (const uint8_t *)text; left > 0;) {
    int n = utf8_character_length(at, left);
    if (n == 0) {
      return error_set(err, STATUS_USAGE, "--%s: expected UTF-8, found %s", name,
                       quote_text(text).text);
    }
    at += n;
    left -= n;
  }
  return STATUS_OK;
}
