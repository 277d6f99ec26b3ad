// Values of command-line options, each checked as it is read. What is wrong is STATUS_USAGE:
// "--NAME: expected ..., found ...".
#ifndef VMA_OPTION_VALUES_H
#define VMA_OPTION_VALUES_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

Status option_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
                  Error *err);

// min itself only if it is legal.
Status option_float(const char *name, const char *text, double min, double max, bool min_is_legal,
                    float *out, Error *err);

// A text that is not empty.
Status option_path(const char *name, const char *text, const char **out, Error *err);

// One of n words: its index. The nearest one is named where one was mistyped.
Status option_word(const char *name, const char *text, const char *const *words, int n, int *out,
                   Error *err);

// Well-formed UTF-8 that is not empty.
Status option_utf8(const char *name, const char *text, Error *err);

#endif
