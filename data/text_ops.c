#include "text_ops.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

void text_ops_add(TextOps *ops, TextOpKind kind, const char *from, const char *to) {
  CHECK(ops->n < TEXT_OPS_MAX, "more than %d changes of a text", TEXT_OPS_MAX);
  TextOp *op = &ops->items[ops->n++];
  *op = (TextOp){kind, from == NULL ? NULL : strdup(from), strdup(to)};
  CHECK(op->to != NULL && (from == NULL || op->from != NULL), "no memory for a change of a text");
}

void text_ops_free(TextOps *ops) {
  for (int i = 0; i < ops->n; i++) {
    free(ops->items[i].from);
    free(ops->items[i].to);
  }
}

static void text_put(Text *text, const char *bytes, int64_t size) {
  if (text->data == NULL || size > text->capacity - text->size) {
    text->capacity = 2 * (text->size + size) + 64;
    text->data = realloc(text->data, (size_t)text->capacity);
    CHECK(text->data != NULL, "no memory for a text of %lld bytes", (long long)text->capacity);
  }
  if (size > 0) memcpy(text->data + text->size, bytes, (size_t)size);
  text->size += size;
}

static void replace(Text *out, const char *text, int64_t bytes, const char *from, const char *to) {
  int64_t from_size = (int64_t)strlen(from), to_size = (int64_t)strlen(to);
  for (int64_t i = 0; i < bytes;) {
    const char *next = memmem(text + i, (size_t)(bytes - i), from, (size_t)from_size);
    int64_t plain = next == NULL ? bytes - i : next - (text + i);
    text_put(out, text + i, plain);
    i += plain;
    if (next == NULL) break;
    text_put(out, to, to_size);
    i += from_size;
  }
}

Text text_ops_apply(const TextOps *ops, const char *text, int64_t bytes, TextPlace place) {
  Text now = {0};
  text_put(&now, text, bytes);
  for (int i = 0; i < ops->n; i++) {
    const TextOp *op = &ops->items[i];
    int64_t size = (int64_t)strlen(op->to);
    Text next = {0};
    if (op->kind == TEXT_REPLACE) {
      replace(&next, now.data, now.size, op->from, op->to);
    } else {
      if (place == TEXT_GOES_ON) continue;
      bool first = place == TEXT_BEGINS;
      bool has = now.size >= size && memcmp(now.data, op->to, (size_t)size) == 0;
      bool wanted =
          op->kind == TEXT_PREPEND || (!has && (op->kind == TEXT_PREPEND_UNLESS || first));
      if (now.size == 0 || !wanted) continue;
      text_put(&next, op->to, size);
      text_put(&next, now.data, now.size);
    }
    free(now.data);
    now = next;
  }
  return now;
}
