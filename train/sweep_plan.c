// The combinations of a sweep.
#include "sweep_parts.h"

#include "check.h"
#include "mapped_file.h"
#include "quote.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_of(const char *text, size_t size) {
  char *copy = strndup(text, size);
  CHECK(copy != NULL, "no memory for a sweep");
  return copy;
}

// ---- keys and values ----

static Status bad(const char *text, const char *why, Error *err) {
  return error_set(err, STATUS_USAGE,
                   "--sweep %s: %s; expected KEY=A,B,... (train.lr=1e-4,3e-4; a list in brackets: "
                   "lora.targets=[q_proj,v_proj],all-linear)",
                   quote_text(text).text, why);
}

// Adds the values between commas; "[a,b]" is one value.
static Status split_values(Sweep *s, int key, const char *text, Error *err) {
  const char *at = strchr(text, '=') + 1;
  s->values[key] = calloc(strlen(at) + 1, sizeof *s->values[key]);
  CHECK(s->values[key] != NULL, "no memory for a sweep");
  for (bool last = false; !last;) {
    bool list = *at == '[';
    size_t size = strcspn(at + list, list ? "]" : ",");
    const char *end = at + list + size;
    if (list && *end == '\0') return bad(text, "a bracket is not closed", err);
    if (list && end[1] != ',' && end[1] != '\0') return bad(text, "text after a bracket", err);
    char *value = copy_of(at + list, size);
    s->values[key][s->n_values[key]++] = value;
    for (int i = 0; i < s->n_values[key] - 1; i++) {
      if (strcmp(s->values[key][i], value) == 0) return bad(text, "a value is there twice", err);
    }
    end += list;
    last = *end == '\0';
    at = end + 1;
  }
  return STATUS_OK;
}

static Status read_key(Sweep *s, const char *text, Error *err) {
  static const char *const refused[] = {"output.dir", "resume"};
  const char *equals = strchr(text, '=');
  if (equals == NULL || equals == text) return bad(text, "there is no key", err);
  if (s->n_keys == SWEEP_KEYS_MAX) return bad(text, "too many keys", err);
  char *key = s->keys[s->n_keys] = copy_of(text, (size_t)(equals - text));
  for (int i = 0; i < s->n_keys; i++) {
    if (strcmp(s->keys[i], key) == 0) return bad(text, "the key is swept already", err);
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    if (strcmp(refused[i], key) == 0) return bad(text, "the sweep sets this key itself", err);
  }
  return split_values(s, s->n_keys++, text, err);
}

// ---- names ----

static const char *short_key(const Sweep *s, int key) {
  const char *dot = strchr(s->keys[key], '.');
  if (dot == NULL) return s->keys[key];
  for (int i = 0; i < s->n_keys; i++) {
    const char *other = strchr(s->keys[i], '.');
    if (i != key && other != NULL && strcmp(other, dot) == 0) return s->keys[key];
  }
  return dot + 1;
}

// What would be awkward in a path becomes '-'.
static void make_name(const Sweep *s, SweepRun *run, const int *pick) {
  size_t used = 0, size = 256;
  run->name = calloc(1, size);
  CHECK(run->name != NULL, "no memory for a sweep");
  for (int i = 0; i < s->n_keys && used < size; i++) {
    used += (size_t)snprintf(run->name + used, size - used, "%s%s=%s", i > 0 ? "_" : "",
                             short_key(s, i), s->values[i][pick[i]]);
  }
  if (strlen(run->name) > 200) run->name[200] = '\0'; // longest names of file systems: 255
  for (char *c = run->name; *c != '\0'; c++) {
    if (!isalnum((unsigned char)*c) && strchr("._=+-,", *c) == NULL) *c = '-';
  }
  run->dir = text_format("%s/%s", s->dir, run->name);
}

static Status make_runs(Sweep *s, Error *err) {
  int64_t n = 1;
  for (int i = 0; i < s->n_keys; i++) {
    n *= s->n_values[i];
    if (n > SWEEP_RUNS_MAX) {
      return error_set(err, STATUS_USAGE, "--sweep: more than %d combinations", SWEEP_RUNS_MAX);
    }
  }
  s->runs = calloc((size_t)n, sizeof *s->runs);
  CHECK(s->runs != NULL, "no memory for a sweep");
  for (; s->n < n; s->n++) { // the last key changes first
    SweepRun *run = &s->runs[s->n];
    int pick[SWEEP_KEYS_MAX];
    for (int i = s->n_keys - 1, rest = s->n; i >= 0; i--) {
      pick[i] = rest % s->n_values[i];
      rest /= s->n_values[i];
      run->words[i] = text_format("%s=%s", s->keys[i], s->values[i][pick[i]]);
    }
    make_name(s, run, pick);
    snprintf(run->state, sizeof run->state, "waiting");
    run->held_first = run->held_last = run->held_best = run->train_last = NAN;
    for (int i = 0; i < s->n; i++) {
      if (strcmp(s->runs[i].name, run->name) != 0) continue;
      s->n++; // to be freed
      return error_set(err, STATUS_USAGE, "--sweep: two combinations would share the folder %s",
                       run->dir);
    }
  }
  return STATUS_OK;
}

// ---- configs ----

Status sweep_config(RunConfig *config, const Sweep *s, const SweepRun *run, Error *err) {
  const SweepRequest *r = s->request;
  int n = r->n_overrides;
  const char **words = malloc((size_t)(n + s->n_keys + 2) * sizeof *words);
  char *dir = text_format("output.dir=%s", run->dir);
  CHECK(words != NULL, "no memory for a sweep");
  for (int i = 0; i < n; i++) words[i] = r->overrides[i];
  for (int i = 0; i < s->n_keys; i++) words[n++] = run->words[i];
  words[n++] = dir;
  words[n++] = "resume=auto";
  Status status = config_load(config, r->config, words, n, err);
  free(words);
  free(dir);
  return status;
}

// A run that is there already must be of the same settings: its numbers would stand in this table.
static Status check_before(const RunConfig *config, const SweepRun *run, Error *err) {
  Status status = STATUS_OK;
  char *path = text_format("%s/config.yaml", run->dir);
  RunConfig *before = malloc(sizeof *before);
  CHECK(before != NULL, "no memory for a config");
  if (!file_exists(path)) goto done;
  config_defaults(before);
  TRY(config_read_file(before, path, err));
  ConfigDifference texts;
  const char *key = config_difference(before, config, &texts);
  if (key != NULL) {
    TRY(error_set(
        err, STATUS_USAGE,
        "--sweep: %s was run with %s=%s, it is %s now: give another output.dir, or remove "
        "that folder",
        run->dir, key, texts.before, texts.now));
  }
done:
  free(before);
  free(path);
  return status;
}

static Status check_configs(const Sweep *s, Error *err) {
  Status status = STATUS_OK;
  RunConfig *config = malloc(sizeof *config);
  CHECK(config != NULL, "no memory for a config");
  for (int i = 0; i < s->n && status == STATUS_OK; i++) {
    status = sweep_config(config, s, &s->runs[i], err);
    if (status == STATUS_OK) status = check_before(config, &s->runs[i], err);
  }
  free(config);
  return status;
}

Status sweep_plan(Sweep *s, const SweepRequest *request, Error *err) {
  Status status = STATUS_OK;
  RunConfig *config = malloc(sizeof *config);
  CHECK(config != NULL, "no memory for a config");
  *s = (Sweep){.request = request};
  TRY(config_load(config, request->config, request->overrides, request->n_overrides, err));
  snprintf(s->dir, sizeof s->dir, "%s", config->output.dir);
  for (int i = 0; i < request->n_sweeps; i++) TRY(read_key(s, request->sweeps[i], err));
  TRY(make_runs(s, err));
  TRY(check_configs(s, err));
done:
  free(config);
  return status;
}

void sweep_free(Sweep *s) {
  for (int i = 0; i < s->n; i++) {
    for (int k = 0; k < SWEEP_KEYS_MAX; k++) free(s->runs[i].words[k]);
    free(s->runs[i].name);
    free(s->runs[i].dir);
  }
  for (int k = 0; k < SWEEP_KEYS_MAX; k++) {
    for (int i = 0; i < s->n_values[k]; i++) free(s->values[k][i]);
    free(s->values[k]);
    free(s->keys[k]);
  }
  free(s->runs);
  *s = (Sweep){0};
}
