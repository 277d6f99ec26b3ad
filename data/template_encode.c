#include "template_encode.h"

#include "check.h"
#include "unicode_classes.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum { N_TEXTS = 13 };

// All texts of a template's own.
static void list_texts(const Template *t, const char *texts[N_TEXTS]) {
  const char *all[N_TEXTS] = {t->system[0],     t->system[1],     t->no_system, t->no_system_input,
                              t->next,          t->user[0],       t->user[1],   t->user_input[0],
                              t->user_input[1], t->user_input[2], t->answer[0], t->answer[1],
                              t->answer[2]};
  memcpy(texts, all, sizeof all);
}

// The first of <|name|> in a template that is no token of the vocabulary; its length, 0: none.
static int64_t find_unknown(const Tokenizer *tokenizer, const Template *template,
                            const char **name) {
  const char *texts[N_TEXTS];
  list_texts(template, texts);
  for (int i = 0; i < N_TEXTS; i++) {
    for (const char *at = strstr(texts[i], "<|"); at != NULL; at = strstr(at + 2, "<|")) {
      char piece[128];
      const char *end = strstr(at, "|>");
      if (end == NULL) break;
      int64_t size = end + 2 - at;
      if (size >= (int64_t)sizeof piece) continue;
      memcpy(piece, at, (size_t)size);
      piece[size] = '\0';
      if (tokenizer_find(tokenizer, piece) >= 0) continue;
      *name = at;
      return size;
    }
  }
  return 0;
}

bool template_suits(const Tokenizer *tokenizer, const Template *template) {
  const char *name;
  if (template->needs_eos && tokenizer_eos(tokenizer) < 0) return false;
  return find_unknown(tokenizer, template, &name) == 0;
}

Status template_check(const Tokenizer *tokenizer, const Template *template, Error *err) {
  if (template_suits(tokenizer, template)) return STATUS_OK;
  const char *name = "an end-of-text token";
  int64_t size = find_unknown(tokenizer, template, &name);
  if (size == 0) size = (int64_t)strlen(name);
  return error_set(err, STATUS_USAGE,
                   "expected a model whose vocabulary has %.*s, which this one lacks; alpaca needs "
                   "no special tokens",
                   (int)size, name);
}

int32_t template_end_id(const Tokenizer *tokenizer, const Template *template) {
  const char *end = template->answer[2], *eos = strchr(end, TEMPLATE_EOS[0]);
  int64_t at, behind;
  int32_t id = tokenizer_next_special(tokenizer, end, (int64_t)strlen(end), &at, &behind);
  if (eos != NULL && (id < 0 || eos - end < at)) return tokenizer_eos(tokenizer);
  return id;
}

// ---- encoding ----

// Text that waits for the next special token, or the end, to be encoded in one go.
typedef struct Encoding {
  const Tokenizer *tokenizer;
  const Template *template;
  TokenIds *out;
  LabelMarks marks;
  TextPlace place; // of the waiting text
  char *text;
  int64_t bytes, capacity;
  bool label;     // whether what comes next is one
  bool was_label; // whether the waiting text begins as one
  int64_t *turns; // [n_turns] places in the waiting text where that changes
  int64_t n_turns, turns_capacity;
  TokenIds part;
} Encoding;

static void encode_text(const Encoding *e, int64_t bytes, TokenIds *out) {
  tokenizer_encode_part(e->tokenizer, e->text, bytes, e->place, out);
}

// The number of ids of the first `bytes` of the waiting text, which has n.
static int64_t ids_before(Encoding *e, int64_t bytes, int64_t n) {
  if (bytes == 0) return 0;
  if (bytes == e->bytes) return n;
  e->part.n = 0;
  encode_text(e, bytes, &e->part);
  return e->part.n < n ? e->part.n : n;
}

static void flush(Encoding *e) {
  int64_t begin = e->out->n, from = 0;
  if (e->bytes > 0) encode_text(e, e->bytes, e->out);
  int64_t n = e->out->n - begin;
  bool label = e->was_label;
  for (int64_t i = 0; i <= e->n_turns; i++) {
    int64_t to = i < e->n_turns ? ids_before(e, e->turns[i], n) : n;
    for (; from < to; from++) e->out->ids[begin + from] |= label ? TOKEN_LABEL : 0;
    label = !label;
  }
  e->bytes = e->n_turns = 0;
  e->was_label = e->label;
}

static void add_text(Encoding *e, const char *text, int64_t bytes) {
  if (e->bytes + bytes > e->capacity) {
    e->capacity = 2 * e->capacity > e->bytes + bytes ? 2 * e->capacity : e->bytes + bytes;
    e->text = realloc(e->text, (size_t)e->capacity);
    CHECK(e->text != NULL, "no memory for a text of %lld bytes", (long long)e->capacity);
  }
  if (bytes > 0) memcpy(e->text + e->bytes, text, (size_t)bytes);
  e->bytes += bytes;
}

static void add_special(Encoding *e, int32_t id) {
  flush(e);
  if (id < 0) return;
  token_ids_push(e->out, id | (e->label ? TOKEN_LABEL : 0));
  e->place = TEXT_BEHIND;
}

static void set_label(Encoding *e, bool label) {
  if (e->marks != MARK_ANSWERS || label == e->label) return;
  if (e->n_turns == e->turns_capacity) {
    e->turns_capacity = e->turns_capacity == 0 ? 16 : 2 * e->turns_capacity;
    e->turns = realloc(e->turns, (size_t)e->turns_capacity * sizeof *e->turns);
    CHECK(e->turns != NULL, "no memory for %lld turns", (long long)e->turns_capacity);
  }
  e->turns[e->n_turns++] = e->bytes;
  e->label = label;
}

static void add_frame(Encoding *e, const char *frame) {
  while (*frame != '\0') {
    int64_t bytes = (int64_t)strcspn(frame, TEMPLATE_BOS TEMPLATE_EOS), begin, end;
    int32_t id = tokenizer_next_special(e->tokenizer, frame, bytes, &begin, &end);
    if (id < 0) begin = bytes;
    add_text(e, frame, begin);
    if (id >= 0) {
      add_special(e, id);
      frame += end;
    } else {
      frame += bytes;
      if (*frame == '\0') return;
      bool bos = *frame++ == TEMPLATE_BOS[0];
      add_special(e, bos ? tokenizer_bos(e->tokenizer) : tokenizer_eos(e->tokenizer));
    }
  }
}

// White space as Python's str.strip() knows it, which chat templates trim by.
static bool is_space(uint32_t c) {
  return (c >= 0x1C && c <= 0x1F) || unicode_class(c) == UNICODE_SPACE;
}

static void add_trimmed(Encoding *e, const char *text) {
  int64_t repaired_bytes, bytes = (int64_t)strlen(text), begin = 0, end = 0;
  char *repaired = utf8_repair(text, bytes, &repaired_bytes);
  if (repaired != NULL) {
    text = repaired;
    bytes = repaired_bytes;
  }
  for (int64_t i = 0; i < bytes;) {
    int length;
    bool space = is_space(utf8_read(text + i, &length));
    if (space && end == 0) begin = i + length;
    i += length;
    if (!space) end = i;
  }
  if (end > begin) add_text(e, text + begin, end - begin);
  free(repaired);
}

static void add_turn_text(Encoding *e, const char *text) {
  if (e->template->trims) {
    add_trimmed(e, text);
  } else {
    add_text(e, text, (int64_t)strlen(text));
  }
}

static bool has_input(const Turn *turn) {
  return turn->input != NULL && turn->input[0] != '\0';
}

static void add_question(Encoding *e, const Turn *turn) {
  const Template *t = e->template;
  const char *const *frame = has_input(turn) ? t->user_input : t->user;
  add_frame(e, frame[0]);
  add_turn_text(e, turn->text);
  add_frame(e, frame[1]);
  if (!has_input(turn)) return;
  add_turn_text(e, turn->input);
  add_frame(e, frame[2]);
}

static void add_answer(Encoding *e, const Turn *turn, bool last) {
  const Template *t = e->template;
  add_frame(e, t->answer[0]);
  set_label(e, !turn->unlearned);
  add_frame(e, t->answer[1]);
  add_turn_text(e, turn->text);
  if (!last || !t->end_if_room) add_frame(e, t->answer[2]);
  set_label(e, false);
}

static void add_turns(Encoding *e, const Turn *turns, int64_t n) {
  const Template *t = e->template;
  bool asked = false;
  for (int64_t i = 0; i < n; i++) {
    const Turn *turn = &turns[i];
    if (turn->role == ROLE_SYSTEM) {
      CHECK(i == 0, "a system text in turn %lld", (long long)i);
      add_frame(e, t->system[0]);
      add_turn_text(e, turn->text);
      add_frame(e, t->system[1]);
      continue;
    }
    if (i == 0) add_frame(e, has_input(turn) ? t->no_system_input : t->no_system);
    if (turn->role == ROLE_ASSISTANT) {
      add_answer(e, turn, i + 1 == n);
    } else {
      if (asked) add_frame(e, t->next);
      add_question(e, turn);
      asked = true;
    }
  }
  if (turns[n - 1].role != ROLE_ASSISTANT) add_frame(e, t->answer[0]);
}

void template_encode(const Tokenizer *tokenizer, const Template *template, const Turn *turns,
                     int64_t n, LabelMarks marks, TokenIds *out) {
  CHECK(n >= 1, "a conversation of %lld turns", (long long)n);
  bool all = marks == MARK_ALL;
  Encoding e = {.tokenizer = tokenizer,
                .template = template,
                .out = out,
                .marks = marks,
                .place = TEXT_BEGINS,
                .label = all,
                .was_label = all};
  int64_t begin = out->n;
  const char *head = turns[0].role == ROLE_SYSTEM ? template->system[0] : template->no_system;
  if (head[0] != TEMPLATE_BOS[0] && tokenizer_adds_bos(tokenizer)) {
    token_ids_push(out, tokenizer_bos(tokenizer));
  }
  add_turns(&e, turns, n);
  flush(&e);
  if (out->n > begin) out->ids[begin] = token_id(out->ids[begin]);
  free(e.text);
  free(e.turns);
  token_ids_free(&e.part);
}
