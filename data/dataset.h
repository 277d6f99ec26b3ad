// Instruction data as token ids: a file of Alpaca items becomes examples, a seed splits and orders
// them, and a global batch becomes packed micro-batches.
//
// An example is ids = encode(prompt + answer) cut at `cutoff_len`, each marked as a label or not:
// labels start at 0 when the prompt is trained too, else at length(encode(prompt)), both with BOS
// in front if the tokenizer's config asks for one (template_encode). Its end, by the template:
//   alpaca, alpaca_short, none   EOS is appended after the cut, if the last id is another and there
//                                is room under cutoff_len                               Alpaca-LoRA
//   alpaca_stanford              EOS is part of the text, and cut with it          Stanford's
//   Alpaca chatml                       the frame's own <|im_end|> and newline, cut with the text
// A tokenizer without EOS appends none. An example without any label after the shift (a prompt that
// fills the cut) is kept out of training and counted.
#ifndef VMA_DATASET_H
#define VMA_DATASET_H

#include "batch.h"
#include "config.h"
#include "error.h"
#include "template_encode.h"

typedef struct Example {
  int64_t first;    // of its tokens in Dataset.tokens
  int32_t n;        // length
  int32_t n_labels; // how many of its tokens are labels
  int32_t item;     // index in the file, from 0
  bool cut;         // longer than cutoff_len before the cut
} Example;

typedef struct DatasetStats {
  int64_t items, examples;           // in the file; with at least one label
  int64_t cut, no_label, with_input; // how many
  int64_t tokens, label_tokens;      // of the examples; labels after the shift
  // Of the examples' lengths; p90 is the smallest that nine of ten do not exceed.
  int32_t shortest, median, p90, p99, longest;
} DatasetStats;

typedef struct Dataset {
  int32_t *tokens; // of all examples, one after the other: ids with TOKEN_LABEL
  int64_t n_tokens;
  Example *examples; // in the file's order
  int64_t n;
  DatasetStats stats;
  char sha256[65]; // of the file's bytes
} Dataset;

typedef struct DatasetOptions {
  const Template *template;
  int64_t cutoff_len;
  bool train_on_inputs;
} DatasetOptions;

// Reads a JSON list or JSONL file (gzip or not; json_items.h) of {"instruction", "input",
// "output"}, all texts; input may be missing or null, other fields are passed over. A wrong item is
// STATUS_DATA: path, line or offset, the item's index, the field, what was expected and found; so
// is a file from which no example comes. STATUS_USAGE: the template's special tokens are not in the
// tokenizer's vocabulary. On failure the Dataset is empty.
Status dataset_load(Dataset *dataset, const char *path, const Tokenizer *tokenizer,
                    const DatasetOptions *options, Error *err);
void dataset_free(Dataset *dataset);

// Makes labels of an example's tokens from `start` on, and of no other; the first token stays none.
void dataset_mark(Dataset *dataset, int64_t example, int32_t start);

// Indices of examples held out and trained on: `share` of the examples (a fraction is rounded to
// the nearest count), drawn by the seed without replacement; each part in the file's order. Freed
// by dataset_split_free. STATUS_USAGE when no example is left to train on.
typedef struct DatasetSplit {
  int32_t *train, *held_out;
  int64_t n_train, n_held_out;
} DatasetSplit;
Status dataset_split(DatasetSplit *split, const Dataset *dataset, ConfigShare share, uint64_t seed,
                     Error *err);
void dataset_split_free(DatasetSplit *split);

// The order of an epoch: `order` [n] filled with a permutation of 0..n-1 that depends on (seed,
// epoch, n) only; the identity without shuffling. All permutations are equally likely
// (Fisher-Yates; the streams of the draws are in dataset_split.c).
void dataset_epoch_order(int32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch);

// Packing: cuts the sequences of one global batch, in order, into runs of at most micro_tokens
// tokens (a single longer sequence is a run by itself). ends[i] = one past the last sequence of run
// i, [n] at most; returns how many runs.
int64_t pack_runs(int64_t *ends, const int32_t *lengths, int64_t n, int64_t micro_tokens);

// A Batch with its own memory, for up to max_rows rows and max_seqs sequences.
typedef struct PackedBatch {
  Batch batch;
  int64_t max_rows, max_seqs;
  int32_t *cu_seqlens, *positions, *ids, *label_rows, *label_ids, *global_index;
} PackedBatch;
// packed->batch describes what was added since the clear; adapters is NULL.
void packed_batch_init(PackedBatch *packed, int64_t max_rows, int64_t max_seqs);
void packed_batch_free(PackedBatch *packed);
void packed_batch_clear(PackedBatch *packed);
// Adds an example as the next sequence; global_index is its place in the global batch. Row r of the
// sequence trains on its token r + 1 when that is a label.
void packed_batch_add(PackedBatch *packed, const Dataset *dataset, int32_t example,
                      int32_t global_index);

#endif
