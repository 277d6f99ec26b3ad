#include "metrics.h"

#include "check.h"
#include "checkpoint_folder.h"
#include "mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 512, NUMBER_BYTES = 32 };

static Status refuse(const Metrics *metrics, const char *action, Error *err) {
  int code = errno;
  return error_set(err, STATUS_IO, "%s: %s: %s%s", metrics->path, action, strerror(code),
                   code == ENOSPC || code == EDQUOT ? "; free some space and run again" : "");
}

// Whether a line of an earlier part of the run stays: it is whole and of a step up to `keep`.
static bool line_stays(const char *line, size_t length, int64_t keep, KeptEvals *evals) {
  if (length == 0 || line[length - 1] != '\n') return false;
  json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
  json_t *step = json_object_get(root, "step"), *loss = json_object_get(root, "eval_loss");
  bool stays = json_is_integer(step) && json_integer_value(step) <= keep;
  if (stays && loss != NULL) {
    double value = json_is_number(loss) ? json_number_value(loss) : NAN;
    evals->evaluated = json_integer_value(step) == keep;
    if (json_integer_value(step) == 0) evals->at_start = value;
    evals->at_newest = value;
  }
  json_decref(root);
  return stays;
}

static Status keep_lines(const char *path, int64_t keep, KeptEvals *evals, Error *err) {
  Status status = STATUS_OK;
  FileWriter writer = {0};
  char *text = NULL;
  int64_t size = 0;
  if (keep >= 0 && file_exists(path)) TRY(file_read_all(&text, &size, path, INT64_C(1) << 40, err));
  TRY(file_writer_open(&writer, path, err));
  for (int64_t at = 0; at < size;) {
    const char *end = memchr(text + at, '\n', (size_t)(size - at));
    int64_t length = end != NULL ? end - text - at + 1 : size - at;
    if (line_stays(text + at, (size_t)length, keep, evals))
      TRY(file_writer_put(&writer, text + at, length, err));
    at += length;
  }
  TRY(file_writer_commit(&writer, err));
done:
  file_writer_abort(&writer);
  free(text);
  return status;
}

Status metrics_open(Metrics *metrics, const char *path, int64_t keep, KeptEvals *evals,
                    Error *err) {
  Status status = STATUS_OK;
  *metrics = (Metrics){.path = text_format("%s", path), .fd = -1};
  *evals = (KeptEvals){.at_start = NAN, .at_newest = NAN};
  TRY(keep_lines(path, keep, evals, err));
  metrics->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (metrics->fd < 0) TRY(refuse(metrics, "cannot be opened for writing", err));
done:
  if (status != STATUS_OK) metrics_close(metrics);
  return status;
}

void metrics_close(Metrics *metrics) {
  if (metrics->path == NULL) return;
  if (metrics->fd >= 0) close(metrics->fd);
  free(metrics->path);
  *metrics = (Metrics){.fd = -1};
}

static Status put_line(Metrics *metrics, const char *line, int64_t length, Error *err) {
  off_t before = lseek(metrics->fd, 0, SEEK_END);
  for (int64_t at = 0; at < length;) {
    ssize_t put = write(metrics->fd, line + at, (size_t)(length - at));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      Status status = refuse(metrics, "cannot be written", err);
      // A failed cut leaves a torn line, which the next run drops.
      if (at > 0 && ftruncate(metrics->fd, before) != 0) return status;
      return status;
    }
    at += put;
  }
  return STATUS_OK;
}

// JSON has no numbers that are not finite.
static const char *number(double value, char text[NUMBER_BYTES]) {
  if (isfinite(value))
    snprintf(text, NUMBER_BYTES, "%.9g", value);
  else
    snprintf(text, NUMBER_BYTES, "null");
  return text;
}

// A line of a step up to what is special to it.
static void print_step(FILE *to, int64_t step, const StepResult *result, double lr) {
  char loss[NUMBER_BYTES], norm[NUMBER_BYTES], rate[NUMBER_BYTES];
  fprintf(to,
          "{\"step\": %" PRId64
          ", \"loss\": %s, \"grad_norm\": %s, \"lr\": %s, \"tokens\": %" PRId64
          ", \"label_tokens\": %" PRId64 ", ",
          step, number(result->loss, loss), number(result->grad_norm, norm), number(lr, rate),
          result->tokens, result->label_tokens);
}

static Status put_step(Metrics *metrics, int64_t step, const StepResult *result, double lr,
                       const char *special, double seconds, Error *err) {
  char *line = NULL;
  size_t size = 0;
  FILE *to = open_memstream(&line, &size);
  CHECK(to != NULL, "no memory for a line");
  print_step(to, step, result, lr);
  fprintf(to, "%s\"seconds\": %.4f}\n", special, seconds);
  CHECK(fclose(to) == 0, "no memory for a line");
  Status status = put_line(metrics, line, (int64_t)size, err);
  free(line);
  return status;
}

Status metrics_step(Metrics *metrics, int64_t step, const StepResult *result, double lr,
                    double seconds, Error *err) {
  return put_step(metrics, step, result, lr, "", seconds, err);
}

static void print_items(FILE *to, const SkippedItems *skipped, const DatasetFile *file) {
  int64_t printed = 0;
  for (int64_t i = 0; i < skipped->n; i++) {
    int32_t example = skipped->examples[i];
    if (dataset_file_of(skipped->dataset, example) != file) continue;
    fprintf(to, "%s%" PRId32, printed++ > 0 ? ", " : "", skipped->dataset->examples[example].item);
  }
}

Status metrics_skip(Metrics *metrics, int64_t step, const StepResult *result, double lr,
                    const SkippedItems *skipped, double seconds, Error *err) {
  char *special = NULL;
  size_t size = 0;
  FILE *to = open_memstream(&special, &size);
  CHECK(to != NULL, "no memory for a line");
  fputs("\"skipped\": true, \"items\": {", to);
  for (int64_t f = 0; f < skipped->dataset->n_files; f++) {
    const DatasetFile *file = &skipped->dataset->files[f];
    json_t *name = json_string(file->path);
    char *quoted = name != NULL ? json_dumps(name, JSON_ENCODE_ANY) : NULL; // NULL: no UTF-8
    fprintf(to, "%s%s: [", f > 0 ? ", " : "", quoted != NULL ? quoted : "\"?\"");
    print_items(to, skipped, file);
    fputs("]", to);
    free(quoted);
    json_decref(name);
  }
  fputs("}, ", to);
  CHECK(fclose(to) == 0, "no memory for a line");
  Status status = put_step(metrics, step, result, lr, special, seconds, err);
  free(special);
  return status;
}

Status metrics_eval(Metrics *metrics, int64_t step, const EvalResult *result, double seconds,
                    Error *err) {
  char line[LINE_BYTES], loss[NUMBER_BYTES], perplexity[NUMBER_BYTES];
  int n = snprintf(line, sizeof line,
                   "{\"step\": %" PRId64
                   ", \"eval_loss\": %s, \"eval_perplexity\": %s, \"eval_tokens\": %" PRId64
                   ", \"eval_label_tokens\": %" PRId64 ", \"seconds\": %.4f}\n",
                   step, number(result->loss, loss), number(exp(result->loss), perplexity),
                   result->tokens, result->label_tokens, seconds);
  return put_line(metrics, line, n, err);
}

Status metrics_sync(Metrics *metrics, Error *err) {
  if (fsync(metrics->fd) != 0 && errno != EINVAL)
    return refuse(metrics, "cannot be made durable", err);
  return STATUS_OK;
}
