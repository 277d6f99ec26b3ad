#include "pretokenize.h"

#include "check.h"
#include "unicode_classes.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

typedef void (*EmitWord)(void *context, const char *word, int64_t bytes);

// Sets of classes.
enum {
  LETTERS = 1 << UNICODE_LETTER,
  NUMBERS = 1 << UNICODE_NUMBER,
  SPACES = 1 << UNICODE_SPACE,
  DIGITS = NUMBERS | 1 << UNICODE_NEW_NUMBER,
  OTHERS = 1 << UNICODE_OTHER | 1 << UNICODE_PUNCTUATION | 1 << UNICODE_NEW_NUMBER,
  ALL = LETTERS | SPACES | DIGITS | OTHERS,
};

// The class of the character at `text`, as a set of one, and its length.
static inline int set_at(const char *text, int *length) {
  uint8_t c = (uint8_t)*text;
  if (c < 0x80) return *length = 1, 1 << unicode_latin1[c];
  return 1 << unicode_class(utf8_read(text, length));
}

// The end of the run of characters of these classes that begins at `at`.
static inline int64_t run_end(const char *text, int64_t at, int64_t bytes, int set) {
  int length;
  while (at < bytes && (set_at(text + at, &length) & set) != 0) at += length;
  return at;
}

static bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

// The length of a contraction after the apostrophe at `text`, with it; 0: none.
static int contraction(const char *text, int64_t bytes, bool any_case, bool long_s) {
  if (bytes < 2 || text[0] != '\'') return 0;
  int fold = any_case ? 0x20 : 0;
  int a = text[1] | fold, b = bytes > 2 ? text[2] | fold : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  if (long_s && bytes > 2 && memcmp(text + 1, "\xC5\xBF", 2) == 0) return 3;
  return 0;
}

// \s+(?!\S)|\s+ where white space begins: the last one before a word belongs to what follows,
// unless it is the only one.
static int64_t spaces(const char *text, int64_t bytes) {
  int64_t end = 0, last = 0;
  int length;
  while (end < bytes && set_at(text + end, &length) == SPACES) {
    last = end;
    end += length;
  }
  return end == bytes || last == 0 ? end : last;
}

static int64_t next_gpt2(const char *text, int64_t bytes) {
  int64_t n = contraction(text, bytes, false, false);
  if (n > 0) return n;
  int64_t word = text[0] == ' ' && bytes > 1 ? 1 : 0; // " ?" takes a space if a word follows
  int length, set = set_at(text + word, &length);
  if (set == SPACES) return spaces(text, bytes);
  return run_end(text, word, bytes, set == LETTERS || set == NUMBERS ? set : OTHERS);
}

static int64_t next_llama3(const SplitStep *step, const char *text, int64_t bytes) {
  int64_t n = contraction(text, bytes, true, step->long_s);
  if (n > 0) return n;
  int length, next_length, set = set_at(text, &length);
  int next = length < bytes ? set_at(text + length, &next_length) : 0;
  if (set == LETTERS || (next == LETTERS && set != NUMBERS && !is_newline(text[0]))) {
    return run_end(text, length, bytes, LETTERS);
  }
  if (set == NUMBERS) {
    n = length;
    for (int i = 1; i < step->digits && n < bytes; i++) {
      if (set_at(text + n, &length) != NUMBERS) break;
      n += length;
    }
    return n;
  }
  if ((set & OTHERS) != 0 || (text[0] == ' ' && (next & OTHERS) != 0)) {
    n = run_end(text, length, bytes, OTHERS);
    while (n < bytes && is_newline(text[n])) n++;
    return n;
  }
  // \s*[\r\n]+ goes up to the last line break of the white space.
  int64_t end = run_end(text, 0, bytes, SPACES);
  while (end > 0 && !is_newline(text[end - 1])) end--;
  return end > 0 ? end : spaces(text, bytes);
}

static bool in_llamacpp_punctuation(const char *text, int set) {
  return set == 1 << UNICODE_PUNCTUATION ||
         ((uint8_t)text[0] < 0x80 && text[0] != 0 && strchr("$+<=>^~|", text[0]) != NULL);
}

static int64_t next_punctuation(const char *text, int64_t bytes) {
  int length;
  bool inside = in_llamacpp_punctuation(text, set_at(text, &length));
  int64_t end = length;
  while (end < bytes &&
         in_llamacpp_punctuation(text + end, set_at(text + end, &length)) == inside) {
    end += length;
  }
  return end;
}

static bool three_digits(const char *text, int64_t bytes) {
  if (bytes < 3) return false;
  for (int i = 0; i < 3; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
  }
  return true;
}

static int64_t next_three_digits(const char *text, int64_t bytes) {
  if (three_digits(text, bytes)) return 3;
  int64_t end = 1;
  while (end < bytes && !three_digits(text + end, bytes - end)) end++;
  return end;
}

// A run inside or outside of the set; inside, `single` takes one character.
static int64_t next_run(const char *text, int64_t bytes, int set, bool single) {
  int length;
  bool inside = (set_at(text, &length) & set) != 0;
  if (inside && single) return length;
  return run_end(text, length, bytes, inside ? set : ALL & ~set);
}

// The length of the piece at the front of text; bytes > 0.
static int64_t next_piece(const SplitStep *step, const char *text, int64_t bytes) {
  switch (step->kind) {
  case SPLIT_GPT2:
    return next_gpt2(text, bytes);
  case SPLIT_LLAMA3:
    return next_llama3(step, text, bytes);
  case SPLIT_NUMBERS:
    return next_run(text, bytes, NUMBERS, true);
  case SPLIT_NUMBER_RUNS:
    return next_run(text, bytes, NUMBERS, false);
  case SPLIT_DIGITS:
    return next_run(text, bytes, DIGITS, true);
  case SPLIT_DIGIT_RUNS:
    return next_run(text, bytes, DIGITS, false);
  case SPLIT_THREE_DIGITS:
    return next_three_digits(text, bytes);
  case SPLIT_PUNCTUATION:
    return next_punctuation(text, bytes);
  case PREFIX_SPACE:
    break;
  }
  return bytes;
}

static void cut(const PreTokenizer *pre, int step, const char *text, int64_t bytes, EmitWord emit,
                void *context) {
  if (step == pre->n) {
    emit(context, text, bytes);
    return;
  }
  char *prefixed = NULL;
  if (pre->steps[step].kind == PREFIX_SPACE && text[0] != ' ') {
    prefixed = malloc((size_t)bytes + 1);
    CHECK(prefixed != NULL, "no memory for a text of %lld bytes", (long long)bytes);
    prefixed[0] = ' ';
    memcpy(prefixed + 1, text, (size_t)bytes);
    text = prefixed;
    bytes++;
  }
  for (int64_t at = 0; at < bytes;) {
    int64_t n = next_piece(&pre->steps[step], text + at, bytes - at);
    cut(pre, step + 1, text + at, n, emit, context);
    at += n;
  }
  free(prefixed);
}

void pretokenize(const PreTokenizer *pre, const char *text, int64_t bytes, EmitWord emit,
                 void *context) {
  if (bytes > 0) cut(pre, 0, text, bytes, emit, context);
}
