// Whole files of instruction data against the reference: the entries "files" of
// tests/golden/dataset/expected.json hold counts and a hash for each file and vocabulary.
#ifndef VMA_DATASET_DIGEST_H
#define VMA_DATASET_DIGEST_H

#include "dataset.h"

// The place of an example's first label; expects that labels go on from there to its end.
int32_t first_label(const Dataset *dataset, int64_t example);

// Loads the file `data` with the tokenizer at `tokenizer` as the entry says whose "tokenizer" is
// `vocabulary` and whose "path" or "shared" is `name`; expects the entry's counts, and its SHA-256
// of each example's first label and ids (i32, little-endian).
void dataset_digest_check(const char *vocabulary, const char *name, const char *tokenizer,
                          const char *data);

#endif
