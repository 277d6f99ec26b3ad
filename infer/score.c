#include "score.h"

#include "check.h"
#include "mapped_file.h"
#include "stopwatch.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_ROWS = 256 }; // rows of logits that exist at a time

// Memory for the largest batch, on the host.
typedef struct Scorer {
  int64_t max_rows, max_seqs;
  int32_t *cu_seqlens, *positions, *label_rows, *label_ids;
  float *log_probs; // [max_rows] of the labels
  int32_t *best;    // [max_rows] argmax at their rows
} Scorer;

static void *ints(int64_t n) {
  void *memory = calloc((size_t)n + 1, sizeof(int32_t));
  CHECK(memory != NULL, "no memory for %lld ids", (long long)n);
  return memory;
}

static void scorer_init(Scorer *s, int64_t max_rows, int64_t max_seqs) {
  *s = (Scorer){.max_rows = max_rows,
                .max_seqs = max_seqs,
                .cu_seqlens = ints(max_seqs + 1),
                .positions = ints(max_rows),
                .label_rows = ints(max_rows),
                .label_ids = ints(max_rows),
                .log_probs = ints(max_rows),
                .best = ints(max_rows)};
}

static void scorer_free(Scorer *s) {
  free(s->cu_seqlens);
  free(s->positions);
  free(s->label_rows);
  free(s->label_ids);
  free(s->log_probs);
  free(s->best);
}

// ---- the model's part ----

// log_probs and best of the batch's labels, copied to the host.
static void score_batch(Ctx *ctx, Llama *model, const Batch *batch, float *log_probs,
                        int32_t *best) {
  Backend *be = ctx->be;
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  DeviceBatch on_device;
  device_batch_make(ctx, batch, NULL, &on_device);
  int64_t n = on_device.n_labels;
  Tensor out = ctx_tensor(ctx, KEEP, DT_F32, 1, n, "log probabilities");
  Tensor most = ctx_tensor(ctx, KEEP, DT_I32, 1, n, "argmax");
  Value *trunk = llama_trunk(ctx, model, &on_device, NULL);
  for (int64_t at = 0; at < n; at += HEAD_ROWS) {
    ArenaMark mark = arena_mark(ctx->step), host_mark = arena_mark(ctx->host);
    int64_t rows = n - at < HEAD_ROWS ? n - at : HEAD_ROWS;
    Tensor logits = llama_logits(ctx, model, trunk, tensor_cols(on_device.label_rows, at, rows));
    be->log_probs(be, tensor_cols(out, at, rows), tensor_cols(most, at, rows), logits,
                  tensor_cols(on_device.label_ids, at, rows));
    arena_release(ctx->step, mark);
    arena_release(ctx->host, host_mark);
  }
  be->copy_out(be, log_probs, tensor_cols(out, 0, batch->n_labels));
  be->copy_out(be, best, tensor_cols(most, 0, batch->n_labels));
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
}

// Packs items [first, end): every token but a sequence's first is the label of the row before it.
static Batch pack(Scorer *s, const ScoreItems *items, int64_t first, int64_t end) {
  int64_t rows = 0, labels = 0, seqs = 0;
  const int32_t *ids = items->ids.ids + items->items[first].first;
  for (int64_t i = first; i < end; i++) {
    int64_t n = items->items[i].n;
    if (n == 0) continue;
    for (int64_t k = 0; k < n; k++, rows++) {
      s->positions[rows] = (int32_t)k;
      if (k + 1 == n) continue;
      s->label_rows[labels] = (int32_t)rows;
      s->label_ids[labels++] = ids[rows + 1];
    }
    s->cu_seqlens[++seqs] = (int32_t)rows;
  }
  return (Batch){.tokens = {.n_seqs = seqs,
                            .n_rows = rows,
                            .cu_seqlens = s->cu_seqlens,
                            .positions = s->positions,
                            .ids = ids},
                 .n_labels = labels,
                 .label_rows = s->label_rows,
                 .label_ids = s->label_ids};
}

// The largest batch there will be: max_rows rows, the first max_seqs - 1 sequences of one row.
static void rehearse(Ctx *ctx, Llama *model, Arena *cache, const void *args) {
  (void)cache;
  const Scorer *s = args;
  for (int64_t i = 0; i < s->max_seqs; i++) s->cu_seqlens[i] = (int32_t)i;
  s->cu_seqlens[s->max_seqs] = (int32_t)s->max_rows;
  Batch batch = {.tokens = {.n_seqs = s->max_seqs,
                            .n_rows = s->max_rows,
                            .cu_seqlens = s->cu_seqlens,
                            .positions = s->positions,
                            .ids = s->label_ids},
                 .n_labels = s->max_rows,
                 .label_rows = s->label_rows,
                 .label_ids = s->label_ids};
  score_batch(ctx, model, &batch, s->log_probs, s->best);
  s->cu_seqlens[0] = 0;
}

// ---- runs of items that fit together ----

static int64_t run_end(const ScoreItems *items, int64_t first, int64_t budget) {
  int64_t rows = items->items[first].n, end = first + 1;
  while (end < items->n && rows + items->items[end].n <= budget) rows += items->items[end++].n;
  return end;
}

static void largest_run(const ScoreItems *items, int64_t budget, int64_t *rows, int64_t *seqs) {
  *rows = *seqs = 1;
  for (int64_t first = 0, end; first < items->n; first = end) {
    end = run_end(items, first, budget);
    int64_t n = 0;
    for (int64_t i = first; i < end; i++) n += items->items[i].n;
    if (n > *rows) *rows = n;
    if (end - first > *seqs) *seqs = end - first;
  }
  if (*rows < *seqs) *rows = *seqs; // empty items count as sequences here
}

// ---- output ----

static Status put(FileWriter *out, Error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static Status put(FileWriter *out, Error *err, const char *fmt, ...) {
  char text[64];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  CHECK(n >= 0 && n < (int)sizeof text, "%d characters", n);
  return file_writer_put(out, text, n, err);
}

// The line of an item whose labels' results begin at log_probs, best.
static Status write_item(FileWriter *out, const ScoreItems *items, int64_t index,
                         const float *log_probs, const int32_t *best, Error *err) {
  Status status = STATUS_OK;
  const ScoreItem *item = &items->items[index];
  const int32_t *ids = items->ids.ids + item->first;
  bool greedy = true;
  TRY(put(out, err, "{\"ids\":["));
  for (int64_t i = 0; i < item->n; i++) TRY(put(out, err, "%s%d", i > 0 ? "," : "", ids[i]));
  TRY(put(out, err, "],\"logprobs\":[%s", item->n > 0 ? "null" : ""));
  for (int64_t i = 1; i < item->n; i++) {
    if (!isfinite(log_probs[i - 1])) {
      status = error_set(err, STATUS_FAILED,
                         "item %lld, token %lld: the model's log probability is not finite: are "
                         "its weights sound? try --dtype f32",
                         (long long)index, (long long)i);
      goto done;
    }
    TRY(put(out, err, ",%.9g", (double)log_probs[i - 1]));
    if (i >= item->completion_start && best[i - 1] != ids[i]) greedy = false;
  }
  TRY(put(out, err, "],\"completion_start\":%lld,\"greedy\":%s}\n",
          (long long)item->completion_start, greedy ? "true" : "false"));
done:
  return status;
}

static Status write_run(FileWriter *out, const ScoreItems *items, int64_t first, int64_t end,
                        const Scorer *s, Error *err) {
  Status status = STATUS_OK;
  int64_t label = 0;
  for (int64_t i = first; i < end; i++) {
    TRY(write_item(out, items, i, s->log_probs + label, s->best + label, err));
    if (items->items[i].n > 0) label += items->items[i].n - 1;
  }
done:
  return status;
}

Status score_file(Engine *engine, const ScoreOptions *options, ScoreStats *stats, Error *err) {
  Status status = STATUS_OK;
  ScoreItems items = {0};
  Scorer scorer = {0};
  FileWriter out = {0};
  int64_t rows, seqs;
  bool standard = strcmp(options->output, "-") == 0;
  *stats = (ScoreStats){0};
  TRY(score_items_read(&items, engine, options, err));
  TRY(file_writer_open(&out, standard ? "/dev/stdout" : options->output, err));
  largest_run(&items, options->batch_tokens, &rows, &seqs);
  scorer_init(&scorer, rows, seqs);
  TRY(engine_load(engine, rehearse, &scorer, err));
  for (int64_t first = 0, end; first < items.n; first = end) {
    end = run_end(&items, first, options->batch_tokens);
    Batch batch = pack(&scorer, &items, first, end);
    double start = seconds_now();
    if (batch.n_labels > 0)
      score_batch(&engine->ctx, &engine->model, &batch, scorer.log_probs, scorer.best);
    stats->seconds += seconds_now() - start;
    TRY(write_run(&out, &items, first, end, &scorer, err));
  }
  TRY(file_writer_commit(&out, err));
  stats->lines = items.n;
  stats->tokens = items.ids.n;
done:
  file_writer_abort(&out);
  scorer_free(&scorer);
  score_items_free(&items);
  return status;
}
