// Which rows the sequences of an attention call have, for the fast variants (the reference has its
// own reading of the same rules).
#ifndef VMA_CPU_ATTENTION_H
#define VMA_CPU_ATTENTION_H

#include "backend.h"
#include "check.h"

typedef struct AttentionSequence {
  int64_t index;
  int64_t q0, n_q;        // its query rows
  int64_t k0;             // its first key row; unused with pages
  int64_t n_k;            // keys
  int64_t offset, prefix; // as of AttentionArgs
} AttentionSequence;

static inline int64_t attention_i32(Tensor t, int64_t i, int64_t fallback) {
  return tensor_given(t) ? ((const int32_t *)t.data)[i] : fallback;
}

static inline AttentionSequence attention_sequence(const AttentionArgs *a, Tensor q, Tensor k,
                                                   int64_t s) {
  bool paged = tensor_given(a->pages);
  AttentionSequence seq = {.index = s,
                           .q0 = attention_i32(a->cu_q, s, 0),
                           .k0 = paged ? 0 : attention_i32(a->cu_k, s, 0),
                           .offset = attention_i32(a->offset, s, 0),
                           .prefix = attention_i32(a->prefix, s, 0)};
  seq.n_q = attention_i32(a->cu_q, s + 1, 0) - seq.q0;
  int64_t all = paged ? a->pages.cols * a->page_size : attention_i32(a->cu_k, s + 1, 0) - seq.k0;
  seq.n_k = attention_i32(a->k_lens, s, all);
  CHECK(seq.q0 >= 0 && seq.n_q >= 0 && seq.q0 + seq.n_q <= q.rows,
        "attention: queries [%lld, +%lld) of sequence %lld in %lld rows", (long long)seq.q0,
        (long long)seq.n_q, (long long)s, (long long)q.rows);
  CHECK(seq.k0 >= 0 && seq.n_k >= 0 && (paged ? seq.n_k <= all : seq.k0 + seq.n_k <= k.rows),
        "attention: keys [%lld, +%lld) of sequence %lld in %lld rows", (long long)seq.k0,
        (long long)seq.n_k, (long long)s, (long long)(paged ? all : k.rows));
  return seq;
}

// The row of k and v of key j.
static inline int64_t attention_key_row(const AttentionArgs *a, Tensor k,
                                        const AttentionSequence *seq, int64_t j) {
  if (!tensor_given(a->pages)) return seq->k0 + j;
  const int32_t *pages = (const int32_t *)a->pages.data + seq->index * a->pages.stride;
  int64_t row = pages[j / a->page_size] * a->page_size + j % a->page_size;
  CHECK(row >= 0 && row < k.rows, "attention: page %d of sequence %lld in %lld rows",
        pages[j / a->page_size], (long long)seq->index, (long long)k.rows);
  return row;
}

// How many keys query i sees: they are the first ones, and never fewer than query i - 1 sees.
static inline int64_t attention_visible(const AttentionSequence *seq, int64_t i) {
  int64_t n = seq->offset + i + 1 > seq->prefix ? seq->offset + i + 1 : seq->prefix;
  if (n < 0) n = 0;
  return n < seq->n_k ? n : seq->n_k;
}

static inline int64_t attention_distance(const AttentionSequence *seq, int64_t i, int64_t j) {
  int64_t n = seq->offset + i - j;
  return n > 0 ? n : 0;
}

// The largest distance of the call, plus one.
static inline int64_t attention_distances(const AttentionArgs *a, Tensor q, Tensor k) {
  int64_t most = 0;
  for (int64_t s = 0; s < a->n_seqs; s++) {
    AttentionSequence seq = attention_sequence(a, q, k, s);
    if (seq.offset + seq.n_q > most) most = seq.offset + seq.n_q;
  }
  return most + 1;
}

#endif
