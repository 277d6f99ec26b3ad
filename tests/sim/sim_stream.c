// The queues, the order in which work runs, and which works are ordered: vector clocks. A work's
// clock says how much of every stream comes before it; it may run once that much has run.
#include "sim_stream.h"
#include "sim_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MAX = 48, HISTORY_MAX = 8192 };

static struct {
  SimWork *first[SIM_STREAMS], *last[SIM_STREAMS];
  int64_t done[SIM_STREAMS];
  int64_t pending;
  SimWork *history[HISTORY_MAX]; // that ran and may still conflict with what comes
  int64_t n_history;
  SimWork *running;
  uint64_t random, seed;
} q;

uint64_t sim_stream_draw(void) {
  const uint64_t seed = sim_runtime()->seed;
  if (q.random == 0 || q.seed != seed) {
    q.seed = seed;
    q.random = seed * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
    if (q.random == 0) q.random = 1;
  }
  q.random ^= q.random << 13;
  q.random ^= q.random >> 7;
  q.random ^= q.random << 17;
  return q.random >> 11;
}

SimWork *sim_work(const char *title, SimWorkKind kind, void (*run)(SimWork *work, void *data),
                  void *data) {
  SimWork *w = calloc(1, sizeof *w);
  if (w == NULL) abort();
  snprintf(w->title, sizeof w->title, "%s", title);
  w->kind = kind;
  w->drop = free;
  w->run = run;
  w->data = data;
  return w;
}

void sim_work_touch(SimWork *w, const void *from, int64_t rows, int64_t row, int64_t stride,
                    bool reads, bool writes) {
  if (rows <= 0 || row <= 0) return;
  if (w->n == w->room) {
    w->room = w->room * 2 + 8;
    w->ranges = realloc(w->ranges, (size_t)w->room * sizeof *w->ranges);
    if (w->ranges == NULL) abort();
  }
  if (rows > 1 && row == stride) {
    row *= rows;
    rows = 1;
  }
  w->ranges[w->n++] = (SimRange){(uint8_t *)(uintptr_t)from, rows, row, stride, reads, writes};
}

void sim_work_learns(SimWork *w) {
  w->learns = true;
}

static uint64_t hash_of(const SimRange *r) {
  uint64_t hash = 1469598103934665603u;
  for (int64_t i = 0; i < r->rows; i++) {
    const uint8_t *p = r->from + i * r->stride;
    int64_t k = 0;
    for (; k + 8 <= r->row; k += 8) {
      uint64_t word;
      memcpy(&word, p + k, sizeof word);
      hash = (hash ^ word) * 1099511628211u;
      hash ^= hash >> 29;
    }
    for (; k < r->row; k++) hash = (hash ^ p[k]) * 1099511628211u;
  }
  return hash;
}

void sim_work_source(SimWork *w, const void *from, int64_t rows, int64_t row, int64_t stride) {
  w->source = (SimRange){(uint8_t *)(uintptr_t)from, rows, row, stride, true, false};
  w->hash = hash_of(&w->source);
}

// ---- conflicts ----

static int64_t span(const SimRange *r) {
  return (r->rows - 1) * r->stride + r->row;
}

// Rows of the one that meet rows of the other.
static bool overlap(const SimRange *a, const SimRange *b) {
  if (a->from >= b->from + span(b) || b->from >= a->from + span(a)) return false;
  if (a->rows > b->rows) return overlap(b, a);
  for (int64_t i = 0; i < a->rows; i++) {
    const int64_t from = a->from + i * a->stride - b->from, to = from + a->row;
    if (b->rows == 1) {
      if (to > 0 && from < b->row) return true;
      continue;
    }
    int64_t k = from > 0 ? from / b->stride : 0;
    for (; k < b->rows && k * b->stride < to; k++) {
      if (k * b->stride + b->row > from) return true;
    }
  }
  return false;
}

const SimRange *sim_work_meeting(const SimWork *a, const SimWork *b) {
  for (int i = 0; i < a->n; i++) {
    for (int k = 0; k < b->n; k++) {
      if (!a->ranges[i].writes && !b->ranges[k].writes) continue;
      if (overlap(&a->ranges[i], &b->ranges[k])) return &a->ranges[i];
    }
  }
  return NULL;
}

static bool before(const SimWork *a, const SimWork *b) {
  return a->at <= b->clock.at[a->stream];
}

static void check_conflicts(const SimWork *w) {
  for (int64_t i = 0; i < q.n_history; i++) {
    const SimWork *v = q.history[i];
    if (v->stream == w->stream || before(v, w) || before(w, v)) continue;
    const SimRange *r = sim_work_meeting(w, v);
    if (r == NULL) continue;
    const SimMemory *m = sim_memory_find(r->from);
    const SimTensorName *t = m != NULL ? sim_tensor_at(m, r->from) : NULL;
    const bool swap = strcmp(w->title, v->title) > 0; // the same text whichever ran first
    sim_report(SIM_STREAM_CONFLICT, NULL, (SimLine){0},
               "%s and %s use the same memory%s%s on two streams, and no event orders them",
               swap ? v->title : w->title, swap ? w->title : v->title, t != NULL ? " " : "",
               t != NULL ? t->name : "");
  }
}

void sim_work_free(SimWork *w) {
  if (w->data != NULL) w->drop(w->data);
  free(w->ranges);
  free(w);
}

// Forgets what comes before everything that is queued or may come.
static void prune(void) {
  SimClock least = sim_runtime()->host;
  for (int s = 0; s < SIM_STREAMS; s++) {
    for (const SimWork *w = q.first[s]; w != NULL; w = w->next) {
      for (int i = 0; i < SIM_STREAMS; i++) {
        if (w->clock.at[i] < least.at[i]) least.at[i] = w->clock.at[i];
      }
    }
  }
  int64_t kept = 0;
  for (int64_t i = 0; i < q.n_history; i++) {
    SimWork *w = q.history[i];
    if (w->at <= least.at[w->stream])
      sim_work_free(w);
    else
      q.history[kept++] = w;
  }
  q.n_history = kept;
}

static void remember(SimWork *w) {
  if (q.n_history == HISTORY_MAX) { // nobody has waited for very long: the oldest half goes
    for (int64_t i = 0; i < HISTORY_MAX / 2; i++) sim_work_free(q.history[i]);
    memmove(q.history, q.history + HISTORY_MAX / 2, HISTORY_MAX / 2 * sizeof *q.history);
    q.n_history = HISTORY_MAX / 2;
  }
  q.history[q.n_history++] = w;
}

// ---- running ----

static bool free_to_run(const SimWork *w) {
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (i != w->stream && q.done[i] < w->clock.at[i]) return false;
  }
  return true;
}

static void run_first(int s) {
  SimWork *w = q.first[s];
  q.first[s] = w->next;
  if (q.first[s] == NULL) q.last[s] = NULL;
  q.pending--;
  w->next = NULL;
  if (w->source.row > 0 && hash_of(&w->source) != w->hash) {
    sim_report(SIM_STREAM_CONFLICT, NULL, (SimLine){0},
               "%s: its pinned source was written again before the copy had run", w->title);
  }
  q.running = w;
  w->run(w, w->data);
  q.running = NULL;
  w->drop(w->data);
  w->data = NULL;
  q.done[s] = w->at;
  check_conflicts(w);
  remember(w);
}

void sim_work_run_inside(SimWork *node) {
  SimWork *outer = q.running;
  q.running = node;
  node->run(node, node->data);
  q.running = outer;
}

uint64_t sim_work_hash(const SimWork *w) {
  return w->source.row > 0 ? hash_of(&w->source) : 0;
}

void sim_stream_run_one(void) {
  int ready[SIM_STREAMS], n = 0;
  if (q.running != NULL) return;
  for (int s = 0; s < SIM_STREAMS; s++) {
    if (q.first[s] != NULL && free_to_run(q.first[s])) ready[n++] = s;
  }
  if (n > 0) run_first(ready[sim_stream_draw() % (uint64_t)n]);
}

void sim_stream_run_until(int stream, int64_t at) {
  while (q.running == NULL && q.done[stream] < at) sim_stream_run_one();
}

void sim_stream_run_all(void) {
  while (q.running == NULL && q.pending > 0) sim_stream_run_one();
}

int64_t sim_stream_done(int stream) {
  return q.done[stream];
}

bool sim_stream_pending(int stream) {
  return q.first[stream] != NULL;
}

void sim_stream_join(SimClock *to, const SimClock *from) {
  for (int i = 0; i < SIM_STREAMS; i++) {
    if (from->at[i] > to->at[i]) to->at[i] = from->at[i];
  }
}

cudaError_t sim_stream_push(SimStream *s, SimWork *w) {
  SimRuntime *r = sim_runtime();
  if (s->capture != NULL) return sim_capture_add(s, w);
  const cudaError_t refused = sim_capture_implicit(s);
  if (refused != cudaSuccess) {
    sim_work_free(w);
    return refused;
  }
  sim_stream_join(&s->clock, &r->host);
  // The default stream waits for all streams that are not non-blocking, and they for it.
  for (int i = 0; i < SIM_STREAMS && s->index == 0; i++) {
    if (r->streams[i].used && !r->streams[i].alone)
      sim_stream_join(&s->clock, &r->streams[i].clock);
  }
  if (s->index != 0 && !s->alone) sim_stream_join(&s->clock, &r->streams[0].clock);
  sim_stream_work(s, w->kind == SIM_WORK_KERNEL || w->kind == SIM_WORK_PRODUCT ||
                         w->kind == SIM_WORK_GRAPH);
  w->stream = s->index;
  w->at = s->clock.at[s->index];
  w->clock = s->clock;
  if (q.last[s->index] != NULL)
    q.last[s->index]->next = w;
  else
    q.first[s->index] = w;
  q.last[s->index] = w;
  if (++q.pending <= QUEUE_MAX) return cudaSuccess;
  for (int64_t n = 1 + (int64_t)(sim_stream_draw() % QUEUE_MAX); n > 0; n--) sim_stream_run_one();
  return cudaSuccess;
}

void sim_stream_known(const SimClock *clock) {
  sim_stream_join(&sim_runtime()->host, clock);
  prune();
}

static bool touches(const SimWork *w, const void *address, int64_t bytes) {
  const SimRange all = {(uint8_t *)(uintptr_t)address, 1, bytes, bytes, true, true};
  for (int i = 0; i < w->n; i++) {
    if (overlap(&w->ranges[i], &all)) return true;
  }
  return false;
}

void sim_stream_freed(const void *address, int64_t bytes, const char *call) {
  sim_stream_run_all();
  for (int64_t i = 0; i < q.n_history; i++) {
    const SimWork *w = q.history[i];
    if (w->at <= sim_runtime()->host.at[w->stream] || !touches(w, address, bytes)) continue;
    sim_report(SIM_API, NULL, (SimLine){0},
               "%s of %lld bytes while they are in use: nothing has waited for %s", call,
               (long long)bytes, w->title);
  }
}

// Names and content of memory change on the host's word: what is queued for it runs first.
static void before_change(const void *address, int64_t bytes) {
  for (int s = 0; s < SIM_STREAMS; s++) {
    for (const SimWork *w = q.first[s]; w != NULL; w = w->next) {
      if (address != NULL && !w->learns && !touches(w, address, bytes)) continue;
      sim_stream_run_all();
      return;
    }
  }
}

// A range for what is read and one for what is written, an allocation.
static void learn(const SimMemory *memory, const void *address, int64_t bytes, bool reads,
                  bool writes) {
  SimWork *w = q.running;
  if (w == NULL || !w->learns) return;
  uint8_t *from = (uint8_t *)(uintptr_t)address;
  for (int i = 0; i < w->n; i++) {
    SimRange *r = &w->ranges[i];
    if (r->from < memory->data || r->from >= memory->data + memory->bytes) continue;
    if (r->writes != writes) continue;
    uint8_t *end = r->from + r->row > from + bytes ? r->from + r->row : from + bytes;
    if (from < r->from) r->from = from;
    r->row = end - r->from;
    return;
  }
  sim_work_touch(w, from, 1, bytes, bytes, reads, writes);
}

void sim_stream_open(void) {
  sim_before_change = before_change;
  sim_touched = learn;
}
