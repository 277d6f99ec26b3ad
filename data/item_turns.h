// One item of a data file as a conversation, in each of the forms in which people keep them:
//
//   alpaca    {"instruction", "input", "output"}: texts; input may be missing or null. Also
//             "system", a text, and "history", a list of [question, answer] before this one
//   messages  {"messages": [{"role": "system" | "user" | "assistant", "content"}, ...]}; "weight":
//   0
//             on an answer keeps it out of the loss
//   sharegpt  {"conversations": [{"from": "system" | "human" | "user" | "gpt" | "assistant",
//             "value"}, ...]}, and "system", a text, beside it
//   text      {"text"}: a document
//
// A conversation is a system text, if any, then questions and answers in turn. A question at its
// end that nobody answers is left out. Tools and functions are refused by name; other fields are
// passed over.
#ifndef VMA_ITEM_TURNS_H
#define VMA_ITEM_TURNS_H

#include "config.h"
#include "json_items.h"
#include "template.h"

typedef struct ItemTurns {
  Turn *turns; // texts borrowed from the item's value
  int64_t n, capacity;
  bool unanswered; // a question was left out
} ItemTurns;

void item_turns_free(ItemTurns *turns);

// The form of an item by its fields; DATA_FORMAT_AUTO: none of them.
DataFormat item_format(const JsonItem *item);

// Fills turns, which is used again for the next item; of the form text it has one turn, a question
// with the document. STATUS_DATA: place, field, expected, found.
Status item_turns_read(ItemTurns *turns, const JsonItems *items, const JsonItem *item,
                       DataFormat format, Error *err);

#endif
