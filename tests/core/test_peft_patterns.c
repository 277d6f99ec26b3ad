// rank_pattern and alpha_pattern: which modules a key means is what Python's re says (the table was
// made with it), the first matching key counts, and other regular expressions are refused.
#include "peft_patterns.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

static const char *const modules[] = {"model.layers.0.self_attn.q_proj",
                                      "model.layers.1.self_attn.q_proj",
                                      "model.layers.11.mlp.gate_proj",
                                      "model.layers.1.mlp.down_proj",
                                      "q_proj",
                                      "xq_proj"};

// re.match(rf"(.*\.)?({key})$", module) for each module.
static void keys_mean_what_python_means(void) {
  static const struct {
    const char *key, *matches;
  } cases[] = {
      {"q_proj", "110010"},
      {"layers.0.self_attn.q_proj", "100000"},
      {"layers\\.1\\.self_attn\\.q_proj", "010000"},
      {"proj", "000000"},
      {".q_proj", "000001"},
      {".*q_proj", "110011"},
      {"model\\.layers\\.1\\..*_proj", "010100"},
      {"layers\\.1", "000000"},
      {".*\\.1\\..*", "010100"},
      {".*\\.\\d+\\.mlp\\..*", "001100"},
      {".*\\.1\\d\\..*", "001000"},
      {"(q|down)_proj", "110110"},
      {"(?:gate|down)_proj", "001100"},
      {"[gd]\\w+_proj", "001100"},
      {"[^q]\\w*_proj", "001101"},
      {"layers\\.[0-9]\\..*", "110100"},
      {"^model.*down_proj", "000100"},
      {"^layers.*", "000000"},
      {"q_proj$", "110010"},
      {"q_proj|down_proj", "110110"},
      {".*?\\.1\\..*?", "010100"},
      {"q\\_proj", "110010"},
      {"q_proj\\.", "000000"},
      {"layers\\.1?1\\.mlp\\..*", "001100"},
      {"(layers\\.(0|1)\\.)?self_attn\\.q_proj", "110000"},
      {"[\\d]+\\.self_attn\\.q_proj", "110000"},
      {"w*q_proj", "110010"},
      {"x?q_proj", "110011"},
      {"()", "000000"},
      {"model.layers.1.mlp.down_projx", "000000"},
      {"layers/0", "000000"},
      {"x\\\\q_proj", "000000"},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    PeftPatterns p = {0};
    Error err = {0};
    EXPECT(peft_patterns_add(&p, cases[c].key, 7, &err) == STATUS_OK, "%s", err.message);
    for (int m = 0; m < 6 && p.n == 1; m++) {
      bool matches = peft_pattern_matches(&p.items[0], modules[m]);
      EXPECT(matches == (cases[c].matches[m] == '1'), "%s on %s: %d", cases[c].key, modules[m],
             matches);
    }
    peft_patterns_free(&p);
  }
}

static void globs(void) {
  static const struct {
    const char *glob, *key, *matches;
  } cases[] = {
      {"q_proj", "q_proj", "110010"},
      {"layers.1.*", "layers\\.1\\..*", "010100"},
      {"*.q_proj", ".*\\.q_proj", "110000"},
      {"model.layers.1?.mlp.*", "model\\.layers\\.1.\\.mlp\\..*", "001000"},
      {"layers.?.mlp.down_proj", "layers\\..\\.mlp\\.down_proj", "000100"},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    PeftPatterns p = {0};
    EXPECT(peft_patterns_add_glob(&p, cases[c].glob, 7, NULL) == STATUS_OK, "%s", cases[c].glob);
    EXPECT(strcmp(p.items[0].key, cases[c].key) == 0, "%s", p.items[0].key);
    for (int m = 0; m < 6; m++) {
      bool matches = peft_pattern_matches(&p.items[0], modules[m]);
      EXPECT(matches == (cases[c].matches[m] == '1'), "%s on %s", cases[c].glob, modules[m]);
    }
    peft_patterns_free(&p);
  }
}

static void the_first_counts(void) {
  PeftPatterns p = {0};
  EXPECT(peft_patterns_value(NULL, modules[0], 3) == 3);
  EXPECT(peft_patterns_value(&p, modules[0], 3) == 3);
  peft_patterns_add(&p, "layers.0.self_attn.q_proj", 5, NULL);
  peft_patterns_add(&p, "(q|k)_proj", 6, NULL);
  peft_patterns_add(&p, ".*", 7, NULL);
  EXPECT(peft_patterns_value(&p, modules[0], 3) == 5);
  EXPECT(peft_patterns_value(&p, modules[1], 3) == 6);
  EXPECT(peft_patterns_value(&p, modules[2], 3) == 7);
  peft_patterns_free(&p);
}

static void others_are_refused(void) {
  static const char *const keys[] = {
      "",           "a{2}",  "(?=q)q",      "(?P<x>q)", "(q)\\1",
      "\\bq",       "q**",   "q*+",         "*q",       "(*q)",
      "q|*",        "(q",    "q)",          "[q",       "[[:alpha:]]_proj",
      "[]q]",       "[\\.]", "(((((q)))))", "q\\",      "caf\xC3\xA9",
      "[\xC3\xA9]", "q\n",   "[z-a]",       "^*"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    PeftPatterns p = {0};
    Error err = {0};
    EXPECT(peft_patterns_add(&p, keys[i], 7, &err) == STATUS_DATA, "%s", keys[i]);
    EXPECT(strstr(err.message, "the key '") != NULL && strchr(err.message, '\n') == NULL, "%s",
           err.message);
    EXPECT(p.n == 0);
    peft_patterns_free(&p);
  }
}

static void limits(void) {
  PeftPatterns p = {0};
  char key[PEFT_PATTERN_KEY_MAX + 2];
  memset(key, 'q', sizeof key);
  key[PEFT_PATTERN_KEY_MAX + 1] = '\0';
  EXPECT(peft_patterns_add(&p, key, 1, NULL) == STATUS_DATA);
  key[PEFT_PATTERN_KEY_MAX] = '\0';
  EXPECT(peft_patterns_add(&p, key, 1, NULL) == STATUS_OK);
  for (int i = 0; i < PEFT_PATTERN_KEY_MAX / 2; i++) memcpy(key + 2 * i, "\\w", 2);
  for (int i = 0; i < PEFT_REGEXES_MAX; i++)
    EXPECT(peft_patterns_add(&p, i == 0 ? key : "q*", 1, NULL) == STATUS_OK, "%d", i);
  EXPECT(peft_patterns_add(&p, "q+", 1, NULL) == STATUS_DATA);
  while (p.n < PEFT_PATTERNS_MAX && peft_patterns_add(&p, "q", 1, NULL) == STATUS_OK) continue;
  EXPECT(p.n == PEFT_PATTERNS_MAX);
  EXPECT(peft_patterns_add(&p, "q", 1, NULL) == STATUS_DATA);
  peft_patterns_free(&p);
}

int main(void) {
  RUN(keys_mean_what_python_means);
  RUN(globs);
  RUN(the_first_counts);
  RUN(others_are_refused);
  RUN(limits);
  return test_done();
}
