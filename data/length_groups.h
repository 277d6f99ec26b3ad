// Batches of examples of like length (data.group_by_length), and what padding would cost. Nothing
// is padded here; the published recipes pad each batch to its longest sequence.
#ifndef VMA_LENGTH_GROUPS_H
#define VMA_LENGTH_GROUPS_H

#include "dataset.h"

// Regroups an epoch's order, n examples of the data set, as transformers' LengthGroupedSampler does
// with its draw: it is cut into runs of 50 batches (in a small set fewer, so that there are four
// runs), each run is sorted by length, the longest first, and the longest example of all changes
// places with the first one.
void length_groups_make(int32_t *order, int64_t n, const Dataset *dataset, int64_t batch);

// The share of padding among all tokens if each batch of the order were padded to its longest.
double length_groups_padding(const int32_t *order, int64_t n, const Dataset *dataset,
                             int64_t batch);

#endif
