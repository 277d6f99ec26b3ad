// A conversation as token ids: the one place where templates and tokenizers meet, so that training,
// generation and scoring agree.
#ifndef VMA_TEMPLATE_ENCODE_H
#define VMA_TEMPLATE_ENCODE_H

#include "template.h"
#include "tokenizer.h"

// A token as a data set keeps it: its id, with this bit when it is a label, that is when the loss
// counts how well it is foretold by what stands before it. The first token of a text never is one.
enum { TOKEN_LABEL = 1 << 30 };

static inline int32_t token_id(int32_t token) {
  return token & ~TOKEN_LABEL;
}
static inline bool token_is_label(int32_t token) {
  return (token & TOKEN_LABEL) != 0;
}

// Whether every special token that the template spells is one of the tokenizer's: always so for a
// template without them. What is spelled as <|name|> has to be one. A chat whose marks are no
// tokens of the vocabulary would be a text of their letters, and nothing would end an answer.
bool template_suits(const Tokenizer *tokenizer, const Template *template);

// The same as an error, STATUS_USAGE; the caller puts the setting that chose the template before
// it. For training and for generation alike.
Status template_check(const Tokenizer *tokenizer, const Template *template, Error *err);

// The special token that ends an answer: generation stops there. -1: none.
int32_t template_end_id(const Tokenizer *tokenizer, const Template *template);

// Which tokens get TOKEN_LABEL.
typedef enum LabelMarks {
  MARK_NOTHING, // plain ids
  MARK_ANSWERS, // each answer with what ends it
  MARK_ALL,
} LabelMarks;

// Appends BOS where the tokenizer's config asks for one and the template does not spell it, then
// the conversation: n >= 1 turns, a system text only as the first. Behind an answer it is complete
// (but for its end, see Template.end_if_room); behind a question, or a system text, the template's
// beginning of an answer follows, so that it is a prompt.
//
// Special tokens that the template spells become ids; what people wrote stays text. Text between
// two special tokens is encoded in one go, the template's and the people's together, so the ids are
// those of the whole string with its special tokens parsed. An answer's labels begin at the number
// of ids that the text before it has when it is encoded without the answer (as Alpaca's trainers
// count): where no special token and no white space parts them, a token may reach over that border.
void template_encode(const Tokenizer *tokenizer, const Template *template, const Turn *turns,
                     int64_t n, LabelMarks marks, TokenIds *out);

#endif
