// labels: quick
// Where each pre-tokenizer cuts: expected cuts are what the tokenizers package 0.23 gives.
#include "pretokenize.h"
#include "test.h"

typedef struct Words {
  char text[256]; // the words with a bar between them
  int size;
} Words;

static void add_word(void *context, const char *word, int64_t bytes) {
  Words *words = context;
  int room = (int)sizeof words->text - words->size;
  words->size += snprintf(words->text + words->size, (size_t)room, "%s%.*s",
                          words->size > 0 ? "|" : "", (int)bytes, word);
}

enum { TEXTS = 5 };

static const char *const texts[TEXTS] = {"a'\u017Fx B'SX c'Rex 'lLama",
                                         "12345 1\u00B2\u0663 \u2167a", "x \n\n  y\t\n z  ",
                                         "!!\r\n\n? \u00A0b $5+6=11.0~", "\U00011DE0\U00011DE1 7"};

static void check(PreTokenizer pre, const char *const expected[TEXTS]) {
  for (int i = 0; i < TEXTS; i++) {
    Words words = {0};
    pretokenize(&pre, texts[i], (int64_t)strlen(texts[i]), add_word, &words);
    EXPECT(strcmp(words.text, expected[i]) == 0, "text %d: '%s', expected '%s'", i, words.text,
           expected[i]);
  }
}

#define ONE(...) ((PreTokenizer){.steps = {{__VA_ARGS__}}, .n = 1})

static void gpt2(void) {
  static const char *const expected[] = {"a|'|\u017Fx| B|'|SX| c|'|Rex| '|lLama",
                                         "12345| 1\u00B2\u0663| \u2167|a", "x| \n\n | y|\t\n| z|  ",
                                         "!!|\r\n|\n|?| |\u00A0|b| $|5|+|6|=|11|.|0|~",
                                         "\U00011DE0\U00011DE1| 7"};
  check(ONE(.kind = SPLIT_GPT2), expected);
}

static void llama3(void) {
  static const char *const expected[] = {
      "a|'\u017F|x| B|'S|X| c|'Re|x| '|lLama", "123|45| |1\u00B2\u0663| |\u2167|a",
      "x| \n\n| | y|\t\n| z|  ", "!!\r\n\n|?| |\u00A0b| $|5|+|6|=|11|.|0|~",
      "\U00011DE0\U00011DE1| |7"};
  check(ONE(.kind = SPLIT_LLAMA3, .digits = 3, .long_s = true), expected);
  const char *ascii[TEXTS];
  memcpy(ascii, expected, sizeof ascii);
  ascii[0] = "a|'\u017Fx| B|'S|X| c|'Re|x| '|lLama";
  check(ONE(.kind = SPLIT_LLAMA3, .digits = 3), ascii);
  ascii[1] = "1|2|3|4|5| |1|\u00B2|\u0663| |\u2167|a";
  ascii[3] = "!!\r\n\n|?| |\u00A0b| $|5|+|6|=|1|1|.|0|~";
  check(ONE(.kind = SPLIT_LLAMA3, .digits = 1), ascii);
}

static void numbers(void) {
  static const char *const single[] = {
      "a'\u017Fx B'SX c'Rex 'lLama", "1|2|3|4|5| |1|\u00B2|\u0663| |\u2167|a", "x \n\n  y\t\n z  ",
      "!!\r\n\n? \u00A0b $|5|+|6|=|1|1|.|0|~", "\U00011DE0|\U00011DE1| |7"};
  check(ONE(.kind = SPLIT_DIGITS), single);
  const char *other[TEXTS];
  memcpy(other, single, sizeof other);
  other[4] = "\U00011DE0\U00011DE1 |7"; // for \p{N} these are no numbers yet
  check(ONE(.kind = SPLIT_NUMBERS), other);
  other[1] = "12345| |1\u00B2\u0663| |\u2167|a";
  other[3] = "!!\r\n\n? \u00A0b $|5|+|6|=|11|.|0|~";
  check(ONE(.kind = SPLIT_NUMBER_RUNS), other);
  other[4] = "\U00011DE0\U00011DE1| |7";
  check(ONE(.kind = SPLIT_DIGIT_RUNS), other);
}

static void llamacpp_default(void) {
  static const char *const expected[] = {
      "a|'|\u017Fx| B|'|SX| c|'|Rex| |'|lLama", "123|45| |1\u00B2\u0663| |\u2167|a",
      "x| \n\n | y|\t\n| z|  ", "!!|\r\n\n|?| |\u00A0|b| |$|5|+|6|=|11|.|0|~",
      "\U00011DE0\U00011DE1| |7"};
  check((PreTokenizer){.steps = {{.kind = SPLIT_PUNCTUATION},
                                 {.kind = SPLIT_GPT2},
                                 {.kind = SPLIT_NUMBER_RUNS},
                                 {.kind = SPLIT_THREE_DIGITS}},
                       .n = 4},
        expected);
}

static void prefix(void) {
  Words words = {0};
  PreTokenizer pre = {.steps = {{.kind = SPLIT_DIGITS}, {.kind = PREFIX_SPACE}}, .n = 2};
  pretokenize(&pre, "a1 b", 4, add_word, &words);
  EXPECT(strcmp(words.text, " a| 1| b") == 0, "'%s'", words.text);
  words.size = 0;
  words.text[0] = 0;
  pretokenize(&pre, "", 0, add_word, &words);
  EXPECT(words.size == 0, "words of an empty text");
}

int main(void) {
  RUN(gpt2);
  RUN(llama3);
  RUN(numbers);
  RUN(llamacpp_default);
  RUN(prefix);
  return test_done();
}
