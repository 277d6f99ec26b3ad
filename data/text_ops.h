// Changes of a text before it is cut and merged: what the normalizers Prepend and Replace and the
// pre-tokenizer Metaspace do.
#ifndef VMA_TEXT_OPS_H
#define VMA_TEXT_OPS_H

#include <stdbool.h>
#include <stdint.h>

enum { TEXT_OPS_MAX = 8 };

// What stands before a text.
typedef enum TextPlace {
  TEXT_BEGINS,  // nothing
  TEXT_BEHIND,  // a token that was cut out
  TEXT_GOES_ON, // more text: it is a part
} TextPlace;

typedef enum TextOpKind {
  TEXT_PREPEND,        // `to` in front of a text that is not empty
  TEXT_PREPEND_UNLESS, // the same, unless the text begins with `to`
  TEXT_PREPEND_FIRST,  // the same, only where the whole text begins
  TEXT_REPLACE,        // `from` by `to`
} TextOpKind;

typedef struct TextOp {
  TextOpKind kind;
  char *from, *to; // NUL-terminated; `from` of TEXT_REPLACE is not empty
} TextOp;

typedef struct TextOps {
  TextOp items[TEXT_OPS_MAX];
  int n;
} TextOps;

// A text that belongs to whoever gets it: free(data).
typedef struct Text {
  char *data;
  int64_t size, capacity;
} Text;

// Appends a change. from: NULL but for TEXT_REPLACE. At most TEXT_OPS_MAX.
void text_ops_add(TextOps *ops, TextOpKind kind, const char *from, const char *to);

// The text after all changes; nothing is put in front of one that goes on.
Text text_ops_apply(const TextOps *ops, const char *text, int64_t bytes, TextPlace place);

void text_ops_free(TextOps *ops);

#endif
