// A plan as a person reads it.
#include "plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MIB(bytes) ((double)(bytes) / (1 << 20))
#define GIB(bytes) ((double)(bytes) / (1 << 30))

static const char *stage_text(Shard shard) {
  static const char *const texts[] = {
      [SHARD_NONE] = "every rank holds all",
      [SHARD_OPTIMIZER] = "optimizer state shared (ZeRO stage 1)",
      [SHARD_GRADIENTS] = "optimizer state and gradients shared (ZeRO stage 2)",
      [SHARD_WEIGHTS] = "optimizer state, gradients and weights shared (ZeRO stage 3)"};
  return texts[shard];
}

// ---- memory ----

// Parts of the weights' line.
static void show_forms(const WeightForms *forms) {
  for (int i = 0; i < forms->n; i++) {
    char text[WEIGHT_FORM_BYTES];
    weight_form_text(text, &forms->items[i]);
    printf("    %-10s %11.1f MiB          %s\n", forms->items[i].from, MIB(forms->items[i].bytes),
           text);
  }
}

static void show_lines(const RunPlan *p, bool on_device) {
  for (int i = 0; i < p->n_lines; i++) {
    const PlanLine *line = &p->lines[i];
    if (line->on_device != on_device) continue;
    double share = p->device_bytes > 0 ? 100.0 * (double)line->bytes / (double)p->device_bytes : 0;
    printf("  %-12s %11.1f MiB ", line->name, MIB(line->bytes));
    if (on_device) {
      printf("%5.1f %%", share);
    } else {
      printf("       ");
    }
    printf("  %s%s\n", line->what, line->estimate ? " (estimate)" : "");
    if (strcmp(line->name, "weights") == 0) show_forms(&p->forms);
  }
}

static void show_memory(const RunPlan *p, const RunConfig *config) {
  const BatchBounds *b = &p->bounds;
  printf("memory%s, micro-batches of at most %" PRId64 " tokens, %" PRId64 " sequences, %" PRId64
         " labels\n",
         config->dist.ranks > 1 ? " of a rank" : "", b->rows, b->seqs, b->labels);
  if (config->dist.ranks > 1) {
    printf("  %" PRId64 " ranks: %s\n", config->dist.ranks, stage_text(config->dist.shard));
  }
  show_lines(p, true);
  printf("  %-12s %11.1f MiB          %.2f GiB of %.1f: %s\n", "total", MIB(p->device_bytes),
         GIB(p->device_bytes), GIB(p->limit), p->fits ? "fits" : "DOES NOT FIT");
  if (config->train.checkpointing == CHECKPOINTING_AUTO) {
    printf("  train.checkpointing=auto: %" PRId64 " of %" PRId64 " layers are recomputed, %s\n",
           p->recomputed, p->blocks, p->fits ? "the fewest that fit" : "and that is not enough");
  }
  if (!p->device.gpu) return;
  printf("beside the device\n");
  show_lines(p, false);
}

// ---- time ----

typedef struct Share {
  const char *name, *bound;
  double seconds, flops, bytes;
} Share;

typedef struct KindGroup {
  const char *name;
  OpKind first, last;
} KindGroup;

// Kinds that a reader takes as one.
static const KindGroup groups[] = {
    {"matrix products", OP_GEMM, OP_GEMM_BACK_W},
    {"adapters", OP_LORA, OP_LORA},
    {"attention", OP_ATTENTION, OP_ATTENTION_BACK},
    {"norms, gates", OP_NORM, OP_ACT},
    {"loss", OP_LOSS, OP_LOSS},
    {"rows, sums", OP_ROWS, OP_ELEMENT},
    {"optimizer", OP_OPTIMIZER, OP_OPTIMIZER},
};
enum { N_GROUPS = sizeof groups / sizeof *groups };

static Share group_share(const PlanTime *t, const KindGroup *g) {
  Share s = {.name = g->name};
  double compute = 0;
  for (int kind = (int)g->first; kind <= (int)g->last; kind++) {
    const OpCost *c = &t->step[kind];
    s.seconds += c->seconds;
    s.flops += c->flops;
    s.bytes += c->bytes;
    compute += c->compute_seconds;
  }
  s.bound = compute > s.seconds / 2 ? "arithmetic" : "memory traffic";
  return s;
}

static void show_step(const RunPlan *p) {
  const PlanTime *t = &p->time;
  Share largest = {0};
  printf("  %-16s %10s %12s %12s         bound by\n", "a step", "seconds", "GFLOP", "GB moved");
  for (int i = 0; i < N_GROUPS; i++) {
    Share s = group_share(t, &groups[i]);
    if (s.seconds <= 0) continue;
    if (s.seconds > largest.seconds) largest = s;
    printf("  %-16s %10.4f %12.1f %12.2f  %4.1f %%  %s\n", s.name, s.seconds, s.flops * 1e-9,
           s.bytes * 1e-9, 100 * s.seconds / t->one_step, s.bound);
  }
  if (t->collectives > 0) {
    printf("  %-16s %10.4f %12s %12s  %4.1f %%  the links, nothing overlapped\n", "collectives",
           t->collectives, "", "", 100 * t->collectives / t->one_step);
  }
  printf("  %-16s %10.4f %12.1f %12.2f\n", "together", t->one_step, t->flops * 1e-9,
         t->bytes * 1e-9);
  printf("  what limits: %s, %.0f %% of a step, bound by %s\n", largest.name,
         100 * largest.seconds / t->one_step, largest.bound);
}

// "5.62 h"
typedef struct Duration {
  char text[32];
} Duration;

static Duration duration_text(double seconds) {
  Duration d;
  if (seconds >= 3600) {
    snprintf(d.text, sizeof d.text, "%.2f h", seconds / 3600);
  } else if (seconds >= 60) {
    snprintf(d.text, sizeof d.text, "%.1f min", seconds / 60);
  } else {
    snprintf(d.text, sizeof d.text, "%.1f s", seconds);
  }
  return d;
}

static void show_times(const char *name, int64_t n, double seconds) {
  printf("  %-16s %10" PRId64 " x %10.3f s = %s\n", name, n, seconds,
         duration_text((double)n * seconds).text);
}

static void show_rates(const RunPlan *p, const RunConfig *config) {
  const Device *d = &p->device;
  if (d->measured) {
    printf(
        "time (estimate): rates measured on this CPU just now: %.0f GFLOP/s of matrix products\n",
        d->rates.kind[OP_GEMM].flops[0] * 1e-9);
    return;
  }
  DType dtype = config->model.dtype;
  printf("time (estimate): not measured on this device; assumed %.0f %% of its %.1f TFLOP/s in %s "
         "for matrix\n  products, %.0f %% for attention, %.0f %% of its %.0f GB/s\n",
         100 * d->gemm_share, d->tflops[dtype], dtype == DT_BF16 ? "bf16" : "f32",
         100 * DEVICE_ATTENTION_SHARE, 100 * DEVICE_BYTES_SHARE, d->gbytes);
}

static void show_time(const RunPlan *p, const RunConfig *config) {
  const PlanTime *t = &p->time;
  show_rates(p, config);
  printf("  %.0f tokens a step in %.1f micro-batches%s: %.0f tokens/s\n", t->tokens,
         t->micro_batches, config->dist.ranks > 1 ? " of each rank" : "", t->tokens / t->one_step);
  show_step(p);
  show_times("steps", t->steps, t->one_step);
  if (t->evaluations > 0) show_times("evaluations", t->evaluations, t->one_evaluation);
  show_times("checkpoints", t->checkpoints, t->one_checkpoint);
  printf("  %-16s %s, with %s to start\n", "the whole run", duration_text(t->total).text,
         duration_text(t->start).text);
}

void plan_show(const RunPlan *p, const RunConfig *config) {
  const DataOutline *o = &p->data;
  printf("# plan for %s: %" PRId64 " of %" PRId64 " weights trained\n", p->device.title, p->trained,
         p->weights);
  printf("data: %" PRId64 " examples to train on, %" PRId64 " held out, %.1f tokens on average%s\n",
         o->train, o->held_out, o->mean_len,
         o->assumed ? " (ASSUMED: plan.examples, plan.mean_len)" : "");
  show_memory(p, config);
  show_time(p, config);
  printf("\n");
  fflush(stdout);
}

// ---- afterwards ----

static int64_t process_peak(void) {
  long long kib = 0;
  char line[128];
  FILE *file = fopen("/proc/self/status", "re");
  if (file == NULL) return 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
  }
  fclose(file);
  return (int64_t)kib * 1024;
}

PlanUse plan_use(const Memory *memory) {
  return (PlanUse){
      .arenas = memory_peak(memory), .process_peak = process_peak(), .step_seconds = NAN};
}

void plan_show_use(const RunPlan *p, const PlanUse *use) {
  const struct {
    const char *name;
    int64_t planned, used;
  } rows[] = {{"weights", p->arenas.weights, use->arenas.weights},
              {"state", p->arenas.state, use->arenas.state},
              {"step", p->arenas.step, use->arenas.step},
              {"cache", p->arenas.cache, use->arenas.cache},
              {"host", p->arenas.host, use->arenas.host},
              {"process", p->device_bytes, use->process_peak}};
  printf("# plan against use\n  %-12s %15s %15s\n", "MiB", "planned", "used");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].planned == 0 && rows[i].used == 0) continue;
    printf("  %-12s %15.1f %15.1f\n", rows[i].name, MIB(rows[i].planned), MIB(rows[i].used));
  }
  if (!isnan(use->step_seconds)) {
    printf("  %-12s %15.3f %15.3f\n", "s a step", p->time.one_step, use->step_seconds);
  }
  fflush(stdout);
}
