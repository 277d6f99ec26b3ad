// A prompt, and an answer to it, as token ids: the one place where templates and tokenizers meet,
// so that training, generation and scoring agree.
#ifndef VMA_TEMPLATE_ENCODE_H
#define VMA_TEMPLATE_ENCODE_H

#include "template.h"
#include "tokenizer.h"

// Whether every special token that the template's frame spells is one of the tokenizer's: always so
// for a template without them. A chat whose marks are no tokens of the vocabulary would be a text
// of their letters, and nothing would end an answer.
bool template_suits(const Tokenizer *tokenizer, TemplateKind kind);

// The same as an error, STATUS_USAGE; the caller puts the setting that chose the template before
// it. For training and for generation alike.
Status template_check(const Tokenizer *tokenizer, TemplateKind kind, Error *err);

// Appends BOS where the tokenizer's config asks for one, then the prompt's ids and, when `answer`
// is not NULL, those of the answer and of template_answer_end. EOS is up to the caller.
//
// Special tokens that the template's own frame spells become ids (where the tokenizer has them, see
// template_check); what the user wrote stays text. Text between two special tokens is encoded in
// one go, the frame's and the user's together, so the ids are those of the whole string with its
// special tokens parsed. A prompt's ids need not be the beginning of those with an answer: where no
// special token and no white space parts them, a token may reach over the border.
void template_encode(const Tokenizer *tokenizer, TemplateKind kind, const char *instruction,
                     const char *input, const char *answer, TokenIds *out);

#endif
