#include "added_tokens.h"

#include "check.h"
#include "unicode_classes.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

void added_tokens_add(AddedTokens *tokens, const char *text, int64_t size, AddedToken token) {
  CHECK(size > 0 && size <= INT32_MAX, "an added token of %lld bytes", (long long)size);
  if (tokens->n == tokens->capacity) {
    tokens->capacity = tokens->capacity == 0 ? 32 : 2 * tokens->capacity;
    tokens->items = realloc(tokens->items, (size_t)tokens->capacity * sizeof(AddedToken));
    CHECK(tokens->items != NULL, "no memory for %lld added tokens", (long long)tokens->capacity);
  }
  token.text = malloc((size_t)size);
  CHECK(token.text != NULL, "no memory for an added token of %lld bytes", (long long)size);
  memcpy(token.text, text, (size_t)size);
  token.size = (int32_t)size;
  tokens->items[tokens->n++] = token;
}

static int compare(const void *left, const void *right) {
  const AddedToken *a = left, *b = right;
  int shorter = a->size < b->size ? a->size : b->size;
  int order = memcmp(a->text, b->text, (size_t)shorter);
  if (order != 0) return order;
  if (a->size != b->size) return a->size < b->size ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

void added_tokens_ready(AddedTokens *tokens) {
  if (tokens->n == 0) return;
  qsort(tokens->items, (size_t)tokens->n, sizeof(AddedToken), compare);
  int64_t kept = 1;
  for (int64_t i = 1; i < tokens->n; i++) {
    AddedToken *last = &tokens->items[kept - 1], *item = &tokens->items[i];
    if (item->size == last->size && memcmp(item->text, last->text, (size_t)item->size) == 0) {
      free(item->text);
    } else {
      tokens->items[kept++] = *item;
    }
  }
  tokens->n = kept;
  for (int64_t i = 0; i < kept; i++) tokens->first[(uint8_t)tokens->items[i].text[0]] = true;
}

void added_tokens_free(AddedTokens *tokens) {
  for (int64_t i = 0; i < tokens->n; i++) free(tokens->items[i].text);
  free(tokens->items);
  *tokens = (AddedTokens){0};
}

// The first item in [low, high), all alike up to `depth`, whose byte there is at least c.
static int64_t lower_bound(const AddedTokens *tokens, int64_t low, int64_t high, int depth, int c) {
  while (low < high) {
    int64_t middle = (low + high) / 2;
    const AddedToken *item = &tokens->items[middle];
    if (item->size <= depth || (uint8_t)item->text[depth] < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const AddedToken *added_tokens_match(const AddedTokens *tokens, const char *text, int64_t bytes) {
  const AddedToken *longest = NULL;
  if (bytes == 0 || !tokens->first[(uint8_t)text[0]]) return NULL;
  int64_t low = 0, high = tokens->n;
  for (int depth = 0; depth < bytes; depth++) {
    int c = (uint8_t)text[depth];
    low = lower_bound(tokens, low, high, depth, c);
    high = lower_bound(tokens, low, high, depth, c + 1);
    if (low == high) break;
    if (tokens->items[low].size == depth + 1) longest = &tokens->items[low];
  }
  return longest;
}

static bool is_space_at(const char *text) {
  int length;
  return unicode_class(utf8_read(text, &length)) == UNICODE_SPACE;
}

const AddedToken *added_tokens_next(const AddedTokens *tokens, const char *text, int64_t from,
                                    int64_t bytes, bool specials, int64_t *begin, int64_t *end) {
  if (tokens->n == 0) return NULL;
  for (int64_t at = from; at < bytes;) {
    const AddedToken *token = added_tokens_match(tokens, text + at, bytes - at);
    if (token == NULL || (token->special && !specials)) {
      at += token == NULL ? 1 : token->size;
      continue;
    }
    *begin = at;
    *end = at + token->size;
    if (token->lstrip) {
      for (int64_t left = at; left > from; *begin = left) {
        do left--;
        while (left > from && ((uint8_t)text[left] & 0xC0) == 0x80);
        if (!is_space_at(text + left)) break;
      }
    }
    while (token->rstrip && *end < bytes && is_space_at(text + *end)) {
      *end += utf8_length(text[*end]);
    }
    return token;
  }
  return NULL;
}
