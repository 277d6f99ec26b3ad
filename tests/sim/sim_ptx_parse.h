// The state of parsing one module's PTX, for the files sim_ptx_*.c only.
#ifndef VMA_SIM_PTX_PARSE_H
#define VMA_SIM_PTX_PARSE_H

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "sim_code.h"

typedef struct Word { // a piece of the text
  const char *at;
  int n;
} Word;

typedef enum SymbolKind {
  SYMBOL_REGISTER, // value: offset in the file; count >= 0: name0 .. name(count-1)
  SYMBOL_SHARED,   // value: offset in the block's shared memory
  SYMBOL_LOCAL,    // value: offset in the thread's local memory
  SYMBOL_CALL,     // .param of a function or a call: an offset in local memory, from call_base on
  SYMBOL_PARAM,    // of the kernel
  SYMBOL_GLOBAL,   // value: host address
  SYMBOL_CONST,
  SYMBOL_FUNCTION, // value: index
} SymbolKind;

typedef struct Symbol {
  Word name;
  SymbolKind kind;
  int count, size; // size: of a register, in bytes of a lane
  int64_t value;
} Symbol;

typedef struct Loc {
  int file, line, column;
  int parent; // index of the place that it was inlined at, or -1
} Loc;

typedef struct Function {
  Word name, results, params; // the insides of the parentheses
  const char *body;           // behind the '{', or NULL: only declared
} Function;

typedef struct Label {
  Word name;
  int scope;
  int32_t pc;   // definition
  bool is_list; // .branchtargets: pc is the list's index
} Label;

typedef struct LabelUse {
  Word name;
  int scope;
  int64_t pc;        // instruction whose target it is, or
  int list, element; // list >= 0: a list's element
} LabelUse;

typedef struct Immediate {
  uint64_t value;
  int size;
  int32_t offset;
  bool dynamic; // where dynamic shared memory begins: known when the kernel is complete
} Immediate;

enum { PTX_DYNAMIC = -1 }; // value of its symbol

#define VECTOR(T)                                                                                  \
  struct {                                                                                         \
    T *at;                                                                                         \
    int64_t n, room;                                                                               \
  }

typedef struct Parser {
  const char *p, *end;
  jmp_buf fail;
  char *message;
  size_t message_size;
  SimModule *module;
  VECTOR(Symbol) symbols;
  VECTOR(Function) functions;
  VECTOR(Loc) locs;
  VECTOR(Word) files; // by number
  VECTOR(const char *) entries;
  // of the kernel that is being parsed
  SimKernel *kernel;
  SimCode *code;
  VECTOR(SimInstr) instrs;
  VECTOR(int) instr_locs;
  VECTOR(Label) labels;
  VECTOR(LabelUse) uses;
  VECTOR(int) scope_parents;
  VECTOR(Immediate) immediates;
  VECTOR(SimTargets) lists;
  int scope, loc, depth;
  int64_t module_symbols; // those that functions see too
  int64_t frame;          // first symbol of the function that is expanded
  int64_t file_bytes;     // of registers so far
  int64_t static_shared, local_bytes, call_bytes;
  bool in_function; // ret leaves the expansion, not the kernel
  char *unknown;
} Parser;

// Appends a zeroed element and returns it.
#define PUSH(v)                                                                                    \
  ((v).n == (v).room ? (void)((v).room = (v).room == 0 ? 64 : (v).room * 2,                        \
                              (v).at = realloc((v).at, (size_t)(v).room * sizeof *(v).at))         \
                     : (void)0,                                                                    \
   memset(&(v).at[(v).n], 0, sizeof *(v).at), &(v).at[(v).n++])

_Noreturn void ptx_fail(Parser *ps, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// ---- words ----
void ptx_space(Parser *ps);        // skips blanks
Word ptx_word(Parser *ps);         // letters, digits, _ $ % .; empty at anything else
bool ptx_take(Parser *ps, char c); // that character, after blanks
void ptx_expect(Parser *ps, char c);
Word ptx_until(Parser *ps, char close); // up to the closing bracket, which is passed
bool word_is(Word word, const char *text);
bool word_starts(Word word, const char *text);
Word word_trim(Word word);
static inline int64_t integer_at(const char *text) { // up to the first character that is no digit
  return strtoll(text, NULL, 10);
}
char *word_copy(Word word);
bool ptx_number(Word word, int size, uint64_t *value); // an integer or float immediate

// ---- symbols ----
Symbol *ptx_add(Parser *ps, Word name, SymbolKind kind, int64_t value);
// The symbol of a name; of a range of registers the value is the register's.
bool ptx_find(const Parser *ps, Word name, Symbol *out);
int32_t ptx_new_register(Parser *ps, int size, int count);
int32_t ptx_immediate(Parser *ps, uint64_t value, int size, bool dynamic);
int64_t ptx_label_use(Parser *ps, Word name, int64_t pc, int list, int element);

// ---- parts ----
// A declaration after its state space, up to its end: alignment, type, name, elements.
typedef struct Declared {
  Word name;
  int align, elements_bytes;
  int64_t bytes;
  SimType type;
  bool unsized;
} Declared;
Declared ptx_declaration(Parser *ps);
void ptx_variable(Parser *ps, bool constant);
void ptx_shared(Parser *ps, bool external);
void ptx_body(Parser *ps, const char *body); // statements up to the '}' of its '{'
void ptx_instruction(Parser *ps, Word guard, bool guard_not, Word opcode, Word operands);
void ptx_call(Parser *ps, SimInstr *in, Word operands);
SimInstr *ptx_push_instr(Parser *ps); // with the place of the text

// An instruction in pieces.
enum { PTX_MODS = 20, PTX_ARGS = 12 };
typedef struct Ins {
  SimInstr *in;
  Word opcode;
  Word mods[PTX_MODS], args[PTX_ARGS]; // mods[0]: the name itself
  int n_mods, n_args;
} Ins;
bool ins_has(const Ins *ins, const char *mod);
SimType ins_type(const Ins *ins, int from_last); // the last type that is named, the one before, ...
// Operand `word` as operand k of the instruction: a register of `size` bytes (0: of any size, then
// in->size says which), for a source also an immediate or symbol. false: it is none such.
bool ins_result(Parser *ps, Ins *ins, int k, Word word, int size);
bool ins_source(Parser *ps, Ins *ins, int k, Word word, int size);
// [register + displacement]
bool ins_address(Parser *ps, Ins *ins, int k, Word word, int64_t *displacement);
// {a, b, ...} or a single one: how many, 0 where it does not fit.
int ins_vector(Parser *ps, Ins *ins, int k, Word word, int size, int room, bool result);
// Opcodes that move data, and those of warps, blocks and control: sim_ptx_decode_more.c.
bool ptx_decode_memory(Parser *ps, Ins *ins);
bool ptx_decode_warp(Parser *ps, Ins *ins);
void ptx_add_unknown(Parser *ps, Word opcode);

#endif
