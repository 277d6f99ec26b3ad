#include "generate.h"

#include "check.h"
#include "stopwatch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *finish_name(Finish finish) {
  static const char *const names[] = {"eos", "stop", "length", "context"};
  return names[finish];
}

// Tokens that may still be drawn.
static int64_t room(int64_t n_prompt, const GenerateOptions *o) {
  int64_t left = o->context - n_prompt;
  return o->max_new_tokens < left ? o->max_new_tokens : left;
}

int64_t generate_cache_len(int64_t n_prompt, const GenerateOptions *o) {
  int64_t len = n_prompt + room(n_prompt, o) - 1; // the last one drawn is not read
  return len > 1 ? len : 1;
}

Status generate_check(int64_t n_prompt, const GenerateOptions *o, Error *err) {
  if (room(n_prompt, o) > 0) return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "the prompt has %lld tokens; the model's context of %lld leaves no room for an "
                   "answer",
                   (long long)n_prompt, (long long)o->context);
}

void generation_free(Generation *g) {
  free(g->ids);
  free(g->text);
  *g = (Generation){0};
}

// ---- text on its way out ----

typedef struct Output {
  Generation *generation;
  int64_t capacity; // of its text
  TextSink sink;
} Output;

// Collects what the stops let through and hands it on.
static Status collect(void *user, const char *text, int64_t bytes, Error *err) {
  Output *o = user;
  Generation *g = o->generation;
  if (g->bytes + bytes + 1 > o->capacity) {
    o->capacity = 2 * (g->bytes + bytes + 1);
    g->text = realloc(g->text, (size_t)o->capacity);
    CHECK(g->text != NULL, "no memory for %lld bytes of text", (long long)o->capacity);
  }
  memcpy(g->text + g->bytes, text, (size_t)bytes);
  g->bytes += bytes;
  g->text[g->bytes] = '\0';
  return o->sink.put != NULL ? o->sink.put(o->sink.user, text, bytes, err) : STATUS_OK;
}

// ---- the loop ----

typedef struct Run {
  Generation *out;
  Decoder *decoder;
  const Tokenizer *tokenizer;
  const GenerateOptions *options;
  Sampler sampler;
  int32_t *context; // [n_context] prompt and what was drawn
  int64_t n_context;
  TokenStream stream;
  StopText stop;
} Run;

static bool is_stop_id(const GenerateOptions *o, int32_t id) {
  for (int i = 0; i < o->n_stop_ids; i++) {
    if (o->stop_ids[i] == id) return true;
  }
  return false;
}

static Status check_finite(const float *logits, int64_t n, int64_t drawn, Error *err) {
  // A sum is not finite as soon as one of its terms is not.
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += logits[i];
  if (isfinite(sum)) return STATUS_OK;
  return error_set(err, STATUS_FAILED,
                   "the model's logits for token %lld are not finite: are its weights sound? try "
                   "--dtype f32",
                   (long long)drawn);
}

// Draws the next id and lets its text out; *done when it is the last one.
static Status draw(Run *r, int64_t limit, bool *done, Error *err) {
  Status status = STATUS_OK;
  Generation *g = r->out;
  const GenerateOptions *o = r->options;
  TRY(check_finite(r->decoder->logits, r->sampler.vocab, g->n, err));
  int32_t id = sampler_pick(&r->sampler, r->decoder->logits, r->context, r->n_context);
  g->ids[g->n++] = r->context[r->n_context++] = id;
  if (is_stop_id(o, id)) {
    g->finish = FINISH_EOS;
    *done = true;
    return STATUS_OK;
  }
  if (id < tokenizer_vocab(r->tokenizer)) { // a model may have rows that are no token
    const char *piece = token_stream_push(&r->stream, id);
    TRY(stop_text_put(&r->stop, piece, (int64_t)strlen(piece), err));
  }
  *done = r->stop.found || g->n == limit;
  g->finish = r->stop.found               ? FINISH_STOP
              : g->n == o->max_new_tokens ? FINISH_LENGTH
                                          : FINISH_CONTEXT;
done:
  return status;
}

static Status finish_text(Run *r, Error *err) {
  Status status = STATUS_OK;
  const char *rest = token_stream_end(&r->stream);
  TRY(stop_text_put(&r->stop, rest, (int64_t)strlen(rest), err));
  if (r->stop.found) r->out->finish = FINISH_STOP;
  TRY(stop_text_end(&r->stop, err));
done:
  return status;
}

static Status run_loop(Run *r, int64_t limit, Error *err) {
  Status status = STATUS_OK;
  Generation *g = r->out;
  double start = seconds_now();
  decoder_reset(r->decoder);
  decoder_feed(r->decoder, r->context, r->n_context);
  double begun = seconds_now();
  g->prefill_seconds = begun - start;
  bool done = false;
  TRY(draw(r, limit, &done, err));
  while (!done) {
    decoder_feed(r->decoder, &g->ids[g->n - 1], 1);
    TRY(draw(r, limit, &done, err));
  }
  TRY(finish_text(r, err));
done:
  g->decode_seconds = seconds_now() - begun;
  return status;
}

Status generate(Generation *out, Decoder *decoder, const Tokenizer *tokenizer,
                const int32_t *prompt, int64_t n_prompt, const GenerateOptions *options,
                TextSink sink, Error *err) {
  CHECK(n_prompt > 0 && options->max_new_tokens > 0, "%lld tokens after a prompt of %lld",
        (long long)options->max_new_tokens, (long long)n_prompt);
  *out = (Generation){.n_prompt = n_prompt};
  int64_t limit = room(n_prompt, options), vocab = decoder->model->config.vocab;
  Status status = generate_check(n_prompt, options, err);
  if (status != STATUS_OK) return status;
  Output output = {.generation = out, .capacity = 4096, .sink = sink};
  Run run = {.out = out, .decoder = decoder, .tokenizer = tokenizer, .options = options};
  out->ids = malloc((size_t)limit * sizeof *out->ids);
  out->text = calloc(1, (size_t)output.capacity);
  run.context = malloc((size_t)(n_prompt + limit) * sizeof *run.context);
  CHECK(out->ids != NULL && out->text != NULL && run.context != NULL, "no memory for %lld ids",
        (long long)limit);
  memcpy(run.context, prompt, (size_t)n_prompt * sizeof *prompt);
  run.n_context = n_prompt;
  sampler_init(&run.sampler, &options->sampler, vocab);
  token_stream_init(&run.stream, tokenizer, true);
  stop_text_init(&run.stop, options->stops, options->n_stops, (TextSink){collect, &output});
  status = run_loop(&run, limit, err);
  stop_text_free(&run.stop);
  token_stream_free(&run.stream);
  sampler_free(&run.sampler);
  free(run.context);
  return status;
}
