// Pre-tokenizers: the cuts that byte-level BPE makes before it merges. A pre-tokenizer is a list of
// steps; each cuts every piece that the one before it left. The patterns are matched by hand, each
// in one pass over the text.
#ifndef VMA_PRETOKENIZE_H
#define VMA_PRETOKENIZE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum SplitKind {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  SPLIT_GPT2,
  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  // \s*[\r\n]+|\s+(?!\S)|\s+      (with `digits` in place of 3; long_s: the (?i:) of Unicode, where
  // U+017F is an s, else that of ASCII)
  SPLIT_LLAMA3,
  SPLIT_NUMBERS,      // each \p{N} alone
  SPLIT_NUMBER_RUNS,  // \p{N}+
  SPLIT_DIGITS,       // the pre-tokenizer Digits, individual_digits: true (newer tables than \p{N})
  SPLIT_DIGIT_RUNS,   // the same, individual_digits: false
  SPLIT_THREE_DIGITS, // [0-9][0-9][0-9]
  SPLIT_PUNCTUATION,  // [\p{P}\$\+<=>\^~\|]+      (llama.cpp's "default")
  PREFIX_SPACE,       // no cut: a space in front of a piece that does not begin with one
} SplitKind;

typedef struct SplitStep {
  SplitKind kind;
  int digits;  // SPLIT_LLAMA3
  bool long_s; // SPLIT_LLAMA3
} SplitStep;

enum { PRETOKENIZER_STEPS_MAX = 8 };

typedef struct PreTokenizer {
  SplitStep steps[PRETOKENIZER_STEPS_MAX];
  int n;
} PreTokenizer;

// Calls emit(context, word, bytes) for each word, from left to right. text: well-formed UTF-8.
void pretokenize(const PreTokenizer *pre, const char *text, int64_t bytes,
                 void (*emit)(void *context, const char *word, int64_t bytes), void *context);

#endif
