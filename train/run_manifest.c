// manifest.json: what a run was, made by what, of what, and what became of it. Written whole at the
// start and at every end; a process that is killed leaves the one of its start ("running").
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "environment.h"
#include "file_hash.h"
#include "history.h"
#include "mapped_file.h"
#include "run_report.h"
#include "standard_time.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VMA_COMMIT
#define VMA_COMMIT ""
#endif

static json_t *text_or_null(const char *text) {
  json_t *value = text != NULL && text[0] != '\0' ? json_string(text) : NULL; // NULL: no UTF-8
  return value != NULL ? value : json_null();
}

static json_t *number_or_null(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

// ---- what it was made by, of what ----

static json_t *machine_json(const Run *run) {
  char cpu[256];
  environment_cpu_name(cpu, sizeof cpu);
  return json_pack("{s:o, s:I, s:o, s:s, s:s}", "cpu", text_or_null(cpu), "threads",
                   (json_int_t)run_threads(&run->config), "gpu", text_or_null(run->be->device),
                   "backend", run->be->name, "gemm", run->be->gemm_path);
}

// A tokenizer is its files; a GGUF file holds its own.
static json_t *tokenizer_json(const Run *run) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"};
  json_t *files = json_object();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char hash[SHA256_HEX];
    char *path = text_format("%s/%s", run->config.model.path, names[i]);
    if (file_exists(path) && file_hash(path, hash, NULL) == STATUS_OK)
      json_object_set_new(files, names[i], json_string(hash));
    free(path);
  }
  return json_pack("{s:s, s:I, s:o}", "kind", tokenizer_kind(run->tokenizer), "vocab",
                   (json_int_t)tokenizer_vocab(run->tokenizer), "files", files);
}

static json_t *inputs_json(const Run *run) {
  json_t *data =
      json_pack("{s:o, s:s, s:I, s:I, s:I}", "path", text_or_null(run->config.data.path), "sha256",
                run->data.sha256, "examples", (json_int_t)run->data.n, "train",
                (json_int_t)run->split.n_train, "held_out", (json_int_t)run->split.n_held_out);
  json_t *base =
      json_pack("{s:o, s:s}", "path", text_or_null(run->config.model.path), "hash", run->base_hash);
  return json_pack("{s:o, s:o, s:o}", "data", data, "base", base, "tokenizer", tokenizer_json(run));
}

// ---- its course ----

static json_t *losses_json(const Run *run, const History *h) {
  double first = history_first_loss(h), last = history_last_loss(h);
  json_t *best = run->best.step > 0 ? json_pack("{s:I, s:f}", "step", (json_int_t)run->best.step,
                                                "loss", run->best.loss)
                                    : json_null();
  return json_pack("{s:o, s:o, s:o, s:o, s:o}", "first", number_or_null(first), "last",
                   number_or_null(last), "held_out_first", number_or_null(run->first_eval),
                   "held_out_last", number_or_null(run->last_eval), "held_out_best", best);
}

static json_t *course_json(const Run *run) {
  bool early = run->step < run->total && run_stops_early(run);
  return json_pack("{s:I, s:I, s:I, s:I, s:b, s:o}", "steps", (json_int_t)run->total, "steps_done",
                   (json_int_t)run->step, "steps_an_epoch", (json_int_t)run->per_epoch, "skipped",
                   (json_int_t)run->trainer.skipped, "early_stop", early, "resumed_from",
                   text_or_null(run->resume_path));
}

static json_t *arenas_json(const MemoryPlan *p) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)p->weights, "state",
                   (json_int_t)p->state, "step", (json_int_t)p->step, "cache", (json_int_t)p->cache,
                   "host", (json_int_t)p->host);
}

static json_t *memory_json(const Run *run) {
  PlanUse use = plan_use(&run->memory);
  return json_pack("{s:{s:o, s:I}, s:{s:o, s:I}}", "planned", "arenas",
                   arenas_json(&run->plan.arenas), "total", (json_int_t)run->plan.device_bytes,
                   "used", "arenas", arenas_json(&use.arenas), "process_peak",
                   (json_int_t)use.process_peak);
}

// ---- its files ----

static void add_file(json_t *files, const char *dir, const char *name) {
  char hash[SHA256_HEX];
  char *path = text_format("%s/%s", dir, name);
  if (file_exists(path) && !file_is_folder(path) && file_hash(path, hash, NULL) == STATUS_OK)
    json_object_set_new(files, name, json_string(hash));
  free(path);
}

static void add_folder(json_t *files, const char *dir, const char *name) {
  char *path = text_format("%s/%s", dir, name);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    char *inner = text_format("%s/%s", name, entry->d_name);
    add_file(files, dir, inner);
    free(inner);
  }
  if (folder != NULL) closedir(folder);
  free(path);
}

static json_t *files_json(const Run *run) {
  const char *dir = run->config.output.dir;
  json_t *files = json_object();
  add_file(files, dir, "config.yaml");
  add_file(files, dir, "metrics.jsonl");
  add_file(files, dir, "samples.json");
  add_file(files, dir, "report.html");
  add_folder(files, dir, "adapter");
  add_folder(files, dir, "model");
  add_folder(files, dir, "best");
  return files;
}

static json_t *manifest_json(const Run *run, const char *state, const char *message) {
  History history = {0};
  char now[STANDARD_TIME_BYTES];
  char *metrics = text_format("%s/metrics.jsonl", run->config.output.dir);
  char *config = config_dump(&run->config, false);
  bool ended = strcmp(state, "running") != 0;
  history_read(&history, metrics, NULL); // without it the losses are null
  json_t *root = json_pack("{s:i, s:{s:s, s:o}, s:s, s:o, s:s, s:o, s:o}", "version", 1, "vma",
                           "version", VMA_VERSION, "commit", text_or_null(VMA_COMMIT), "state",
                           state, "message", text_or_null(message), "started", run->started,
                           "ended", ended ? json_string(standard_time(now)) : json_null(), "config",
                           text_or_null(config));
  if (root != NULL) {
    json_object_update_new(root, inputs_json(run));
    json_object_set_new(root, "machine", machine_json(run));
    json_object_set_new(root, "course", course_json(run));
    json_object_set_new(root, "loss", losses_json(run, &history));
    json_object_set_new(root, "memory", memory_json(run));
    json_object_set_new(root, "files", ended ? files_json(run) : json_object());
  }
  history_free(&history);
  free(metrics);
  free(config);
  return root;
}

Status run_write_manifest(const Run *run, const char *state, const char *message, Error *err) {
  char *path = text_format("%s/manifest.json", run->config.output.dir);
  json_t *root = manifest_json(run, state, message);
  char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
  char *lines = text != NULL ? text_format("%s\n", text) : NULL;
  Status status = lines != NULL ? file_write(path, lines, (int64_t)strlen(lines), err)
                                : error_set(err, STATUS_MEMORY, "%s: no memory", path);
  free(lines);
  free(text);
  json_decref(root);
  free(path);
  return status;
}

Status run_end(Run *run, Status status, Error *err) {
  Error other = {0};
  const char *state = status == STATUS_OK          ? "finished"
                      : status == STATUS_TEMPORARY ? "stopped"
                                                   : "failed";
  const char *message = status == STATUS_OK ? "" : err->message;
  Status written = STATUS_OK;
  if (!run->opened) return status;
  // The report first: the manifest has its hash.
  if (run->config.output.report) written = run_write_report(run, state, message, &other);
  if (written == STATUS_OK) written = run_write_manifest(run, state, message, &other);
  if (status != STATUS_OK || written == STATUS_OK) return status; // the first error stands
  *err = other;
  return written;
}
