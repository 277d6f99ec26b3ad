#include "beam_search.h"

#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// What transformers takes for "out of the race"; sums go on with it as there.
static const float nowhere = -1e9f;

const char *early_stopping_name(EarlyStopping kind) {
  static const char *const names[EARLY_COUNT] = {"false", "true", "never"};
  return names[kind];
}

static int kept_of(int beams, int n_stop_ids) {
  return (1 + n_stop_ids > 2 ? 1 + n_stop_ids : 2) * beams;
}

static BeamText *texts_make(int n, int64_t capacity) {
  BeamText *texts = calloc((size_t)n, sizeof *texts);
  CHECK(texts != NULL, "no memory for %d beams", n);
  for (int i = 0; i < n; i++) {
    texts[i].ids = malloc((size_t)capacity * sizeof *texts[i].ids);
    CHECK(texts[i].ids != NULL, "no memory for %lld ids", (long long)capacity);
  }
  return texts;
}

static void texts_free(BeamText *texts, int n) {
  for (int i = 0; texts != NULL && i < n; i++) free(texts[i].ids);
  free(texts);
}

void beam_search_init(BeamSearch *s, int n, int64_t vocab, int64_t capacity, int n_stop_ids) {
  int keep = kept_of(n, n_stop_ids);
  CHECK(n > 0 && capacity > 0 && keep <= n * vocab, "%d beams over %lld ids", n, (long long)vocab);
  *s = (BeamSearch){.options = {.beams = n},
                    .capacity = capacity,
                    .vocab = vocab,
                    .n_candidates = keep,
                    .running = texts_make(n, capacity),
                    .finished = texts_make(n, capacity),
                    .spare = texts_make(n, capacity),
                    .parents = calloc((size_t)n, sizeof *s->parents),
                    .sums = calloc((size_t)n, sizeof *s->sums),
                    .candidates = calloc((size_t)keep, sizeof *s->candidates),
                    .ended = calloc((size_t)keep, sizeof *s->ended)};
  CHECK(s->parents != NULL && s->sums != NULL && s->candidates != NULL && s->ended != NULL,
        "no memory for %d beams", n);
}

void beam_search_free(BeamSearch *s) {
  texts_free(s->running, s->options.beams);
  texts_free(s->finished, s->options.beams);
  texts_free(s->spare, s->options.beams);
  free(s->parents);
  free(s->sums);
  free(s->candidates);
  free(s->ended);
  *s = (BeamSearch){0};
}

void beam_search_start(BeamSearch *s, const BeamOptions *options, int64_t limit, int n_stop_ids) {
  s->keep = kept_of(options->beams, n_stop_ids);
  CHECK(options->beams == s->options.beams && limit > 0 && limit <= s->capacity &&
            s->keep <= s->n_candidates,
        "a search of %lld tokens, %d stop ids", (long long)limit, n_stop_ids);
  s->options = *options;
  s->limit = limit;
  s->drawn = 0;
  for (int i = 0; i < s->options.beams; i++) {
    // All begin alike: only the first one counts, or the same text would run several times.
    s->running[i].score = i == 0 ? 0 : nowhere;
    s->running[i].n = s->finished[i].n = 0;
    s->finished[i].finished = false;
  }
}

// ---- the likeliest continuations ----

static void find_candidates(BeamSearch *s, const float *const *log_probs) {
  for (int i = 0; i < s->options.beams; i++) s->sums[i] = s->running[i].score;
  token_branches(s->candidates, s->keep, log_probs, s->sums, s->options.beams, s->vocab);
}

static void copy_text(BeamText *to, const BeamSearch *s, const TokenBranch *c) {
  const BeamText *from = &s->running[c->beam];
  memcpy(to->ids, from->ids, (size_t)s->drawn * sizeof *to->ids);
  to->ids[s->drawn] = c->id;
  to->n = s->drawn + 1;
}

// Uses a spare text for the candidates' ids.
static bool mark_ended(BeamSearch *s, BeamEnd end) {
  bool all = true;
  for (int i = 0; i < s->keep; i++) {
    copy_text(&s->spare[0], s, &s->candidates[i]);
    s->ended[i] = s->drawn + 1 == s->limit || end.ends(end.user, s->spare[0].ids, s->spare[0].n);
    all = all && s->ended[i];
  }
  return all;
}

// ---- those that end, and those that run on ----

static bool all_finished(const BeamSearch *s) {
  for (int i = 0; i < s->options.beams; i++) {
    if (!s->finished[i].finished) return false;
  }
  return true;
}

static float by_length(const BeamSearch *s, float sum, int64_t n) {
  return sum / (float)pow((double)n, (double)s->options.length_penalty);
}

static bool comes_before(float score, const BeamText *text) {
  return !text->finished || score > text->score;
}

// In place of the worst finished text, and at its place by score: after those that were there
// before with the same one.
static void add_finished(BeamSearch *s, const TokenBranch *c, float score) {
  int at = s->options.beams - 1;
  BeamText text = s->finished[at];
  if (!comes_before(score, &text)) return;
  for (; at > 0 && comes_before(score, &s->finished[at - 1]); at--)
    s->finished[at] = s->finished[at - 1];
  copy_text(&text, s, c);
  text.score = score;
  text.finished = true;
  s->finished[at] = text;
}

static void update_finished(BeamSearch *s) {
  for (int i = 0; i < s->options.beams; i++) {
    const TokenBranch *c = &s->candidates[i];
    if (s->ended[i]) add_finished(s, c, by_length(s, c->sum, s->drawn + 1));
  }
}

// The candidates that have not ended in their order, then those that have: they are so far behind
// that only a search with nothing else to run on takes them.
static void update_running(BeamSearch *s) {
  int n = 0;
  for (int ended = 0; ended < 2; ended++) {
    for (int i = 0; i < s->keep && n < s->options.beams; i++) {
      const TokenBranch *c = &s->candidates[i];
      if (s->ended[i] != (ended == 1)) continue;
      copy_text(&s->spare[n], s, c);
      s->spare[n].score = s->ended[i] ? c->sum + nowhere : c->sum;
      s->parents[n++] = c->beam;
    }
  }
  BeamText *texts = s->running;
  s->running = s->spare;
  s->spare = texts;
}

static bool can_improve(const BeamSearch *s) {
  if (!all_finished(s)) return true;
  const BeamOptions *o = &s->options;
  bool longest = o->early_stopping == EARLY_NEVER && o->length_penalty > 0;
  float best = by_length(s, s->running[0].score, longest ? s->limit : s->drawn);
  return best > s->finished[o->beams - 1].score;
}

bool beam_search_step(BeamSearch *s, const float *const *log_probs, BeamEnd end) {
  CHECK(s->drawn < s->limit, "a step after %lld tokens", (long long)s->drawn);
  find_candidates(s, log_probs);
  bool all_ended = mark_ended(s, end);
  update_finished(s);
  update_running(s);
  s->drawn++;
  bool full = s->options.early_stopping == EARLY_TRUE && all_finished(s);
  return can_improve(s) && !full && !all_ended;
}

const BeamText *beam_search_best(const BeamSearch *s) {
  CHECK(s->finished[0].finished, "a search that is not over");
  return &s->finished[0];
}
