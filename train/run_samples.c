#include "run_samples.h"

#include "check.h"
#include "checkpoint_folder.h"
#include "generate.h"
#include "json_items.h"
#include "mapped_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES_BYTES_MAX = 1 << 24, PLAIN_PROMPT_MAX = 64, STOPS_MAX = LLAMA_EOS_MAX + 2 };

static char *samples_path(const Run *run) {
  return text_format("%s/samples.json", run->config.output.dir);
}

json_t *run_read_samples(const Run *run) {
  json_t *root = NULL;
  char *path = samples_path(run);
  if (!file_exists(path) || json_document_load(&root, path, SAMPLES_BYTES_MAX, NULL) != STATUS_OK)
    root = json_object();
  free(path);
  return root;
}

// ---- which items, and what is asked ----

// Ids of an example: the prompt is what comes before its first label, and what is expected are the
// labels that follow. Where all is labels the first third is the prompt.
typedef struct Question {
  int32_t *ids; // [n_prompt + n_expected]
  int64_t n_prompt, n_expected;
} Question;

static Question question_of(const Dataset *data, const Example *e) {
  const int32_t *tokens = data->tokens + e->first;
  Question q = {.ids = malloc((size_t)e->n * sizeof *q.ids)};
  CHECK(q.ids != NULL, "no memory for %d ids", e->n);
  for (int32_t i = 0; i < e->n; i++) q.ids[i] = token_id(tokens[i]);
  while (q.n_prompt < e->n && !token_is_label(tokens[q.n_prompt])) q.n_prompt++;
  if (q.n_prompt < 2) {
    q.n_prompt = e->n / 3 > PLAIN_PROMPT_MAX ? PLAIN_PROMPT_MAX : e->n / 3;
    if (q.n_prompt < 1) q.n_prompt = 1;
  }
  int64_t end = q.n_prompt;
  while (end < e->n && token_is_label(tokens[end])) end++;
  q.n_expected = end - q.n_prompt;
  return q;
}

static void set_text(json_t *sample, const char *key, char *text) {
  json_t *value = json_string(text);
  json_object_set_new(sample, key, value != NULL ? value : json_string(""));
  free(text);
}

// ---- answers ----

static int stop_ids(const Run *run, int32_t ids[STOPS_MAX]) {
  int n = 0;
  for (int i = 0; i < run->model.config.n_eos; i++)
    ids[n++] = (int32_t)run->model.config.eos_ids[i];
  int32_t more[] = {tokenizer_eos(run->tokenizer), tokenizer_find(run->tokenizer, "<|im_end|>")};
  for (int i = 0; i < 2; i++) {
    if (more[i] >= 0) ids[n++] = more[i];
  }
  return n;
}

// The answer's text; a model that is not finite has none, which is no reason to end a run.
static char *answer(const Run *run, Decoder *decoder, const Question *q, int64_t *tokens) {
  int32_t stops[STOPS_MAX];
  Generation generation = {0};
  Error err = {0};
  GenerateOptions options = {.sampler = SAMPLER_GREEDY,
                             .max_new_tokens = SAMPLE_NEW_TOKENS,
                             .context = run->model.config.max_positions,
                             .stop_ids = stops,
                             .n_stop_ids = stop_ids(run, stops)};
  Status status = generate(&generation, decoder, run->tokenizer, q->ids, q->n_prompt, &options,
                           (TextSink){0}, &err);
  *tokens += generation.n;
  char *text = status == STATUS_OK ? strdup(generation.text) : text_format("(%s)", err.message);
  CHECK(text != NULL, "no memory for an answer");
  generation_free(&generation);
  return text;
}

static json_t *sample_of(const Run *run, json_t *samples, int32_t example) {
  size_t i;
  json_t *sample;
  json_array_foreach(samples, i, sample) {
    if (json_integer_value(json_object_get(sample, "example")) == example) return sample;
  }
  const DatasetFile *file = dataset_file_of(&run->data, example);
  json_t *path = json_string(file->path);
  sample = json_pack("{s:i, s:i, s:o}", "example", example, "item",
                     run->data.examples[example].item, "file", path != NULL ? path : json_null());
  json_array_append_new(samples, sample);
  return sample;
}

// Goes through the held-out items from the first on, over those with long prompts. A signal that
// ends the run ends this after the answer at hand.
static int64_t answer_all(const Run *run, Decoder *decoder, json_t *samples, bool after,
                          int64_t *tokens) {
  int64_t done = 0;
  int64_t want = run->config.output.samples;
  for (int64_t i = 0; i < run->split.n_held_out && done < want; i++) {
    if (run->stop != NULL && *run->stop) break;
    const Example *e = &run->data.examples[run->split.held_out[i]];
    Question q = question_of(&run->data, e);
    bool fits = q.n_prompt <= SAMPLE_PROMPT_MAX && q.n_prompt < run->model.config.max_positions &&
                q.n_prompt + SAMPLE_NEW_TOKENS <= decoder->cache.max_len;
    if (fits) {
      json_t *sample = sample_of(run, samples, run->split.held_out[i]);
      set_text(sample, "prompt", tokenizer_decode(run->tokenizer, q.ids, q.n_prompt, false, NULL));
      set_text(sample, "expected",
               tokenizer_decode(run->tokenizer, q.ids + q.n_prompt, q.n_expected, true, NULL));
      set_text(sample, after ? "after" : "before", answer(run, decoder, &q, tokens));
      done++;
    }
    free(q.ids);
  }
  return done;
}

static Status write_samples(const Run *run, json_t *root, Error *err) {
  char *path = samples_path(run);
  char *text = json_dumps(root, JSON_INDENT(1));
  Status status = text != NULL ? file_write(path, text, (int64_t)strlen(text), err)
                               : error_set(err, STATUS_MEMORY, "%s: no memory", path);
  free(text);
  free(path);
  return status;
}

Status run_answer_samples(Run *run, bool after, Error *err) {
  int64_t length = trainer_sample_len(&run->config, &run->plan.data), tokens = 0;
  if (length == 0) return STATUS_OK;
  double start = clock_seconds();
  json_t *root = after ? run_read_samples(run) : json_object();
  json_t *samples = json_object_get(root, "samples");
  if (!json_is_array(samples)) {
    samples = json_array();
    json_object_set_new(root, "samples", samples);
  }
  Ctx ctx = run->trainer.ctx;
  ctx.recording = ctx.training = false;
  ArenaMark mark = arena_mark(&run->memory.cache);
  Decoder decoder;
  decoder_init(&decoder, &ctx, &run->model, &run->memory.cache,
               (DecoderSize){.max_len = length, .chunk = SAMPLE_PROMPT_MAX});
  int64_t done = answer_all(run, &decoder, samples, after, &tokens);
  decoder_free(&decoder);
  arena_release(&run->memory.cache, mark);
  Status status = write_samples(run, root, err);
  json_decref(root);
  double seconds = clock_seconds() - start;
  run->progress.at_end = after ? 0 : seconds; // the same again
  progress_note(&run->progress,
                "%" PRId64 " sample answers %s training, %" PRId64 " tokens  (%.1f s)", done,
                after ? "after" : "before", tokens, seconds);
  return status;
}
