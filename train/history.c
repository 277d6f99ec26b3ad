#include "history.h"

#include "check.h"
#include "mapped_file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

static double number_of(const json_t *line, const char *key) {
  const json_t *value = json_object_get(line, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void *grown(void *items, int64_t n, size_t size) {
  if (n != 0 && (n < FIRST_CAPACITY || (n & (n - 1)) != 0)) return items;
  int64_t capacity = n == 0 ? FIRST_CAPACITY : 2 * n;
  void *more = realloc(items, (size_t)capacity * size);
  CHECK(more != NULL, "no memory for %lld lines of metrics", (long long)capacity);
  return more;
}

static void add_line(History *h, const json_t *line) {
  const json_t *step = json_object_get(line, "step");
  if (!json_is_integer(step)) return;
  if (json_object_get(line, "eval_loss") != NULL) {
    h->evals = grown(h->evals, h->n_evals, sizeof *h->evals);
    h->evals[h->n_evals++] = (EvalPoint){.step = json_integer_value(step),
                                         .loss = number_of(line, "eval_loss"),
                                         .seconds = number_of(line, "seconds")};
  } else if (json_object_get(line, "loss") != NULL) {
    h->steps = grown(h->steps, h->n_steps, sizeof *h->steps);
    StepPoint *p = &h->steps[h->n_steps++];
    *p = (StepPoint){.step = json_integer_value(step),
                     .tokens = json_integer_value(json_object_get(line, "tokens")),
                     .loss = number_of(line, "loss"),
                     .grad_norm = number_of(line, "grad_norm"),
                     .lr = number_of(line, "lr"),
                     .seconds = number_of(line, "seconds"),
                     .skipped = json_is_true(json_object_get(line, "skipped"))};
    h->n_skipped += p->skipped;
  }
}

Status history_read(History *h, const char *path, Error *err) {
  char *text = NULL;
  int64_t size = 0;
  *h = (History){0};
  Status status = file_read_all(&text, &size, path, INT64_C(1) << 40, err);
  if (status != STATUS_OK) return status;
  for (const char *at = text; at < text + size;) {
    const char *end = memchr(at, '\n', (size_t)(text + size - at));
    if (end == NULL) break;
    json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
    add_line(h, line);
    json_decref(line);
    at = end + 1;
  }
  free(text);
  return STATUS_OK;
}

void history_free(History *h) {
  free(h->steps);
  free(h->evals);
  *h = (History){0};
}

double history_last_loss(const History *h) {
  for (int64_t i = h->n_steps; i-- > 0;) {
    if (isfinite(h->steps[i].loss)) return h->steps[i].loss;
  }
  return NAN;
}

double history_first_loss(const History *h) {
  for (int64_t i = 0; i < h->n_steps; i++) {
    if (isfinite(h->steps[i].loss)) return h->steps[i].loss;
  }
  return NAN;
}
