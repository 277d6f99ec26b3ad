#include "template_encode.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

// What the frames spell (template_has_specials).
static const char *const frame_specials[] = {"<|im_start|>", "<|im_end|>"};
enum { N_SPECIALS = sizeof frame_specials / sizeof *frame_specials };

bool template_suits(const Tokenizer *tokenizer, TemplateKind kind) {
  if (!template_has_specials(kind)) return true;
  for (int i = 0; i < N_SPECIALS; i++) {
    if (tokenizer_find(tokenizer, frame_specials[i]) < 0) return false;
  }
  return true;
}

Status template_check(const Tokenizer *tokenizer, TemplateKind kind, Error *err) {
  if (template_suits(tokenizer, kind)) return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "expected a model whose vocabulary has %s and %s, which this one lacks; alpaca "
                   "needs neither",
                   frame_specials[0], frame_specials[1]);
}

// Text that waits for the next special token, or the end, to be encoded in one go.
typedef struct Encoding {
  const Tokenizer *tokenizer;
  TokenIds *out;
  char *text;
  size_t bytes;
} Encoding;

static void flush(Encoding *e) {
  if (e->bytes == 0) return;
  tokenizer_encode(e->tokenizer, e->text, (int64_t)e->bytes, SPECIAL_AS_TEXT, e->out);
  e->bytes = 0;
}

static void add_text(Encoding *e, const char *text, size_t bytes) {
  memcpy(e->text + e->bytes, text, bytes);
  e->bytes += bytes;
}

// The first special token of the frame that the tokenizer has: its place, id and length.
static const char *find_special(const Encoding *e, const char *frame, int32_t *id, size_t *bytes) {
  const char *first = NULL;
  for (int i = 0; i < N_SPECIALS; i++) {
    const char *at = strstr(frame, frame_specials[i]);
    if (at == NULL || (first != NULL && at > first)) continue;
    int32_t found = tokenizer_find(e->tokenizer, frame_specials[i]);
    if (found < 0) continue;
    first = at;
    *id = found;
    *bytes = strlen(frame_specials[i]);
  }
  return first;
}

static void add_frame(Encoding *e, const char *frame, bool specials) {
  int32_t id = 0;
  size_t bytes = 0;
  const char *at = NULL;
  while (specials && (at = find_special(e, frame, &id, &bytes)) != NULL) {
    add_text(e, frame, (size_t)(at - frame));
    flush(e);
    token_ids_push(e->out, id);
    frame = at + bytes;
  }
  add_text(e, frame, strlen(frame));
}

void template_encode(const Tokenizer *tokenizer, TemplateKind kind, const char *instruction,
                     const char *input, const char *answer, TokenIds *out) {
  if (tokenizer_adds_bos(tokenizer)) token_ids_push(out, tokenizer_bos(tokenizer));
  TemplatePieces pieces = template_pieces(kind, instruction, input);
  const char *end = answer != NULL ? template_answer_end(kind) : "";
  size_t capacity = 1 + strlen(end) + (answer != NULL ? strlen(answer) : 0);
  for (int i = 0; i < pieces.n; i++) capacity += strlen(pieces.text[i]);
  Encoding e = {.tokenizer = tokenizer, .out = out, .text = malloc(capacity)};
  CHECK(e.text != NULL, "no memory for a prompt");
  bool specials = template_has_specials(kind);
  for (int i = 0; i < pieces.n; i++) {
    if (i % 2 == 0) {
      add_frame(&e, pieces.text[i], specials);
    } else {
      add_text(&e, pieces.text[i], strlen(pieces.text[i]));
    }
  }
  if (answer != NULL) {
    add_text(&e, answer, strlen(answer));
    add_frame(&e, end, specials);
  }
  flush(&e);
  template_pieces_free(&pieces);
  free(e.text);
}
