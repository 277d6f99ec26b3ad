// What came of the runs of a sweep.
#include "sweep_parts.h"

#include "check.h"
#include "history.h"
#include "mapped_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- a run's own files ----

static void read_manifest(SweepRun *run) {
  char *path = text_format("%s/manifest.json", run->dir);
  json_t *root = json_load_file(path, 0, NULL);
  const char *state = NULL;
  json_int_t peak = 0;
  json_unpack(root, "{s:s}", "state", &state);
  json_unpack(root, "{s:{s:{s:I}}}", "memory", "used", "process_peak", &peak);
  if (state != NULL) snprintf(run->state, sizeof run->state, "%s", state);
  run->peak = peak;
  json_decref(root);
  free(path);
}

static void read_losses(SweepRun *run) {
  History h;
  char *path = text_format("%s/metrics.jsonl", run->dir);
  if (history_read(&h, path, NULL) != STATUS_OK) h = (History){0};
  run->held_first = run->held_last = run->held_best = run->train_last = NAN;
  run->seconds = 0;
  for (int64_t i = 0; i < h.n_steps; i++) {
    if (isfinite(h.steps[i].loss)) run->train_last = h.steps[i].loss;
    if (isfinite(h.steps[i].seconds)) run->seconds += h.steps[i].seconds;
  }
  for (int64_t i = 0; i < h.n_evals; i++) {
    double loss = h.evals[i].loss;
    if (isfinite(h.evals[i].seconds)) run->seconds += h.evals[i].seconds;
    if (h.evals[i].step == 0) run->held_first = loss;
    run->held_last = loss;
    if (!(run->held_best <= loss)) run->held_best = loss;
  }
  history_free(&h);
  free(path);
}

void sweep_read_result(SweepRun *run) {
  read_manifest(run);
  read_losses(run);
}

// ---- the table ----

static void cell(FILE *out, double value, const char *format) {
  if (isfinite(value)) {
    fprintf(out, format, value);
  } else {
    fprintf(out, "-");
  }
  fprintf(out, " | ");
}

// The lowest held-out loss of those that finished; -1: there is none.
static int best_run(const Sweep *s) {
  int best = -1;
  for (int i = 0; i < s->n; i++) {
    const SweepRun *run = &s->runs[i];
    if (strcmp(run->state, "finished") != 0 || !isfinite(run->held_best)) continue;
    if (best < 0 || run->held_best < s->runs[best].held_best) best = i;
  }
  return best;
}

static void write_table(const Sweep *s, FILE *out) {
  int best = best_run(s);
  fprintf(out, "| run | held-out first | last | best | train last | seconds | peak MiB | state |\n"
               "|---|---|---|---|---|---|---|---|\n");
  for (int i = 0; i < s->n; i++) {
    const SweepRun *run = &s->runs[i];
    fprintf(out, "| %s%s | ", run->name, i == best ? " (best)" : "");
    cell(out, run->held_first, "%.4f");
    cell(out, run->held_last, "%.4f");
    cell(out, run->held_best, "%.4f");
    cell(out, run->train_last, "%.4f");
    cell(out, run->seconds > 0 ? run->seconds : NAN, "%.1f");
    cell(out, run->peak > 0 ? (double)run->peak / (1 << 20) : NAN, "%.0f");
    fprintf(out, "%s |\n", run->state);
  }
}

static json_t *number(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

static void write_lines(const Sweep *s, FILE *out) {
  for (int i = 0; i < s->n; i++) {
    const SweepRun *run = &s->runs[i];
    json_t *set = json_object();
    for (int k = 0; k < s->n_keys; k++) {
      json_object_set_new(set, s->keys[k], json_string(run->words[k] + strlen(s->keys[k]) + 1));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:f, s:I}", "run", run->name, "dir", run->dir,
        "set", set, "state", run->state, "held_out_first", number(run->held_first), "held_out_last",
        number(run->held_last), "held_out_best", number(run->held_best), "train_last",
        number(run->train_last), "seconds", run->seconds, "peak_bytes", (json_int_t)run->peak);
    CHECK(root != NULL, "a line of the sweep");
    json_dumpf(root, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(root);
  }
}

static Status write_file(const Sweep *s, const char *name, void (*write)(const Sweep *, FILE *),
                         bool show, Error *err) {
  char *text = NULL, *path = text_format("%s/%s", s->dir, name);
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  CHECK(out != NULL, "no memory for a table");
  write(s, out);
  CHECK(fclose(out) == 0, "no memory for a table");
  if (show) printf("\n%s\n%s\n", text, path);
  Status status = file_write(path, text, (int64_t)size, err);
  free(text);
  free(path);
  return status;
}

Status sweep_write(const Sweep *s, Error *err) {
  Status status = write_file(s, "sweep.jsonl", write_lines, false, err);
  return status == STATUS_OK ? write_file(s, "sweep.md", write_table, true, err) : status;
}
