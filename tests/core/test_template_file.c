// labels: quick
// Templates of one's own: Alpaca-LoRA's JSON and a chat's frames give the ids of the built-in
// templates that they spell; what is wrong is said by key.
#include "mapped_file.h"
#include "template_encode.h"
#include "template_file.h"
#include "test.h"
#include "tmp_file.h"

static Tokenizer *tokenizer;

static Template *parse(const char *text) {
  Template *own = NULL;
  Error err = {0};
  EXPECT(template_parse(&own, "t.json", text, (int64_t)strlen(text), &err) == STATUS_OK, "%s",
         err.message);
  if (own == NULL) exit(test_done());
  return own;
}

static void expect_same(const Template *a, const Template *b, const Turn *turns, int64_t n) {
  TokenIds x = {0}, y = {0};
  template_encode(tokenizer, a, turns, n, MARK_ANSWERS, &x);
  template_encode(tokenizer, b, turns, n, MARK_ANSWERS, &y);
  EXPECT(x.n == y.n && memcmp(x.ids, y.ids, (size_t)x.n * sizeof *x.ids) == 0, "%s: %lld, %lld",
         a->name, (long long)x.n, (long long)y.n);
  token_ids_free(&x);
  token_ids_free(&y);
}

#define HEAD                                                                                       \
  "Below is an instruction that describes a task. Write a response that appropriately completes "  \
  "the request.\\n\\n"
#define HEAD_INPUT                                                                                 \
  "Below is an instruction that describes a task, paired with an input that provides further "     \
  "context. Write a response that appropriately completes the request.\\n\\n"

// As Alpaca-LoRA ships it.
static void test_alpaca(void) {
  static const char text[] =
      "{\"description\": \"Template used by Alpaca-LoRA.\", \"prompt_input\": \"" HEAD_INPUT
      "### Instruction:\\n{instruction}\\n\\n### Input:\\n{input}\\n\\n### Response:\\n\", "
      "\"prompt_no_input\": \"" HEAD "### Instruction:\\n{instruction}\\n\\n### Response:\\n\", "
      "\"response_split\": \"### Response:\"}";
  Template *own = parse(text);
  const Template *alpaca = template_builtin(TEMPLATE_ALPACA);
  Turn turns[] = {{ROLE_USER, "Why {input}?", NULL, false}, {ROLE_ASSISTANT, "So.", NULL, false}};
  expect_same(own, alpaca, turns, 1);
  expect_same(own, alpaca, turns, 2);
  turns[0].input = "of it";
  expect_same(own, alpaca, turns, 2);
  EXPECT(own->end_if_room && strcmp(own->source, text) == 0);
  EXPECT(strcmp(template_identity(own), text) == 0);
  EXPECT(strcmp(template_identity(alpaca), "alpaca") == 0);
  template_free(own);
  own = parse("{\"prompt_input\": \"{{{instruction}}}{input}\", \"prompt_no_input\": "
              "\"{instruction}{{eos}}\"}");
  EXPECT(strcmp(own->user_input[0], "{") == 0 && strcmp(own->user_input[1], "}") == 0);
  EXPECT(strcmp(own->user[1], "{eos}") == 0 && !own->needs_eos);
  template_free(own);
}

static void test_chat(void) {
  static const char text[] =
      "{\"system\": \"<|im_start|>system\\n{content}<|im_end|>\\n\",\n"
      " \"user\": \"<|im_start|>user\\n{content}<|im_end|>\\n\",\n"
      " \"assistant\": \"<|im_start|>assistant\\n{content}<|im_end|>\\n\",\n"
      " \"default_system\": \"You are a helpful AI assistant named SmolLM, trained by Hugging "
      "Face\"}";
  Template *own = parse(text);
  Turn turns[] = {{ROLE_SYSTEM, "Be kind.", NULL, false},
                  {ROLE_USER, "Q1 {content}", NULL, false},
                  {ROLE_ASSISTANT, "A1", NULL, false},
                  {ROLE_USER, "Q2", NULL, false},
                  {ROLE_ASSISTANT, "A2", NULL, false}};
  const Template *chatml = template_builtin(TEMPLATE_CHATML);
  for (int n = 1; n <= 5; n++) expect_same(own, chatml, turns, n);
  for (int n = 1; n <= 4; n++) expect_same(own, chatml, turns + 1, n);
  turns[1].input = "in";
  expect_same(own, chatml, turns + 1, 4);
  EXPECT(template_end_id(tokenizer, own) == tokenizer_find(tokenizer, "<|im_end|>"));
  template_free(own);
  own = parse("{\"begin\": \"{bos}\", \"system\": \"S {content}\", \"user\": \"U {content}\", "
              "\"assistant\": \"A {content}{eos}\", \"trim\": true}");
  EXPECT(own->trims && own->needs_eos && strcmp(own->system[0], TEMPLATE_BOS "S ") == 0);
  EXPECT(strcmp(own->no_system, TEMPLATE_BOS) == 0);
  EXPECT(strcmp(own->answer[2], TEMPLATE_EOS) == 0 && strcmp(own->answer[0], "A ") == 0);
  EXPECT(template_end_id(tokenizer, own) == tokenizer_eos(tokenizer));
  template_free(own);
}

#define FRAMES "\"system\":\"{content}\",\"user\":\"{content}\""
static const struct {
  const char *text, *message;
} bads[] = {
    {"[]", "t.json: the template: expected a JSON object"},
    {"{\"prompt\":\"a\"}", "t.json: expected the keys prompt_input, prompt_no_input (desc"},
    {"{\"prompt_input\":\"{instruction}{input}\"}",
     "t.json: prompt_no_input: expected a text, found no such key"},
    {"{\"prompt_no_input\":\"{input}\",\"prompt_input\":\"\"}",
     "t.json: prompt_no_input: expected {instruction}, once"},
    {"{\"prompt_no_input\":\"{instruction}\",\"prompt_input\":\"{input}{instruction}\"}",
     "t.json: prompt_input: expected {instruction}"},
    {"{\"prompt_no_input\":\"{instruction} {\",\"prompt_input\":\"{instruction}{input}\"}",
     "t.json: prompt_no_input: expected {instruction} and {input} once each"},
    {"{\"prompt_no_input\":7,\"prompt_input\":\"\"}", "t.json: prompt_no_input: expected a text"},
    {"{\"prompt_no_input\":\"\\u0001{instruction}\",\"prompt_input\":\"\"}",
     "t.json: prompt_no_input: expected a text without control characters"},
    {"{" FRAMES "}", "t.json: assistant: expected a text, found no such key"},
    {"{" FRAMES ",\"assistant\":\"a\"}", "t.json: assistant: expected {content}, once"},
    {"{" FRAMES ",\"assistant\":\"{content}{content}\"}",
     "t.json: assistant: expected {content}, o"},
    {"{" FRAMES ",\"assistant\":\"{content}\"}", "t.json: assistant: expected what ends an answer"},
    {"{" FRAMES ",\"assistant\":\"{{ content }}{content}\"}",
     "t.json: assistant: expected a frame a"},
    {"{" FRAMES ",\"assistant\":\"{content}.\",\"trim\":1}",
     "t.json: trim: expected true or false"},
    {"{" FRAMES ",\"assistant\":\"{content}.\",\"prompt\":1}",
     "t.json: expected the keys prompt_in"},
    {"{\"user\":\"{content}\"", "t.json:1:"},
};

static void test_bad(void) {
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    Template *own;
    Error err = {0};
    int64_t size = (int64_t)strlen(bads[i].text);
    EXPECT(template_parse(&own, "t.json", bads[i].text, size, &err) == STATUS_DATA && own == NULL,
           "%s", bads[i].text);
    EXPECT(strncmp(err.message, bads[i].message, strlen(bads[i].message)) == 0,
           "\n  want %s\n  have %s", bads[i].message, err.message);
  }
  Template *own;
  Error err = {0};
  EXPECT(template_load(&own, "no/such.json", &err) == STATUS_NO_INPUT && own == NULL);
  tmp_put_text("t.json", "{" FRAMES ",\"assistant\":\"{content}<|no_such|>\"}");
  EXPECT(template_load(&own, tmp_path("t.json"), &err) == STATUS_OK, "%s", err.message);
  EXPECT(template_check(tokenizer, own, &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "<|no_such|>") != NULL, "%s", err.message);
  template_free(own);
}

int main(void) {
  Error err = {0};
  if (tokenizer_open(&tokenizer, "tests/golden/dataset/bpe", &err) != STATUS_OK) {
    printf("%s\n", err.message);
    return 1;
  }
  RUN(test_alpaca);
  RUN(test_chat);
  RUN(test_bad);
  tokenizer_close(tokenizer);
  return test_done();
}
