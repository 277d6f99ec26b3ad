// The heart of every BPE: a row of symbols in which, again and again, the neighbours whose merge
// has the best (lowest) rank become one symbol, the leftmost on ties, until no rule fits.
//
// The symbols are a linked list, the possible merges a heap, and a merge that has been overtaken is
// found out when it comes up: n log n for n symbols, whatever the text.
#ifndef VMA_MERGE_QUEUE_H
#define VMA_MERGE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Symbol {
  int32_t id;          // token, -1: none
  uint32_t start;      // in the text that the symbols were made from
  uint32_t size;       // bytes; 0: merged into its left neighbour
  uint32_t prev, next; // MERGE_NONE at the ends
  bool frozen;         // never merged
} Symbol;

typedef struct MergeCandidate {
  uint32_t rank;
  uint32_t left; // index of the left symbol
  uint32_t size; // of both together, as they were: else the candidate is out of date
  int32_t id;    // what they become
} MergeCandidate;

#define MERGE_NONE UINT32_MAX
enum { MERGE_SYMBOLS_MAX = INT32_MAX }; // in one row

// Working memory, used again for the next row. Zero-initialised is empty.
typedef struct MergeQueue {
  Symbol *symbols;
  int64_t n, capacity; // symbols, merged ones included
  MergeCandidate *heap;
  int64_t waiting, heap_capacity;
  int64_t steps; // heap entries put and taken since the beginning: for tests of the complexity
} MergeQueue;

// Whether two neighbours merge, with what rank, into which id.
typedef bool (*MergeRule)(const void *rules, const Symbol *left, const Symbol *right,
                          uint32_t *rank, int32_t *id);

// Empties the row / appends a symbol to it.
void merge_queue_clear(MergeQueue *queue);
void merge_queue_add(MergeQueue *queue, int32_t id, int64_t start, int64_t size, bool frozen);

// Merges until no rule fits. What is left: symbol 0 (never merged into another) and on by `next`.
void merge_queue_run(MergeQueue *queue, MergeRule rule, const void *rules);

void merge_queue_free(MergeQueue *queue);

#endif
