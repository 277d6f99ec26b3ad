// Keys and values of sequences that go on, in pages of 64 tokens read through a table per sequence.
//
// K is stored rotated. In its own arena, sized before anything runs. Page tables live on the host
// and are copied with each batch; sharing or reordering sequences rewrites tables, never K or V.
#ifndef VMA_KV_CACHE_H
#define VMA_KV_CACHE_H

#include "tape.h"

enum { KV_PAGE = 64 };

typedef struct KvCache {
  int64_t n_layers, width; // width: kv heads * head width
  int64_t n_seqs, max_len; // sequences, and tokens each can hold
  int64_t pages_per_seq;
  Tensor *k, *v;  // [n_layers] each F [n_seqs * pages_per_seq * KV_PAGE, width]
  int32_t *pages; // host [n_seqs, pages_per_seq]
  int32_t *lens;  // host [n_seqs] tokens held
} KvCache;

// Bytes of arena that a cache of this size takes.
int64_t kv_cache_bytes(DType dtype, int64_t n_layers, int64_t width, int64_t n_seqs,
                       int64_t max_len);

void kv_cache_init(KvCache *cache, Arena *arena, DType dtype, int64_t n_layers, int64_t width,
                   int64_t n_seqs, int64_t max_len);
void kv_cache_free(KvCache *cache); // host tables only; the arena keeps its memory

// Forgets what the sequences hold.
void kv_cache_reset(KvCache *cache);

// Sequence s goes back to its first `len` tokens.
void kv_cache_truncate(KvCache *cache, int64_t s, int64_t len);

#endif
