// A module's PTX from the outside in: variables, functions (kept as text: they are expanded where
// they are called) and kernels; then what the loader gives out.
#include <ctype.h>
#include <stdio.h>

#include "sim_fatbin.h"
#include "sim_ptx_parse.h"

// Comments become blanks; strings stay.
static char *strip(const char *ptx, int64_t bytes) {
  char *text = malloc((size_t)bytes + 2);
  memcpy(text, ptx, (size_t)bytes);
  text[bytes] = text[bytes + 1] = 0;
  for (char *p = text; *p != 0;) {
    if (*p == '"') {
      p++;
      while (*p != 0 && *p != '"') p++;
      if (*p != 0) p++;
    } else if (p[0] == '/' && p[1] == '/') {
      while (*p != 0 && *p != '\n') *p++ = ' ';
    } else if (p[0] == '/' && p[1] == '*') {
      while (*p != 0 && !(p[0] == '*' && p[1] == '/')) *p = *p == '\n' ? '\n' : ' ', p++;
      if (*p != 0) p[0] = p[1] = ' ', p += 2;
    } else {
      p++;
    }
  }
  return text;
}

Declared ptx_declaration(Parser *ps) {
  Declared d = {.align = 0};
  Word word = ptx_word(ps);
  bool pointer = false;
  for (; word.n > 0 && word.at[0] == '.'; word = ptx_word(ps)) {
    const SimType type = sim_type(word.at + 1, (size_t)word.n - 1);
    if (word_is(word, ".align")) {
      const int align = (int)integer_at(ptx_word(ps).at);
      if (!pointer) d.align = align; // else that of what it points at
    } else if (word_is(word, ".ptr")) {
      pointer = true;
    } else if (word_is(word, ".attribute")) {
      ptx_expect(ps, '(');
      ptx_until(ps, ')');
    } else if (word_is(word, ".v2") || word_is(word, ".v4")) {
      ptx_fail(ps, "PTX: a vector variable, which is not known");
    } else if (type != SIM_T_NONE) {
      d.type = type;
    }
  }
  d.name = word;
  d.elements_bytes = sim_type_bytes(d.type);
  d.bytes = d.elements_bytes;
  while (ptx_take(ps, '[')) {
    const Word count = word_trim(ptx_until(ps, ']'));
    if (count.n == 0)
      d.unsized = true;
    else
      d.bytes *= integer_at(count.at);
  }
  if (d.align < d.elements_bytes) d.align = d.elements_bytes;
  if (d.align < 1) d.align = 1;
  return d;
}

static void initialise(Parser *ps, const Declared *d, uint8_t *data) {
  const bool list = ptx_take(ps, '{');
  for (int64_t at = 0; at < d->bytes; at += d->elements_bytes) {
    ptx_space(ps);
    if (list && *ps->p == '}') break;
    while (ptx_take(ps, '{')) {
    }
    const char *from = ps->p;
    while (ps->p < ps->end && strchr(",};", *ps->p) == NULL) ps->p++;
    Word word = word_trim((Word){from, (int)(ps->p - from)});
    uint64_t value;
    if (!ptx_number(word, d->elements_bytes, &value)) { // name, name+4, generic(name)
      if (word_starts(word, "generic(")) word.at += 8, word.n -= 9;
      int64_t plus = 0;
      const char *sign = memchr(word.at, '+', (size_t)word.n);
      if (sign != NULL) {
        plus = integer_at(sign + 1);
        word = word_trim((Word){word.at, (int)(sign - word.at)});
      }
      Symbol symbol;
      if (!ptx_find(ps, word, &symbol))
        ptx_fail(ps, "PTX: initialiser \"%.*s\" of %.*s", word.n, word.at, d->name.n, d->name.at);
      value = (uint64_t)(symbol.value + plus);
    }
    memcpy(data + at, &value, (size_t)d->elements_bytes);
    while (ptx_take(ps, '}')) {
    }
    if (!ptx_take(ps, ',')) break;
  }
  while (ptx_take(ps, '}')) {
  }
}

void ptx_variable(Parser *ps, bool constant) {
  const Declared d = ptx_declaration(ps);
  SimModule *m = ps->module;
  m->variables = realloc(m->variables, (size_t)(m->n_variables + 1) * sizeof *m->variables);
  SimVariable *v = &m->variables[m->n_variables++];
  *v = (SimVariable){.name = word_copy(d.name), .bytes = d.bytes, .constant = constant};
  const size_t room = (size_t)(d.bytes + 255) / 256 * 256 + 256;
  v->data = aligned_alloc(256, room);
  memset(v->data, 0, room);
  ptx_add(ps, d.name, constant ? SYMBOL_CONST : SYMBOL_GLOBAL, (int64_t)(uintptr_t)v->data);
  if (ptx_take(ps, '=')) initialise(ps, &d, v->data);
  ptx_expect(ps, ';');
}

// Shared memory that is declared outside of kernels lies in every kernel. That without a size is
// the dynamic one: at the end of the static, known when the kernel is complete.
void ptx_shared(Parser *ps, bool external) {
  const Declared d = ptx_declaration(ps);
  ptx_expect(ps, ';');
  if (external || d.unsized) {
    ptx_add(ps, d.name, SYMBOL_SHARED, PTX_DYNAMIC);
    return;
  }
  ps->static_shared = (ps->static_shared + d.align - 1) / d.align * d.align;
  ptx_add(ps, d.name, SYMBOL_SHARED, ps->static_shared);
  ps->static_shared += d.bytes;
}

// rows<bf16> of _Z4rowsI13__nv_bfloat16EvPT_, or the name as it is.
static char *title_of(const char *name) {
  char out[200];
  int n = 0;
  const char *p = name;
  if (strncmp(p, "_Z", 2) != 0) return strdup(name);
  p += 2;
  const bool nested = *p == 'N';
  if (nested) p++;
  if (*p == 'L') p++;
  const char *last = NULL;
  int last_n = 0;
  while (isdigit((unsigned char)*p)) {
    char *q;
    const long length = strtol(p, &q, 10);
    if (length <= 0 || (size_t)length > strlen(q)) return strdup(name);
    last = q, last_n = (int)length;
    p = q + length;
    if (!nested) break;
  }
  if (last == NULL) return strdup(name);
  n = snprintf(out, sizeof out, "%.*s", last_n, last);
  if (*p == 'I') {
    const char *separator = "<";
    for (p++; *p != 0 && *p != 'E' && n < 150; separator = ", ") {
      if (*p == 'L') { // a constant: type, value, E
        const char *v = p + 2;
        const char *e = strchr(v, 'E');
        if (e == NULL) break;
        n += snprintf(out + n, sizeof out - (size_t)n, "%s%.*s", separator, (int)(e - v), v);
        p = e + 1;
      } else if (isdigit((unsigned char)*p)) {
        char *q;
        const long length = strtol(p, &q, 10);
        if (length <= 0 || (size_t)length > strlen(q)) break;
        const bool bf16 = strncmp(q, "__nv_bfloat16", 13) == 0;
        n += snprintf(out + n, sizeof out - (size_t)n, "%s%.*s", separator, bf16 ? 4 : (int)length,
                      bf16 ? "bf16" : q);
        p = q + length;
      } else {
        const char *plain = *p == 'f'   ? "float"
                            : *p == 'i' ? "int"
                            : *p == 't' ? "uint16"
                            : *p == 'j' ? "uint32"
                            : *p == 'a' ? "int8"
                            : *p == 'h' ? "uint8"
                                        : NULL;
        if (plain == NULL) break;
        n += snprintf(out + n, sizeof out - (size_t)n, "%s%s", separator, plain);
        p++;
      }
    }
    if (*separator != '<') snprintf(out + n, sizeof out - (size_t)n, ">");
  }
  return strdup(out);
}

static void kernel_params(Parser *ps, Word params) {
  const char *save = ps->p, *save_end = ps->end;
  ps->p = params.at, ps->end = params.at + params.n;
  SimKernel *k = ps->kernel;
  while (ptx_space(ps), ps->p < ps->end) {
    const Word space = ptx_word(ps);
    if (!word_is(space, ".param")) ptx_fail(ps, "PTX: a parameter that is no .param");
    const Declared d = ptx_declaration(ps);
    k->param_bytes = (k->param_bytes + d.align - 1) / d.align * d.align;
    k->params = realloc(k->params, (size_t)(k->n_params + 1) * sizeof *k->params);
    k->params[k->n_params++] = (SimParam){(int)k->param_bytes, (int)d.bytes};
    ptx_add(ps, d.name, SYMBOL_PARAM, k->param_bytes);
    k->param_bytes += d.bytes;
    ptx_take(ps, ',');
  }
  ps->p = save, ps->end = save_end;
}

// The innermost place in a .cu file, else in a .cuh, else the innermost.
static SimLine line_of(const Parser *ps, int loc) {
  SimLine best = {"?", 0};
  int rank = 0;
  for (int k = loc; k >= 0; k = ps->locs.at[k].parent) {
    const Loc *l = &ps->locs.at[k];
    if (l->file < 0 || l->file >= ps->files.n || ps->files.at[l->file].n == 0) continue;
    const Word file = ps->files.at[l->file];
    const char *name = file.at, *dot = NULL;
    for (int c = 0; c < file.n; c++) {
      if (file.at[c] == '.') dot = file.at + c;
    }
    const int suffix = dot != NULL ? file.n - (int)(dot - name) : 0;
    const int r = suffix == 3 && memcmp(dot, ".cu", 3) == 0    ? 3
                  : suffix == 4 && memcmp(dot, ".cuh", 4) == 0 ? 2
                                                               : 1;
    if (r > rank) {
      rank = r;
      best = (SimLine){name, l->line};
    }
  }
  return best;
}

// Base names live in the module's text: NUL-terminated in place, after everything is parsed.
static void finish_files(Parser *ps) {
  for (int64_t k = 0; k < ps->files.n; k++) {
    Word *file = &ps->files.at[k];
    if (file->n == 0) continue;
    const char *slash = file->at;
    for (int c = 0; c < file->n; c++)
      if (file->at[c] == '/') slash = file->at + c + 1;
    file->n -= (int)(slash - file->at);
    file->at = slash;
    ps->module->text[file->at + file->n - ps->module->text] = 0; // the closing quote
  }
}

static void resolve_labels(Parser *ps) {
  for (int64_t u = 0; u < ps->uses.n; u++) {
    const LabelUse *use = &ps->uses.at[u];
    const Label *found = NULL;
    for (int s = use->scope; s >= 0 && found == NULL; s = ps->scope_parents.at[s])
      for (int64_t k = 0; k < ps->labels.n && found == NULL; k++) {
        const Label *label = &ps->labels.at[k];
        if (label->scope == s && label->name.n == use->name.n &&
            memcmp(label->name.at, use->name.at, (size_t)use->name.n) == 0)
          found = label;
      }
    if (found == NULL) ptx_fail(ps, "PTX: no label %.*s", use->name.n, use->name.at);
    if (use->list >= 0)
      ps->lists.at[use->list].target[use->element] = found->pc;
    else
      ps->instrs.at[use->pc].target = found->pc;
  }
}

static void finish_kernel(Parser *ps) {
  SimKernel *k = ps->kernel;
  resolve_labels(ps);
  k->static_shared = (ps->static_shared + 15) / 16 * 16;
  ps->call_bytes = (ps->call_bytes + 15) / 16 * 16;
  k->local_bytes = (ps->local_bytes + 15) / 16 * 16 + ps->call_bytes;
  SimCode *code = k->code;
  code->call_bytes = ps->call_bytes;
  code->image_bytes = ps->file_bytes;
  k->n_registers = ps->file_bytes / 128;
  code->image = aligned_alloc(64, (size_t)ps->file_bytes);
  memset(code->image, 0xff, (size_t)ps->file_bytes);
  for (int64_t n = 0; n < ps->immediates.n; n++) {
    const Immediate *im = &ps->immediates.at[n];
    uint64_t value = im->value;
    if (im->size == 1) {
      memcpy(code->image + im->offset, &value, 4);
      continue;
    }
    if (im->dynamic) value = (uint64_t)k->static_shared;
    for (int l = 0; l < 32; l++)
      memcpy(code->image + im->offset + l * im->size, &value, (size_t)im->size);
  }
  code->lists = ps->lists.at;
  code->n_lists = (int)ps->lists.n;
  memset(&ps->lists, 0, sizeof ps->lists);
  code->unknown = ps->unknown;
  ps->unknown = NULL;
  k->instrs = ps->instrs.at;
  k->n_instrs = ps->instrs.n;
  memset(&ps->instrs, 0, sizeof ps->instrs);
  // Places, until the files are known: the index of the place.
  k->lines = calloc((size_t)k->n_instrs + 1, sizeof *k->lines);
  for (int64_t n = 0; n < k->n_instrs; n++) k->lines[n].line = ps->instr_locs.at[n];
}

static void kernel(Parser *ps) {
  SimModule *m = ps->module;
  SimKernel *k = calloc(1, sizeof *k);
  m->kernels = realloc(m->kernels, (size_t)(m->n_kernels + 1) * sizeof *m->kernels);
  m->kernels[m->n_kernels++] = k;
  const Word name = ptx_word(ps);
  k->name = word_copy(name);
  k->title = title_of(k->name);
  k->module = m;
  k->dropped = -1;
  k->max_threads = 1024;
  k->code = calloc(1, sizeof *k->code);
  ps->kernel = k;
  ps->code = k->code;
  ps->module_symbols = ps->frame = ps->symbols.n;
  const int64_t shared = ps->static_shared;
  ps->instr_locs.n = ps->labels.n = ps->uses.n = ps->scope_parents.n = ps->immediates.n = 0;
  ps->local_bytes = ps->call_bytes = 0;
  ps->file_bytes = (int64_t)SIM_SPECIALS * SIM_SPECIAL_BYTES;
  ps->in_function = false;
  ps->loc = -1;
  *PUSH(ps->scope_parents) = -1;
  ps->scope = 0;
  ps->depth = 0;
  if (ptx_take(ps, '(')) kernel_params(ps, ptx_until(ps, ')'));
  while (!ptx_take(ps, '{')) { // .maxntid x, y, z .minnctapersm n ...
    const Word word = ptx_word(ps);
    if (word.n == 0) {
      ps->p++;
      continue;
    }
    if (word_is(word, ".maxntid") || word_is(word, ".reqntid")) {
      k->max_threads = 1;
      do {
        k->max_threads *= (int)integer_at(ptx_word(ps).at);
      } while (ptx_take(ps, ','));
    }
  }
  ptx_body(ps, ps->p);
  ptx_push_instr(ps)->run = sim_run_exit; // should the text end without ret
  finish_kernel(ps);
  ps->symbols.n = ps->module_symbols;
  ps->frame = 0;
  ps->static_shared = shared;
  ps->kernel = NULL;
  ps->code = NULL;
}

static void function(Parser *ps) {
  Function f = {.body = NULL};
  if (ptx_take(ps, '(')) f.results = ptx_until(ps, ')');
  f.name = ptx_word(ps);
  if (ptx_take(ps, '(')) f.params = ptx_until(ps, ')');
  while (ptx_space(ps), *ps->p != '{' && *ps->p != ';') {
    if (ptx_word(ps).n == 0) ps->p++;
  }
  if (ptx_take(ps, '{')) {
    f.body = ps->p;
    ptx_until(ps, '}');
  } else {
    ptx_expect(ps, ';');
  }
  for (int64_t k = 0; k < ps->functions.n; k++) { // declared before
    if (ps->functions.at[k].name.n == f.name.n &&
        memcmp(ps->functions.at[k].name.at, f.name.at, (size_t)f.name.n) == 0) {
      if (f.body != NULL) ps->functions.at[k] = f;
      return;
    }
  }
  *PUSH(ps->functions) = f;
  ptx_add(ps, f.name, SYMBOL_FUNCTION, ps->functions.n - 1);
}

static void file_directive(Parser *ps) {
  const int number = (int)integer_at(ptx_word(ps).at);
  ptx_expect(ps, '"');
  const Word name = ptx_until(ps, '"');
  while (ps->files.n <= number) (void)PUSH(ps->files);
  ps->files.at[number] = name;
  while (ps->p < ps->end && *ps->p != '\n') ps->p++;
}

// Kernels come last: functions and variables may follow them in the text.
static void module_parse(Parser *ps) {
  bool external = false;
  while (ptx_space(ps), ps->p < ps->end) {
    const Word word = ptx_word(ps);
    if (word.n == 0) ptx_fail(ps, "PTX: \"%.20s\" outside of functions", ps->p);
    if (word_is(word, ".extern")) {
      external = true;
      continue;
    }
    if (word_is(word, ".visible") || word_is(word, ".weak") || word_is(word, ".common")) continue;
    if (word_is(word, ".version") || word_is(word, ".target") || word_is(word, ".address_size")) {
      while (ps->p < ps->end && *ps->p != '\n') ps->p++;
    } else if (word_is(word, ".file")) {
      file_directive(ps);
    } else if (word_is(word, ".section")) {
      while (ps->p < ps->end && *ps->p != '{') ps->p++;
      ptx_expect(ps, '{');
      ptx_until(ps, '}');
    } else if (word_is(word, ".entry")) {
      *PUSH(ps->entries) = ps->p;
      ptx_word(ps);
      while (ptx_space(ps), ps->p < ps->end && *ps->p != '{') ps->p++;
      ptx_expect(ps, '{');
      ptx_until(ps, '}');
    } else if (word_is(word, ".func")) {
      function(ps);
    } else if (word_is(word, ".global")) {
      ptx_variable(ps, false);
    } else if (word_is(word, ".const")) {
      ptx_variable(ps, true);
    } else if (word_is(word, ".shared")) {
      ptx_shared(ps, external);
    } else {
      ptx_until(ps, ';'); // .pragma, .alias
    }
    external = false;
  }
  for (int64_t n = 0; n < ps->entries.n; n++) {
    ps->p = ps->entries.at[n];
    kernel(ps);
  }
}

static void parser_free(Parser *ps) {
  for (int64_t k = 0; k < ps->instrs.n; k++) free((char *)ps->instrs.at[k].text); // of a failure
  for (int64_t k = 0; k < ps->lists.n; k++) free(ps->lists.at[k].target);
  free(ps->symbols.at);
  free(ps->functions.at);
  free(ps->locs.at);
  free(ps->files.at);
  free(ps->entries.at);
  free(ps->instrs.at);
  free(ps->instr_locs.at);
  free(ps->labels.at);
  free(ps->uses.at);
  free(ps->scope_parents.at);
  free(ps->immediates.at);
  free(ps->lists.at);
  free(ps->unknown);
}

static SimModule *parse(const char *ptx, int64_t bytes, char *message, size_t message_size) {
  Parser *const ps = calloc(1, sizeof *ps);
  ps->message = message;
  ps->message_size = message_size;
  ps->module = calloc(1, sizeof *ps->module);
  ps->module->text = strip(ptx, bytes);
  ps->p = ps->module->text;
  ps->end = ps->p + strlen(ps->p);
  if (setjmp(ps->fail) != 0) {
    sim_module_free(ps->module);
    parser_free(ps);
    free(ps);
    return NULL;
  }
  module_parse(ps);
  finish_files(ps);
  SimModule *m = ps->module;
  for (int64_t n = 0; n < m->n_kernels; n++)
    for (int64_t pc = 0; pc < m->kernels[n]->n_instrs; pc++)
      m->kernels[n]->lines[pc] = line_of(ps, m->kernels[n]->lines[pc].line);
  parser_free(ps);
  free(ps);
  return m;
}

SimModule *sim_module_parse(const char *ptx, char *message, size_t message_size) {
  return parse(ptx, (int64_t)strlen(ptx), message, message_size);
}

SimModule *sim_module_load(const void *wrapper, int arch, char *message, size_t message_size) {
  int64_t bytes = 0;
  int found = 0;
  const char *ptx = sim_fatbin_ptx(wrapper, arch, &bytes, &found, message, message_size);
  if (ptx == NULL) return NULL;
  SimModule *m = parse(ptx, bytes, message, message_size);
  if (m != NULL) m->arch = found;
  return m;
}

void sim_module_free(SimModule *m) {
  if (m == NULL) return;
  for (int64_t n = 0; n < m->n_kernels; n++) {
    SimKernel *k = m->kernels[n];
    for (int64_t pc = 0; pc < k->n_instrs; pc++) free((char *)k->instrs[pc].text);
    for (int l = 0; l < k->code->n_lists; l++) free(k->code->lists[l].target);
    free(k->code->lists);
    free(k->code->image);
    free(k->code->unknown);
    free(k->code);
    free(k->instrs);
    free(k->lines);
    free(k->params);
    free(k->name);
    free(k->title);
    free(k);
  }
  for (int64_t n = 0; n < m->n_variables; n++) {
    free(m->variables[n].name);
    free(m->variables[n].data);
  }
  free(m->kernels);
  free(m->variables);
  free(m->text);
  free(m);
}

SimKernel *sim_module_kernel(const SimModule *m, const char *name) {
  for (int64_t n = 0; n < m->n_kernels; n++)
    if (strcmp(m->kernels[n]->name, name) == 0) return m->kernels[n];
  return NULL;
}

SimVariable *sim_module_variable(const SimModule *m, const char *name) {
  for (int64_t n = 0; n < m->n_variables; n++)
    if (strcmp(m->variables[n].name, name) == 0) return &m->variables[n];
  return NULL;
}

const char *sim_kernel_unknown(const SimKernel *k) {
  return k->code->unknown;
}

const char *sim_kernel_text(const SimKernel *k, int64_t pc) {
  return k->instrs[pc].text != NULL ? k->instrs[pc].text : "";
}
