"""Trains the tiny tokenizers of tests/golden/tokenizer on data/samples (development only).

    bytes/tokenizer.json      byte-level BPE as SmolLM2's: digits alone, ByteLevel; some of the 256 bytes
                              have no symbol; an added token that is not special, one with lstrip/rstrip
    llama3/tokenizer.json     LLaMA 3's Split, ignore_merges, merges as pairs, BOS by a template
    prefix/tokenizer.json     ByteLevel with add_prefix_space, an unknown token, merges as strings
    spm/tokenizer.model       SentencePiece BPE as LLaMA's, with byte fallback
    plain/tokenizer.model     user-defined pieces, no byte fallback: what is unknown is <unk>
    bare/tokenizer.model      no dummy prefix
    across/tokenizer.model    pieces that go across spaces
    unused/tokenizer.model    the pieces of spm, every second of more than one character UNUSED
    legacy/tokenizer.json     LLaMA as a fast tokenizer: the pieces of spm, Prepend and Replace
    metaspace/tokenizer.json  the same, Metaspace (prepend_scheme first, no split)
    words/tokenizer.json      Metaspace (always, split), no byte fallback, fuse_unk
    gguf/PRE.gguf             the pieces of llama3 for each of llama.cpp's pre-tokenizers
    gguf/spm.gguf, bare.gguf  the pieces of spm and bare

Training is deterministic; a new version of a package may still give other files, so they are
committed and tokenizer_golden.py takes them as they are.
"""
import io
import json
import os

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

FOLDER = "tests/golden/tokenizer"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def texts():
    with open("data/samples/biomed_qa.json", encoding="utf-8") as file:
        items = json.load(file)
    lines = [item[key] for item in items for key in ("instruction", "input", "output") if item.get(key)]
    return lines + ["Größe über naïve café 38 °C, 5 µg/ml, α-synuclein, β-blocker", "Ответ: сердце и кровь",
                    "心臓は血液を送り出す。", "I'm sure they've said it's so, we'll see; he'd don't"] * 8


def save(tokenizer, name, pairs=True):
    os.makedirs(f"{FOLDER}/{name}", exist_ok=True)
    tree = json.loads(tokenizer.to_str())
    if not pairs:
        tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    with open(f"{FOLDER}/{name}/tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(tree, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def bytes_like_smollm():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=1500, special_tokens=SPECIALS,
                                                       show_progress=False))
    t.add_tokens([AddedToken("[USER]", normalized=False), AddedToken("blood pressure", normalized=True)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    save(t, "bytes", pairs=False)


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts(), trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    # A piece that no merges lead to: only ignore_merges finds it.
    tree = json.loads(t.to_str())
    tree["model"]["vocab"]["ĠcaÃ±on"] = len(tree["model"]["vocab"])
    t = Tokenizer.from_str(json.dumps(tree))
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair=None,
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    save(t, "llama3")


def prefix():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>"],
                                                       show_progress=False))
    save(t, "prefix", pairs=False)


def sentencepiece_model(name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts()), model_writer=model, model_type="bpe", character_coverage=0.999,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, **options)
    os.makedirs(f"{FOLDER}/{name}", exist_ok=True)
    with open(f"{FOLDER}/{name}/tokenizer.model", "wb") as file:
        file.write(model.getvalue())


def pieces_of(name):
    sp = sentencepiece.SentencePieceProcessor(model_file=f"{FOLDER}/{name}/tokenizer.model")
    return sp, [sp.id_to_piece(i) for i in range(sp.get_piece_size())]


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def varint_bytes(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def unused():
    """The protobuf of spm with a type (field 3: UNUSED is 5) appended to pieces."""
    sp, pieces = pieces_of("spm")
    with open(f"{FOLDER}/spm/tokenizer.model", "rb") as file:
        data = file.read()
    out, at, i = b"", 0, 0
    while at < len(data):
        tag, at = varint(data, at)
        size, at = varint(data, at)  # all fields of a ModelProto are messages
        message, at = data[at:at + size], at + size
        if tag == 1 << 3 | 2:
            plain = not (sp.is_unknown(i) or sp.is_control(i) or sp.is_byte(i))
            if plain and len(pieces[i]) > 1 and i % 2:
                message += bytes([3 << 3, 5])
            i += 1
        out += varint_bytes(tag) + varint_bytes(len(message)) + message
    os.makedirs(f"{FOLDER}/unused", exist_ok=True)
    with open(f"{FOLDER}/unused/tokenizer.model", "wb") as file:
        file.write(out)


def merges_of(sp, pieces):
    """All splits of each piece into two pieces, by score, as transformers' converter makes them."""
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for piece, i in vocab.items():
        splits = [(piece[:k], piece[k:]) for k in range(1, len(piece))
                  if piece[:k] in vocab and piece[k:] in vocab]
        splits.sort(key=lambda s: (vocab[s[0]], vocab[s[1]]))
        merges += [(left, right, sp.get_score(i)) for left, right in splits]
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return vocab, [(left, right) for left, right, _ in merges]


def fast_llama(name, metaspace):
    sp, pieces = pieces_of("spm")
    vocab, merges = merges_of(sp, pieces)
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
             decoders.Strip(content=" ", left=1)]
    if metaspace:
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(steps)
    t.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in ("<unk>", "<s>", "</s>")])
    t.add_tokens([AddedToken("heart rate", normalized=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", 1)])
    save(t, name, pairs=metaspace)


def words():
    sp, pieces = pieces_of("plain")
    vocab, merges = merges_of(sp, pieces)
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    save(t, "words")


def gguf_writer(name):
    os.makedirs(f"{FOLDER}/gguf", exist_ok=True)
    writer = gguf.GGUFWriter(f"{FOLDER}/gguf/{name}.gguf", "llama")
    writer.add_description("a vocabulary without a model, for tests")
    return writer


def gguf_write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_bytes(pre):
    with open(f"{FOLDER}/llama3/tokenizer.json", encoding="utf-8") as file:
        tree = json.load(file)
    vocab = dict(tree["model"]["vocab"])
    special = {t["content"]: t["id"] for t in tree["added_tokens"]}
    vocab.update(special)
    pieces = sorted(vocab, key=vocab.get)
    writer = gguf_writer(pre)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(pieces)
    writer.add_token_types([3 if p in special else 1 for p in pieces])
    writer.add_token_merges([" ".join(pair) for pair in tree["model"]["merges"]])
    writer.add_bos_token_id(special["<|begin_of_text|>"])
    writer.add_eos_token_id(special["<|end_of_text|>"])
    gguf_write(writer)


def gguf_spm(name, prefix):
    sp, pieces = pieces_of(name)
    kind = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
            for i in range(len(pieces))]
    writer = gguf_writer(name)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores([sp.get_score(i) for i in range(len(pieces))])
    writer.add_token_types(kind)
    writer.add_bos_token_id(sp.bos_id())
    writer.add_eos_token_id(sp.eos_id())
    writer.add_unk_token_id(sp.unk_id())
    if not prefix:
        writer.add_add_space_prefix(False)
        writer.add_add_bos_token(False)
    gguf_write(writer)


def main():
    bytes_like_smollm()
    llama3()
    prefix()
    sentencepiece_model("spm", vocab_size=1200, byte_fallback=True, add_dummy_prefix=True)
    sentencepiece_model("plain", vocab_size=500, byte_fallback=False, add_dummy_prefix=True,
                        user_defined_symbols=["[INST]", "mmHg"])
    sentencepiece_model("bare", vocab_size=700, byte_fallback=True, add_dummy_prefix=False)
    sentencepiece_model("across", vocab_size=700, byte_fallback=True, add_dummy_prefix=True,
                        split_by_whitespace=False)
    unused()
    fast_llama("legacy", metaspace=False)
    fast_llama("metaspace", metaspace=True)
    words()
    for pre in ("default", "gpt-2", "smollm", "starcoder", "llama-bpe"):
        gguf_bytes(pre)
    gguf_spm("spm", True)
    gguf_spm("bare", False)


if __name__ == "__main__":
    main()
