#include "quote.h"

#include <stdio.h>
#include <string.h>

static int is_tail(uint8_t c) {
  return (c & 0xC0) == 0x80;
}

int utf8_character_length(const uint8_t *text, int64_t left) {
  uint8_t c = text[0];
  if (c < 0x80) return 1;
  if (c < 0xC2 || c > 0xF4) return 0;
  if (left < 2 || !is_tail(text[1])) return 0;
  if (c < 0xE0) return 2;
  if (left < 3 || !is_tail(text[2])) return 0;
  if (c < 0xF0) {
    if (c == 0xE0 && text[1] < 0xA0) return 0; // overlong
    if (c == 0xED && text[1] > 0x9F) return 0; // a surrogate
    return 3;
  }
  if (left < 4 || !is_tail(text[3])) return 0;
  if (c == 0xF0 && text[1] < 0x90) return 0; // overlong
  if (c == 0xF4 && text[1] > 0x8F) return 0; // above U+10FFFF
  return 4;
}

Quote quote_bytes(const void *bytes, int64_t size) {
  enum { ROOM = sizeof((Quote *)0)->text - 6 }; // what stays: "...'" and the NUL
  Quote quote;
  const uint8_t *from = bytes;
  int n = 0;
  quote.text[n++] = '\'';
  int64_t i = 0;
  while (i < size) {
    int length = utf8_character_length(from + i, size - i);
    int plain = length > 1 || (length == 1 && from[i] >= 0x20 && from[i] != 0x7F);
    if (n + (plain ? length : 4) > ROOM) break;
    if (plain) {
      memcpy(quote.text + n, from + i, (size_t)length);
      n += length;
      i += length;
    } else {
      n += snprintf(quote.text + n, 5, "\\x%02x", from[i]);
      i++;
    }
  }
  memcpy(quote.text + n, i < size ? "...'" : "'", i < size ? 5 : 2);
  return quote;
}

Quote quote_text(const char *text) {
  return quote_bytes(text, (int64_t)strlen(text));
}
