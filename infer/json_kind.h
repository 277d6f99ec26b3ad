// What a JSON value is, for messages.
#ifndef VMA_JSON_KIND_H
#define VMA_JSON_KIND_H

#include <jansson.h>
#include <stddef.h>

static inline const char *json_kind(const json_t *value) {
  static const char *const names[] = {"an object",     "a list", "a string", "an integer",
                                      "a real number", "true",   "false",    "null"};
  return value == NULL ? "nothing" : names[json_typeof(value)];
}

#endif
