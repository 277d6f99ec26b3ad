// Text from a file as a part of a one-line message.
#ifndef VMA_QUOTE_H
#define VMA_QUOTE_H

#include <stdint.h>

typedef struct Quote {
  char text[104];
} Quote;

// 'bytes' in single quotes: control characters and invalid UTF-8 become \xNN, and what does not fit
// is cut and ends in "...". The result is passed by value, so that several fit into one message:
// quote_bytes(data, size).text.
Quote quote_bytes(const void *bytes, int64_t size);

// The same for a NUL-terminated string.
Quote quote_text(const char *text);

// The length (1 to 4) of the well-formed UTF-8 character at `text`, of which `left` > 0 bytes are
// there; 0 when it is not well-formed (Unicode 15, table 3-7: no overlong form, no surrogate,
// nothing above U+10FFFF).
int utf8_character_length(const uint8_t *text, int64_t left);

#endif
