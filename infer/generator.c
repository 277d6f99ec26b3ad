#include "generator.h"

#include "check.h"
#include "stopwatch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Where the text goes that the stops let through.
typedef struct Output {
  Generation *generation;
  int64_t capacity; // of its text
  TextSink sink;
} Output;

typedef struct GeneratorSlot {
  Generation *out; // NULL: free
  GenerateRequest request;
  int64_t limit;     // tokens that may be drawn
  int32_t first_seq; // of its sequences
  int32_t *context;  // [n_context] prompt and what was drawn (with beams the prompt); [max_tokens]
  int64_t n_context, n_read; // the first n_read are in the cache
  Rng rng;
  TokenStream stream;
  StopText stop;
  Output output;
  BeamSearch search; // with beams
  DecoderDraw draw;  // of the step, where the backend draws
  int64_t piece;     // its first one in the step; -1: none
  double begun;      // seconds_now when the request came, then when its prompt was read
} GeneratorSlot;

// ---- life ----

static void *memory(int64_t n, size_t bytes) {
  void *out = calloc((size_t)n, bytes);
  CHECK(out != NULL, "no memory for a generator");
  return out;
}

void generator_init(Generator *g, Decoder *decoder, const Tokenizer *tokenizer,
                    GeneratorSize size) {
  int n_seqs = size.beams > 1 ? size.beams : 1;
  int64_t vocab = decoder->model->config.vocab, all = (int64_t)size.slots * n_seqs;
  CHECK(size.slots > 0 && size.max_tokens > 1 && all <= decoder->cache.n_seqs &&
            size.max_tokens - 1 <= decoder->cache.max_len,
        "%d slots of %d sequences and %lld tokens", size.slots, n_seqs, (long long)size.max_tokens);
  *g = (Generator){.decoder = decoder,
                   .tokenizer = tokenizer,
                   .size = size,
                   .n_seqs = n_seqs,
                   .slots = memory(size.slots, sizeof *g->slots),
                   .pieces = memory(all, sizeof *g->pieces),
                   .rows = memory(n_seqs, sizeof *g->rows)};
  sampler_init(&g->sampler, &SAMPLER_GREEDY, vocab);
  for (int i = 0; i < size.slots; i++) {
    GeneratorSlot *s = &g->slots[i];
    s->first_seq = i * n_seqs;
    s->context = memory(size.max_tokens, sizeof *s->context);
    if (n_seqs > 1) beam_search_init(&s->search, n_seqs, vocab, size.max_new, size.n_stop_ids);
  }
  decoder_reset(decoder);
}

// What a request took besides its answer.
static void release(Generator *g, GeneratorSlot *s) {
  stop_text_free(&s->stop);
  token_stream_free(&s->stream);
  s->out = NULL;
  g->n_used--;
}

void generator_free(Generator *g) {
  for (int i = 0; g->slots != NULL && i < g->size.slots; i++) {
    GeneratorSlot *s = &g->slots[i];
    if (s->out != NULL) release(g, s);
    if (g->n_seqs > 1) beam_search_free(&s->search);
    free(s->context);
  }
  if (g->slots != NULL) sampler_free(&g->sampler);
  free(g->slots);
  free(g->pieces);
  free(g->rows);
  *g = (Generator){0};
}

bool generator_full(const Generator *g) {
  return g->n_used == g->size.slots;
}

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

static void drop_sequences(Generator *g, const GeneratorSlot *s, int first) {
  for (int i = first; i < g->n_seqs; i++)
    kv_cache_truncate(&g->decoder->cache, s->first_seq + i, 0);
}

Status generator_add(Generator *g, const GenerateRequest *r, Generation *out, Error *err) {
  const GenerateOptions *o = r->options;
  *out = (Generation){.n_prompt = r->n_prompt};
  Status status = generate_check(r->n_prompt, o, err);
  if (status != STATUS_OK) return status;
  GeneratorSlot *s = g->slots;
  while (s->out != NULL) s++;
  s->limit = generate_limit(r->n_prompt, o);
  CHECK(r->n_prompt > 0 && r->n_cached < r->n_prompt && generate_seqs(o) == g->n_seqs &&
            r->n_prompt + s->limit <= g->size.max_tokens &&
            (g->n_seqs == 1 || s->limit <= g->size.max_new),
        "%lld tokens after a prompt of %lld, %d beams", (long long)s->limit, (long long)r->n_prompt,
        o->beam.beams);
  enum { TEXT_CAPACITY = 256 };
  out->ids = memory(s->limit, sizeof *out->ids);
  out->text = memory(TEXT_CAPACITY, 1);
  s->out = out;
  s->request = *r;
  memcpy(s->context, r->prompt, (size_t)r->n_prompt * sizeof *s->context);
  s->n_context = r->n_prompt;
  s->n_read = r->n_cached;
  drop_sequences(g, s, 1);
  kv_cache_truncate(&g->decoder->cache, s->first_seq, r->n_cached);
  s->rng = (Rng){.key = o->sampler.seed};
  s->output = (Output){.generation = out, .capacity = TEXT_CAPACITY, .sink = r->sink};
  token_stream_init(&s->stream, g->tokenizer, true);
  stop_text_init(&s->stop, o->stops, o->n_stops, (TextSink){collect, &s->output});
  if (g->n_seqs > 1) beam_search_start(&s->search, &o->beam, s->limit, o->n_stop_ids);
  s->begun = seconds_now();
  g->n_used++;
  return STATUS_OK;
}

int64_t generator_cached(const Generator *g) {
  return g->decoder->cache.lens[0];
}

// ---- text ----

static bool is_stop_id(const GenerateOptions *o, int32_t id) {
  for (int i = 0; i < o->n_stop_ids; i++) {
    if (o->stop_ids[i] == id) return true;
  }
  return false;
}

// The text of one more id.
static Status put_id(const Generator *g, GeneratorSlot *s, int32_t id, Error *err) {
  if (id >= tokenizer_vocab(g->tokenizer)) return STATUS_OK; // a model may have rows that are none
  const char *piece = token_stream_push(&s->stream, id);
  return stop_text_put(&s->stop, piece, s->stream.size, err);
}

// Why a text of n ids ends with its last one; false when it does not.
static bool ends_by(const GeneratorSlot *s, int32_t id, bool stop_found, int64_t n,
                    Finish *finish) {
  const GenerateOptions *o = s->request.options;
  bool eos = is_stop_id(o, id);
  *finish = eos                            ? FINISH_EOS
            : stop_found                   ? FINISH_STOP
            : s->limit < o->max_new_tokens ? FINISH_CONTEXT
                                           : FINISH_LENGTH;
  return eos || stop_found || n == s->limit;
}

// The rest of the text, and the slot is free.
static Status finish(Generator *g, GeneratorSlot *s, Error *err) {
  Status status = STATUS_OK;
  const char *rest = token_stream_end(&s->stream);
  TRY(stop_text_put(&s->stop, rest, s->stream.size, err));
  if (s->stop.found && s->out->finish != FINISH_EOS) s->out->finish = FINISH_STOP;
  TRY(stop_text_end(&s->stop, err));
  s->out->decode_seconds = seconds_now() - s->begun;
  s->out->done = true;
done:
  if (g->n_seqs > 1) { // what a beam holds is no text that was given out
    drop_sequences(g, s, 1);
    kv_cache_truncate(&g->decoder->cache, s->first_seq, s->request.n_prompt);
  }
  release(g, s);
  return status;
}

// ---- what comes next ----

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

// The next id of a slot, which the backend has drawn from logits that it kept, or the host does.
static Status next_id(Generator *g, GeneratorSlot *s, int32_t *id, Error *err) {
  const DecoderPiece *piece = &g->pieces[s->piece];
  if (piece->draw != NULL) {
    *id = piece->id;
    if (s->draw.options.temperature > 0) (void)rng_uniform(&s->rng); // what was drawn over there
    float bad = NAN;
    return *id >= 0 ? STATUS_OK : check_finite(&bad, 1, s->out->n, err);
  }
  Status status = check_finite(piece->logits, g->sampler.vocab, s->out->n, err);
  if (status != STATUS_OK) return status;
  g->sampler.options = s->request.options->sampler;
  g->sampler.rng = s->rng;
  *id = sampler_pick(&g->sampler, piece->logits, s->context, s->n_context);
  s->rng = g->sampler.rng;
  return STATUS_OK;
}

static Status draw_one(Generator *g, GeneratorSlot *s, Error *err) {
  Status status = STATUS_OK;
  Generation *out = s->out;
  int32_t id;
  TRY(next_id(g, s, &id, err));
  out->ids[out->n++] = s->context[s->n_context++] = id;
  bool is_eos = is_stop_id(s->request.options, id);
  if (!is_eos) TRY(put_id(g, s, id, err));
  if (ends_by(s, id, s->stop.found, out->n, &out->finish)) TRY(finish(g, s, err));
done:
  return status;
}

typedef struct EndArgs {
  const Generator *generator;
  const GeneratorSlot *slot;
} EndArgs;

static bool has_stop_text(const Generator *g, const GenerateOptions *o, const int32_t *ids,
                          int64_t n) {
  if (o->n_stops == 0) return false;
  bool found = false;
  char *text = tokenizer_decode(g->tokenizer, ids, n, true, NULL);
  for (int i = 0; i < o->n_stops; i++) found = found || strstr(text, o->stops[i]) != NULL;
  free(text);
  return found;
}

static bool beam_ends(void *user, const int32_t *ids, int64_t n) {
  const EndArgs *a = user;
  const GenerateOptions *o = a->slot->request.options;
  return is_stop_id(o, ids[n - 1]) || has_stop_text(a->generator, o, ids, n);
}

// The answer is the best text of the search.
static Status give_best(Generator *g, GeneratorSlot *s, Error *err) {
  Status status = STATUS_OK;
  const BeamText *best = beam_search_best(&s->search);
  Generation *out = s->out;
  out->n = best->n;
  out->score = best->score;
  memcpy(out->ids, best->ids, (size_t)best->n * sizeof *out->ids);
  ends_by(s, best->ids[best->n - 1], false, best->n, &out->finish);
  int64_t n_text = out->finish == FINISH_EOS ? best->n - 1 : best->n;
  for (int64_t i = 0; i < n_text; i++) TRY(put_id(g, s, best->ids[i], err));
  TRY(finish(g, s, err));
done:
  return status;
}

// The repetition penalty sees log probabilities here, as in the reference.
static void make_log_probs(Generator *g, GeneratorSlot *s, int beam, float *logits) {
  const BeamText *text = &s->search.running[beam];
  log_softmax(logits, g->sampler.vocab);
  g->sampler.options = s->request.options->sampler;
  memcpy(s->context + s->n_context, text->ids, (size_t)text->n * sizeof *text->ids);
  sampler_penalise(&g->sampler, logits, s->context, s->n_context + text->n);
}

static Status draw_beams(Generator *g, GeneratorSlot *s, Error *err) {
  Status status = STATUS_OK;
  int64_t drawn = s->search.drawn;
  for (int i = 0; i < g->n_seqs; i++) {
    if (i > 0 && drawn == 0) { // all go on from the prompt
      g->rows[i] = g->rows[0];
      continue;
    }
    float *logits = g->pieces[s->piece + i].logits;
    TRY(check_finite(logits, g->sampler.vocab, drawn, err));
    make_log_probs(g, s, i, logits);
    g->rows[i] = logits;
  }
  EndArgs args = {g, s};
  if (!beam_search_step(&s->search, g->rows, (BeamEnd){beam_ends, &args}))
    return give_best(g, s, err);
  if (drawn == 0) memset(s->search.parents, 0, (size_t)g->n_seqs * sizeof *s->search.parents);
  kv_cache_share(&g->decoder->cache, s->first_seq, g->n_seqs, s->search.parents);
done:
  return status;
}

// ---- the step ----

static bool prompt_is_read(const GeneratorSlot *s) {
  return s->n_read >= s->request.n_prompt;
}

static void add_pieces(Generator *g, GeneratorSlot *s, int64_t *n, int64_t *rows) {
  int32_t adapter = s->request.options->adapter;
  s->piece = *n;
  if (!prompt_is_read(s)) { // a stretch of the prompt, into the first sequence
    int64_t room = g->decoder->chunk - *rows, left = s->request.n_prompt - s->n_read;
    int64_t count = left < room ? left : room;
    g->pieces[(*n)++] = (DecoderPiece){.seq = s->first_seq,
                                       .adapter = adapter,
                                       .ids = s->context + s->n_read,
                                       .n = count,
                                       .ends = count == left};
    s->n_read += count;
    *rows += count;
    return;
  }
  for (int i = 0; i < g->n_seqs; i++) {
    const BeamText *beam = &s->search.running[i];
    const int32_t *id = g->n_seqs == 1 ? &s->context[s->n_read] : &beam->ids[beam->n - 1];
    g->pieces[(*n)++] = (DecoderPiece){
        .seq = s->first_seq + i, .adapter = adapter, .ids = id, .n = 1, .ends = true};
  }
  s->n_read++;
  *rows += g->n_seqs;
}

// Texts that go on come first: each takes a row or a few, and prompts share what rows are left.
static int64_t plan_step(Generator *g) {
  int64_t n = 0, rows = 0;
  for (int i = 0; i < g->size.slots; i++) g->slots[i].piece = -1;
  for (int reading = 0; reading < 2; reading++) {
    for (int i = 0; i < g->size.slots && rows < g->decoder->chunk; i++) {
      GeneratorSlot *s = &g->slots[i];
      if (s->out == NULL || s->piece >= 0 || prompt_is_read(s) == (reading == 1)) continue;
      add_pieces(g, s, &n, &rows);
    }
  }
  return n;
}

// The backend draws for all slots whose text goes on with this step.
static void leave_draws(Generator *g) {
  for (int i = 0; i < g->size.slots; i++) {
    GeneratorSlot *s = &g->slots[i];
    if (s->out == NULL || s->piece < 0 || !g->pieces[s->piece].ends) continue;
    s->draw = (DecoderDraw){.options = s->request.options->sampler,
                            .drawn = s->rng.counter,
                            .context = s->context,
                            .n_context = s->n_context};
    s->draw.options.seed = s->rng.key;
    g->pieces[s->piece].draw = &s->draw;
  }
}

static Status draw(Generator *g, GeneratorSlot *s, Error *err) {
  bool first = s->out->prefill_seconds == 0;
  if (first) {
    double now = seconds_now();
    s->out->prefill_seconds = now - s->begun;
    s->begun = now;
  }
  return g->n_seqs > 1 ? draw_beams(g, s, err) : draw_one(g, s, err);
}

Status generator_step(Generator *g, Error *err) {
  CHECK(g->n_used > 0, "a step without a request");
  Status status = STATUS_OK;
  int64_t n = plan_step(g);
  if (g->decoder->draws && g->n_seqs == 1) leave_draws(g);
  decoder_step(g->decoder, g->pieces, n);
  for (int i = 0; i < g->size.slots; i++) {
    GeneratorSlot *s = &g->slots[i];
    if (s->out != NULL && s->piece >= 0 && g->pieces[s->piece].ends) TRY(draw(g, s, err));
  }
done:
  return status;
}

Status generator_stop(Generator *g, Error *err) {
  Status status = STATUS_OK;
  for (int i = 0; i < g->size.slots; i++) {
    GeneratorSlot *s = &g->slots[i];
    if (s->out == NULL) continue;
    s->out->finish = FINISH_LENGTH;
    TRY(finish(g, s, err));
  }
done:
  return status;
}
