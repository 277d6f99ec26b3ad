#include "decoder.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

static int32_t *host_ints(int64_t n) {
  int32_t *memory = calloc((size_t)n, sizeof *memory);
  CHECK(memory != NULL, "no memory for a step of %lld rows", (long long)n);
  return memory;
}

// A device with memory of its own, or a rehearsal of one, whose shadow then knows the op.
static bool draws_itself(const Backend *be) {
  return be->mem_info != NULL || (be->shadow != NULL && be->shadow->sample != NULL);
}

void decoder_init(Decoder *d, Ctx *ctx, Llama *model, Arena *cache, DecoderSize size) {
  const LlamaConfig *c = &model->config;
  if (size.seqs == 0) size.seqs = 1;
  CHECK(!ctx->recording && size.max_len > 0 && size.chunk > 0 && size.seqs > 0,
        "a decoder of %lld tokens, %lld at a time", (long long)size.max_len, (long long)size.chunk);
  CHECK(size.pages == 0 || size.pages >= kv_cache_pages(size.max_len) + size.seqs - 1,
        "%lld pages for %lld sequences", (long long)size.pages, (long long)size.seqs);
  int64_t most = size.max_len + size.seqs - 1, chunk = size.chunk < most ? size.chunk : most;
  CHECK(chunk >= size.seqs, "steps of %lld rows for %lld sequences", (long long)chunk,
        (long long)size.seqs);
  *d = (Decoder){.ctx = ctx,
                 .model = model,
                 .draws = draws_itself(ctx->be),
                 .chunk = chunk,
                 .logits = malloc((size_t)(size.seqs * c->vocab) * sizeof *d->logits),
                 .ids = host_ints(chunk),
                 .positions = host_ints(chunk),
                 .borders = host_ints(size.seqs + 1),
                 .seqs = host_ints(size.seqs),
                 .adapters = host_ints(size.seqs),
                 .rows = host_ints(size.seqs)};
  CHECK(d->logits != NULL, "no memory for %lld logits", (long long)(size.seqs * c->vocab));
  kv_cache_init(&d->cache, cache, model->dtype, c->layers, c->kv_heads * c->head_dim,
                (KvCacheSize){.seqs = size.seqs, .max_len = size.max_len, .pages = size.pages});
}

void decoder_free(Decoder *d) {
  if (d->model == NULL) return;
  kv_cache_free(&d->cache);
  void *all[] = {d->logits, d->ids, d->positions, d->borders, d->seqs, d->adapters, d->rows};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  *d = (Decoder){0};
}

void decoder_reset(Decoder *d) {
  kv_cache_reset(&d->cache);
}

// Adds a piece's rows to the step: n_seqs and n_rows are those before it.
static void add_piece(Decoder *d, const DecoderPiece *p, int64_t n_seqs, int64_t n_rows) {
  int64_t vocab = d->model->config.vocab;
  CHECK(p->n > 0 && n_rows + p->n <= d->chunk && p->seq >= 0 && p->seq < d->cache.n_seqs,
        "%lld ids of sequence %d in a step of %lld rows", (long long)p->n, p->seq,
        (long long)d->chunk);
  int32_t len = d->cache.lens[p->seq];
  for (int64_t i = 0; i < p->n; i++) {
    CHECK(p->ids[i] >= 0 && p->ids[i] < vocab, "id %d of a vocabulary of %lld", p->ids[i],
          (long long)vocab);
    d->ids[n_rows + i] = p->ids[i];
    d->positions[n_rows + i] = len + (int32_t)i;
  }
  d->seqs[n_seqs] = p->seq;
  d->adapters[n_seqs] = p->adapter;
  d->borders[n_seqs + 1] = (int32_t)(n_rows + p->n);
}

// ---- tokens that the backend draws ----

static Tensor upload(Ctx *ctx, DType dtype, int64_t rows, int64_t cols, const void *values,
                     const char *name) {
  Tensor t = ctx_tensor(ctx, KEEP, dtype, rows, cols, name);
  ctx->be->copy_in(ctx->be, t, values);
  return t;
}

// The rows' texts, where one of them has a penalty; with `whole` as long as they can become.
static SeenIds upload_seen(Ctx *ctx, const DecoderPiece *const *ends, int64_t n, int64_t whole) {
  int64_t longest = whole;
  bool any = whole > 0;
  for (int64_t i = 0; i < n; i++) {
    any = any || ends[i]->draw->options.repetition_penalty != 1;
    if (ends[i]->draw->n_context > longest) longest = ends[i]->draw->n_context;
  }
  if (!any) return (SeenIds){0};
  float *penalty = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "penalties");
  int32_t *lengths = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "lengths");
  int32_t *ids = arena_alloc(ctx->host, ARENA_HIGH, n * longest * 4, "texts");
  memset(ids, 0, (size_t)(n * longest) * sizeof *ids);
  for (int64_t i = 0; i < n; i++) {
    const DecoderDraw *d = ends[i]->draw;
    penalty[i] = d->options.repetition_penalty;
    lengths[i] = (int32_t)d->n_context;
    memcpy(ids + i * longest, d->context, (size_t)d->n_context * sizeof *ids);
  }
  return (SeenIds){.ids = upload(ctx, DT_I32, n, longest, ids, "texts"),
                   .lengths = upload(ctx, DT_I32, 1, n, lengths, "lengths of texts"),
                   .penalty = upload(ctx, DT_F32, 1, n, penalty, "penalties")};
}

// The n pieces that end get their ids; only these come to the host.
static void draw_tokens(Ctx *ctx, Tensor logits, DecoderPiece *const *ends, int64_t n,
                        int64_t whole) {
  Backend *be = ctx->be;
  float *temperature = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "temperatures");
  float *top_p = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "top p");
  int32_t *top_k = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "top k");
  int64_t *seeds = arena_alloc(ctx->host, ARENA_HIGH, n * 8, "seeds");
  int64_t *draws = arena_alloc(ctx->host, ARENA_HIGH, n * 8, "draws");
  int32_t *ids = arena_alloc(ctx->host, ARENA_HIGH, n * 4, "ids");
  for (int64_t i = 0; i < n; i++) {
    const SamplerOptions *o = &ends[i]->draw->options;
    temperature[i] = o->temperature;
    top_p[i] = o->top_p;
    top_k[i] = o->top_k < INT32_MAX ? (int32_t)o->top_k : INT32_MAX;
    seeds[i] = (int64_t)o->seed;
    draws[i] = (int64_t)ends[i]->draw->drawn;
  }
  SampleArgs args = {.temperature = upload(ctx, DT_F32, 1, n, temperature, "temperatures"),
                     .top_k = upload(ctx, DT_I32, 1, n, top_k, "top k"),
                     .top_p = upload(ctx, DT_F32, 1, n, top_p, "top p"),
                     .seeds = upload(ctx, DT_I64, 1, n, seeds, "seeds"),
                     .draws = upload(ctx, DT_I64, 1, n, draws, "draws"),
                     .seen = upload_seen(ctx, (const DecoderPiece *const *)ends, n, whole)};
  Tensor drawn = ctx_tensor(ctx, KEEP, DT_I32, 1, n, "drawn ids");
  be->sample(be, drawn, logits, &args);
  be->read_end(be, ids, be->read_begin(be, drawn));
  for (int64_t i = 0; i < n; i++) {
    ends[i]->id = ids[i];
    ends[i]->logits = NULL;
  }
}

// Whether the step's tokens are to be drawn.
static bool wants_draws(const Decoder *d, const DecoderPiece *pieces, int64_t n) {
  int64_t ends = 0, draws = 0;
  for (int64_t i = 0; i < n; i++) {
    ends += pieces[i].ends;
    draws += pieces[i].ends && pieces[i].draw != NULL;
  }
  CHECK(draws == 0 || (draws == ends && d->draws), "%lld of %lld tokens are to be drawn",
        (long long)draws, (long long)ends);
  return draws > 0;
}

// The n rows of the pieces that end; -1 up to what is worked on.
static Tensor upload_last_rows(Decoder *d, int64_t n) {
  Ctx *ctx = d->ctx;
  ArenaMark mark = arena_mark(ctx->host);
  int64_t all = device_batch_rows(ctx, n);
  int32_t *rows = arena_alloc(ctx->host, ARENA_HIGH, all * (int64_t)sizeof *rows, "last rows");
  for (int64_t i = 0; i < all; i++) rows[i] = i < n ? d->rows[i] : -1;
  Tensor t = upload(ctx, DT_I32, 1, all, rows, "last rows");
  arena_release_end(ctx->host, ARENA_HIGH, mark);
  return t;
}

// What the last rows say: logits on the host, or tokens. `whole`: of the texts, in a rehearsal.
static void finish_step(Decoder *d, DecoderPiece *pieces, int64_t n, int64_t n_ends, Value *trunk,
                        int64_t whole) {
  Ctx *ctx = d->ctx;
  Tensor rows = upload_last_rows(d, n_ends);
  Tensor logits = tensor_rows(llama_logits(ctx, d->model, trunk, rows), 0, n_ends);
  if (!wants_draws(d, pieces, n)) {
    ctx->be->copy_out(ctx->be, d->logits, logits);
    return;
  }
  DecoderPiece **ends =
      arena_alloc(ctx->host, ARENA_HIGH, n_ends * (int64_t)sizeof *ends, "pieces that end");
  for (int64_t i = 0, k = 0; i < n; i++) {
    if (pieces[i].ends) ends[k++] = &pieces[i];
  }
  draw_tokens(ctx, logits, ends, n_ends, whole);
}

static void run_step(Decoder *d, DecoderPiece *pieces, int64_t n, int64_t whole) {
  CHECK(n > 0 && n <= d->cache.n_seqs, "%lld pieces for %lld sequences", (long long)n,
        (long long)d->cache.n_seqs);
  int64_t n_rows = 0, n_ends = 0, vocab = d->model->config.vocab;
  for (int64_t i = 0; i < n; i++) {
    add_piece(d, &pieces[i], i, n_rows);
    n_rows += pieces[i].n;
    if (!pieces[i].ends) continue;
    pieces[i].logits = d->logits + n_ends * vocab;
    d->rows[n_ends++] = (int32_t)n_rows - 1;
  }
  Ctx *ctx = d->ctx;
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  Batch batch = {.tokens = {.n_seqs = n,
                            .n_rows = n_rows,
                            .cu_seqlens = d->borders,
                            .positions = d->positions,
                            .ids = d->ids},
                 .adapters = d->adapters,
                 .cache_seqs = d->seqs};
  DeviceBatch on_device;
  device_batch_make(ctx, &batch, &d->cache, &on_device);
  Value *trunk = llama_trunk(ctx, d->model, &on_device, &d->cache);
  if (n_ends > 0) finish_step(d, pieces, n, n_ends, trunk, whole);
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
}

void decoder_step(Decoder *d, DecoderPiece *pieces, int64_t n) {
  run_step(d, pieces, n, 0);
}

int64_t decoder_length(const Decoder *d) {
  return d->cache.lens[0];
}

void decoder_feed(Decoder *d, const int32_t *ids, int64_t n) {
  for (int64_t at = 0; at < n; at += d->chunk) {
    int64_t rows = n - at < d->chunk ? n - at : d->chunk;
    DecoderPiece piece = {.ids = ids + at, .n = rows, .ends = at + rows == n};
    decoder_step(d, &piece, 1);
  }
}

// One sequence comes to its longest with most of the rows, every other one reads its first token;
// logits are wanted of all.
void decoder_rehearse(Ctx *ctx, Llama *model, Arena *cache, const void *size) {
  const DecoderSize *s = size;
  Decoder d;
  decoder_init(&d, ctx, model, cache, *s);
  int64_t seqs = d.cache.n_seqs, n = d.chunk - (seqs - 1);
  if (n > s->max_len) n = s->max_len;
  int32_t *ids = host_ints(n);
  DecoderPiece *pieces = calloc((size_t)seqs, sizeof *pieces);
  CHECK(pieces != NULL, "no memory for %lld pieces", (long long)seqs);
  DecoderDraw draw = {.options = SAMPLER_GREEDY, .context = ids, .n_context = 1};
  for (int64_t i = 0; i < seqs; i++) {
    pieces[i] = (DecoderPiece){.seq = (int32_t)i,
                               .ids = ids,
                               .n = i == 0 ? n : 1,
                               .ends = true,
                               .draw = d.draws ? &draw : NULL};
  }
  kv_cache_reserve(&d.cache, ctx->be, 0, s->max_len);
  d.cache.lens[0] = (int32_t)(s->max_len - n);
  run_step(&d, pieces, seqs, s->max_len + 1);
  decoder_free(&d);
  free(pieces);
  free(ids);
}
