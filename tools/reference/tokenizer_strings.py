"""The generated strings of the tokenizer tests, and generated ids: tests/support/token_strings.c has the
same recipe in C.

Numbers. For item i of stream s (0 the strings, 1 the ids): state = s * 2^32 + i, and each draw is
splitmix64's: state += 0x9E3779B97F4A7C15; z = state; z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
z = (z ^ z >> 27) * 0x94D049BB133111EB; z ^ z >> 31 (all modulo 2^64). below(n) = draw % n. pick(list) =
list[below(length)].

String i: if i % 1000 is 999, pick(RUNS) repeated 2000 + below(2000) times; else below(10) parts, each of
kind below(16):
    0..3   pick(WORDS) and pick(GAPS)
    4..8   r = pick(RANGES); 1 + below(6) characters r.first + below(r.last - r.first + 1)
    9      pick(RUNS) repeated 1 + below(40) times
    10     1 + below(8) characters pick(DIGITS) + below(10)
    11     1 + below(6) of pick(SPACES)
    12     the letter "a" + below(26), then 1 + below(4) marks U+0300 + below(112)
    13     1 + below(4) code points below(0x110000), U+FFFD for a surrogate
    14     1 + below(6) bytes below(256): mostly invalid UTF-8
    15     pick(APOSTROPHES), pick(ENDINGS)
The numbers in front of a repetition are drawn before what is repeated is picked: n = 1 + below(40), then
pick(RUNS). All code points are in: whatever Unicode version the reference has, our table is its own.

Ids i of a vocabulary of V: below(12) of them, each below(min(V, 300)) if below(4) is 0, else below(V).
"""
M64 = (1 << 64) - 1

WORDS = ["the", "patient", "Heart", "rate", "blood pressure", "mmHg", "WE", "don't", "I'm", "they've",
         "he'll", "you'd", "it's", "they're", "O'Neil", "'S", "na\u00efve", "\u00df", "ca\u00f1on",
         "\u65e5\u672c", "3.14", "10,000", "2024-01-31", "x=1;", "==", "...", "!?", "a_b", "<s>", "</s>",
         "<unk>", "<0x0A>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>",
         "[INST]", "[USER]", "<mask>", "\u2581", "\u2581\u2581the", "\U0001F469\u200D\u2695\uFE0F",
         "\U0001F1E9\U0001F1EA", "\U0001F44D\U0001F3FD", "\uFEFF", "\u017F", "\uFB05", "heart rate"]
GAPS = ["", "", " ", " ", " ", "  ", "\n", "\r\n", "\t", "\u00A0", ", ", "."]
RUNS = ["a", " ", "\n", "=", "1", "\u00e9", "\u5b57", "\U0001F600", "ab", "\u2581", "<", "'"]
SPACES = [" ", " ", " ", "\n", "\r", "\t", "\x0b", "\x0c", "\x85", "\u00A0", "\u1680", "\u2003",
          "\u2028", "\u202F", "\u3000", "\u200B"]
DIGITS = [0x30, 0x30, 0x30, 0x660, 0x966, 0xFF10, 0x1D7CE, 0x2160, 0x2460, 0x11DE0]
APOSTROPHES = ["'", "'", " '", "\u2019"]
ENDINGS = ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "vE", "M", "Ll", "D", "\u017F", "sx",
           "x", "\uFB06", "l", "r"]
RANGES = [(0x20, 0x7E), (0x21, 0x7E), (0x00, 0x1F), (0x7F, 0xFF), (0x100, 0x24F), (0x250, 0x2FF),
          (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x77F), (0x900, 0xDFF),
          (0xE00, 0xFFF), (0x1000, 0x139F), (0x1780, 0x18AF), (0x1E00, 0x1FFF), (0x2000, 0x206F),
          (0x2070, 0x218F), (0x2190, 0x2BFF), (0x2E80, 0x303F), (0x3040, 0x30FF), (0x3400, 0x4DBF),
          (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xF900, 0xFAFF),
          (0xFB00, 0xFE0F), (0xFE10, 0xFFFF), (0x10000, 0x10FFF), (0x11000, 0x11FFF),
          (0x12000, 0x1BFFF), (0x1D000, 0x1DFFF), (0x1F000, 0x1FAFF), (0x20000, 0x323AF),
          (0xE0000, 0xE01EF)]


class Draws:
    def __init__(self, stream, item):
        self.state = (stream << 32) + item

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & M64
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
        return (z ^ z >> 31) % n

    def pick(self, items):
        return items[self.below(len(items))]


def char(point):
    return chr(0xFFFD if 0xD800 <= point < 0xE000 else point)


def part(d):
    kind = d.below(16)
    if kind < 4:
        word = d.pick(WORDS)
        return (word + d.pick(GAPS)).encode()
    if kind < 9:
        first, last = d.pick(RANGES)
        return "".join(char(first + d.below(last - first + 1)) for _ in range(1 + d.below(6))).encode()
    if kind == 9:
        n = 1 + d.below(40)
        return (d.pick(RUNS) * n).encode()
    if kind == 10:
        return "".join(char(d.pick(DIGITS) + d.below(10)) for _ in range(1 + d.below(8))).encode()
    if kind == 11:
        return "".join(d.pick(SPACES) for _ in range(1 + d.below(6))).encode()
    if kind == 12:
        letter = char(0x61 + d.below(26))
        return (letter + "".join(char(0x300 + d.below(112)) for _ in range(1 + d.below(4)))).encode()
    if kind == 13:
        return "".join(char(d.below(0x110000)) for _ in range(1 + d.below(4))).encode()
    if kind == 14:
        return bytes(d.below(256) for _ in range(1 + d.below(6)))
    apostrophe = d.pick(APOSTROPHES)
    return (apostrophe + d.pick(ENDINGS)).encode()


def string(i):
    d = Draws(0, i)
    if i % 1000 == 999:
        n = 2000 + d.below(2000)
        return (d.pick(RUNS) * n).encode()
    return b"".join(part(d) for _ in range(d.below(10)))


def ids(i, vocab):
    d = Draws(1, i)
    return [d.below(min(vocab, 300)) if d.below(4) == 0 else d.below(vocab) for _ in range(d.below(12))]
