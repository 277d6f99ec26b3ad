// The dropout mask of backend.h, element by element: which counter decides which element, and by
// which threshold.
#ifndef VMA_DROPOUT_MASK_H
#define VMA_DROPOUT_MASK_H

#include "backend.h"
#include "rng.h"

static inline uint64_t dropout_key(uint64_t seed, int32_t step) {
  return seed + (uint64_t)(uint32_t)step * 0x9E3779B97F4A7C15u;
}

// An element is kept iff its random word is not below this.
static inline uint32_t dropout_threshold(float p) {
  return (uint32_t)(p * 4294967296.0);
}

// Random words of columns 4 * group .. 4 * group + 3 of one row.
static inline Philox dropout_words(uint64_t key, uint32_t tensor_id, int32_t position,
                                   int32_t sequence, int64_t group) {
  return philox4x32(key, (uint32_t)group, (uint32_t)position, (uint32_t)sequence, tensor_id);
}

#endif
