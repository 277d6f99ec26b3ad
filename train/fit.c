#include "fit.h"

#include "dry_run.h"
#include "quote.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

// ---- the size ----

Status fit_parse_size(int64_t *bytes, const char *text, Error *err) {
  static const struct {
    const char *name;
    double bytes;
  } units[] = {{"m", 1 << 20}, {"mib", 1 << 20}, {"mb", 1e6},     {"g", 1 << 30}, {"gib", 1 << 30},
               {"gb", 1e9},    {"t", 0x1p40},    {"tib", 0x1p40}, {"tb", 1e12}};
  char *end;
  double value = strtod(text, &end), size = 0;
  while (*end == ' ') end++;
  for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++) {
    if (strcasecmp(end, units[i].name) == 0) size = value * units[i].bytes;
  }
  if (!(size >= 1 << 20 && size < 0x1p60)) { // a NaN neither
    return error_set(err, STATUS_USAGE,
                     "--fit %s: expected an amount of memory with its unit, as 24GiB, 24G (the "
                     "same), 24GB (10^9 bytes) or 500MiB",
                     quote_text(text).text);
  }
  *bytes = (int64_t)size;
  return STATUS_OK;
}

// ---- what is tried ----

typedef struct Try {
  int64_t micro_tokens, recomputed, bytes;
  double step;
  bool fits;
} Try;

enum { TRIES_MAX = 40 };

static Status try_tokens(Try *out, RunConfig *c, const PlanInputs *in, RunPlan *plan,
                         int64_t tokens, Error *err) {
  c->train.micro_tokens = tokens;
  c->train.checkpointing = CHECKPOINTING_AUTO;
  Status status = plan_make(plan, c, &in->llama, &in->data, &in->device, err);
  if (status != STATUS_OK) return status;
  *out = (Try){.micro_tokens = tokens,
               .recomputed = plan->recomputed,
               .bytes = plan->device_bytes,
               .step = plan->time.one_step,
               .fits = plan->fits};
  return STATUS_OK;
}

// From the longest example on: it is not cut, so smaller packs take no less memory.
static Status try_all(Try *tries, int *n, RunConfig *c, const PlanInputs *in, Error *err) {
  Status status = STATUS_OK;
  RunPlan *plan = malloc(sizeof *plan);
  if (plan == NULL) return error_set(err, STATUS_MEMORY, "no memory for a plan");
  int64_t tokens = 1, whole = in->data.batch_tokens;
  if (whole > 1 << 24) whole = 1 << 24; // train.micro_tokens goes no further
  while (tokens < in->data.longest) tokens *= 2;
  for (; tokens < whole && *n + 1 < TRIES_MAX; tokens *= 2)
    TRY(try_tokens(&tries[(*n)++], c, in, plan, tokens, err));
  TRY(try_tokens(&tries[(*n)++], c, in, plan, whole, err));
done:
  free(plan);
  return status;
}

static const Try *best_of(const Try *tries, int n) {
  const Try *best = NULL;
  for (int i = 0; i < n; i++) {
    if (tries[i].fits && (best == NULL || tries[i].step < best->step)) best = &tries[i];
  }
  return best;
}

// ---- showing it ----

static void show(const Try *tries, int n, const Try *best, const PlanInputs *in) {
  printf("# fit into %.2f GiB on %s%s\n", in->device.gib, in->device.title,
         in->data.assumed ? ", data ASSUMED (plan.examples, plan.mean_len, data.cutoff_len)" : "");
  printf("%12s  %-16s %12s %14s\n", "micro_tokens", "layers recomputed", "memory", "a step");
  for (int i = 0; i < n; i++) {
    const Try *t = &tries[i];
    printf("%12" PRId64 "  %7" PRId64 " of %-7" PRId64 " %8.2f GiB %10.3f s  %s\n", t->micro_tokens,
           t->recomputed, in->llama.layers, (double)t->bytes / (1 << 30), t->step,
           !t->fits    ? "does not fit"
           : t == best ? "<- fastest"
                       : "");
  }
  if (best == NULL) return;
  printf("\ntrain.micro_tokens=%" PRId64 " train.checkpointing=%s", best->micro_tokens,
         best->recomputed > 0 ? "on" : "off");
  if (best->recomputed > 0) printf(" train.checkpoint_blocks=%" PRId64, best->recomputed);
  printf("\n");
}

Status fit_run(const RunConfig *config, int64_t bytes, Error *err) {
  Status status = STATUS_OK;
  Try tries[TRIES_MAX];
  int n = 0;
  RunConfig *c = malloc(sizeof *c);
  PlanInputs *in = calloc(1, sizeof *in);
  if (c == NULL || in == NULL) TRY(error_set(err, STATUS_MEMORY, "no memory for a plan"));
  *c = *config;
  TRY(plan_inputs(in, config, err));
  in->device.gib = (double)bytes / (1 << 30);
  TRY(try_all(tries, &n, c, in, err));
  const Try *best = best_of(tries, n);
  show(tries, n, best, in);
  if (best == NULL) {
    TRY(error_set(err, STATUS_USAGE,
                  "nothing fits into %.2f GiB; the least that was tried takes %.2f GiB. "
                  "--dry-run shows where it goes; a smaller data.cutoff_len or model.dtype=bf16 "
                  "may help",
                  in->device.gib, (double)tries[0].bytes / (1 << 30)));
  }
done:
  if (in != NULL) plan_inputs_free(in);
  free(in);
  free(c);
  return status;
}
