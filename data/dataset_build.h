// How a Dataset grows: what the sources dataset*.c share.
#ifndef VMA_DATASET_BUILD_H
#define VMA_DATASET_BUILD_H

#include "dataset.h"

typedef struct DatasetBuild {
  Dataset *dataset;
  const DatasetOptions *options;
  const Tokenizer *tokenizer;
  int64_t room, room_tokens; // allocated
} DatasetBuild;

// dataset_build.c: appends an example of n tokens; without a label it is counted and left out.
Status dataset_add(DatasetBuild *build, const int32_t *tokens, int64_t n, int64_t item, bool cut,
                   Error *err);
// The statistics of a whole data set: duplicates and lengths.
Status dataset_count(Dataset *dataset, Error *err);

// dataset_read.c: whether the name says that the file is plain text.
bool dataset_is_plain_name(const char *path);
// Appends the examples of one file, and fills all of it but its path.
Status dataset_read_file(DatasetBuild *build, DatasetFile *file, Error *err);

#endif
