// UTF-8 as the tokenizers need it: text that is not well-formed is made so as Python's
// decode("utf-8", errors="replace") does it, after which characters are read without checks.
#ifndef VMA_UTF8_H
#define VMA_UTF8_H

#include <stdbool.h>
#include <stdint.h>

// The length of what one U+FFFD stands for at `text`, where no well-formed character begins: the
// longest beginning of one ("maximal subpart", Unicode 15, section 3.9), else one byte. *cut: the
// text ends before the character does.
int utf8_broken_length(const uint8_t *text, int64_t left, bool *cut);

// NULL when the text is well-formed already, else a repaired copy of *repaired bytes, to be freed
// by the caller.
char *utf8_repair(const char *text, int64_t bytes, int64_t *repaired);

bool utf8_is_well_formed(const char *text, int64_t bytes);

// The character at `text`, which is well-formed there, and its length.
static inline uint32_t utf8_read(const char *text, int *length) {
  const uint8_t *p = (const uint8_t *)text;
  if (p[0] < 0x80) return *length = 1, p[0];
  if (p[0] < 0xE0) return *length = 2, (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
  if (p[0] < 0xF0) {
    return *length = 3, (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
  }
  return *length = 4,
         (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

// The length of the well-formed character that begins with this byte.
static inline int utf8_length(char first) {
  uint8_t c = (uint8_t)first;
  return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

#endif
