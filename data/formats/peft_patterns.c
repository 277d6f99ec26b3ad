#include "peft_patterns.h"

#include "quote.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

// ---- plain keys ----

// Names, and dots or escaped dots between them: nearly all keys.
static bool is_plain(const char *key) {
  for (; *key != '\0'; key++) {
    if (key[0] == '\\' && key[1] == '.') key++;
    if (!isalnum((unsigned char)*key) && strchr("_-.", *key) == NULL) return false;
  }
  return true;
}

// How many characters of a name a plain key takes, all alike in every match.
static size_t plain_length(const char *key) {
  size_t n = 0;
  for (; *key != '\0'; key++) n += *key != '\\';
  return n;
}

static bool plain_matches(const char *key, const char *module) {
  size_t n = strlen(module), k = plain_length(key);
  if (k > n || (k < n && module[n - k - 1] != '.')) return false;
  for (const char *at = module + n - k; *key != '\0'; key++, at++) {
    if (*key == '\\') {
      key++;
    } else if (*key == '.') {
      continue; // any character
    }
    if (*key != *at) return false;
  }
  return true;
}

// ---- regular expressions ----

// From Python's to POSIX extended expressions.
typedef struct Translation {
  const char *in;
  char *out;
  int depth;
  bool repeatable; // what stands before can be repeated
} Translation;

static void put(Translation *t, const char *text) {
  size_t n = strlen(text);
  memcpy(t->out, text, n + 1);
  t->out += n;
}

static void put_literal(Translation *t, char c) {
  char text[3] = {'\\', c, '\0'};
  put(t, strchr(".[]()*+?{}|^$\\", c) != NULL ? text : text + 1);
  t->repeatable = true;
}

// A set of characters, without escapes but \d and \w, and without POSIX's [: :].
static bool translate_set(Translation *t) {
  put(t, "[");
  const char *from = ++t->in;
  if (*t->in == '^') put(t, "^");
  if (*t->in == '^') from = ++t->in;
  for (; *t->in != ']' || t->in == from; t->in++) {
    char text[2] = {*t->in, '\0'};
    if (*t->in < ' ' || *t->in > '~' || *t->in == '[' || *t->in == ']') return false;
    if (*t->in != '\\') {
      put(t, text);
    } else if (t->in[1] == 'd' || t->in[1] == 'w') {
      put(t, *++t->in == 'd' ? "0-9" : "0-9A-Za-z_");
    } else {
      return false;
    }
  }
  put(t, "]");
  t->repeatable = true;
  return true;
}

// Groups in groups are repeated by copying when they are compiled: not too many.
enum { DEPTH_MAX = 4 };

static bool translate_group(Translation *t) {
  if (*t->in == ')') {
    put(t, ")");
    t->repeatable = true;
    return --t->depth >= 0;
  }
  if (t->in[1] == '?') {
    if (t->in[2] != ':') return false;
    t->in += 2;
  }
  put(t, "(");
  t->repeatable = false;
  return ++t->depth <= DEPTH_MAX;
}

// A lazy repetition matches the same names.
static bool translate_repetition(Translation *t) {
  char text[2] = {*t->in, '\0'};
  if (!t->repeatable) return false;
  put(t, text);
  if (t->in[1] == '?') t->in++;
  t->repeatable = false;
  return true;
}

static bool translate_one(Translation *t) {
  char c = *t->in, text[2] = {c, '\0'};
  if (c < ' ' || c > '~' || c == '{' || c == '}') return false;
  if (c == '[') return translate_set(t);
  if (c == '(' || c == ')') return translate_group(t);
  if (c == '*' || c == '+' || c == '?') return translate_repetition(t);
  if (c == '\\') {
    c = *++t->in;
    if (c == 'd' || c == 'w') {
      put(t, c == 'd' ? "[0-9]" : "[0-9A-Za-z_]");
      t->repeatable = true;
    } else if (ispunct((unsigned char)c)) {
      put_literal(t, c);
    } else {
      return false;
    }
    return true;
  }
  if (c == '.' || c == '|' || c == '^' || c == '$') {
    put(t, text);
    t->repeatable = c == '.';
  } else {
    put_literal(t, c);
  }
  return true;
}

// NULL when the key is not read here, or there is no memory.
static regex_t *compile(const char *key) {
  // A character becomes 12 at most ([0-9A-Za-z_] for \w is six each).
  static const char head[] = "^(.*\\.)?(", tail[] = ")$";
  char *text = malloc(12 * strlen(key) + sizeof head + sizeof tail);
  regex_t *regex = malloc(sizeof *regex);
  Translation t = {.in = key, .out = text};
  bool ok = text != NULL && regex != NULL;
  if (ok) put(&t, head);
  t.repeatable = false;
  for (; ok && *t.in != '\0'; t.in++) ok = translate_one(&t);
  ok = ok && t.depth == 0;
  if (ok) put(&t, tail);
  ok = ok && regcomp(regex, text, REG_EXTENDED | REG_NOSUB) == 0;
  free(text);
  if (ok) return regex;
  free(regex);
  return NULL;
}

// ---- the list ----

static void free_pattern(PeftPattern *pattern) {
  if (pattern->regex != NULL) regfree(pattern->regex);
  free(pattern->regex);
  free(pattern->key);
}

void peft_patterns_free(PeftPatterns *patterns) {
  for (int64_t i = 0; i < patterns->n; i++) free_pattern(&patterns->items[i]);
  free(patterns->items);
  *patterns = (PeftPatterns){0};
}

static int64_t count_regexes(const PeftPatterns *patterns) {
  int64_t n = 0;
  for (int64_t i = 0; i < patterns->n; i++) n += patterns->items[i].regex != NULL;
  return n;
}

Status peft_patterns_add(PeftPatterns *patterns, const char *key, double value, Error *err) {
  size_t length = strlen(key);
  bool plain = is_plain(key);
  if (length == 0 || length > PEFT_PATTERN_KEY_MAX) {
    return error_set(err, STATUS_DATA, "the key %s: expected 1 to %d characters",
                     quote_text(key).text, PEFT_PATTERN_KEY_MAX);
  }
  if (patterns->n == PEFT_PATTERNS_MAX || (!plain && count_regexes(patterns) == PEFT_REGEXES_MAX)) {
    return error_set(err, STATUS_DATA, "expected at most %d keys, and %d regular expressions",
                     PEFT_PATTERNS_MAX, PEFT_REGEXES_MAX);
  }
  PeftPattern *items = realloc(patterns->items, (size_t)(patterns->n + 1) * sizeof *items);
  if (items == NULL) return error_set(err, STATUS_MEMORY, "no memory for a pattern");
  patterns->items = items;
  PeftPattern pattern = {.key = strdup(key), .value = value, .regex = plain ? NULL : compile(key)};
  if (!plain && pattern.regex == NULL) {
    free_pattern(&pattern);
    return error_set(err, STATUS_DATA,
                     "the key %s: such a regular expression is not supported: expected names, . "
                     "[] () | * + ? ^ $",
                     quote_text(key).text);
  }
  if (pattern.key == NULL) {
    free_pattern(&pattern);
    return error_set(err, STATUS_MEMORY, "no memory for a pattern");
  }
  items[patterns->n++] = pattern;
  return STATUS_OK;
}

Status peft_patterns_add_glob(PeftPatterns *patterns, const char *glob, double value, Error *err) {
  char *key = malloc(2 * strlen(glob) + 1);
  if (key == NULL) return error_set(err, STATUS_MEMORY, "no memory for a pattern");
  Translation t = {.out = key};
  put(&t, "");
  for (; *glob != '\0'; glob++) {
    if (*glob == '*' || *glob == '?') {
      put(&t, *glob == '*' ? ".*" : ".");
    } else {
      put_literal(&t, *glob);
    }
  }
  Status status = peft_patterns_add(patterns, key, value, err);
  free(key);
  return status;
}

bool peft_pattern_matches(const PeftPattern *pattern, const char *module) {
  if (pattern->regex == NULL) return plain_matches(pattern->key, module);
  return regexec(pattern->regex, module, 0, NULL, 0) == 0;
}

double peft_patterns_value(const PeftPatterns *patterns, const char *module, double otherwise) {
  for (int64_t i = 0; patterns != NULL && i < patterns->n; i++) {
    if (peft_pattern_matches(&patterns->items[i], module)) return patterns->items[i].value;
  }
  return otherwise;
}
