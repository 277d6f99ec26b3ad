#include "template.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

#define WITH_INPUT                                                                                 \
  "Below is an instruction that describes a task, paired with an input that provides further "     \
  "context. Write a response that appropriately completes the request.\n\n"
#define WITHOUT_INPUT                                                                              \
  "Below is an instruction that describes a task. Write a response that appropriately completes "  \
  "the request.\n\n"
#define CHATML_HEAD                                                                                \
  "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"       \
  "<|im_end|>\n<|im_start|>user\n"
#define CHATML_TAIL "<|im_end|>\n<|im_start|>assistant\n"

// head, instruction, middle, input, tail; without an input: head, instruction, alone.
typedef struct Frame {
  const char *head_with, *head_without, *middle, *tail, *alone;
} Frame;

static const Frame frames[TEMPLATE_COUNT] = {
    [TEMPLATE_ALPACA] = {WITH_INPUT "### Instruction:\n", WITHOUT_INPUT "### Instruction:\n",
                         "\n\n### Input:\n", "\n\n### Response:\n", "\n\n### Response:\n"},
    [TEMPLATE_ALPACA_STANFORD] = {WITH_INPUT "### Instruction:\n",
                                  WITHOUT_INPUT "### Instruction:\n", "\n\n### Input:\n",
                                  "\n\n### Response:", "\n\n### Response:"},
    [TEMPLATE_ALPACA_SHORT] = {"### Instruction:\n", "### Instruction:\n", "\n\n### Input:\n",
                               "\n\n### Response:\n", "\n\n### Response:\n"},
    [TEMPLATE_CHATML] = {CHATML_HEAD, CHATML_HEAD, "\n\n", CHATML_TAIL, CHATML_TAIL},
    [TEMPLATE_NONE] = {"", "", "\n", "\n", "\n"},
};

static char *copy(const char *text) {
  char *out = strdup(text);
  CHECK(out != NULL, "no memory for a prompt");
  return out;
}

TemplatePieces template_pieces(TemplateKind kind, const char *instruction, const char *input) {
  CHECK(kind >= 0 && kind < TEMPLATE_COUNT, "template %d", (int)kind);
  const Frame *f = &frames[kind];
  if (input == NULL || input[0] == '\0') {
    return (TemplatePieces){.n = 3,
                            .text = {copy(f->head_without), copy(instruction), copy(f->alone)}};
  }
  return (TemplatePieces){
      .n = 5,
      .text = {copy(f->head_with), copy(instruction), copy(f->middle), copy(input), copy(f->tail)}};
}

void template_pieces_free(TemplatePieces *pieces) {
  for (int i = 0; i < pieces->n; i++) free(pieces->text[i]);
  *pieces = (TemplatePieces){0};
}

char *template_prompt(TemplateKind kind, const char *instruction, const char *input) {
  TemplatePieces pieces = template_pieces(kind, instruction, input);
  size_t bytes = 1;
  for (int i = 0; i < pieces.n; i++) bytes += strlen(pieces.text[i]);
  char *prompt = malloc(bytes), *end = prompt;
  CHECK(prompt != NULL, "no memory for a prompt");
  for (int i = 0; i < pieces.n; i++) end = stpcpy(end, pieces.text[i]);
  template_pieces_free(&pieces);
  return prompt;
}

const char *template_answer_end(TemplateKind kind) {
  return kind == TEMPLATE_CHATML ? "<|im_end|>\n" : "";
}

bool template_has_specials(TemplateKind kind) {
  return kind == TEMPLATE_CHATML;
}
