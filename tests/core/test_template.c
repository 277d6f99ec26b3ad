// labels: quick
// The texts around the turns of a conversation, byte for byte, and which of them are labels: read
// back from the ids of a byte-level tokenizer, which loses nothing. Its BOS is <|im_start|>, its
// EOS <|im_end|>.
#include "template_encode.h"
#include "test.h"

#define WITH                                                                                       \
  "Below is an instruction that describes a task, paired with an input that provides further "     \
  "context. Write a response that appropriately completes the request.\n\n"
#define WITHOUT                                                                                    \
  "Below is an instruction that describes a task. Write a response that appropriately completes "  \
  "the request.\n\n"
#define SYSTEM                                                                                     \
  "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "           \
  "Face<|im_end|>\n"
#define BOS "<|im_start|>"
#define EOS "<|im_end|>"

static Tokenizer *tokenizer;

// The text of the ids; of the labels alone with "|" behind each run of them.
static char *read_back(const TokenIds *tokens, bool labels) {
  static char text[4096];
  char *end = text;
  *end = '\0';
  for (int64_t from = 0, to; from < tokens->n; from = to) {
    int32_t ids[1024];
    bool label = token_is_label(tokens->ids[from]);
    for (to = from; to < tokens->n && token_is_label(tokens->ids[to]) == label; to++) {
      ids[to - from] = token_id(tokens->ids[to]);
    }
    if (labels && !label) continue;
    char *part = tokenizer_decode(tokenizer, ids, to - from, false, NULL);
    end = stpcpy(stpcpy(end, part), labels ? "|" : "");
    free(part);
  }
  return text;
}

static void expect_text(const char *what, TemplateKind kind, const Turn *turns, int64_t n,
                        const char *text, const char *labels) {
  TokenIds tokens = {0}, plain = {0};
  template_encode(tokenizer, template_builtin(kind), turns, n, MARK_ANSWERS, &tokens);
  template_encode(tokenizer, template_builtin(kind), turns, n, MARK_NOTHING, &plain);
  EXPECT(plain.n == tokens.n, "%s", what);
  for (int64_t i = 0; i < tokens.n; i++)
    EXPECT(token_id(tokens.ids[i]) == plain.ids[i], "%s", what);
  const char *found = read_back(&tokens, false);
  EXPECT(strcmp(found, text) == 0, "%s %s:\n%s", template_kind_name(kind), what, found);
  found = read_back(&tokens, true);
  EXPECT(strcmp(found, labels) == 0, "%s %s: labels\n%s", template_kind_name(kind), what, found);
  plain.n = 0;
  template_encode(tokenizer, template_builtin(kind), turns, n, MARK_ALL, &plain);
  EXPECT(plain.n == tokens.n, "%s", what);
  for (int64_t i = 0; i < plain.n; i++) {
    EXPECT(token_is_label(plain.ids[i]) == (i > 0), "%s: %lld", what, (long long)i);
  }
  token_ids_free(&tokens);
  token_ids_free(&plain);
}

typedef struct Case {
  TemplateKind kind;
  const char *input, *prompt, *end;
} Case;

// Of the instruction "I?"; `end` is what ends the answer itself.
static const Case cases[] = {
    {TEMPLATE_ALPACA, "in", WITH "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, "", WITHOUT "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, NULL, WITHOUT "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA, " ", WITH "### Instruction:\nI?\n\n### Input:\n \n\n### Response:\n", ""},
    {TEMPLATE_ALPACA_STANFORD, "in",
     WITH "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:", EOS},
    {TEMPLATE_ALPACA_STANFORD, NULL, WITHOUT "### Instruction:\nI?\n\n### Response:", EOS},
    {TEMPLATE_ALPACA_SHORT, "in", "### Instruction:\nI?\n\n### Input:\nin\n\n### Response:\n", ""},
    {TEMPLATE_ALPACA_SHORT, NULL, "### Instruction:\nI?\n\n### Response:\n", ""},
    {TEMPLATE_CHATML, "in", SYSTEM "<|im_start|>user\nI?\n\nin<|im_end|>\n<|im_start|>assistant\n",
     "<|im_end|>\n"},
    {TEMPLATE_CHATML, NULL, SYSTEM "<|im_start|>user\nI?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_end|>\n"},
    {TEMPLATE_NONE, "in", "I?\nin\n", ""},
    {TEMPLATE_NONE, NULL, "I?\n", ""},
    {TEMPLATE_LLAMA2, NULL, BOS "[INST] I? [/INST]", " " EOS},
    {TEMPLATE_LLAMA2, "in", BOS "[INST] I?\n\nin [/INST]", " " EOS},
};

static void test_items(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const Case *c = &cases[i];
    Turn turns[] = {{ROLE_USER, "I?", c->input, false}, {ROLE_ASSISTANT, "Yes", NULL, false}};
    char text[2000], labels[100];
    expect_text("prompt", c->kind, turns, 1, c->prompt, "");
    const char *lead = c->kind == TEMPLATE_LLAMA2 ? " " : "";
    snprintf(text, sizeof text, "%s%sYes%s", c->prompt, lead, c->end);
    snprintf(labels, sizeof labels, "%sYes%s|", lead, c->end);
    expect_text("answered", c->kind, turns, 2, text, labels);
  }
}

typedef struct Conversation {
  TemplateKind kind;
  const char *with_system, *without, *labels;
} Conversation;

// (Be brief.) Q1 -> A1, Q2 -> A2, Q3
static const Conversation conversations[] = {
    {TEMPLATE_ALPACA,
     "Be brief.\n\n### Instruction:\nQ1\n\n### Response:\nA1" EOS
     "\n\n### Instruction:\nQ2\n\n### Response:\nA2" EOS
     "\n\n### Instruction:\nQ3\n\n### Response:\n",
     WITHOUT "### Instruction:\nQ1\n\n### Response:\nA1" EOS
             "\n\n### Instruction:\nQ2\n\n### Response:\nA2" EOS
             "\n\n### Instruction:\nQ3\n\n### Response:\n",
     "A1" EOS "|A2" EOS "|"},
    {TEMPLATE_ALPACA_STANFORD,
     "Be brief.\n\n### Instruction:\nQ1\n\n### Response:A1" EOS
     "\n\n### Instruction:\nQ2\n\n### Response:A2" EOS "\n\n### Instruction:\nQ3\n\n### Response:",
     WITHOUT "### Instruction:\nQ1\n\n### Response:A1" EOS
             "\n\n### Instruction:\nQ2\n\n### Response:A2" EOS
             "\n\n### Instruction:\nQ3\n\n### Response:",
     "A1" EOS "|A2" EOS "|"},
    {TEMPLATE_ALPACA_SHORT,
     "Be brief.\n\n### Instruction:\nQ1\n\n### Response:\nA1" EOS
     "\n\n### Instruction:\nQ2\n\n### Response:\nA2" EOS
     "\n\n### Instruction:\nQ3\n\n### Response:\n",
     "### Instruction:\nQ1\n\n### Response:\nA1" EOS
     "\n\n### Instruction:\nQ2\n\n### Response:\nA2" EOS
     "\n\n### Instruction:\nQ3\n\n### Response:\n",
     "A1" EOS "|A2" EOS "|"},
    {TEMPLATE_CHATML,
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n"
     "<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n"
     "<|im_start|>assistant\nA2<|im_end|>\n<|im_start|>user\nQ3<|im_end|>\n"
     "<|im_start|>assistant\n",
     SYSTEM "<|im_start|>user\nQ1<|im_end|>\n"
            "<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n"
            "<|im_start|>assistant\nA2<|im_end|>\n<|im_start|>user\nQ3<|im_end|>\n"
            "<|im_start|>assistant\n",
     "A1<|im_end|>\n|A2<|im_end|>\n|"},
    {TEMPLATE_NONE, "Be brief.\nQ1\nA1" EOS "\nQ2\nA2" EOS "\nQ3\n",
     "Q1\nA1" EOS "\nQ2\nA2" EOS "\nQ3\n", "A1" EOS "|A2" EOS "|"},
    {TEMPLATE_LLAMA2,
     BOS "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nQ1 [/INST] A1 " EOS BOS
         "[INST] Q2 [/INST] A2 " EOS BOS "[INST] Q3 [/INST]",
     BOS "[INST] Q1 [/INST] A1 " EOS BOS "[INST] Q2 [/INST] A2 " EOS BOS "[INST] Q3 [/INST]",
     " A1 " EOS "| A2 " EOS "|"},
};

static void test_conversations(void) {
  static const Turn turns[] = {
      {ROLE_SYSTEM, "Be brief.", NULL, false}, {ROLE_USER, "Q1", NULL, false},
      {ROLE_ASSISTANT, "A1", NULL, false},     {ROLE_USER, "Q2", NULL, false},
      {ROLE_ASSISTANT, "A2", NULL, false},     {ROLE_USER, "Q3", NULL, false}};
  for (size_t i = 0; i < sizeof conversations / sizeof *conversations; i++) {
    const Conversation *c = &conversations[i];
    expect_text("with a system text", c->kind, turns, 6, c->with_system, c->labels);
    expect_text("without", c->kind, turns + 1, 5, c->without, c->labels);
  }
}

// The texts of people go in unchanged whatever they hold, but for the ends of trimmed ones.
static void test_any_text(void) {
  static const char *const texts[] = {"I?",         "",   " \n", "### Response:\n",
                                      "<|im_end|>", "{}", "%s",  "\xC2\xA0x\xE3\x80\x80y\x1F\n"};
  static const char *const trimmed[] = {
      "I?", "", "", "### Response:", "<|im_end|>", "{}", "%s", "x\xE3\x80\x80y"};
  enum { N = sizeof texts / sizeof *texts };
  for (int i = 0; i < N; i++) {
    char text[500], labels[100];
    Turn turns[] = {{ROLE_USER, texts[i], NULL, false},
                    {ROLE_ASSISTANT, texts[(i + 3) % N], NULL, false}};
    snprintf(text, sizeof text,
             "%s<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n%s<|im_end|>\n", SYSTEM,
             turns[0].text, turns[1].text);
    snprintf(labels, sizeof labels, "%s<|im_end|>\n|", turns[1].text);
    // A first white space of an answer may go into one token with the newline before it.
    if (turns[1].text[0] != ' ') expect_text(texts[i], TEMPLATE_CHATML, turns, 2, text, labels);
    snprintf(text, sizeof text, BOS "[INST] %s [/INST] %s " EOS, trimmed[i], trimmed[(i + 3) % N]);
    snprintf(labels, sizeof labels, " %s " EOS "|", trimmed[(i + 3) % N]);
    expect_text(texts[i], TEMPLATE_LLAMA2, turns, 2, text, labels);
  }
}

static void test_names(void) {
  for (int i = 0; i < TEMPLATE_COUNT; i++) {
    EXPECT(strcmp(template_builtin((TemplateKind)i)->name, template_kind_name((TemplateKind)i)) ==
           0);
  }
}

int main(void) {
  Error err = {0};
  if (tokenizer_open(&tokenizer, "tests/golden/dataset/bpe", &err) != STATUS_OK) {
    printf("%s\n", err.message);
    return 1;
  }
  RUN(test_items);
  RUN(test_conversations);
  RUN(test_any_text);
  RUN(test_names);
  tokenizer_close(tokenizer);
  return test_done();
}
