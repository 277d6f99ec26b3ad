// Keys and values of sequences that go on, in pages of 64 tokens read through a table per sequence.
//
// K is stored rotated. In its own arena, sized before anything runs. Page tables live on the host
// and are copied with each batch. A page is held by one sequence or shared by several: sharing or
// reordering sequences rewrites tables, never K or V, except that a shared last page that is not
// full is copied when one of its holders goes on. Sequences draw their pages from one pool, so that
// it can be smaller than all of them at their longest.
#ifndef VMA_KV_CACHE_H
#define VMA_KV_CACHE_H

#include "tape.h"

enum { KV_PAGE = 64 };

typedef struct KvCacheSize {
  int64_t seqs, max_len; // sequences, and tokens each can hold
  int64_t pages;         // in all; 0: enough for all sequences at their longest
} KvCacheSize;

typedef struct KvCache {
  int64_t n_layers, width; // width: kv heads * head width
  int64_t n_seqs, max_len;
  int64_t pages_per_seq, n_pages;
  Tensor *k, *v;  // [n_layers] each F [n_pages * KV_PAGE, width]
  int32_t *pages; // host [n_seqs, pages_per_seq]; the first held[s] of a row count
  int32_t *held;  // host [n_seqs] pages of each sequence
  int32_t *lens;  // host [n_seqs] tokens of each sequence
  int32_t *refs;  // host [n_pages] sequences that hold each page
  int32_t *spare; // host [n_pages] the first n_spare are the pages that nobody holds
  int64_t n_spare;
  int32_t *table; // host [n_seqs, pages_per_seq + 2] of kv_cache_share, while it works
} KvCache;

// Pages that a sequence of so many tokens takes.
int64_t kv_cache_pages(int64_t len);

// Bytes of arena that a cache of this size takes.
int64_t kv_cache_bytes(DType dtype, int64_t n_layers, int64_t width, KvCacheSize size);

void kv_cache_init(KvCache *cache, Arena *arena, DType dtype, int64_t n_layers, int64_t width,
                   KvCacheSize size);
void kv_cache_free(KvCache *cache); // host tables only; the arena keeps its memory

// Forgets what the sequences hold.
void kv_cache_reset(KvCache *cache);

// Sequence s goes back to its first `len` tokens.
void kv_cache_truncate(KvCache *cache, int64_t s, int64_t len);

// The n sequences from `first` on become what those of `parents` were: sequence first + i holds the
// tokens of first + parents[i], in the same pages.
void kv_cache_share(KvCache *cache, int64_t first, int64_t n, const int32_t *parents);

// Makes room for n more tokens of sequence s, which nothing else will see written. Too few pages
// left, or more than max_len tokens, is our mistake.
void kv_cache_reserve(KvCache *cache, Backend *be, int64_t s, int64_t n);

// The row of k and v that token `at` of sequence s has.
int32_t kv_cache_slot(const KvCache *cache, int64_t s, int64_t at);

#endif
