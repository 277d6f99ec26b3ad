#include "utf8.h"

#include "check.h"
#include "quote.h"

#include <stdlib.h>
#include <string.h>

int utf8_broken_length(const uint8_t *text, int64_t left, bool *cut) {
  uint8_t c = text[0];
  *cut = false;
  if (c < 0xC2 || c > 0xF4) return 1;
  int whole = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  // The second byte has a narrower range after some first ones: no overlong form, no surrogate.
  uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  int length = 1;
  while (length < whole && length < left && text[length] >= low && text[length] <= high) {
    length++;
    low = 0x80;
    high = 0xBF;
  }
  *cut = length == left && length < whole;
  return length;
}

// Where the text stops to be well-formed; `bytes` if it does not.
static int64_t well_formed_end(const char *text, int64_t bytes) {
  const uint8_t *from = (const uint8_t *)text;
  int64_t good = 0;
  while (good < bytes) {
    int length = from[good] < 0x80 ? 1 : utf8_character_length(from + good, bytes - good);
    if (length == 0) break;
    good += length;
  }
  return good;
}

bool utf8_is_well_formed(const char *text, int64_t bytes) {
  return well_formed_end(text, bytes) == bytes;
}

char *utf8_repair(const char *text, int64_t bytes, int64_t *repaired) {
  const uint8_t *from = (const uint8_t *)text;
  int64_t good = well_formed_end(text, bytes);
  if (good == bytes) return NULL;
  // Every broken byte becomes at most three.
  char *out = malloc((size_t)(good + 3 * (bytes - good)));
  CHECK(out != NULL, "no memory for a text of %lld bytes", (long long)bytes);
  if (good > 0) memcpy(out, text, (size_t)good);
  int64_t n = good;
  for (int64_t i = good; i < bytes;) {
    int length = utf8_character_length(from + i, bytes - i);
    if (length > 0) {
      memcpy(out + n, from + i, (size_t)length);
      n += length;
    } else {
      bool cut;
      length = utf8_broken_length(from + i, bytes - i, &cut);
      memcpy(out + n, "\xEF\xBF\xBD", 3);
      n += 3;
    }
    i += length;
  }
  *repaired = n;
  return out;
}
