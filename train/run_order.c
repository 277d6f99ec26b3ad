// In which order an epoch takes the examples.
#include "run_parts.h"

#include "length_groups.h"

void run_epoch_order(int32_t *order, int64_t n, const RunConfig *config, const Dataset *data,
                     const DatasetSplit *split, int64_t epoch, bool by_length) {
  dataset_epoch(order, split, data, &config->data.weights, config->data.shuffle,
                (uint64_t)config->train.seed, epoch);
  if (by_length) length_groups_make(order, n, data, config->train.batch_size);
}
