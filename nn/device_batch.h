// A Batch on the device, with what the ops want per row. Lives in the step arena until its mark is
// released.
#ifndef VMA_DEVICE_BATCH_H
#define VMA_DEVICE_BATCH_H

#include "batch.h"
#include "kv_cache.h"
#include "tape.h"

typedef struct DeviceBatch {
  int64_t n_rows, n_seqs, n_labels; // R, B, L; R and L as rounded up
  int64_t max_q, max_k;
  Tensor ids, positions;        // i32 [1,R]
  Tensor sequences;             // i32 [1,R] index of the row's sequence in the global batch
  Tensor adapters;              // i32 [1,R] adapter of the row; none: adapter 0 for all rows
  Tensor cu_seqlens;            // i32 [1,B+1]
  Tensor label_rows, label_ids; // i32 [1,L]
  // With a cache:
  Tensor slots;  // i32 [1,R] row of the cache's K and V; none without
  Tensor offset; // i32 [1,B] keys cached before; none without
  Tensor k_lens; // i32 [1,B] keys after this batch; none without
  Tensor pages;  // i32 [B,P]; none without
} DeviceBatch;

// Copies the batch to the device. Its rows are rounded up to the backend's row_multiple, with a
// cache as device_batch_rows says; a row that is added belongs to no sequence: id -1 (a row of
// zeros), position and sequence number 0, adapter -1, no label, slot -1; cu_seqlens ends before it.
// So are the rows with labels: one that is added has row and id -1 (a row of zeros without a loss),
// and the pieces that the head works on have few sizes too. With a cache (or NULL) each sequence of
// the batch goes on where its sequence of the cache (Batch.cache_seqs) stands: the cache makes room
// for it and is advanced by the batch's lengths, and positions are counted from there
// (batch->tokens.positions must agree: checked).
void device_batch_make(Ctx *ctx, const Batch *batch, KvCache *cache, DeviceBatch *out);

// Rows that the device works on where `rows` are to be read on through a cache.
int64_t device_batch_rows(const Ctx *ctx, int64_t rows);

#endif
