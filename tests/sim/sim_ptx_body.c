// The statements of a kernel and of the functions expanded in it: declarations, scopes, labels,
// places in the source, calls. Instructions themselves: sim_ptx_decode.c.
#include <stdio.h>

#include "sim_ptx_parse.h"

enum { MAX_CALL_DEPTH = 8 };

SimInstr *ptx_push_instr(Parser *ps) {
  *PUSH(ps->instr_locs) = ps->loc;
  SimInstr *in = PUSH(ps->instrs);
  in->guard = -1;
  return in;
}

// .reg .b32 %r<12>, a, b;
static void registers(Parser *ps) {
  const Word word = ptx_word(ps);
  const SimType type = word.n > 0 ? sim_type(word.at + 1, (size_t)word.n - 1) : SIM_T_NONE;
  int size = sim_type_bytes(type);
  if (type == SIM_T_NONE || type == SIM_T_B128)
    ptx_fail(ps, "PTX: register type %.*s", word.n, word.at);
  if (type != SIM_T_PRED && size == 1) size = 2;
  do {
    const Word name = ptx_word(ps);
    int count = -1;
    if (ptx_take(ps, '<')) {
      count = (int)integer_at(ptx_word(ps).at);
      ptx_expect(ps, '>');
    }
    const int32_t at = ptx_new_register(ps, size, count < 0 ? 1 : count);
    Symbol *symbol = ptx_add(ps, name, SYMBOL_REGISTER, at);
    symbol->count = count;
    symbol->size = size;
  } while (ptx_take(ps, ','));
  ptx_expect(ps, ';');
}

static int64_t reserve(int64_t *bytes, const Declared *d) {
  const int64_t at = (*bytes + d->align - 1) / d->align * d->align;
  *bytes = at + d->bytes;
  return at;
}

// .loc file line column[, function_name label, inlined_at file line column]. Line 0 says nothing.
static void location(Parser *ps) {
  char text[300];
  int n = 0;
  while (ps->p < ps->end && *ps->p != '\n') {
    if (n < (int)sizeof text - 1) text[n++] = *ps->p;
    ps->p++;
  }
  text[n] = 0;
  Loc loc = {.parent = -1};
  if (sscanf(text, "%d %d %d", &loc.file, &loc.line, &loc.column) != 3)
    ptx_fail(ps, "PTX: .loc%s", text);
  if (loc.line == 0 && ps->loc >= 0) return;
  const char *inlined = strstr(text, "inlined_at");
  int file, line, column;
  if (inlined != NULL && sscanf(inlined + 10, "%d %d %d", &file, &line, &column) == 3) {
    for (int64_t k = ps->locs.n - 1; k >= 0 && loc.parent < 0; k--) {
      const Loc *l = &ps->locs.at[k];
      if (l->file == file && l->line == line && l->column == column) loc.parent = (int)k;
    }
    if (loc.parent < 0) {
      *PUSH(ps->locs) = (Loc){file, line, column, -1};
      loc.parent = (int)ps->locs.n - 1;
    }
  }
  *PUSH(ps->locs) = loc;
  ps->loc = (int)ps->locs.n - 1;
}

static void branch_targets(Parser *ps, Word label) {
  SimTargets *list = PUSH(ps->lists);
  const int index = (int)ps->lists.n - 1;
  do {
    const Word name = ptx_word(ps);
    list->target = realloc(list->target, (size_t)(list->n + 1) * sizeof *list->target);
    ptx_label_use(ps, name, 0, index, list->n++);
  } while (ptx_take(ps, ','));
  ptx_expect(ps, ';');
  *PUSH(ps->labels) = (Label){label, ps->scope, index, true};
}

static void directive(Parser *ps, Word word) {
  if (word_is(word, ".reg")) {
    registers(ps);
  } else if (word_is(word, ".loc")) {
    location(ps);
  } else if (word_is(word, ".shared")) {
    ptx_shared(ps, false);
  } else if (word_is(word, ".global") || word_is(word, ".const")) {
    ptx_variable(ps, word_is(word, ".const"));
  } else if (word_is(word, ".local") || word_is(word, ".param")) {
    const bool call = word_is(word, ".param");
    const Declared d = ptx_declaration(ps);
    ptx_expect(ps, ';');
    ptx_add(ps, d.name, call ? SYMBOL_CALL : SYMBOL_LOCAL,
            reserve(call ? &ps->call_bytes : &ps->local_bytes, &d));
  } else if (word_is(word, ".pragma") || word_is(word, ".callprototype")) {
    ptx_until(ps, ';');
  } else {
    ptx_fail(ps, "PTX: directive %.*s", word.n, word.at);
  }
}

static void open_scope(Parser *ps, int parent) {
  *PUSH(ps->scope_parents) = parent;
  ps->scope = (int)ps->scope_parents.n - 1;
}

void ptx_body(Parser *ps, const char *body) {
  ps->p = body;
  int64_t symbols[64]; // at the opening of each nested scope
  int scopes[64], depth = 0;
  for (;;) {
    ptx_space(ps);
    if (ps->p >= ps->end) ptx_fail(ps, "PTX: a body without an end");
    if (ptx_take(ps, '{')) {
      if (depth == 64) ptx_fail(ps, "PTX: scopes nested too deep");
      symbols[depth] = ps->symbols.n;
      scopes[depth++] = ps->scope;
      open_scope(ps, ps->scope);
      continue;
    }
    if (ptx_take(ps, '}')) {
      if (depth == 0) return;
      ps->symbols.n = symbols[--depth];
      ps->scope = scopes[depth];
      continue;
    }
    if (ptx_take(ps, ';')) continue;
    Word guard = {NULL, 0};
    bool guard_not = false;
    if (ptx_take(ps, '@')) {
      guard_not = ptx_take(ps, '!');
      guard = ptx_word(ps);
    }
    const Word word = ptx_word(ps);
    if (word.n == 0) ptx_fail(ps, "PTX: \"%.20s\" in a body", ps->p);
    if (guard.n == 0 && word.at[0] == '.') {
      directive(ps, word);
      continue;
    }
    if (guard.n == 0 && ptx_take(ps, ':')) {
      ptx_space(ps);
      if (strncmp(ps->p, ".branchtargets", 14) == 0) {
        ps->p += 14;
        branch_targets(ps, word);
      } else if (strncmp(ps->p, ".callprototype", 14) == 0) {
        ptx_until(ps, ';');
      } else {
        *PUSH(ps->labels) = (Label){word, ps->scope, (int32_t)ps->instrs.n, false};
      }
      continue;
    }
    ptx_instruction(ps, guard, guard_not, word, word_trim(ptx_until(ps, ';')));
  }
}

// ---- calls ----

// The names of a list "a, b" or, of a function's head, ".param .b32 a, .param .align 4 .b8 b[8]".
static int names(Parser *ps, Word list, Word *out, int room) {
  const char *save = ps->p, *save_end = ps->end;
  ps->p = list.at, ps->end = list.at + list.n;
  int n = 0;
  while (ptx_space(ps), ps->p < ps->end && n < room) {
    Word word = ptx_word(ps);
    if (word_is(word, ".param")) word = ptx_declaration(ps).name;
    if (word.n > 0) out[n++] = word;
    if (!ptx_take(ps, ',') && ps->p < ps->end) ps->p++;
  }
  ps->p = save, ps->end = save_end;
  return n;
}

static void expand(Parser *ps, const Function *f, Word results, Word params) {
  enum { MOST = 64 };
  Word formal[2 * MOST], actual[2 * MOST];
  int n = names(ps, f->results, formal, MOST), m = names(ps, results, actual, MOST);
  if (n != m) ptx_fail(ps, "PTX: call of %.*s: %d results for %d", f->name.n, f->name.at, m, n);
  n += names(ps, f->params, formal + n, MOST), m += names(ps, params, actual + m, MOST);
  if (n != m) ptx_fail(ps, "PTX: call of %.*s: other parameters", f->name.n, f->name.at);
  Symbol bound[2 * MOST];
  for (int k = 0; k < n; k++) {
    if (!ptx_find(ps, actual[k], &bound[k]) || bound[k].kind != SYMBOL_CALL)
      ptx_fail(ps, "PTX: call with %.*s", actual[k].n, actual[k].at);
  }
  const char *save = ps->p;
  const int64_t symbols = ps->symbols.n, frame = ps->frame;
  const int scope = ps->scope, loc = ps->loc;
  const bool in_function = ps->in_function;
  ps->frame = symbols;
  ps->in_function = true;
  for (int k = 0; k < n; k++) ptx_add(ps, formal[k], SYMBOL_CALL, bound[k].value);
  open_scope(ps, -1);
  const int root = ps->scope;
  ptx_body(ps, f->body);
  *PUSH(ps->labels) = (Label){{"<ret>", 5}, root, (int32_t)ps->instrs.n, false};
  ps->p = save;
  ps->symbols.n = symbols;
  ps->frame = frame;
  ps->scope = scope;
  ps->loc = loc;
  ps->in_function = in_function;
}

// call (results), name, (params), prototype
void ptx_call(Parser *ps, SimInstr *in, Word operands) {
  const char *save = ps->p, *save_end = ps->end;
  ps->p = operands.at, ps->end = operands.at + operands.n;
  Word results = {"", 0}, params = {"", 0};
  if (ptx_take(ps, '(')) {
    results = ptx_until(ps, ')');
    ptx_expect(ps, ',');
  }
  const Word name = ptx_word(ps);
  if (ptx_take(ps, ',') && ptx_take(ps, '(')) params = ptx_until(ps, ')');
  ps->p = save, ps->end = save_end;
  in->run = sim_run_nop;
  if (word_is(name, "vprintf")) {
    Word actual[2];
    Symbol a, b;
    if (names(ps, params, actual, 2) != 2 || !ptx_find(ps, actual[0], &a) ||
        !ptx_find(ps, actual[1], &b))
      ptx_fail(ps, "PTX: call of vprintf");
    in->run = sim_run_printf;
    in->target = (int32_t)a.value;
    in->imm = b.value;
    return;
  }
  if (word_is(name, "__assertfail")) {
    in->run = sim_run_trap;
    return;
  }
  Symbol symbol;
  if (!ptx_find(ps, name, &symbol) || symbol.kind != SYMBOL_FUNCTION ||
      ps->functions.at[symbol.value].body == NULL || ps->depth == MAX_CALL_DEPTH) {
    in->run = sim_run_unknown;
    char text[120];
    snprintf(text, sizeof text, "call %.*s", name.n < 100 ? name.n : 100, name.at);
    ptx_add_unknown(ps, (Word){text, (int)strlen(text)});
    return;
  }
  if (in->guard >= 0) ptx_fail(ps, "PTX: a call with a predicate, which is not known");
  ps->depth++;
  const Function f = ps->functions.at[symbol.value];
  expand(ps, &f, results, params);
  ps->depth--;
}
