#include "template.h"

#include "check.h"

#define WITH_INPUT                                                                                 \
  "Below is an instruction that describes a task, paired with an input that provides further "     \
  "context. Write a response that appropriately completes the request.\n\n"
#define WITHOUT_INPUT                                                                              \
  "Below is an instruction that describes a task. Write a response that appropriately completes "  \
  "the request.\n\n"
#define SMOLLM_SYSTEM                                                                              \
  "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"       \
  "<|im_end|>\n"
#define LLAMA3_ROLE(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

// What the three alpaca forms share; `response` ends a prompt.
#define ALPACA_TURNS(response)                                                                     \
  .system = {"", "\n\n"}, .user = {"### Instruction:\n", response},                                \
  .user_input = {"### Instruction:\n", "\n\n### Input:\n", response},                              \
  .answer = {"", "", TEMPLATE_EOS}, .next = "\n\n"

static const Template templates[TEMPLATE_COUNT] = {
    [TEMPLATE_ALPACA] = {.name = "alpaca",
                         .no_system = WITHOUT_INPUT,
                         .no_system_input = WITH_INPUT,
                         ALPACA_TURNS("\n\n### Response:\n"),
                         .end_if_room = true},
    [TEMPLATE_ALPACA_STANFORD] = {.name = "alpaca_stanford",
                                  .no_system = WITHOUT_INPUT,
                                  .no_system_input = WITH_INPUT,
                                  ALPACA_TURNS("\n\n### Response:")},
    [TEMPLATE_ALPACA_SHORT] = {.name = "alpaca_short",
                               .no_system = "",
                               .no_system_input = "",
                               ALPACA_TURNS("\n\n### Response:\n"),
                               .end_if_room = true},
    [TEMPLATE_CHATML] = {.name = "chatml",
                         .system = {"<|im_start|>system\n", "<|im_end|>\n"},
                         .no_system = SMOLLM_SYSTEM,
                         .no_system_input = SMOLLM_SYSTEM,
                         .next = "",
                         .user = {"<|im_start|>user\n", "<|im_end|>\n"},
                         .user_input = {"<|im_start|>user\n", "\n\n", "<|im_end|>\n"},
                         .answer = {"<|im_start|>assistant\n", "", "<|im_end|>\n"}},
    [TEMPLATE_NONE] = {.name = "none",
                       .system = {"", "\n"},
                       .no_system = "",
                       .no_system_input = "",
                       .next = "\n",
                       .user = {"", "\n"},
                       .user_input = {"", "\n", "\n"},
                       .answer = {"", "", TEMPLATE_EOS},
                       .end_if_room = true},
    // The first question stands in the same brackets as the system text.
    [TEMPLATE_LLAMA2] = {.name = "llama2",
                         .system = {TEMPLATE_BOS "[INST] <<SYS>>\n", "\n<</SYS>>\n\n"},
                         .no_system = TEMPLATE_BOS "[INST] ",
                         .no_system_input = TEMPLATE_BOS "[INST] ",
                         .next = TEMPLATE_BOS "[INST] ",
                         .user = {"", " [/INST]"},
                         .user_input = {"", "\n\n", " [/INST]"},
                         .answer = {"", " ", " " TEMPLATE_EOS},
                         .trims = true,
                         .needs_eos = true},
    [TEMPLATE_LLAMA3] = {.name = "llama3",
                         .system = {TEMPLATE_BOS LLAMA3_ROLE("system"), "<|eot_id|>"},
                         .no_system = TEMPLATE_BOS,
                         .no_system_input = TEMPLATE_BOS,
                         .next = "",
                         .user = {LLAMA3_ROLE("user"), "<|eot_id|>"},
                         .user_input = {LLAMA3_ROLE("user"), "\n\n", "<|eot_id|>"},
                         .answer = {LLAMA3_ROLE("assistant"), "", "<|eot_id|>"},
                         .trims = true},
};

const Template *template_builtin(TemplateKind kind) {
  CHECK(kind >= 0 && kind < TEMPLATE_COUNT, "template %d", (int)kind);
  return &templates[kind];
}
