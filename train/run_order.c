// In which order an epoch takes the examples.
#include "run_parts.h"

#include "length_groups.h"

void run_epoch_order(int32_t *order, const RunConfig *config, const Dataset *data,
                     const DatasetSplit *split, int64_t epoch, bool by_length) {
  dataset_epoch_order(order, split->n_train, config->data.shuffle, (uint64_t)config->train.seed,
                      epoch);
  for (int64_t i = 0; i < split->n_train; i++) order[i] = split->train[order[i]];
  if (by_length) length_groups_make(order, split->n_train, data, config->train.batch_size);
}
