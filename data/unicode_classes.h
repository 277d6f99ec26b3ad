// Classes of characters as the regular expressions of pre-tokenizers see them: \p{L}, \p{N}, \p{P},
// \s. The table is what the reference (the tokenizers package) answers for every code point, so
// that ids do not depend on the Unicode version of a library.
#ifndef VMA_UNICODE_CLASSES_H
#define VMA_UNICODE_CLASSES_H

#include <stdint.h>

typedef enum UnicodeClass {
  UNICODE_OTHER,
  UNICODE_LETTER,      // \p{L}
  UNICODE_NUMBER,      // \p{N}
  UNICODE_SPACE,       // \s
  UNICODE_PUNCTUATION, // \p{P}
  UNICODE_NEW_NUMBER, // a number for the pre-tokenizer Digits only: its tables are newer than those
                      // of the regular expressions, for which it is UNICODE_OTHER
} UnicodeClass;

extern const uint8_t unicode_latin1[256]; // the class of U+0000 to U+00FF

// code_point: up to 0x10FFFF.
UnicodeClass unicode_class(uint32_t code_point);

#endif
