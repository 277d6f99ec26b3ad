"""Writes tests/golden/tokenizer/hashes: what the reference gives for 100,000 generated strings.

    tools/reference/regenerate.sh tokenizer            writes
    tools/reference/regenerate.sh --check tokenizer    compares with the stored files

One file a vocabulary, one line per 1,000 strings (tokenizer_strings.py), each of three columns, the first 16
hex digits of a SHA-256 over all items of the block (u32 count, then i32 ids, or u32 length, then UTF-8 bytes;
little-endian):
    ids with the text of special tokens as text
    ids with special tokens parsed ("-": sentencepiece has no such mode)
    the text of generated ids, special tokens left out
strings.txt has the hashes of the strings themselves, so that a slip in one of the two generators shows as such.
Invalid UTF-8 is decoded with errors="replace" first.

References: the tokenizers and sentencepiece packages. For a GGUF vocabulary "gpt2", a tokenizers pipeline built
by hand from its pieces and merges (not transformers, which leaves SmolLM's digit split out); for "llama", the
sentencepiece model that it was made from. Vocabularies outside of the tree (VMA_MODEL, ../shared/data) are left
as they are where they are absent.
"""
import hashlib
import os
import struct
import sys

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers import pre_tokenizers as pre

import tokenizer_strings

FOLDER = "tests/golden/tokenizer"
SHARED = os.environ.get("VMA_TEST_DATA", "../shared/data") + "/tokenizers"
MODEL = os.environ.get("VMA_MODEL", "build/models/SmolLM2-135M-Instruct.Q4_1.gguf")
CHECK = "--check" in sys.argv[1:]
ONLY = [a for a in sys.argv[1:] if a != "--check"]  # names of vocabularies, none: all
BLOCKS, BLOCK = 100, 1000

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_BPE = (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
             r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern):
    return pre.Split(Regex(pattern), "isolated")


# llama.cpp's pre-tokenizers; its patterns lack the last \s+, which its splitter makes up for.
PRE = {
    "default": [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]")],
    "gpt-2": [split(GPT2)],
    "smollm": [pre.Digits(individual_digits=True), split(GPT2)],
    "starcoder": [pre.Digits(individual_digits=True), split(GPT2)],
    "llama-bpe": [split(LLAMA_BPE)],
}


class Fast:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()

    def encode(self, texts, parsed):
        self.tokenizer.encode_special_tokens = not parsed
        return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)


class Sentencepiece:
    def __init__(self, path):
        self.model = sentencepiece.SentencePieceProcessor(model_file=path)
        self.size = self.model.get_piece_size()

    def encode(self, texts, parsed):
        return None if parsed else self.model.encode(texts)

    def decode(self, ids):
        return self.model.decode(ids)


def from_gguf(path):
    fields = gguf.GGUFReader(path).fields

    def get(key):
        return fields["tokenizer.ggml." + key].contents()

    pieces, name = get("tokens"), get("pre")
    model = models.BPE({p: i for i, p in enumerate(pieces)}, [tuple(m.split(" ")) for m in get("merges")],
                       ignore_merges=name == "llama-bpe")
    t = Tokenizer(model)
    t.pre_tokenizer = pre.Sequence(PRE[name] + [pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    for piece, kind in zip(pieces, get("token_type")):
        if kind == 3:
            t.add_special_tokens([AddedToken(piece, normalized=False, special=True)])
    return Fast(t)


def vocabularies():
    for name in ("bytes", "llama3", "prefix", "legacy", "metaspace", "words"):
        yield name, f"{FOLDER}/{name}/tokenizer.json", lambda p: Fast(Tokenizer.from_file(p))
    for name in ("spm", "plain", "bare", "across", "unused"):
        yield name, f"{FOLDER}/{name}/tokenizer.model", Sentencepiece
    for name in PRE:
        yield "gguf_" + name, f"{FOLDER}/gguf/{name}.gguf", from_gguf
    yield "shared_gpt-2", f"{SHARED}/gpt-2.gguf", from_gguf
    yield "shared_starcoder", f"{SHARED}/starcoder.gguf", from_gguf
    yield "shared_llama", f"{SHARED}/llama.tokenizer.model", Sentencepiece
    yield "smollm2", MODEL, from_gguf


class Hash:
    def __init__(self):
        self.sha = hashlib.sha256()

    def ids(self, ids):
        self.sha.update(struct.pack(f"<I{len(ids)}i", len(ids), *ids))

    def bytes(self, data):
        self.sha.update(struct.pack("<I", len(data)) + data)

    def __str__(self):
        return self.sha.hexdigest()[:16]


def line_of(reference, block, texts):
    columns = []
    for parsed in (False, True):
        found = reference.encode(texts, parsed)
        digest = Hash()
        for ids in found or []:
            digest.ids(ids)
        columns.append("-" if found is None else str(digest))
    digest = Hash()
    for i in range(block * BLOCK, (block + 1) * BLOCK):
        digest.bytes(reference.decode(tokenizer_strings.ids(i, reference.size)).encode())
    return " ".join(columns + [str(digest)])


def save(name, lines):
    path = f"{FOLDER}/hashes/{name}.txt"
    text = "".join(line + "\n" for line in lines)
    if CHECK:
        with open(path) as file:
            if file.read() != text:
                sys.exit(f"{path}: the reference gives something else now")
    else:
        with open(path, "w") as file:
            file.write(text)
    print(f"{path}: {len(lines)} blocks")


def main():
    os.makedirs(f"{FOLDER}/hashes", exist_ok=True)
    lines, blocks = [], []
    for block in range(BLOCKS):
        digest, texts = Hash(), []
        for i in range(block * BLOCK, (block + 1) * BLOCK):
            data = tokenizer_strings.string(i)
            digest.bytes(data)
            texts.append(data.decode("utf-8", errors="replace"))
        blocks.append(texts)
        lines.append(str(digest))
    save("strings", lines)
    for name, path, load in vocabularies():
        if ONLY and name not in ONLY:
            continue
        if not os.path.exists(path):
            print(f"{name}: {path} is absent, left as it is")
            continue
        reference = load(path)
        save(name, [line_of(reference, i, texts) for i, texts in enumerate(blocks)])


if __name__ == "__main__":
    main()
