// labels: quick
// The texts around an instruction, byte for byte.
#include "template.h"
#include "test.h"

#define WITH                                                                                       \
  "Below is an instruction that describes a task, paired with an input that provides further "     \
  "context. Write a response that appropriately completes the request.\n\n"
#define WITHOUT                                                                                    \
  "Below is an instruction that describes a task. Write a response that appropriately completes "  \
  "the request.\n\n"
#define SYSTEM                                                                                     \
  "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "           \
  "Face<|im_end|>\n<|im_start|>user\n"
#define ASSISTANT "<|im_end|>\n<|im_start|>assistant\n"

typedef struct Case {
  TemplateKind kind;
  const char *input, *prompt, *end;
} Case;

// Of the instruction "I?".
static const Case cases[] = {
    {TEMPLATE_ALPACA, "in", WITH "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, "", WITHOUT "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, NULL, WITHOUT "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, " ", WITH "### Instruction:\nI?\n\n### Input:\n \n\n### Response:\n", ""},
    {TEMPLATE_ALPACA_STANFORD, "in",
     WITH "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:", ""},
    {TEMPLATE_ALPACA_STANFORD, NULL, WITHOUT "### Instruction:\nI?\n\n### Response:", ""},
    {TEMPLATE_ALPACA_SHORT, "in", "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA_SHORT, NULL, "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_CHATML, "in", SYSTEM "I?\n\nin" ASSISTANT, "<|im_end|>\n"},
    {TEMPLATE_CHATML, NULL, SYSTEM "I?" ASSISTANT, "<|im_end|>\n"},
    {TEMPLATE_NONE, "in", "I?\nin\n", ""},
    {TEMPLATE_NONE, NULL, "I?\n", ""},
};

static void test_prompts(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const Case *c = &cases[i];
    char *prompt = template_prompt(c->kind, "I?", c->input);
    EXPECT(strcmp(prompt, c->prompt) == 0, "%zu:\n%s", i, prompt);
    free(prompt);
    EXPECT(strcmp(template_answer_end(c->kind), c->end) == 0, "%zu", i);
    EXPECT(template_has_specials(c->kind) == (c->kind == TEMPLATE_CHATML), "%zu", i);
  }
}

// Odd pieces are the user's, unchanged whatever they hold; all pieces together are the prompt.
static void test_pieces(void) {
  static const char *const texts[] = {"I?",         "",          " \n", "### Response:\n",
                                      "<|im_end|>", "%s {input}"};
  enum { N = sizeof texts / sizeof *texts };
  for (int kind = 0; kind < TEMPLATE_COUNT; kind++) {
    for (int i = 0; i < N * N; i++) {
      const char *instruction = texts[i % N], *input = texts[i / N];
      TemplatePieces p = template_pieces((TemplateKind)kind, instruction, input);
      EXPECT(p.n == (input[0] == '\0' ? 3 : 5), "%d", p.n);
      EXPECT(strcmp(p.text[1], instruction) == 0 && (p.n == 3 || strcmp(p.text[3], input) == 0));
      char joined[1024] = "", *end = joined;
      for (int j = 0; j < p.n; j++) end = stpcpy(end, p.text[j]);
      char *prompt = template_prompt((TemplateKind)kind, instruction, input);
      EXPECT(strcmp(joined, prompt) == 0, "%s", prompt);
      free(prompt);
      template_pieces_free(&p);
      EXPECT(p.n == 0);
    }
  }
}

int main(void) {
  RUN(test_prompts);
  RUN(test_pieces);
  return test_done();
}
