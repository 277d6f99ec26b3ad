// Sequences of a global batch, one behind the other, in micro-batches.
#include "dataset.h"

#include "check.h"

#include <stdlib.h>

int64_t pack_runs(int64_t *ends, const int32_t *lengths, int64_t n, int64_t micro_tokens) {
  int64_t runs = 0, tokens = 0;
  for (int64_t i = 0; i < n; i++) {
    CHECK(lengths[i] > 0, "sequence %lld of %d tokens", (long long)i, (int)lengths[i]);
    if (i > 0 && tokens + lengths[i] > micro_tokens) {
      ends[runs++] = i;
      tokens = 0;
    }
    tokens += lengths[i];
  }
  if (n > 0) ends[runs++] = n;
  return runs;
}

static int32_t *new_array(int64_t n) {
  CHECK(n >= 0 && n < INT32_MAX, "%lld entries", (long long)n);
  int32_t *array = calloc((size_t)(n > 0 ? n : 1), sizeof *array);
  CHECK(array != NULL, "no memory for a batch of %lld entries", (long long)n);
  return array;
}

void packed_batch_init(PackedBatch *packed, int64_t max_rows, int64_t max_seqs) {
  *packed = (PackedBatch){
      .max_rows = max_rows,
      .max_seqs = max_seqs,
      .cu_seqlens = new_array(max_seqs + 1),
      .positions = new_array(max_rows),
      .ids = new_array(max_rows),
      .label_rows = new_array(max_rows),
      .label_ids = new_array(max_rows),
      .global_index = new_array(max_seqs),
  };
  packed->batch = (Batch){
      .tokens = {.cu_seqlens = packed->cu_seqlens,
                 .positions = packed->positions,
                 .ids = packed->ids},
      .label_rows = packed->label_rows,
      .label_ids = packed->label_ids,
      .global_index = packed->global_index,
  };
}

void packed_batch_free(PackedBatch *packed) {
  free(packed->cu_seqlens);
  free(packed->positions);
  free(packed->ids);
  free(packed->label_rows);
  free(packed->label_ids);
  free(packed->global_index);
  *packed = (PackedBatch){0};
}

void packed_batch_clear(PackedBatch *packed) {
  packed->batch.tokens.n_seqs = 0;
  packed->batch.tokens.n_rows = 0;
  packed->batch.n_labels = 0;
}

void packed_batch_add(PackedBatch *packed, const Dataset *dataset, int32_t example,
                      int32_t global_index) {
  CHECK(example >= 0 && example < dataset->n, "example %d of %lld", (int)example,
        (long long)dataset->n);
  const Example *e = &dataset->examples[example];
  const int32_t *tokens = dataset->tokens + e->first;
  Batch *b = &packed->batch;
  int64_t row0 = b->tokens.n_rows, seq = b->tokens.n_seqs;
  CHECK(seq < packed->max_seqs && row0 + e->n <= packed->max_rows,
        "sequence %lld of %lld, rows %lld + %d of %lld", (long long)seq,
        (long long)packed->max_seqs, (long long)row0, (int)e->n, (long long)packed->max_rows);
  for (int32_t i = 0; i < e->n; i++) {
    packed->ids[row0 + i] = token_id(tokens[i]);
    packed->positions[row0 + i] = i;
    if (i + 1 == e->n || !token_is_label(tokens[i + 1])) continue;
    packed->label_rows[b->n_labels] = (int32_t)(row0 + i);
    packed->label_ids[b->n_labels++] = token_id(tokens[i + 1]);
  }
  packed->global_index[seq] = global_index;
  packed->cu_seqlens[seq + 1] = (int32_t)(row0 + e->n);
  b->tokens.n_rows = row0 + e->n;
  b->tokens.n_seqs = seq + 1;
}
