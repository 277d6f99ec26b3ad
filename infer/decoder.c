#include "decoder.h"

#include "check.h"

#include <stdlib.h>

void decoder_init(Decoder *d, Ctx *ctx, Llama *model, Arena *cache, DecoderSize size) {
  const LlamaConfig *c = &model->config;
  CHECK(!ctx->recording && size.max_len > 0 && size.chunk > 0,
        "a decoder of %lld tokens, %lld at a time", (long long)size.max_len, (long long)size.chunk);
  *d = (Decoder){.ctx = ctx, .model = model, .chunk = size.chunk};
  d->positions = malloc((size_t)size.chunk * sizeof *d->positions);
  d->logits = malloc((size_t)c->vocab * sizeof *d->logits);
  CHECK(d->positions != NULL && d->logits != NULL, "no memory for %lld logits",
        (long long)c->vocab);
  kv_cache_init(&d->cache, cache, model->dtype, c->layers, c->kv_heads * c->head_dim, 1,
                size.max_len);
}

void decoder_free(Decoder *d) {
  kv_cache_free(&d->cache);
  free(d->positions);
  free(d->logits);
  *d = (Decoder){0};
}

void decoder_reset(Decoder *d) {
  kv_cache_reset(&d->cache);
}

int64_t decoder_length(const Decoder *d) {
  return d->cache.lens[0];
}

static void feed_chunk(Decoder *d, const int32_t *ids, int64_t n, bool last) {
  Ctx *ctx = d->ctx;
  Backend *be = ctx->be;
  ArenaMark step = arena_mark(ctx->step), host = arena_mark(ctx->host);
  for (int64_t i = 0; i < n; i++) d->positions[i] = (int32_t)(decoder_length(d) + i);
  const int32_t borders[2] = {0, (int32_t)n}, row = (int32_t)(n - 1);
  Batch batch = {
      .tokens = {
          .n_seqs = 1, .n_rows = n, .cu_seqlens = borders, .positions = d->positions, .ids = ids}};
  DeviceBatch on_device;
  device_batch_make(ctx, &batch, &d->cache, &on_device);
  Value *trunk = llama_trunk(ctx, d->model, &on_device, &d->cache);
  if (last) {
    Tensor rows = ctx_tensor(ctx, KEEP, DT_I32, 1, 1, "last row");
    be->copy_in(be, rows, &row);
    be->copy_out(be, d->logits, llama_logits(ctx, d->model, trunk, rows));
  }
  arena_release(ctx->step, step);
  arena_release(ctx->host, host);
}

void decoder_feed(Decoder *d, const int32_t *ids, int64_t n) {
  int64_t vocab = d->model->config.vocab;
  for (int64_t i = 0; i < n; i++) {
    CHECK(ids[i] >= 0 && ids[i] < vocab, "id %d of a vocabulary of %lld", ids[i], (long long)vocab);
  }
  for (int64_t at = 0; at < n; at += d->chunk) {
    int64_t rows = n - at < d->chunk ? n - at : d->chunk;
    feed_chunk(d, ids + at, rows, at + rows == n);
  }
}

void decoder_rehearse(Ctx *ctx, Llama *model, Arena *cache, const void *size) {
  const DecoderSize *s = size;
  int64_t rows = s->chunk < s->max_len ? s->chunk : s->max_len;
  Decoder decoder;
  int32_t *ids = calloc((size_t)rows, sizeof *ids);
  CHECK(ids != NULL, "no memory for %lld ids", (long long)rows);
  decoder_init(&decoder, ctx, model, cache, *s);
  decoder_feed(&decoder, ids, rows);
  decoder_free(&decoder);
  free(ids);
}
