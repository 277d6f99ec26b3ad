#include "kv_cache.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

int64_t kv_cache_pages(int64_t len) {
  return (len + KV_PAGE - 1) / KV_PAGE;
}

static int64_t align(int64_t bytes) {
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

static int64_t pages_of(KvCacheSize size) {
  return size.pages > 0 ? size.pages : size.seqs * kv_cache_pages(size.max_len);
}

int64_t kv_cache_bytes(DType dtype, int64_t n_layers, int64_t width, KvCacheSize size) {
  return 2 * n_layers * align(dtype_bytes(dtype, pages_of(size) * KV_PAGE * width));
}

static int32_t *host_ints(int64_t n) {
  int32_t *memory = calloc((size_t)n, sizeof *memory);
  CHECK(memory != NULL, "no memory for the cache's tables");
  return memory;
}

void kv_cache_init(KvCache *cache, Arena *arena, DType dtype, int64_t n_layers, int64_t width,
                   KvCacheSize size) {
  int64_t per_seq = kv_cache_pages(size.max_len), n_pages = pages_of(size);
  CHECK(n_pages <= INT32_MAX / KV_PAGE, "a cache of %lld pages", (long long)n_pages);
  *cache = (KvCache){.n_layers = n_layers,
                     .width = width,
                     .n_seqs = size.seqs,
                     .max_len = size.max_len,
                     .pages_per_seq = per_seq,
                     .n_pages = n_pages,
                     .k = calloc((size_t)n_layers, sizeof(Tensor)),
                     .v = calloc((size_t)n_layers, sizeof(Tensor)),
                     .pages = host_ints(size.seqs * per_seq),
                     .held = host_ints(size.seqs),
                     .lens = host_ints(size.seqs),
                     .refs = host_ints(n_pages),
                     .spare = host_ints(n_pages),
                     .table = host_ints(size.seqs * (per_seq + 2))};
  CHECK(cache->k != NULL && cache->v != NULL, "no memory for the cache's tables");
  for (int64_t i = 0; i < n_layers; i++) {
    cache->k[i] = arena_tensor(arena, ARENA_LOW, dtype, n_pages * KV_PAGE, width, "cached keys");
    cache->v[i] = arena_tensor(arena, ARENA_LOW, dtype, n_pages * KV_PAGE, width, "cached values");
  }
  kv_cache_reset(cache);
}

void kv_cache_free(KvCache *cache) {
  void *all[] = {cache->k,    cache->v,    cache->pages, cache->held,
                 cache->lens, cache->refs, cache->spare, cache->table};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  *cache = (KvCache){0};
}

void kv_cache_reset(KvCache *cache) {
  memset(cache->held, 0, (size_t)cache->n_seqs * sizeof *cache->held);
  memset(cache->lens, 0, (size_t)cache->n_seqs * sizeof *cache->lens);
  memset(cache->refs, 0, (size_t)cache->n_pages * sizeof *cache->refs);
  cache->n_spare = cache->n_pages;
  for (int64_t i = 0; i < cache->n_pages; i++) {
    cache->spare[i] = (int32_t)(cache->n_pages - 1 - i); // page 0 is taken first
  }
}

static int32_t take_page(KvCache *cache) {
  CHECK(cache->n_spare > 0, "all %lld pages of the cache are taken", (long long)cache->n_pages);
  int32_t page = cache->spare[--cache->n_spare];
  cache->refs[page] = 1;
  return page;
}

static void drop_page(KvCache *cache, int32_t page) {
  if (--cache->refs[page] == 0) cache->spare[cache->n_spare++] = page;
}

static void check_seqs(const KvCache *cache, int64_t first, int64_t n) {
  CHECK(first >= 0 && n > 0 && first + n <= cache->n_seqs,
        "sequences %lld..%lld of a cache of %lld", (long long)first, (long long)(first + n - 1),
        (long long)cache->n_seqs);
}

void kv_cache_truncate(KvCache *cache, int64_t s, int64_t len) {
  check_seqs(cache, s, 1);
  CHECK(len >= 0 && len <= cache->lens[s], "sequence %lld to %lld tokens", (long long)s,
        (long long)len);
  int32_t *row = cache->pages + s * cache->pages_per_seq;
  while (cache->held[s] > kv_cache_pages(len)) drop_page(cache, row[--cache->held[s]]);
  cache->lens[s] = (int32_t)len;
}

// A table row in kv_cache_share's memory: pages, then how many and how many tokens.
void kv_cache_share(KvCache *cache, int64_t first, int64_t n, const int32_t *parents) {
  check_seqs(cache, first, n);
  int64_t per_seq = cache->pages_per_seq, stride = per_seq + 2;
  for (int64_t i = 0; i < n; i++) { // before any old holder lets go of its pages
    int64_t from = first + parents[i];
    CHECK(parents[i] >= 0 && parents[i] < n, "parent %d of %lld sequences", parents[i],
          (long long)n);
    int32_t *to = cache->table + i * stride;
    memcpy(to, cache->pages + from * per_seq, (size_t)per_seq * sizeof *to);
    to[per_seq] = cache->held[from];
    to[per_seq + 1] = cache->lens[from];
    for (int32_t p = 0; p < cache->held[from]; p++) cache->refs[to[p]]++;
  }
  for (int64_t i = 0; i < n; i++) {
    const int32_t *from = cache->table + i * stride;
    int32_t *to = cache->pages + (first + i) * per_seq;
    for (int32_t p = 0; p < cache->held[first + i]; p++) drop_page(cache, to[p]);
    memcpy(to, from, (size_t)per_seq * sizeof *to);
    cache->held[first + i] = from[per_seq];
    cache->lens[first + i] = from[per_seq + 1];
  }
}

// A page of its own in place of the shared one that holds the last `rows` tokens.
static void own_last_page(KvCache *cache, Backend *be, int32_t *page, int64_t rows) {
  int32_t from = *page;
  *page = take_page(cache);
  for (int64_t i = 0; i < cache->n_layers; i++) {
    Tensor both[] = {cache->k[i], cache->v[i]};
    for (int t = 0; t < 2; t++) {
      be->cast(be, tensor_rows(both[t], (int64_t)*page * KV_PAGE, rows),
               tensor_rows(both[t], (int64_t)from * KV_PAGE, rows));
    }
  }
  drop_page(cache, from);
}

void kv_cache_reserve(KvCache *cache, Backend *be, int64_t s, int64_t n) {
  check_seqs(cache, s, 1);
  int64_t len = cache->lens[s], end = len + n;
  CHECK(n >= 0 && end <= cache->max_len, "sequence %lld: %lld tokens in a cache of %lld",
        (long long)s, (long long)end, (long long)cache->max_len);
  int32_t *row = cache->pages + s * cache->pages_per_seq;
  int64_t last = len / KV_PAGE;
  if (n > 0 && len % KV_PAGE > 0 && cache->refs[row[last]] > 1) {
    own_last_page(cache, be, &row[last], len % KV_PAGE);
  }
  while (cache->held[s] < kv_cache_pages(end)) row[cache->held[s]++] = take_page(cache);
}

int32_t kv_cache_slot(const KvCache *cache, int64_t s, int64_t at) {
  return cache->pages[s * cache->pages_per_seq + at / KV_PAGE] * KV_PAGE + (int32_t)(at % KV_PAGE);
}
