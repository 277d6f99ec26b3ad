// Freezing weights by patterns of names.
#include "check.h"
#include "param.h"
#include "quote.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { NEAR_NAMES = 3 };

static int smaller(int a, int b) {
  return a < b ? a : b;
}

// How many characters have to be put in, left out or changed until the pattern matches the name; 0:
// it does. As Levenshtein's distance, but a '*' takes any number of characters and a '?' any one.
static int pattern_distance(const char *pattern, const char *name) {
  int row[PARAM_NAME_MAX], n = (int)strlen(name); // row[j]: of the pattern so far to name[0..j)
  CHECK(n < PARAM_NAME_MAX, "name %s", name);
  for (int j = 0; j <= n; j++) row[j] = j;
  for (const char *p = pattern; *p != '\0'; p++) {
    int diagonal = row[0];
    if (*p != '*') row[0]++;
    for (int j = 1; j <= n; j++) {
      int above = row[j];
      if (*p == '*') {
        row[j] = smaller(above, row[j - 1]);
      } else {
        int change = diagonal + (*p != '?' && *p != name[j - 1]);
        row[j] = smaller(change, smaller(above, row[j - 1]) + 1);
      }
      diagonal = above;
    }
  }
  return row[n];
}

// The names that are nearest to a pattern that matches none.
static Status refuse_pattern(const ParamTable *table, const char *pattern, Error *err) {
  char names[(PARAM_NAME_MAX + 2) * NEAR_NAMES] = "";
  int nearest = INT_MAX, n = 0;
  for (int64_t i = 0; i < table->n; i++) {
    if (table->items[i].adapter) continue;
    nearest = smaller(nearest, pattern_distance(pattern, table->items[i].name));
  }
  for (int64_t i = 0; i < table->n && n < NEAR_NAMES; i++) {
    const Param *p = &table->items[i];
    if (p->adapter || pattern_distance(pattern, p->name) != nearest) continue;
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", n++ > 0 ? ", " : "", p->name);
  }
  return error_set(err, STATUS_USAGE, "%s matches no weight of the model; the nearest names: %s",
                   quote_text(pattern).text, names);
}

Status param_freeze(ParamTable *table, const char *const *patterns, int n, Error *err) {
  CHECK(table->n_buckets == 0, "the buckets exist already");
  for (int k = 0; k < n; k++) {
    bool found = false;
    for (int64_t i = 0; i < table->n; i++) {
      Param *p = &table->items[i];
      if (p->adapter || pattern_distance(patterns[k], p->name) != 0) continue;
      p->trainable = false;
      found = true;
    }
    if (!found) return refuse_pattern(table, patterns[k], err);
  }
  if (n > 0 && param_count(table, true) == 0)
    return error_set(err, STATUS_USAGE, "the patterns freeze every weight: none is left to train");
  return STATUS_OK;
}
