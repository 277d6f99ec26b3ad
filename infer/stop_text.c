#include "stop_text.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

void stop_text_init(StopText *stop, const char *const *stops, int n, TextSink sink) {
  *stop = (StopText){.stops = stops, .n = n, .sink = sink, .capacity = 256};
  stop->lengths = calloc((size_t)n + 1, sizeof *stop->lengths);
  stop->held = malloc((size_t)stop->capacity);
  CHECK(stop->lengths != NULL && stop->held != NULL, "no memory for %d stops", n);
  for (int i = 0; i < n; i++) {
    stop->lengths[i] = (int64_t)strlen(stops[i]);
    CHECK(stop->lengths[i] > 0, "stop %d is empty", i);
  }
}

void stop_text_free(StopText *stop) {
  free(stop->lengths);
  free(stop->held);
  *stop = (StopText){0};
}

static void append(StopText *s, const char *text, int64_t bytes) {
  if (s->n_held + bytes > s->capacity) {
    s->capacity = 2 * (s->n_held + bytes);
    s->held = realloc(s->held, (size_t)s->capacity);
    CHECK(s->held != NULL, "no memory for %lld bytes of text", (long long)s->capacity);
  }
  memcpy(s->held + s->n_held, text, (size_t)bytes);
  s->n_held += bytes;
}

// The length of the shortest stop that stands whole at `at`, or 0; *begins: the held text's end
// cuts one that begins there.
static int64_t match_at(const StopText *s, int64_t at, bool *begins) {
  int64_t left = s->n_held - at, shortest = 0;
  for (int i = 0; i < s->n; i++) {
    int64_t n = s->lengths[i] < left ? s->lengths[i] : left;
    if (memcmp(s->held + at, s->stops[i], (size_t)n) != 0) continue;
    if (n < s->lengths[i])
      *begins = true;
    else if (shortest == 0 || n < shortest)
      shortest = n;
  }
  return shortest;
}

static Status give(StopText *s, int64_t bytes, Error *err) {
  if (bytes == 0) return STATUS_OK;
  Status status = s->sink.put(s->sink.user, s->held, bytes, err);
  s->n_held -= bytes;
  memmove(s->held, s->held + bytes, (size_t)s->n_held);
  return status;
}

Status stop_text_put(StopText *s, const char *text, int64_t bytes, Error *err) {
  if (s->found) return STATUS_OK;
  append(s, text, bytes);
  int64_t keep = s->n_held, first_end = 0; // what goes out; where the found stop ends
  bool waiting = false;
  for (int64_t at = 0; at < s->n_held; at++) {
    bool begins = false;
    int64_t n = match_at(s, at, &begins);
    if (n > 0 && (!s->found || at + n < first_end)) {
      s->found = true;
      first_end = at + n;
      keep = at;
    } else if (begins && !s->found && !waiting) {
      waiting = true;
      keep = at;
    }
  }
  return give(s, keep, err);
}

Status stop_text_end(StopText *s, Error *err) {
  return s->found ? STATUS_OK : give(s, s->n_held, err);
}
