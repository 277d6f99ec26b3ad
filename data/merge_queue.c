#include "merge_queue.h"

#include "check.h"

#include <stdlib.h>

enum { CHILDREN = 4 }; // four candidates of 16 bytes are one cache line

static bool before(const MergeCandidate *a, const MergeCandidate *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void *grown(void *old, int64_t *capacity, int64_t size) {
  *capacity = *capacity == 0 ? 64 : 2 * *capacity;
  void *grown = realloc(old, (size_t)*capacity * (size_t)size);
  CHECK(grown != NULL, "no memory for %lld symbols", (long long)*capacity);
  return grown;
}

static void sift_up(MergeQueue *queue, int64_t i) {
  MergeCandidate item = queue->heap[i];
  while (i > 0) {
    int64_t parent = (i - 1) / CHILDREN;
    if (!before(&item, &queue->heap[parent])) break;
    queue->heap[i] = queue->heap[parent];
    i = parent;
  }
  queue->heap[i] = item;
}

static void sift_down(MergeQueue *queue, int64_t i) {
  MergeCandidate item = queue->heap[i];
  for (;;) {
    int64_t child = CHILDREN * i + 1, end = child + CHILDREN;
    if (end > queue->waiting) end = queue->waiting;
    if (child >= end) break;
    int64_t best = child;
    for (int64_t c = child + 1; c < end; c++) {
      if (before(&queue->heap[c], &queue->heap[best])) best = c;
    }
    if (!before(&queue->heap[best], &item)) break;
    queue->heap[i] = queue->heap[best];
    i = best;
  }
  queue->heap[i] = item;
}

// Appends the merge of the symbol and its right neighbour, if there is one; the heap's order is the
// caller's business.
static bool append(MergeQueue *queue, uint32_t left, MergeRule rule, const void *rules) {
  const Symbol *a = &queue->symbols[left];
  if (a->next == MERGE_NONE) return false;
  const Symbol *b = &queue->symbols[a->next];
  MergeCandidate item = {.left = left, .size = a->size + b->size};
  if (a->frozen || b->frozen || !rule(rules, a, b, &item.rank, &item.id)) return false;
  if (queue->waiting == queue->heap_capacity) {
    queue->heap = grown(queue->heap, &queue->heap_capacity, sizeof(MergeCandidate));
  }
  queue->heap[queue->waiting++] = item;
  queue->steps++;
  return true;
}

static MergeCandidate take(MergeQueue *queue) {
  MergeCandidate top = queue->heap[0];
  queue->heap[0] = queue->heap[--queue->waiting];
  if (queue->waiting > 0) sift_down(queue, 0);
  queue->steps++;
  return top;
}

void merge_queue_clear(MergeQueue *queue) {
  queue->n = 0;
}

void merge_queue_add(MergeQueue *queue, int32_t id, int64_t start, int64_t size, bool frozen) {
  CHECK(queue->n < MERGE_SYMBOLS_MAX && start + size <= UINT32_MAX,
        "a stretch of text of more than %d symbols", MERGE_SYMBOLS_MAX);
  if (queue->n == queue->capacity) {
    queue->symbols = grown(queue->symbols, &queue->capacity, sizeof(Symbol));
  }
  uint32_t i = (uint32_t)queue->n++;
  queue->symbols[i] = (Symbol){.id = id,
                               .start = (uint32_t)start,
                               .size = (uint32_t)size,
                               .prev = i == 0 ? MERGE_NONE : i - 1,
                               .next = MERGE_NONE,
                               .frozen = frozen};
  if (i > 0) queue->symbols[i - 1].next = i;
}

void merge_queue_run(MergeQueue *queue, MergeRule rule, const void *rules) {
  queue->waiting = 0;
  for (int64_t i = 0; i + 1 < queue->n; i++) append(queue, (uint32_t)i, rule, rules);
  if (queue->waiting > 1) {
    for (int64_t i = (queue->waiting - 2) / CHILDREN; i >= 0; i--) sift_down(queue, i);
  }
  while (queue->waiting > 0) {
    MergeCandidate top = take(queue);
    Symbol *a = &queue->symbols[top.left];
    if (a->size == 0 || a->next == MERGE_NONE) continue;
    Symbol *b = &queue->symbols[a->next];
    // Borders between symbols only vanish: the same size means the same two symbols.
    if (a->size + b->size != top.size) continue;
    a->id = top.id;
    a->size = top.size;
    a->next = b->next;
    b->size = 0;
    if (a->next != MERGE_NONE) queue->symbols[a->next].prev = top.left;
    if (append(queue, top.left, rule, rules)) sift_up(queue, queue->waiting - 1);
    if (a->prev != MERGE_NONE && append(queue, a->prev, rule, rules)) {
      sift_up(queue, queue->waiting - 1);
    }
  }
}

void merge_queue_free(MergeQueue *queue) {
  free(queue->symbols);
  free(queue->heap);
  *queue = (MergeQueue){0};
}
