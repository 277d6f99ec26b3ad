// The text around an instruction (and its input), and around the answer to it.
//
//   alpaca           Alpaca-LoRA's: ends in "### Response:\n"; EOS is appended as an id by whoever
//                    tokenises, if there is room
//   alpaca_stanford  the full fine-tune's: ends in "### Response:"; EOS is part of the text and cut
//                    with it
//   alpaca_short     without the sentence before "### Instruction:"; ends as alpaca
//   chatml           <|im_start|>system ... as SmolLM2-Instruct's own template; the answer ends in
//                    <|im_end|> and the newline that the template puts after it
//   none             the instruction as it is, a newline and the input if there is one, a newline
#ifndef VMA_TEMPLATE_H
#define VMA_TEMPLATE_H

#include "config.h"

#include <stdbool.h>

// The prompt, NUL-terminated, to be freed by the caller. input: NULL or "" for none.
char *template_prompt(TemplateKind kind, const char *instruction, const char *input);

// What ends an answer within the text itself: "" (EOS is an id, appended where there is room) or,
// for chatml, "<|im_end|>\n".
const char *template_answer_end(TemplateKind kind);

// Whether special tokens spelled in the template's own frame are to be read as such (chatml). What
// the user wrote into instruction, input or answer stays text: encode piece by piece.
bool template_has_specials(TemplateKind kind);

// A prompt in pieces, so that a user's text can be encoded with specials as text: piece i is the
// template's own when i is even, the user's when odd. Texts are not NULL; to be freed by
// template_pieces_free.
typedef struct TemplatePieces {
  int n;
  char *text[5];
} TemplatePieces;

TemplatePieces template_pieces(TemplateKind kind, const char *instruction, const char *input);
void template_pieces_free(TemplatePieces *pieces);

#endif
