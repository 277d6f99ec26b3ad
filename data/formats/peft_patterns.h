// Values of their own for some modules, as PEFT's rank_pattern and alpha_pattern give them: a list
// of keys with values, of which the first whose key matches a module's name counts.
//
// A key matches as Python's re.match(r"(.*\.)?(KEY)$", module): a module's name or its end after a
// dot, or a regular expression for these. Of Python's expressions those are read that mean the same
// everywhere: characters (escaped or not), . [] () (?:) | * + ? with or without a lazy ?, ^ $ \d
// \w. Others (counted repetition, look-around, references, \b) are refused.
#ifndef VMA_PEFT_PATTERNS_H
#define VMA_PEFT_PATTERNS_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct PeftPattern {
  char *key;
  double value;
  void *regex; // compiled; NULL: the key is compared character by character
} PeftPattern;

typedef struct PeftPatterns {
  int64_t n;
  PeftPattern *items;
} PeftPatterns;

enum { PEFT_PATTERN_KEY_MAX = 512, PEFT_PATTERNS_MAX = 1 << 14, PEFT_REGEXES_MAX = 256 };

// STATUS_DATA: the key is not read here, or there are too many; the message is about the key alone.
// STATUS_MEMORY.
Status peft_patterns_add(PeftPatterns *patterns, const char *key, double value, Error *err);

// The same for a name, or its end after a dot, in which * stands for any characters and ? for one.
Status peft_patterns_add_glob(PeftPatterns *patterns, const char *glob, double value, Error *err);

void peft_patterns_free(PeftPatterns *patterns);

bool peft_pattern_matches(const PeftPattern *pattern, const char *module);

// The first matching key's value, or `otherwise`. patterns may be NULL.
double peft_patterns_value(const PeftPatterns *patterns, const char *module, double otherwise);

#endif
