// The text around the turns of a conversation: what makes a prompt of a question, and an example of
// a question and its answer. An Alpaca item is a conversation of one question and one answer.
//
//   alpaca           Alpaca-LoRA's: ends in "### Response:\n"; EOS ends the answer
//   alpaca_stanford  the full fine-tune's: ends in "### Response:"; EOS ends the answer
//   alpaca_short     without the sentence before "### Instruction:"; ends as alpaca
//   chatml           <|im_start|>system ... as SmolLM2-Instruct's own template; an answer ends in
//                    <|im_end|> and the newline that the template puts after it
//   none             the instruction as it is, a newline and the input if there is one, a newline;
//                    EOS ends the answer
//   llama2           Llama-2-Chat's own: <s>[INST] <<SYS>> ... [/INST] answer </s>
//   llama3           Llama-3-Instruct's own: <|start_header_id|>user<|end_header_id|> ...
//   <|eot_id|>
//
// More turns than one in the three alpaca forms and none, which were made for one: a system text
// stands in place of the opening sentence; behind an answer and its EOS come a blank line (none: a
// newline) and the next "### Instruction:" without the opening sentence.
#ifndef VMA_TEMPLATE_H
#define VMA_TEMPLATE_H

#include "config.h"

#include <stdbool.h>

typedef enum Role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT } Role;

typedef struct Turn {
  Role role;
  const char *text;
  const char *input; // of a user's turn: what the instruction is about; NULL or "": none
  bool unlearned;    // of an answer: it gets no labels
} Turn;

// In the texts below: BOS and EOS as ids. Special tokens are spelled out.
#define TEMPLATE_BOS "\1"
#define TEMPLATE_EOS "\2"

// The texts are never NULL.
typedef struct Template {
  const char *name;   // of data.template; of an own one its file's path
  const char *source; // of an own one (template_file.h) its file's text; NULL: built in
  // Around a system text, which only comes first; in its place where there is none, and where there
  // is none and the first question has an input.
  const char *system[2], *no_system, *no_system_input;
  const char *next;          // before a question that is not the first
  const char *user[2];       // around a question
  const char *user_input[3]; // before, between and behind question and input
  // Before an answer, where a prompt ends; before its text, foretold with it; what ends it.
  const char *answer[3];
  // The last answer's end is left to the caller, who appends EOS as an id if there is room: it does
  // not count as cut.
  bool end_if_room;
  bool trims;     // white space at the ends of a turn's text is left out
  bool needs_eos; // the tokenizer must have an EOS
} Template;

const Template *template_builtin(TemplateKind kind);

// What an adapter says of the template that it was trained with: its name, or an own one's text,
// which begins with '{' as no name does.
static inline const char *template_identity(const Template *template) {
  return template->source != NULL ? template->source : template->name;
}

#endif
