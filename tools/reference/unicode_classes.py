"""Writes data/unicode_classes.c: the class of every code point, as the tokenizers package has it.

The package is asked itself (its Split with \\p{L}, \\p{N}, \\p{P}, \\s and its Digits) over all code
points. Development only; run in the repository's root.
"""
import sys

import tokenizers
from tokenizers import Regex, pre_tokenizers

OTHER, LETTER, NUMBER, SPACE, PUNCTUATION, NEW_NUMBER = range(6)
PATH = "data/unicode_classes.c"
STEP = 4096


def blocks():
    for begin in range(0, 0x110000, STEP):
        points = [c for c in range(begin, begin + STEP) if not 0xD800 <= c < 0xE000]
        if points:
            yield points


def matched(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    found = set()
    for points in blocks():
        kept = set()
        for piece, _ in split.pre_tokenize_str("".join(map(chr, points))):
            kept.update(map(ord, piece))
        found.update(c for c in points if c not in kept)
    return found


def digits():
    """What Digits cuts off: between two letters "a" it then stands alone."""
    split = pre_tokenizers.Digits(individual_digits=True)
    found = set()
    for points in blocks():
        pieces = split.pre_tokenize_str("".join("a" + chr(c) for c in points))
        found.update(ord(p) for p, _ in pieces if len(p) == 1 and p != "a")
    return found


def main():
    classes = [OTHER] * 0x110000
    letters, numbers = matched(r"\p{L}"), matched(r"\p{N}")
    for group, kind in ((letters, LETTER), (numbers, NUMBER), (matched(r"\s"), SPACE),
                        (matched(r"\p{P}"), PUNCTUATION), (digits() - numbers, NEW_NUMBER)):
        for c in group:
            if classes[c] != OTHER:
                sys.exit(f"U+{c:04X} is of two classes")
            classes[c] = kind
    ranges = [(c, k) for c, k in enumerate(classes) if c == 0 or classes[c - 1] != k]
    words = [f"0x{c << 3 | k:06X}," for c, k in ranges]
    latin = [f"{k}," for k in classes[:256]]
    with open(PATH, "w") as out:
        out.write(HEAD.format(version=tokenizers.__version__))
        out.write("// clang-format off\nconst uint8_t unicode_latin1[256] = {\n")
        for i in range(0, 256, 32):
            out.write("  " + " ".join(latin[i:i + 32]) + "\n")
        out.write("};\n\n// Where a range of code points of one class begins << 3 | the class.\n"
                  "static const uint32_t ranges[] = {\n")
        for i in range(0, len(words), 10):
            out.write("  " + " ".join(words[i:i + 10]) + "\n")
        out.write("};\n// clang-format on\n" + TAIL)
    print(f"{PATH}: {len(ranges)} ranges, tokenizers {tokenizers.__version__}")


HEAD = """// Written by tools/reference/unicode_classes.py from tokenizers {version}.
#include "unicode_classes.h"

"""
TAIL = """
UnicodeClass unicode_class(uint32_t code_point) {
  if (code_point < 256) return unicode_latin1[code_point];
  // The last range that begins at or before the code point.
  int low = 0, high = sizeof ranges / sizeof ranges[0];
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (ranges[middle] >> 3 <= code_point) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return ranges[low] & 7;
}
"""

if __name__ == "__main__":
    main()
