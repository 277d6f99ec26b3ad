#include "device_batch.h"

#include "check.h"

#include <string.h>

// An i32 row on the device, filled from the host.
static Tensor upload(Ctx *ctx, const int32_t *values, int64_t rows, int64_t cols,
                     const char *name) {
  Tensor t = ctx_tensor(ctx, KEEP, DT_I32, rows, cols, name);
  if (rows * cols > 0) ctx->be->copy_in(ctx->be, t, values); // a batch without labels has no arrays
  return t;
}

static int32_t *host_ints(Ctx *ctx, int64_t n) {
  return arena_alloc(ctx->host, ARENA_HIGH, n * (int64_t)sizeof(int32_t), "batch");
}

static int64_t rounded_up(const Ctx *ctx, int64_t rows) {
  int64_t multiple = ctx->be->row_multiple;
  return multiple <= 1 ? rows : (rows + multiple - 1) / multiple * multiple;
}

int64_t device_batch_rows(const Ctx *ctx, int64_t rows) {
  return rows <= ctx->be->few_rows ? rows : rounded_up(ctx, rows);
}

// The rows of the batch, then those of no sequence or without a label.
static Tensor upload_rows(Ctx *ctx, const int32_t *values, int64_t given, int64_t all,
                          int32_t filler, const char *name) {
  if (given == all) return upload(ctx, values, 1, all, name);
  int32_t *rows = host_ints(ctx, all);
  if (given > 0) memcpy(rows, values, (size_t)given * sizeof *rows);
  for (int64_t r = given; r < all; r++) rows[r] = filler;
  return upload(ctx, rows, 1, all, name);
}

// One value per sequence, repeated for each of its rows; missing values: the sequence's number.
static Tensor upload_per_row(Ctx *ctx, const Stream *s, const int32_t *per_seq, int64_t all,
                             int32_t filler, const char *name) {
  int32_t *rows = host_ints(ctx, all);
  for (int64_t r = s->n_rows; r < all; r++) rows[r] = filler;
  for (int64_t i = 0; i < s->n_seqs; i++) {
    for (int32_t r = s->cu_seqlens[i]; r < s->cu_seqlens[i + 1]; r++) {
      rows[r] = per_seq != NULL ? per_seq[i] : (int32_t)i;
    }
  }
  return upload(ctx, rows, 1, all, name);
}

static void upload_cache_view(Ctx *ctx, const Batch *batch, KvCache *cache, DeviceBatch *out) {
  const Stream *s = &batch->tokens;
  int64_t per_seq = cache->pages_per_seq, all = out->n_rows;
  CHECK(s->n_seqs <= cache->n_seqs, "%lld sequences in a cache of %lld", (long long)s->n_seqs,
        (long long)cache->n_seqs);
  int32_t *slots = host_ints(ctx, all), *offset = host_ints(ctx, s->n_seqs),
          *lens = host_ints(ctx, s->n_seqs), *pages = host_ints(ctx, s->n_seqs * per_seq);
  for (int64_t r = s->n_rows; r < all; r++) slots[r] = -1;
  for (int64_t i = 0; i < s->n_seqs; i++) {
    int64_t seq = batch->cache_seqs != NULL ? batch->cache_seqs[i] : i;
    int32_t first = s->cu_seqlens[i], n = s->cu_seqlens[i + 1] - first;
    kv_cache_reserve(cache, ctx->be, seq, n);
    offset[i] = cache->lens[seq];
    lens[i] = offset[i] + n;
    for (int32_t r = first; r < first + n; r++) {
      int32_t at = offset[i] + r - first;
      CHECK(s->positions[r] == at, "row %d stands at position %d, its cache at %d", r,
            s->positions[r], at);
      slots[r] = kv_cache_slot(cache, seq, at);
    }
    cache->lens[seq] = lens[i];
    if (lens[i] > out->max_k) out->max_k = lens[i];
    memcpy(pages + i * per_seq, cache->pages + seq * per_seq, (size_t)per_seq * sizeof *pages);
  }
  out->slots = upload(ctx, slots, 1, all, "cache slots");
  out->offset = upload(ctx, offset, 1, s->n_seqs, "cached lengths");
  out->k_lens = upload(ctx, lens, 1, s->n_seqs, "key lengths");
  out->pages = upload(ctx, pages, s->n_seqs, per_seq, "page table");
}

void device_batch_make(Ctx *ctx, const Batch *batch, KvCache *cache, DeviceBatch *out) {
  const Stream *s = &batch->tokens;
  ArenaMark host = arena_mark(ctx->host);
  int64_t all = cache != NULL ? device_batch_rows(ctx, s->n_rows) : rounded_up(ctx, s->n_rows);
  int64_t n = batch->n_labels, labels = rounded_up(ctx, n);
  *out = (DeviceBatch){.n_rows = all, .n_seqs = s->n_seqs, .n_labels = labels};
  for (int64_t i = 0; i < s->n_seqs; i++) {
    int64_t len = s->cu_seqlens[i + 1] - s->cu_seqlens[i];
    if (len > out->max_q) out->max_q = len;
  }
  out->max_k = out->max_q;
  out->ids = upload_rows(ctx, s->ids, s->n_rows, all, -1, "ids");
  out->positions = upload_rows(ctx, s->positions, s->n_rows, all, 0, "positions");
  out->cu_seqlens = upload(ctx, s->cu_seqlens, 1, s->n_seqs + 1, "sequence borders");
  out->sequences = upload_per_row(ctx, s, batch->global_index, all, 0, "sequence numbers");
  if (batch->adapters != NULL)
    out->adapters = upload_per_row(ctx, s, batch->adapters, all, -1, "adapters");
  out->label_rows = upload_rows(ctx, batch->label_rows, n, labels, -1, "label rows");
  out->label_ids = upload_rows(ctx, batch->label_ids, n, labels, -1, "label ids");
  if (cache != NULL) upload_cache_view(ctx, batch, cache, out);
  arena_release_end(ctx->host, ARENA_HIGH, host);
}
