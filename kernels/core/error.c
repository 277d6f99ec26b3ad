#include "error.h"

#include <stdio.h>
#include <string.h>

Status error_set(Error *err, Status status, const char *fmt, ...) {
  if (err == NULL) return status;
  va_list args;
  va_start(args, fmt);
  vsnprintf(err->message, sizeof err->message, fmt, args);
  va_end(args);
  err->status = status;
  return status;
}

void error_prefix(Error *err, const char *fmt, ...) {
  if (err == NULL) return;
  char old[sizeof err->message];
  memcpy(old, err->message, sizeof old);
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(err->message, sizeof err->message, fmt, args);
  va_end(args);
  if (n < 0 || (size_t)n + 3 >= sizeof err->message) return;
  size_t left = sizeof err->message - (size_t)n;
  snprintf(err->message + n, left, ": %.*s", (int)left - 3, old);
}

enum { WORD_MAX = 64 };

static int min3(int a, int b, int c) {
  int m = a < b ? a : b;
  return m < c ? m : c;
}

// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours
// cost 1 each.
static int edit_distance(const char *a, const char *b) {
  int la = (int)strnlen(a, WORD_MAX), lb = (int)strnlen(b, WORD_MAX);
  int rows[3][WORD_MAX + 1];
  for (int j = 0; j <= lb; j++) rows[0][j] = j;
  for (int i = 1; i <= la; i++) {
    int *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= lb; j++) {
      int cost = a[i - 1] == b[j - 1] ? 0 : 1;
      now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + cost);
      int swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped && before[j - 2] + 1 < now[j]) now[j] = before[j - 2] + 1;
    }
  }
  return rows[la % 3][lb];
}

const char *error_nearest(const char *word, const char *const *candidates, int n) {
  const char *best = NULL;
  int best_distance =
      (int)strnlen(word, WORD_MAX) / 3 + 2; // further away than this is another word
  for (int i = 0; i < n; i++) {
    int d = edit_distance(word, candidates[i]);
    if (d < best_distance) {
      best_distance = d;
      best = candidates[i];
    }
  }
  return best;
}
