// One value of one key: read from its text, printed as YAML, and the words for what it may be.
//
// Numbers are written in decimal: an integer without leading zeros (YAML 1.1 reads those as octal),
// a real with an optional fraction and exponent ("1e-4" is a number here, which YAML 1.1 would make
// a text).
#include "config_options.h"
#include "quote.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *field(const ConfigOption *option, RunConfig *config) {
  return (char *)config + option->offset;
}

static const void *const_field(const ConfigOption *option, const RunConfig *config) {
  return (const char *)config + option->offset;
}

OptionExpected option_expected(const ConfigOption *option) {
  OptionExpected e = {{0}};
  size_t room = sizeof e.text, used = 0;
  const char *end = option->open_most ? "to below" : option->open_least ? "and at most" : "to";
  switch (option->type) {
  case OPTION_TEXT:
    snprintf(e.text, room, "a text of at most %d bytes", CONFIG_TEXT_BYTES - 1);
    break;
  case OPTION_INT:
    if (option->int_most == INT64_MAX) {
      snprintf(e.text, room, "an integer from %lld to 2^63 - 1", (long long)option->int_least);
    } else {
      snprintf(e.text, room, "an integer from %lld to %lld", (long long)option->int_least,
               (long long)option->int_most);
    }
    break;
  case OPTION_REAL:
    snprintf(e.text, room, "a number %s %g %s %g", option->open_least ? "above" : "from",
             option->real_least, end, option->real_most);
    break;
  case OPTION_BOOL:
    snprintf(e.text, room, "true or false");
    break;
  case OPTION_CHOICE:
    for (int i = 0; i < option->n_choices && used < room; i++) {
      const char *before = i == 0 ? "" : i + 1 < option->n_choices ? ", " : " or ";
      used += (size_t)snprintf(e.text + used, room - used, "%s%s", before, option->choices[i]);
    }
    break;
  case OPTION_SHARE:
    snprintf(e.text, room, "a number of examples (40) or a share between 0 and 1 (0.05)");
    break;
  case OPTION_WORDS:
    snprintf(e.text, room,
             "%d to %d different %s of at most %d letters, digits, %s'_', '.' and '-'",
             option->may_be_empty ? 0 : 1, CONFIG_LIST_MAX, option->patterns ? "patterns" : "names",
             CONFIG_WORD_BYTES - 1, option->patterns ? "'*', '?', '=', " : "");
    break;
  case OPTION_REALS:
    snprintf(e.text, room, "at most %d numbers, each %s %g %s %g", CONFIG_LIST_MAX,
             option->open_least ? "above" : "from", option->real_least, end, option->real_most);
    break;
  case OPTION_PATHS:
    snprintf(e.text, room, "one or more paths without commas, at most %d bytes in all",
             CONFIG_TEXT_BYTES - 1);
    break;
  }
  return e;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static int64_t skip_digits(const char *text, int64_t at) {
  while (is_digit(text[at])) at++;
  return at;
}

// `text` is NUL-terminated.
static bool parse_int(const char *text, int64_t *value) {
  int64_t sign = text[0] == '-', end = skip_digits(text, sign);
  if (end == sign || text[end] != '\0' || (text[sign] == '0' && end > sign + 1)) return false;
  errno = 0;
  *value = strtoll(text, NULL, 10);
  return errno == 0;
}

static bool parse_real(const char *text, double *value) {
  int64_t at = text[0] == '-' || text[0] == '+';
  int64_t whole = skip_digits(text, at), end = whole;
  if (text[end] == '.') end = skip_digits(text, end + 1);
  if (end - at - (end > whole) < 1) return false; // no digit at all
  if (text[end] == 'e' || text[end] == 'E') {
    int64_t exponent = end + 1;
    if (text[exponent] == '-' || text[exponent] == '+') exponent++;
    end = skip_digits(text, exponent);
    if (end == exponent) return false;
  }
  if (text[end] != '\0') return false;
  *value = strtod(text, NULL);
  return isfinite(*value);
}

static bool set_int(const ConfigOption *option, void *out, const char *text) {
  int64_t value;
  if (!parse_int(text, &value) || value < option->int_least || value > option->int_most) {
    return false;
  }
  *(int64_t *)out = value;
  return true;
}

static bool set_real(const ConfigOption *option, void *out, const char *text) {
  double value;
  if (!parse_real(text, &value)) return false;
  if (value < option->real_least || (option->open_least && value == option->real_least)) {
    return false;
  }
  if (value > option->real_most || (option->open_most && value == option->real_most)) return false;
  *(double *)out = value + 0.0; // no -0
  return true;
}

static bool set_choice(const ConfigOption *option, void *out, const char *text) {
  for (int i = 0; i < option->n_choices; i++) {
    if (strcmp(option->choices[i], text) != 0) continue;
    *(unsigned *)out = (unsigned)i;
    return true;
  }
  return false;
}

static bool set_share(void *out, const char *text) {
  ConfigShare *share = out;
  int64_t count;
  double fraction;
  if (parse_int(text, &count)) {
    if (count < 0) return false;
    *share = (ConfigShare){.count = count};
    return true;
  }
  if (!parse_real(text, &fraction) || fraction < 0 || fraction >= 1) return false;
  *share = (ConfigShare){.fraction = fraction + 0.0};
  return true;
}

static bool set_bool(void *out, const char *text) {
  bool value = strcmp(text, "true") == 0;
  if (!value && strcmp(text, "false") != 0) return false;
  *(bool *)out = value;
  return true;
}

static bool is_word_character(const ConfigOption *option, char c, bool first) {
  bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
  if (letter || c == '_') return true;
  if (option->patterns && (c == '*' || c == '?' || (!first && c == '='))) return true;
  return !first && (c == '.' || c == '-');
}

// Reads the words between commas.
static bool add_words(const ConfigOption *option, ConfigWords *list, const char *text,
                      int64_t size) {
  for (int64_t from = 0; from <= size;) {
    const char *comma = memchr(text + from, ',', (size_t)(size - from));
    int64_t end = comma != NULL ? comma - text : size, next = end + 1;
    while (from < end && text[from] == ' ') from++;
    while (end > from && text[end - 1] == ' ') end--;
    if (end == from || end - from >= CONFIG_WORD_BYTES || list->n == CONFIG_LIST_MAX) return false;
    char word[CONFIG_WORD_BYTES] = "";
    for (int64_t i = 0; i < end - from; i++) {
      if (!is_word_character(option, text[from + i], i == 0)) return false;
      word[i] = text[from + i];
    }
    for (int i = 0; i < list->n; i++) {
      if (strcmp(list->words[i], word) == 0) return false;
    }
    memcpy(list->words[list->n++], word, sizeof word);
    from = next;
  }
  return true;
}

static bool is_utf8(const char *text, int64_t size) {
  for (int64_t i = 0; i < size;) {
    int n = utf8_character_length((const uint8_t *)text + i, size - i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

static bool set_text(void *out, const char *text, int64_t size) {
  if (size >= CONFIG_TEXT_BYTES || !is_utf8(text, size)) return false;
  memset(out, 0, CONFIG_TEXT_BYTES);
  memcpy(out, text, (size_t)size);
  return true;
}

static bool set_words(const ConfigOption *option, void *out, const char *text, int64_t size) {
  ConfigWords list = {0};
  bool empty = size == 0 && option->may_be_empty;
  if (!empty && !add_words(option, &list, text, size)) return false;
  memcpy(out, &list, sizeof list);
  return true;
}

// Adds the numbers between commas; an empty text is a list of none.
static bool add_reals(const ConfigOption *option, ConfigReals *list, const char *text) {
  if (text[0] == '\0') return true;
  for (;;) {
    char number[64] = "";
    size_t n = strcspn(text, ",");
    if (n >= sizeof number || list->n == CONFIG_LIST_MAX) return false;
    memcpy(number, text, n);
    if (!set_real(option, &list->values[list->n], number)) return false;
    list->n++;
    if (text[n] == '\0') return true;
    text += n + 1;
  }
}

static bool set_reals(const ConfigOption *option, void *out, const char *text) {
  ConfigReals list = {0};
  if (!add_reals(option, &list, text)) return false;
  memcpy(out, &list, sizeof list);
  return true;
}

// Paths that are not empty, a comma between two.
static bool set_paths(void *out, const char *text, int64_t size) {
  if (size > 0 && (text[0] == ',' || text[size - 1] == ',')) return false;
  for (int64_t i = 1; i < size; i++) {
    if (text[i] == ',' && text[i - 1] == ',') return false;
  }
  bool nul = size > 0 && memchr(text, '\0', (size_t)size) != NULL;
  return !nul && set_text(out, text, size);
}

static bool add_path(char *paths, const char *text, int64_t size) {
  char all[CONFIG_TEXT_BYTES];
  int64_t used = (int64_t)strlen(paths);
  if (size == 0 || used + 1 + size >= CONFIG_TEXT_BYTES) return false;
  memcpy(all, paths, (size_t)used);
  if (used > 0) all[used++] = ',';
  memcpy(all + used, text, (size_t)size);
  return set_paths(paths, all, used + size);
}

static Status wrong_value(const ConfigOption *option, const char *text, int64_t size,
                          const char *place, Error *err) {
  return error_set(err, STATUS_USAGE, "%s: %s: expected %s, found %s", place, option->key,
                   option_expected(option).text,
                   size == 0 ? "nothing" : quote_bytes(text, size).text);
}

Status option_set(const ConfigOption *option, RunConfig *config, const char *text, int64_t size,
                  const char *place, Error *err) {
  char copy[256] = ""; // more than any number or choice
  bool is_short = size < (int64_t)sizeof copy && memchr(text, '\0', (size_t)size) == NULL;
  if (is_short) memcpy(copy, text, (size_t)size);
  void *out = field(option, config);
  bool ok = false;
  switch (option->type) {
  case OPTION_TEXT:
    ok = memchr(text, '\0', (size_t)size) == NULL && set_text(out, text, size);
    break;
  case OPTION_WORDS:
    ok = set_words(option, out, text, size);
    break;
  case OPTION_REALS:
    ok = is_short && set_reals(option, out, copy);
    break;
  case OPTION_PATHS:
    ok = set_paths(out, text, size);
    break;
  case OPTION_INT:
    ok = is_short && set_int(option, out, copy);
    break;
  case OPTION_REAL:
    ok = is_short && set_real(option, out, copy);
    break;
  case OPTION_BOOL:
    ok = is_short && set_bool(out, copy);
    break;
  case OPTION_CHOICE:
    ok = is_short && set_choice(option, out, copy);
    break;
  case OPTION_SHARE:
    ok = is_short && set_share(out, copy);
    break;
  }
  return ok ? STATUS_OK : wrong_value(option, text, size, place, err);
}

bool option_is_list(const ConfigOption *option) {
  return option->type == OPTION_WORDS || option->type == OPTION_REALS ||
         option->type == OPTION_PATHS;
}

void option_list_clear(const ConfigOption *option, RunConfig *config) {
  memset(field(option, config), 0, (size_t)option->bytes);
}

Status option_list_add(const ConfigOption *option, RunConfig *config, const char *text,
                       int64_t size, const char *place, Error *err) {
  bool single = memchr(text, ',', (size_t)size) == NULL && memchr(text, '\0', (size_t)size) == NULL;
  void *list = field(option, config);
  char number[64] = "";
  bool ok = false;
  if (single && option->type == OPTION_WORDS) ok = add_words(option, list, text, size);
  if (single && option->type == OPTION_PATHS) ok = add_path(list, text, size);
  if (single && option->type == OPTION_REALS && size > 0 && size < (int64_t)sizeof number) {
    memcpy(number, text, (size_t)size);
    ok = add_reals(option, list, number);
  }
  if (ok) return STATUS_OK;
  return wrong_value(option, text, size, place, err);
}

// The shortest text that reads back to the same double.
static void print_real(double value, FILE *out) {
  char text[40];
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  fputs(text, out);
}

// Whether a YAML reader may take the character for a line break or refuse it where it stands.
static bool must_escape(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0xFEFF ||
         c == 0xFFFE || c == 0xFFFF;
}

static void print_quoted(const char *text, FILE *out) {
  const uint8_t *at = (const uint8_t *)text;
  int64_t left = (int64_t)strlen(text);
  fputc('"', out);
  while (left > 0) {
    int n = utf8_character_length(at, left); // option_set lets only UTF-8 in
    uint32_t c = n <= 1 ? at[0] : at[0] & (0x7Fu >> n);
    for (int i = 1; i < n; i++) c = c << 6 | (at[i] & 0x3Fu);
    if (n == 0) n = 1;
    if (must_escape(c)) {
      fprintf(out, "\\u%04X", (unsigned)c);
    } else {
      if (c == '"' || c == '\\') fputc('\\', out);
      fwrite(at, 1, (size_t)n, out);
    }
    at += n;
    left -= n;
  }
  fputc('"', out);
}

// A plain scalar may not begin as an alias or a key does.
static void print_word(const char *word, FILE *out) {
  if (word[0] == '*' || word[0] == '?') {
    print_quoted(word, out);
  } else {
    fputs(word, out);
  }
}

void option_print(const ConfigOption *option, const RunConfig *config, FILE *out) {
  const void *value = const_field(option, config);
  const ConfigShare *share = value;
  const ConfigWords *list = value;
  const ConfigReals *reals = value;
  switch (option->type) {
  case OPTION_TEXT:
  case OPTION_PATHS:
    print_quoted(value, out);
    break;
  case OPTION_REALS:
    fputc('[', out);
    for (int i = 0; i < reals->n; i++) {
      fputs(i == 0 ? "" : ", ", out);
      print_real(reals->values[i], out);
    }
    fputc(']', out);
    break;
  case OPTION_INT:
    fprintf(out, "%lld", (long long)*(const int64_t *)value);
    break;
  case OPTION_REAL:
    print_real(*(const double *)value, out);
    break;
  case OPTION_BOOL:
    fputs(*(const bool *)value ? "true" : "false", out);
    break;
  case OPTION_CHOICE:
    fputs(option->choices[*(const unsigned *)value], out);
    break;
  case OPTION_SHARE:
    if (share->fraction > 0) {
      print_real(share->fraction, out);
    } else {
      fprintf(out, "%lld", (long long)share->count);
    }
    break;
  case OPTION_WORDS:
    fputc('[', out);
    for (int i = 0; i < list->n; i++) {
      fputs(i == 0 ? "" : ", ", out);
      print_word(list->words[i], out);
    }
    fputc(']', out);
    break;
  }
}
