#include "ask_file.h"

#include "answer_json.h"
#include "check.h"
#include "generator.h"
#include "mapped_file.h"
#include "stopwatch.h"

#include <stdlib.h>
#include <string.h>

// ---- how much memory ----

static int larger_first(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x > y ? -1 : x < y;
}

// The pages of as many of the largest requests as can run at a time.
static int64_t count_pages(const AskItems *items, int slots) {
  int64_t *pages = calloc((size_t)items->n, sizeof *pages), sum = 0;
  CHECK(pages != NULL, "no memory for %lld lines", (long long)items->n);
  for (int64_t i = 0; i < items->n; i++)
    pages[i] = generate_cache_pages(items->items[i].n, &items->items[i].options);
  qsort(pages, (size_t)items->n, sizeof *pages, larger_first);
  for (int i = 0; i < slots; i++) sum += pages[i];
  free(pages);
  return sum;
}

static int64_t most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static void plan(const AskItems *items, const AskOptions *o, GeneratorSize *size,
                 DecoderSize *decoder) {
  *size = (GeneratorSize){.slots = items->n < o->slots ? (int)items->n : o->slots,
                          .beams = generate_seqs(&o->generate)};
  *decoder = (DecoderSize){.seqs = (int64_t)size->slots * size->beams};
  for (int64_t i = 0; i < items->n; i++) {
    const AskItem *item = &items->items[i];
    int64_t limit = generate_limit(item->n, &item->options);
    size->max_tokens = most(size->max_tokens, item->n + limit);
    size->max_new = most(size->max_new, limit);
    if (item->options.n_stop_ids > size->n_stop_ids) size->n_stop_ids = item->options.n_stop_ids;
    decoder->max_len = most(decoder->max_len, generate_cache_len(item->n, &item->options));
  }
  decoder->chunk = most(o->batch_tokens, decoder->seqs);
  decoder->pages =
      most(count_pages(items, size->slots), kv_cache_pages(decoder->max_len) + decoder->seqs - 1);
}

// ---- answering ----

typedef struct Run {
  const AskItems *items;
  Generation *answers; // [n]
  int64_t asked, written;
  FileWriter out;
  AskStats *stats;
} Run;

static Status write_answer(Run *run, Error *err) {
  const AskItem *item = &run->items->items[run->written];
  Generation *answer = &run->answers[run->written++];
  json_t *object = json_object();
  json_object_set(object, "id", item->id);
  json_t *rest = answer_json(answer);
  CHECK(json_object_update(object, rest) == 0, "no memory for an answer");
  json_decref(rest);
  char *line = answer_line(object);
  Status status = file_writer_put(&run->out, line, (int64_t)strlen(line), err);
  free(line);
  generation_free(answer);
  return status;
}

static Status fill_slots(Run *run, Generator *generator, Error *err) {
  Status status = STATUS_OK;
  while (run->asked < run->items->n && !generator_full(generator)) {
    const AskItem *item = &run->items->items[run->asked];
    GenerateRequest request = {.prompt = run->items->ids.ids + item->first,
                               .n_prompt = item->n,
                               .options = &item->options};
    run->stats->prompt_tokens += item->n;
    TRY(generator_add(generator, &request, &run->answers[run->asked++], err));
  }
done:
  return status;
}

static Status answer_all(Run *run, Generator *generator, AskProgress progress, Error *err) {
  Status status = STATUS_OK;
  double start = seconds_now();
  while (run->written < run->items->n) {
    TRY(fill_slots(run, generator, err));
    TRY(generator_step(generator, err));
    while (run->written < run->asked && run->answers[run->written].done) {
      run->stats->tokens += run->answers[run->written].n;
      TRY(write_answer(run, err));
    }
    run->stats->seconds = seconds_now() - start;
    if (progress != NULL)
      progress(run->written, run->items->n, run->stats->tokens, run->stats->seconds);
  }
done:
  return status;
}

Status ask_file(Engine *engine, const AskOptions *options, AskProgress progress, AskStats *stats,
                Error *err) {
  Status status = STATUS_OK;
  AskItems items = {0};
  Decoder decoder = {0};
  Generator generator = {0};
  Run run = {.items = &items, .stats = stats};
  bool standard = strcmp(options->output, "-") == 0;
  *stats = (AskStats){0};
  TRY(ask_items_read(&items, engine, options, err));
  TRY(file_writer_open(&run.out, standard ? "/dev/stdout" : options->output, err));
  if (items.n > 0) {
    GeneratorSize size;
    DecoderSize decoder_size;
    plan(&items, options, &size, &decoder_size);
    run.answers = calloc((size_t)items.n, sizeof *run.answers);
    CHECK(run.answers != NULL, "no memory for %lld answers", (long long)items.n);
    TRY(engine_load(engine, decoder_rehearse, &decoder_size, err));
    decoder_init(&decoder, &engine->ctx, &engine->model, &engine->memory.cache, decoder_size);
    generator_init(&generator, &decoder, engine->tokenizer, size);
    TRY(answer_all(&run, &generator, progress, err));
  }
  TRY(file_writer_commit(&run.out, err));
  stats->lines = items.n;
done:
  file_writer_abort(&run.out);
  generator_free(&generator);
  decoder_free(&decoder);
  for (int64_t i = run.written; run.answers != NULL && i < run.asked; i++)
    generation_free(&run.answers[i]);
  free(run.answers);
  ask_items_free(&items);
  return status;
}
