#include "decoder.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

static int32_t *host_ints(int64_t n) {
  int32_t *memory = calloc((size_t)n, sizeof *memory);
  CHECK(memory != NULL, "no memory for a step of %lld rows", (long long)n);
  return memory;
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

void decoder_step(Decoder *d, DecoderPiece *pieces, int64_t n) {
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
  Backend *be = ctx->be;
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
  if (n_ends > 0) {
    Tensor rows = ctx_tensor(ctx, KEEP, DT_I32, 1, n_ends, "last rows");
    be->copy_in(be, rows, d->rows);
    be->copy_out(be, d->logits, llama_logits(ctx, d->model, trunk, rows));
  }
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
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
  for (int64_t i = 0; i < seqs; i++) {
    pieces[i] = (DecoderPiece){.seq = (int32_t)i, .ids = ids, .n = i == 0 ? n : 1, .ends = true};
  }
  kv_cache_reserve(&d.cache, ctx->be, 0, s->max_len);
  d.cache.lens[0] = (int32_t)(s->max_len - n);
  decoder_step(&d, pieces, seqs);
  decoder_free(&d);
  free(pieces);
  free(ids);
}
