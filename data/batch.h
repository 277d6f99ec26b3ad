// What a data set hands to a model: packed sequences, never padded (design: sequences are packed).
//
// A stream is one kind of rows (tokens; image patches later) with its own sequence borders. All
// arrays are on the host and belong to whoever made the batch; nn copies what it needs to the
// device. Sequence s of one stream belongs to sequence s of every other stream.
#ifndef VMA_BATCH_H
#define VMA_BATCH_H

#include <stdint.h>

typedef struct Stream {
  int64_t n_seqs;            // B
  int64_t n_rows;            // R, the sum of the lengths
  const int32_t *cu_seqlens; // [B+1] first row of each sequence; cu_seqlens[B] == R
  const int32_t *positions;  // [R] position of each row within its sequence (o_s + 0, 1, ...)
  const int32_t *ids;        // [R] token ids; NULL for a stream of values
} Stream;

typedef struct Batch {
  Stream tokens;
  // Rows of `tokens` whose NEXT token is a label, and that token: the shift is done here, once.
  int64_t n_labels;
  const int32_t *label_rows; // [n_labels] ascending
  const int32_t *label_ids;  // [n_labels]
  // Per sequence:
  const int32_t *adapters; // [B] index into the adapter set, -1 = none; NULL = adapter 0 for all
  const int32_t
      *global_index; // [B] the sequence's index in the global batch (dropout masks hang on it)
  const int32_t *cache_seqs; // [B] distinct: which sequence of a cache each goes on; NULL: s for s
} Batch;

#endif
