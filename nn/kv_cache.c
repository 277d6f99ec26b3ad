#include "kv_cache.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

static int64_t pages_for(int64_t len) {
  return (len + KV_PAGE - 1) / KV_PAGE;
}

static int64_t align(int64_t bytes) {
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

int64_t kv_cache_bytes(DType dtype, int64_t n_layers, int64_t width, int64_t n_seqs,
                       int64_t max_len) {
  return 2 * n_layers * align(dtype_bytes(dtype, n_seqs * pages_for(max_len) * KV_PAGE * width));
}

void kv_cache_init(KvCache *cache, Arena *arena, DType dtype, int64_t n_layers, int64_t width,
                   int64_t n_seqs, int64_t max_len) {
  int64_t per_seq = pages_for(max_len), rows = n_seqs * per_seq * KV_PAGE;
  *cache = (KvCache){.n_layers = n_layers,
                     .width = width,
                     .n_seqs = n_seqs,
                     .max_len = max_len,
                     .pages_per_seq = per_seq,
                     .k = calloc((size_t)n_layers, sizeof(Tensor)),
                     .v = calloc((size_t)n_layers, sizeof(Tensor)),
                     .pages = calloc((size_t)(n_seqs * per_seq), sizeof(int32_t)),
                     .lens = calloc((size_t)n_seqs, sizeof(int32_t))};
  CHECK(cache->k && cache->v && cache->pages && cache->lens, "no memory for the cache's tables");
  for (int64_t i = 0; i < n_layers; i++) {
    cache->k[i] = arena_tensor(arena, ARENA_LOW, dtype, rows, width, "cached keys");
    cache->v[i] = arena_tensor(arena, ARENA_LOW, dtype, rows, width, "cached values");
  }
  for (int64_t i = 0; i < n_seqs * per_seq; i++) cache->pages[i] = (int32_t)i;
}

void kv_cache_free(KvCache *cache) {
  free(cache->k);
  free(cache->v);
  free(cache->pages);
  free(cache->lens);
  *cache = (KvCache){0};
}

void kv_cache_reset(KvCache *cache) {
  memset(cache->lens, 0, (size_t)cache->n_seqs * sizeof *cache->lens);
}

void kv_cache_truncate(KvCache *cache, int64_t s, int64_t len) {
  CHECK(s >= 0 && s < cache->n_seqs && len >= 0 && len <= cache->lens[s],
        "sequence %lld to %lld tokens", (long long)s, (long long)len);
  cache->lens[s] = (int32_t)len;
}
