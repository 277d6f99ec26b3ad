// Token ids kept from one run to the next, by content: a file named by the SHA-256 of all that
// decides them (the data's bytes, the tokenizer, the template, the options, the version of this
// form).
//
// A file is written whole or not at all, so that any number of processes may write the same one; it
// is read only when its header, its sizes and the SHA-256 at its end are right. What is wrong with
// the cache is never an error: it is a warning, and the data are encoded.
#ifndef VMA_DATASET_CACHE_H
#define VMA_DATASET_CACHE_H

#include "dataset.h"

typedef struct DatasetCache {
  char *path;   // of the file; NULL: there is no cache
  bool private; // in the user's own folder: readable by nobody else, as the data may be
  void (*warn)(const char *message);
} DatasetCache;

// `dataset` has its files and sha256; `bytes`: of the data. folder: "off" or NULL: no cache; "":
// vma in the user's cache folder, for data of a MiB and more; else that folder.
void dataset_cache_open(DatasetCache *cache, const char *folder, const Dataset *dataset,
                        int64_t bytes, const Tokenizer *tokenizer, const DatasetOptions *options);
void dataset_cache_close(DatasetCache *cache);

// Fills the dataset but for paths and sha256; false when there is nothing to be had.
bool dataset_cache_read(const DatasetCache *cache, Dataset *dataset);
void dataset_cache_write(const DatasetCache *cache, const Dataset *dataset);

#endif
