#include "html.h"

#include "quote.h"

#include <stdint.h>
#include <string.h>

// U+FFFE and U+FFFF are the only well-formed characters above the controls that XML lacks.
static int is_no_character(const uint8_t *at, int length) {
  return length == 3 && at[0] == 0xEF && at[1] == 0xBF && at[2] >= 0xBE;
}

static const char *escape_of(uint8_t c) {
  switch (c) {
  case '<':
    return "&lt;";
  case '>':
    return "&gt;";
  case '&':
    return "&amp;";
  case '"':
    return "&quot;";
  case '\'':
    return "&#39;";
  default:
    return c < ' ' && c != '\n' && c != '\t' ? "\xEF\xBF\xBD" : NULL;
  }
}

void html_text(FILE *to, const char *text) {
  const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
  while (at < end) {
    int length = utf8_character_length(at, end - at);
    const char *escape = escape_of(*at);
    if (length == 0 || is_no_character(at, length)) escape = "\xEF\xBF\xBD";
    if (escape != NULL) {
      fputs(escape, to);
    } else {
      fwrite(at, 1, (size_t)length, to);
    }
    at += length > 0 ? length : 1;
  }
}
