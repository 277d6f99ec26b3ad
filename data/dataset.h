// Data to learn from as token ids: files of items become examples, a seed splits and orders them,
// and a global batch becomes packed micro-batches.
//
// Files hold a JSON list or JSONL of items in one of the forms of item_turns.h, or plain text; any
// may be compressed with gzip. A name that ends in .txt (or .txt.gz) is one document of plain text;
// so is, with DATA_FORMAT_TEXT, any file that begins with neither '[' nor '{'.
//
// A conversation is one example: the tokens of template_encode cut at `cutoff_len`, with its
// answers as labels, or all of it. Where the template leaves the end to us (end_if_room), EOS is
// appended after the cut, if the last id is another and there is room; a tokenizer without EOS
// appends none. What over_length drops or refuses is measured with its EOS, so that what it keeps
// always has one. A document, which has to be UTF-8, is cut into examples of cutoff_len tokens one
// after the other, all of them labels; BOS (where the tokenizer's config asks for one) comes before
// the document and EOS behind it, not around each example. An example's first token is no label,
// for nothing foretells it; one without any label (a prompt that fills the cut) is kept out of
// training and counted.
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
  int64_t items, examples;           // in the files; with at least one label
  int64_t cut, no_label, with_input; // how many; with_input: first questions that have one
  int64_t dropped;                   // items above cutoff_len that were left out
  int64_t lost_end;                  // examples whose last answer lost what ends it to the cut
  int64_t duplicates;                // examples with the tokens of an earlier one
  int64_t unanswered;                // items whose last question has no answer and was left out
  int64_t tokens, label_tokens;      // of the examples; labels after the shift
  // Of the examples' lengths; p90 is the smallest that nine of ten do not exceed.
  int32_t shortest, median, p90, p99, longest;
} DatasetStats;

typedef struct DatasetFile {
  char *path;
  DataFormat format;
  int64_t first, examples; // its examples are [first, first + examples)
  int64_t items, tokens, label_tokens;
} DatasetFile;

typedef struct Dataset {
  int32_t *tokens; // of all examples, one after the other: ids with TOKEN_LABEL
  int64_t n_tokens;
  Example *examples; // in the files' order
  int64_t n;
  DatasetFile *files;
  int64_t n_files;
  DatasetStats stats;
  char sha256[65]; // of the file's bytes; of several, of their hashes one after the other
  bool cached;     // the tokens came from the cache
} Dataset;

typedef struct DatasetOptions {
  const Template *template;
  DataFormat format; // AUTO: by each file's first item
  int64_t cutoff_len;
  OverLength over_length;
  bool train_on_inputs;
  // Where tokens are kept for the next time (dataset_cache.h): NULL or "off": nowhere; "": vma in
  // the user's cache folder, for a MiB of data and more.
  const char *cache_dir;
  bool reads_cache_only;             // what is not there is not put there
  void (*warn)(const char *message); // gets what is wrong with the cache; NULL: nobody
} DatasetOptions;

// Reads the files, whose paths stand in one text with a comma between two. A wrong item is
// STATUS_DATA: path, line or offset, the item's index, the field, what was expected and found; so
// is a file without items, and data from which no example comes. STATUS_USAGE: the template's
// special tokens are not in the tokenizer's vocabulary. On failure the Dataset is empty. Every core
// works; what comes out does not depend on their number.
Status dataset_load(Dataset *dataset, const char *paths, const Tokenizer *tokenizer,
                    const DatasetOptions *options, Error *err);
void dataset_free(Dataset *dataset);

// The file that the example comes from; NULL for a data set made by hand.
const DatasetFile *dataset_file_of(const Dataset *dataset, int64_t example);

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

// An epoch takes each file's training examples `weight` times: whole times all of them, and of what
// is left that share (rounded to the nearest count), drawn anew in each epoch. weights: one a file,
// or none, which is 1 for all. STATUS_USAGE for another number of them, or when nothing is left.
Status dataset_epoch_size(int64_t *n, const DatasetSplit *split, const Dataset *dataset,
                          const ConfigReals *weights, Error *err);

// `order` [n] filled with a permutation of 0..n-1 that depends on (seed, epoch, n) only; the
// identity without shuffling. All permutations are equally likely (Fisher-Yates; the streams of the
// draws are in dataset_split.c).
void dataset_epoch_order(int32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch);

// The examples of an epoch, [dataset_epoch_size]: file by file, put into dataset_epoch_order.
void dataset_epoch(int32_t *examples, const DatasetSplit *split, const Dataset *dataset,
                   const ConfigReals *weights, bool shuffle, uint64_t seed, int64_t epoch);

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
