// Texts that end a generation ("###", "\nUser:"): found across the borders of tokens, held back
// until it is clear whether one begins, never given out.
//
// Text comes in by pieces and goes out to a sink. A stop may begin wherever the text so far ends in
// a beginning of it, so that much is kept; the rest goes out at once. Time is linear in the text.
#ifndef VMA_STOP_TEXT_H
#define VMA_STOP_TEXT_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

// Takes a stretch of text (not NUL-terminated). What it returns ends the generation if not OK.
typedef struct TextSink {
  Status (*put)(void *user, const char *text, int64_t bytes, Error *err);
  void *user;
} TextSink;

typedef struct StopText {
  const char *const *stops; // [n], none of them empty
  int n;
  int64_t *lengths; // [n]
  TextSink sink;
  char *held; // [capacity]
  int64_t n_held, capacity;
  bool found;
} StopText;

// The stops must outlive it.
void stop_text_init(StopText *stop, const char *const *stops, int n, TextSink sink);
void stop_text_free(StopText *stop);

// Adds a piece. Once a stop was found (`found`) nothing more goes out. Of several the one that ends
// first counts, the longest of those: how the text was cut into pieces makes no difference.
Status stop_text_put(StopText *stop, const char *text, int64_t bytes, Error *err);

// The text is over: what is held back goes out.
Status stop_text_end(StopText *stop, Error *err);

#endif
