// Words, numbers and symbols of PTX text.
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "sim_ptx_parse.h"

void ptx_fail(Parser *ps, const char *fmt, ...) {
  int n =
      ps->kernel != NULL ? snprintf(ps->message, ps->message_size, "%s: ", ps->kernel->title) : 0;
  if (n < 0 || (size_t)n >= ps->message_size) n = 0;
  va_list args;
  va_start(args, fmt);
  vsnprintf(ps->message + n, ps->message_size - (size_t)n, fmt, args);
  va_end(args);
  longjmp(ps->fail, 1);
}

void ptx_space(Parser *ps) {
  while (ps->p < ps->end && isspace((unsigned char)*ps->p)) ps->p++;
}

Word ptx_word(Parser *ps) {
  ptx_space(ps);
  Word word = {ps->p, 0};
  while (ps->p < ps->end) {
    const char c = *ps->p;
    if (isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.')
      ps->p++;
    else if (c == ':' && ps->p[1] == ':')
      ps->p += 2;
    else
      break;
  }
  word.n = (int)(ps->p - word.at);
  return word;
}

bool ptx_take(Parser *ps, char c) {
  ptx_space(ps);
  if (ps->p >= ps->end || *ps->p != c) return false;
  ps->p++;
  return true;
}

void ptx_expect(Parser *ps, char c) {
  if (!ptx_take(ps, c)) {
    const int n = (int)(ps->end - ps->p < 40 ? ps->end - ps->p : 40);
    ptx_fail(ps, "PTX: '%c' expected at \"%.*s\"", c, n, ps->p);
  }
}

Word ptx_until(Parser *ps, char close) {
  const char open = close == ')' ? '(' : close == ']' ? '[' : close == '}' ? '{' : 0;
  Word word = {ps->p, 0};
  int depth = 1;
  for (; ps->p < ps->end; ps->p++) {
    if (*ps->p == open) depth++;
    if (*ps->p == close && --depth == 0) break;
  }
  if (ps->p >= ps->end) ptx_fail(ps, "PTX: no closing '%c'", close);
  word.n = (int)(ps->p - word.at);
  ps->p++;
  return word;
}

bool word_is(Word word, const char *text) {
  return (size_t)word.n == strlen(text) && memcmp(word.at, text, (size_t)word.n) == 0;
}

bool word_starts(Word word, const char *text) {
  const size_t n = strlen(text);
  return (size_t)word.n >= n && memcmp(word.at, text, n) == 0;
}

Word word_trim(Word word) {
  while (word.n > 0 && isspace((unsigned char)word.at[0])) word.at++, word.n--;
  while (word.n > 0 && isspace((unsigned char)word.at[word.n - 1])) word.n--;
  return word;
}

char *word_copy(Word word) {
  char *text = malloc((size_t)word.n + 1);
  memcpy(text, word.at, (size_t)word.n);
  text[word.n] = 0;
  return text;
}

// 12, -3, 0x1F, 0b101, 12U, 0f3F800000, 0d3FF0000000000000; decimal points too.
bool ptx_number(Word word, int size, uint64_t *value) {
  word = word_trim(word);
  if (word.n == 0 || word.n > 60) return false;
  char text[64];
  memcpy(text, word.at, (size_t)word.n);
  text[word.n] = 0;
  const char *t = text;
  const bool minus = *t == '-';
  if (minus) t++;
  while (*t == ' ') t++;
  if (!isdigit((unsigned char)*t)) return false;
  char *stop = NULL;
  if (t[0] == '0' && (t[1] == 'f' || t[1] == 'F')) {
    *value = strtoull(t + 2, &stop, 16);
    if (minus) *value ^= 0x80000000;
    if (size == 8) { // an f32 immediate of an f64 instruction
      const uint32_t bits = (uint32_t)*value;
      float f;
      memcpy(&f, &bits, sizeof f);
      const double d = f;
      memcpy(value, &d, sizeof d);
    }
  } else if (t[0] == '0' && (t[1] == 'd' || t[1] == 'D')) {
    *value = strtoull(t + 2, &stop, 16);
    if (minus) *value ^= 0x8000000000000000;
    if (size == 4) {
      double d;
      memcpy(&d, value, sizeof d);
      const float f = (float)d;
      uint32_t bits;
      memcpy(&bits, &f, sizeof bits);
      *value = bits;
    }
  } else if (strchr(t, '.') != NULL) {
    const double d = minus ? -strtod(t, &stop) : strtod(t, &stop);
    const float f = (float)d;
    *value = 0;
    memcpy(value, size == 8 ? (const void *)&d : (const void *)&f, size == 8 ? 8 : 4);
  } else {
    const int base = t[0] == '0' && (t[1] == 'b' || t[1] == 'B') ? 2 : 0;
    *value = strtoull(base == 2 ? t + 2 : t, &stop, base);
    while (*stop == 'U' || *stop == 'u') stop++;
    if (minus) *value = 0 - *value;
  }
  return *stop == 0;
}

Symbol *ptx_add(Parser *ps, Word name, SymbolKind kind, int64_t value) {
  Symbol *symbol = PUSH(ps->symbols);
  *symbol = (Symbol){.name = name, .kind = kind, .count = -1, .value = value};
  return symbol;
}

static int register_bytes(int size) {
  return size == 1 ? 4 : 32 * size;
}

bool ptx_find(const Parser *ps, Word name, Symbol *out) {
  int digits = 0;
  while (digits < name.n && isdigit((unsigned char)name.at[name.n - 1 - digits])) digits++;
  const int stem = name.n - digits;
  for (int64_t k = ps->symbols.n - 1; k >= 0; k--) {
    if (k < ps->frame && k >= ps->module_symbols) k = ps->module_symbols - 1; // the caller's
    if (k < 0) break;
    const Symbol *s = &ps->symbols.at[k];
    if (s->count < 0) {
      if (s->name.n == name.n && memcmp(s->name.at, name.at, (size_t)name.n) == 0) {
        *out = *s;
        return true;
      }
    } else if (digits > 0 && s->name.n == stem && memcmp(s->name.at, name.at, (size_t)stem) == 0) {
      const int number = (int)integer_at(name.at + stem);
      if (number >= s->count) continue;
      *out = *s;
      out->value += (int64_t)number * register_bytes(s->size);
      return true;
    }
  }
  return false;
}

int32_t ptx_new_register(Parser *ps, int size, int count) {
  const int64_t at = ps->file_bytes;
  ps->file_bytes = (at + (int64_t)count * register_bytes(size) + 63) / 64 * 64;
  if (ps->file_bytes > INT32_MAX / 2) ptx_fail(ps, "too many registers");
  return (int32_t)at;
}

int32_t ptx_immediate(Parser *ps, uint64_t value, int size, bool dynamic) {
  if (size < 8 && size > 1) value &= ((uint64_t)1 << (8 * size)) - 1;
  for (int64_t k = 0; k < ps->immediates.n; k++) {
    const Immediate *im = &ps->immediates.at[k];
    if (im->value == value && im->size == size && im->dynamic == dynamic) return im->offset;
  }
  Immediate *immediate = PUSH(ps->immediates);
  *immediate = (Immediate){value, size, ptx_new_register(ps, size, 1), dynamic};
  return immediate->offset;
}

int64_t ptx_label_use(Parser *ps, Word name, int64_t pc, int list, int element) {
  LabelUse *use = PUSH(ps->uses);
  *use = (LabelUse){.name = name, .scope = ps->scope, .pc = pc, .list = list, .element = element};
  return ps->uses.n - 1;
}

void ptx_add_unknown(Parser *ps, Word opcode) {
  char *name = word_copy(opcode);
  const size_t n = ps->unknown != NULL ? strlen(ps->unknown) : 0;
  const char *seen = n > 0 ? strstr(ps->unknown, name) : NULL;
  if (seen == NULL) {
    ps->unknown = realloc(ps->unknown, n + strlen(name) + 3);
    snprintf(ps->unknown + n, strlen(name) + 3, "%s%s", n > 0 ? ", " : "", name);
  }
  free(name);
}

static const struct {
  const char *name;
  SimType type;
  int bytes;
} types[] = {
    {"u8", SIM_T_U8, 1},     {"u16", SIM_T_U16, 2},     {"u32", SIM_T_U32, 4},
    {"u64", SIM_T_U64, 8},   {"s8", SIM_T_S8, 1},       {"s16", SIM_T_S16, 2},
    {"s32", SIM_T_S32, 4},   {"s64", SIM_T_S64, 8},     {"b8", SIM_T_B8, 1},
    {"b16", SIM_T_B16, 2},   {"b32", SIM_T_B32, 4},     {"b64", SIM_T_B64, 8},
    {"f16", SIM_T_F16, 2},   {"bf16", SIM_T_BF16, 2},   {"f32", SIM_T_F32, 4},
    {"f64", SIM_T_F64, 8},   {"f16x2", SIM_T_F16X2, 4}, {"bf16x2", SIM_T_BF16X2, 4},
    {"tf32", SIM_T_TF32, 4}, {"pred", SIM_T_PRED, 1},   {"b128", SIM_T_B128, 16},
};

SimType sim_type(const char *name, size_t length) {
  for (size_t k = 0; k < sizeof types / sizeof *types; k++)
    if (strlen(types[k].name) == length && memcmp(types[k].name, name, length) == 0)
      return types[k].type;
  return SIM_T_NONE;
}

int sim_type_bytes(SimType type) {
  for (size_t k = 0; k < sizeof types / sizeof *types; k++)
    if (types[k].type == type) return types[k].bytes;
  return 0;
}
