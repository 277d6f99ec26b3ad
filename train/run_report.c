// report.html: what became of a run, on one page for people. Self-contained, without scripts; its
// curves are those of metrics.jsonl. Every text that is not this program's is escaped.
#include "run_report.h"

#include "chart.h"
#include "check.h"
#include "checkpoint_folder.h"
#include "history.h"
#include "html.h"
#include "mapped_file.h"
#include "run_samples.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\"/>\n"
    "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
    "<style>\n"
    ":root{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--box:#f6f8fa;--link:#0550ae;"
    "--train:#0969da;--held:#bc4c00;--other:#1a7f37}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9da7b1;"
    "--line:#30363d;--box:#161b22;--link:#79c0ff;--train:#58a6ff;--held:#ffa657;--other:#56d364}}\n"
    "body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:60rem;margin:0 auto;padding:1rem}\n"
    "h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}\n"
    "h3{font-size:1rem;margin:1.5rem 0 .25rem}h4{font-size:.85rem;font-weight:600;margin:.5rem 0 0;"
    "color:var(--soft)}a{color:var(--link)}\n"
    ".lead,figcaption,.legend,th{color:var(--soft)}h1,.lead,td{overflow-wrap:anywhere}\n"
    "table{border-collapse:collapse;display:block;overflow-x:auto}\n"
    "th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid var(--line);"
    "font-weight:400;vertical-align:top}\n"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    "pre{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:.6rem;"
    "margin:.25rem 0;overflow-x:auto;font-size:.85rem;line-height:1.4}\n"
    ".said{white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "figure{margin:1rem 0}svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}\n"
    ".grid{stroke:var(--line)}.axis{stroke:var(--soft);fill:none}\n"
    ".line{fill:none;stroke-width:1.5}.train{stroke:var(--train);opacity:.35}\n"
    ".smooth{stroke:var(--train);stroke-width:2}.held{stroke:var(--held)}\n"
    ".other{stroke:var(--other)}circle.held{fill:var(--held)}\n"
    ".entry{white-space:nowrap}.key{display:inline-block;width:1.2rem;border-top:3px "
    "solid;vertical-align:middle;"
    "margin:0 .3rem 0 .8rem}\n"
    ".key.train,.key.smooth{color:var(--train)}.key.held{color:var(--held)}\n"
    "</style>\n";

__attribute__((format(printf, 3, 4))) static void row(FILE *to, const char *name, const char *fmt,
                                                      ...) {
  char *text = NULL;
  va_list args;
  va_start(args, fmt);
  CHECK(vasprintf(&text, fmt, args) >= 0, "no memory for a report");
  va_end(args);
  fprintf(to, "<tr><th scope=\"row\">%s</th><td>", name);
  html_text(to, text);
  fputs("</td></tr>\n", to);
  free(text);
}

static void block(FILE *to, const char *class, const char *text) {
  fprintf(to, "<pre%s>", class);
  html_text(to, text);
  fputs("</pre>\n", to);
}

// ---- the result ----

static void print_times(FILE *to, const Run *run, const History *h) {
  double steps = 0, evals = 0, tokens = 0;
  for (int64_t i = 0; i < h->n_steps; i++) {
    steps += h->steps[i].seconds;
    tokens += (double)h->steps[i].tokens;
  }
  for (int64_t i = 0; i < h->n_evals; i++) evals += h->evals[i].seconds;
  row(to, "Time", "%.1f s in steps, %.1f s in evaluations", steps, evals);
  if (h->n_steps > 0) {
    row(to, "A step", "%.3f s on average, %.3f s by the plan", steps / (double)h->n_steps,
        run->plan.time.one_step);
  }
  if (steps > 0) row(to, "Speed", "%.0f tokens/s", tokens / steps);
}

static void print_result(FILE *to, const Run *run, const History *h, const char *state,
                         const char *message) {
  char now[STANDARD_TIME_BYTES];
  fputs("<h1>Training run ", to);
  html_text(to, run->config.output.dir);
  fprintf(to, "</h1>\n<p class=\"lead\">vma-train %s, %s; written %s</p>\n<table>\n", VMA_VERSION,
          state, standard_time(now));
  if (message[0] != '\0') row(to, "End", "%s", message);
  row(to, "Steps", "%" PRId64 " of %" PRId64 " (%.2f epochs)", run->step, run->total,
      (double)run->step / (double)run->per_epoch);
  if (run->step < run->total && run_stops_early(run)) {
    row(to, "Early stop", "%" PRId64 " evaluations in a row were not better than step %" PRId64,
        run->best.waited, run->best.step);
  }
  row(to, "Training loss", "%.9g at first, %.9g at last", history_first_loss(h),
      history_last_loss(h));
  if (h->n_evals > 0) {
    row(to, "Held-out loss", "%.9g at first, %.9g at last", h->evals[0].loss,
        h->evals[h->n_evals - 1].loss);
  }
  if (run->best.step > 0) row(to, "Best", "%.9g at step %" PRId64, run->best.loss, run->best.step);
  row(to, "Skipped", "%" PRId64 " steps that were not finite", h->n_skipped);
  print_times(to, run, h);
  row(to, "Model", "%s", run->config.model.path);
  row(to, "Trained", "%" PRId64 " of %" PRId64 " weights, method %s",
      param_count(&run->model.params, true), param_count(&run->model.params, false),
      run->config.method == METHOD_LORA ? "lora" : "full");
  row(to, "Device", "%s, %s, %" PRId64 " threads", run->plan.device.title, run->be->gemm_path,
      run_threads(&run->config));
  if (run->resume_path != NULL) row(to, "Went on from", "%s", run->resume_path);
  fputs("</table>\n", to);
}

// ---- the curves ----

// A column of the steps, made for a chart.
typedef struct Columns {
  int64_t *step, *eval_step;
  double *loss, *smooth, *norm, *lr, *speed, *eval;
} Columns;

static double *column(int64_t n) {
  double *values = calloc((size_t)n + 1, sizeof *values);
  CHECK(values != NULL, "no memory for a report of %lld steps", (long long)n);
  return values;
}

static Columns columns_of(const History *h) {
  Columns c = {.step = calloc((size_t)h->n_steps + 1, sizeof *c.step),
               .eval_step = calloc((size_t)h->n_evals + 1, sizeof *c.eval_step),
               .loss = column(h->n_steps),
               .smooth = column(h->n_steps),
               .norm = column(h->n_steps),
               .lr = column(h->n_steps),
               .speed = column(h->n_steps),
               .eval = column(h->n_evals)};
  CHECK(c.step != NULL && c.eval_step != NULL, "no memory for a report");
  double sum = 0, weight = 0; // a running mean without a bias at the start
  for (int64_t i = 0; i < h->n_steps; i++) {
    const StepPoint *p = &h->steps[i];
    if (isfinite(p->loss)) {
      sum = 0.9 * sum + p->loss;
      weight = 0.9 * weight + 1;
    }
    c.step[i] = p->step;
    c.loss[i] = p->loss;
    c.smooth[i] = weight > 0 ? sum / weight : NAN;
    c.norm[i] = p->grad_norm;
    c.lr[i] = p->lr;
    c.speed[i] = p->seconds > 0 ? (double)p->tokens / p->seconds : NAN;
  }
  for (int64_t i = 0; i < h->n_evals; i++) {
    c.eval_step[i] = h->evals[i].step;
    c.eval[i] = h->evals[i].loss;
  }
  return c;
}

static void columns_free(Columns *c) {
  free(c->step);
  free(c->eval_step);
  free(c->loss);
  free(c->smooth);
  free(c->norm);
  free(c->lr);
  free(c->speed);
  free(c->eval);
}

static void print_curve(FILE *to, const char *id, const char *title, const Columns *c,
                        const double *values, int64_t n) {
  Chart chart = {.id = id,
                 .title = title,
                 .n_series = 1,
                 .series = {{.label = title, .class = "other", .x = c->step, .y = values, .n = n}}};
  chart_print(to, &chart);
}

static void print_curves(FILE *to, const History *h) {
  Columns c = columns_of(h);
  Chart loss = {
      .id = "loss",
      .title = "Loss by step",
      .series = {{"training loss", "train", c.step, c.loss, h->n_steps, false},
                 {"training loss, smoothed", "smooth", c.step, c.smooth, h->n_steps, false},
                 {"held-out loss", "held", c.eval_step, c.eval, h->n_evals, true}},
      .n_series = h->n_evals > 0 ? 3 : 2};
  fputs("<h2>Curves</h2>\n", to);
  chart_print(to, &loss);
  print_curve(to, "lr", "Learning rate by step", &c, c.lr, h->n_steps);
  print_curve(to, "norm", "Gradient norm by step, before clipping", &c, c.norm, h->n_steps);
  print_curve(to, "speed", "Tokens per second by step", &c, c.speed, h->n_steps);
  columns_free(&c);
  if (h->n_evals == 0) return;
  fputs("<details><summary>Held-out losses as a table</summary><table>\n<tr><th "
        "scope=\"col\">step</th><th scope=\"col\">loss</th></tr>\n",
        to);
  for (int64_t i = 0; i < h->n_evals; i++) {
    fprintf(to, "<tr><td class=\"n\">%" PRId64 "</td><td class=\"n\">%.9g</td></tr>\n",
            h->evals[i].step, h->evals[i].loss);
  }
  fputs("</table></details>\n", to);
}

// ---- sample answers, skipped steps ----

static void print_text_of(FILE *to, const json_t *sample, const char *key, const char *title) {
  const char *text = json_string_value(json_object_get(sample, key));
  fprintf(to, "<h4>%s</h4>\n", title);
  block(to, " class=\"said\"", text != NULL ? text : "(not made)");
}

static void print_samples(FILE *to, const Run *run) {
  size_t i;
  const json_t *sample;
  json_t *root = run_read_samples(run);
  const json_t *samples = json_object_get(root, "samples");
  if (json_array_size(samples) > 0) {
    fprintf(to,
            "<h2>Sample answers</h2>\n<p>Held-out items, answered greedily with at most %d "
            "tokens.</p>\n",
            SAMPLE_NEW_TOKENS);
  }
  json_array_foreach(samples, i, sample) {
    fprintf(to, "<section class=\"sample\"><h3>Item %" JSON_INTEGER_FORMAT "</h3>\n",
            json_integer_value(json_object_get(sample, "item")));
    print_text_of(to, sample, "prompt", "Prompt");
    print_text_of(to, sample, "expected", "Answer in the data");
    print_text_of(to, sample, "before", "Before training");
    print_text_of(to, sample, "after", "After training");
    fputs("</section>\n", to);
  }
  json_decref(root);
}

static void print_skipped(FILE *to, const History *h) {
  enum { SHOWN = 50 };
  int64_t shown = 0;
  if (h->n_skipped == 0) return;
  fputs("<h2>Skipped steps</h2>\n<p>Their loss or gradients were not finite; neither weights nor "
        "moments saw them. The items are in metrics.jsonl. Steps: ",
        to);
  for (int64_t i = 0; i < h->n_steps && shown < SHOWN; i++) {
    if (h->steps[i].skipped) fprintf(to, "%s%" PRId64, shown++ > 0 ? ", " : "", h->steps[i].step);
  }
  fprintf(to, "%s.</p>\n", h->n_skipped > SHOWN ? ", ..." : "");
}

// ---- what it was made of ----

static void print_memory(FILE *to, const Run *run) {
  PlanUse use = plan_use(&run->memory);
  const MemoryPlan *planned = &run->plan.arenas, *used = &use.arenas;
  const struct {
    const char *name;
    int64_t planned, used;
  } rows[] = {{"weights", planned->weights, used->weights},
              {"state", planned->state, used->state},
              {"step", planned->step, used->step},
              {"cache", planned->cache, used->cache},
              {"host", planned->host, used->host},
              {"process", run->plan.device_bytes, use.process_peak}};
  fputs("<h2>Memory</h2>\n<table>\n<tr><th scope=\"col\">MiB</th><th scope=\"col\" "
        "class=\"n\">planned</th><th scope=\"col\" class=\"n\">used</th></tr>\n",
        to);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    fprintf(to,
            "<tr><th scope=\"row\">%s</th><td class=\"n\">%.2f</td><td "
            "class=\"n\">%.2f</td></tr>\n",
            rows[i].name, (double)rows[i].planned / (1 << 20), (double)rows[i].used / (1 << 20));
  }
  fputs("</table>\n<details><summary>The plan by lines</summary><table>\n", to);
  for (int i = 0; i < run->plan.n_lines; i++) {
    const PlanLine *line = &run->plan.lines[i];
    row(to, line->name, "%.2f MiB%s %s", (double)line->bytes / (1 << 20),
        line->estimate ? " (estimate)" : "", line->what);
  }
  fputs("</table></details>\n", to);
}

static void print_inputs(FILE *to, const Run *run) {
  char *text = NULL;
  size_t size = 0;
  FILE *data = open_memstream(&text, &size);
  CHECK(data != NULL, "no memory for a report");
  print_data(run, data);
  CHECK(fclose(data) == 0, "no memory for a report");
  fputs("<h2>Data</h2>\n", to);
  block(to, "", text);
  free(text);
  print_memory(to, run);
  text = config_dump(&run->config, false);
  fputs("<h2>Config</h2>\n", to);
  block(to, "", text != NULL ? text : "");
  free(text);
}

static void print_files(FILE *to, const Run *run) {
  static const struct {
    const char *name, *what;
  } files[] = {{"adapter", "the adapter after the last step (PEFT files)"},
               {"model", "the model after the last step (Hugging Face folder)"},
               {"best", "the weights of the best held-out loss"},
               {"checkpoints", "to go on from"},
               {"config.yaml", "the config that repeats this run"},
               {"metrics.jsonl", "every step and evaluation"},
               {"manifest.json", "what the run was, with hashes"},
               {"samples.json", "the sample answers"}};
  fputs("<h2>Files</h2>\n<ul>\n", to);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char *path = text_format("%s/%s", run->config.output.dir, files[i].name);
    if (file_exists(path)) {
      fprintf(to, "<li><a href=\"%s%s\">%s</a>: %s</li>\n", files[i].name,
              file_is_folder(path) ? "/" : "", files[i].name, files[i].what);
    }
    free(path);
  }
  fputs("</ul>\n", to);
}

Status run_write_report(const Run *run, const char *state, const char *message, Error *err) {
  History history = {0};
  char *page = NULL;
  size_t size = 0;
  char *metrics = text_format("%s/metrics.jsonl", run->config.output.dir);
  char *path = text_format("%s/report.html", run->config.output.dir);
  Status status = history_read(&history, metrics, err);
  if (status == STATUS_OK) {
    FILE *to = open_memstream(&page, &size);
    CHECK(to != NULL, "no memory for a report");
    fprintf(to, "%s<title>vma run ", head);
    html_text(to, run->config.output.dir);
    fputs("</title></head>\n<body><main>\n", to);
    print_result(to, run, &history, state, message);
    print_curves(to, &history);
    print_skipped(to, &history);
    print_samples(to, run);
    print_inputs(to, run);
    print_files(to, run);
    fputs("</main></body></html>\n", to);
    CHECK(fclose(to) == 0, "no memory for a report");
    status = file_write(path, page, (int64_t)size, err);
  }
  history_free(&history);
  free(page);
  free(metrics);
  free(path);
  return status;
}
