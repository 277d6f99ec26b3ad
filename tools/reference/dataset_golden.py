"""tests/golden/dataset: what instruction data becomes, by tokenizers, sentencepiece and the chat
template of SmolLM2-Instruct run by transformers.

Writes two small tokenizers trained on data/samples (bpe/: byte-level BPE with SmolLM2's special
tokens; spm/: SentencePiece BPE with byte fallback, adds BOS as LLaMA's), hard items (items.json) and
for each tokenizer, template and setting the examples that the reference makes of them
(expected.json). For the sample data and the public instruction data (VMA_TEST_DATA, else
../shared/data) by the vocabularies of SmolLM2 (VMA_MODEL, its GGUF file) and LLaMA it keeps counts
and a hash.

The templates are spelled out here a second time, from the projects that they come from.
"""
import gzip
import hashlib
import io
import json
import os
import sys

import numpy as np
import refcommon as rc
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

SCRIPT = "dataset_golden.py"
OUT = f"{rc.GOLDEN}/dataset"
SAMPLES = "data/samples/biomed_qa.json"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}")
WITH = ("Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n")
WITHOUT = ("Below is an instruction that describes a task. "
           "Write a response that appropriately completes the request.\n\n")
ALPACA = {  # (with input, without), as Alpaca-LoRA's templates/*.json and Stanford's PROMPT_DICT
    "alpaca": (WITH + "### Instruction:\n{i}\n\n### Input:\n{x}\n\n### Response:\n",
               WITHOUT + "### Instruction:\n{i}\n\n### Response:\n"),
    "alpaca_stanford": (WITH + "### Instruction:\n{i}\n\n### Input:\n{x}\n\n### Response:",
                        WITHOUT + "### Instruction:\n{i}\n\n### Response:"),
    "alpaca_short": ("### Instruction:\n{i}\n\n### Input:\n{x}\n\n### Response:\n",
                     "### Instruction:\n{i}\n\n### Response:\n"),
    "none": ("{i}\n{x}\n", "{i}\n"),
}

ITEMS = [
    {"instruction": "Which chamber of the heart pumps blood into the aorta?", "input": "",
     "output": "The left ventricle."},
    {"instruction": "Interpret the values.", "input": "Sodium 128 mmol/l, glucose 31 mmol/l",
     "output": "Hyponatraemia, in part apparent: glucose draws water out of the cells."},
    {"instruction": "Say nothing.", "input": "", "output": ""},
    {"instruction": "What do β-blockers do to the heart (心, 🫀)?", "output": "They slow it; naïve é e\u0301."},
    {"instruction": "What does <|im_end|> mean, or </s>?", "input": "<|im_start|>user\n<s>",
     "output": "It is a marker: <|im_end|>\n<|im_start|>assistant\n</s>"},
    {"instruction": "  Keep the spaces.  ", "input": "\n\nhere\n", "output": "  42 \n"},
    {"instruction": "List the bones of the wrist.", "input": "",
     "output": "Scaphoid, lunate, triquetrum, pisiform, trapezium, trapezoid, capitate and hamate. " * 8},
    {"instruction": "Read all of this and answer with one word. " * 14, "input": "", "output": "Done."},
    {"instruction": "How much is 12345 + 67890?", "input": "Take 2.5 mg, 3x/day.", "output": "80235"},
    {"instruction": "An input of one space.", "input": " ", "output": "Counts as an input.\n\n"},
    {"instruction": "End like a template.", "input": None, "output": "<|im_end|>"},
    {"instruction": "Zero\u200bwidth\tand\ttabs\r\n", "input": "a\u00a0b", "output": "\tdone\r\n", "extra": [1]},
]


class Bpe:
    """A tokenizers.Tokenizer; special tokens in text are never parsed unless asked for."""

    def __init__(self, tok, bos, eos, adds_bos):
        self.tok, self.eos = tok, eos
        self.head = [bos] if adds_bos else []

    def plain(self, text):
        self.tok.encode_special_tokens = True  # the package's name for "specials are text"
        return self.tok.encode(text, add_special_tokens=False).ids

    def parsed(self, text):
        self.tok.encode_special_tokens = False
        return self.tok.encode(text, add_special_tokens=False).ids

    def id(self, piece):
        return self.tok.token_to_id(piece)


class Spm:
    def __init__(self, path):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=path)
        self.eos, self.head = self.sp.eos_id(), [self.sp.bos_id()]

    def plain(self, text):
        return self.sp.encode(text)


def train_bpe(texts):
    tok = tokenizers.Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(texts, trainer)
    write(f"{OUT}/bpe/tokenizer.json", tok.to_str(pretty=False) + "\n")
    config = {"add_prefix_space": False, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
              "tokenizer_class": "GPT2Tokenizer", "unk_token": "<|endoftext|>"}
    write(f"{OUT}/bpe/tokenizer_config.json", json.dumps(config, indent=1) + "\n")


def train_spm(texts):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=700,
        byte_fallback=True, split_digits=True, normalization_rule_name="identity", num_threads=1,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2,
        character_coverage=0.99)
    write(f"{OUT}/spm/tokenizer.model", model.getvalue())
    config = {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
              "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>"}
    write(f"{OUT}/spm/tokenizer_config.json", json.dumps(config, indent=1) + "\n")


def write(path, data):
    """A new file with its entry in the manifest; with --check what is stored must be the same."""
    data = data.encode() if isinstance(data, str) else data
    if rc.CHECK:
        assert open(path, "rb").read() == data, f"{path} has changed"
        print(f"{path}: as stored")
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    rc.record(path, SCRIPT, 0)
    print(f"{path}: {len(data)} bytes")


def chat(fast, item, answer):
    """The chat template's text, by transformers' Jinja."""
    user = item["instruction"] + ("\n\n" + item["input"] if item.get("input") else "")
    messages = [{"role": "user", "content": user}]
    if answer:
        messages.append({"role": "assistant", "content": item["output"]})
    return fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answer)


def chat_ids(tok, fast, item, answer):
    """Ids of the chat with the template's own special tokens parsed and the user's as text: the
    user's are swapped for private characters while the text is cut at the template's."""
    hidden = {s: chr(0xE000 + n) * 3 for n, s in enumerate(SPECIALS)}

    def hide(text):
        for s, h in hidden.items():
            text = text.replace(s, h)
        return text

    safe = {k: hide(v) for k, v in item.items() if isinstance(v, str)}
    text = chat(fast, safe, answer)
    ids, rest = [], text
    while rest:
        at = min((rest.find(s), s) if s in rest else (len(rest), "") for s in SPECIALS)
        stretch = rest[:at[0]]
        for s, h in hidden.items():
            stretch = stretch.replace(h, s)
        ids += tok.plain(stretch)
        if at[1]:
            ids.append(tok.id(at[1]))
        rest = rest[at[0] + len(at[1]):]
    if text == chat(fast, item, answer):  # nothing was hidden: the plain way gives the same
        assert ids == tok.parsed(text), text
    return ids


def example(tok, fast, item, index, template, cutoff, train_on_inputs):
    if template == "chatml":
        prompt, whole = chat_ids(tok, fast, item, False), chat_ids(tok, fast, item, True)
    else:
        text = ALPACA[template][0 if item.get("input") else 1].format(i=item["instruction"], x=item.get("input"))
        prompt, whole = tok.plain(text), tok.plain(text + item["output"])
    ids, start = tok.head + whole, len(tok.head) + len(prompt)
    if template == "alpaca_stanford":
        ids.append(tok.eos)
    cut = len(ids) > cutoff
    ids = ids[:cutoff]
    if template not in ("alpaca_stanford", "chatml") and ids[-1] != tok.eos and len(ids) < cutoff:
        ids.append(tok.eos)
    start = 0 if train_on_inputs else start
    if len(ids) <= max(start, 1):
        return None
    return {"item": index, "label_start": start, "cut": cut, "ids": ids}


def case(tok, fast, name, template, cutoff, train_on_inputs):
    made = [example(tok, fast, item, i, template, cutoff, train_on_inputs) for i, item in enumerate(ITEMS)]
    kept = [e for e in made if e is not None]
    print(f"{name} {template} {cutoff}: {len(kept)} of {len(made)}, cut {sum(e['cut'] for e in kept)}, "
          f"{sum(len(e['ids']) for e in kept)} tokens")
    return {"tokenizer": name, "template": template, "cutoff_len": cutoff,
            "train_on_inputs": train_on_inputs, "examples": kept}


def smollm2_tokenizer(model):
    """SmolLM2's tokenizer, put together from its GGUF file."""
    import gguf
    reader = gguf.GGUFReader(model)
    value = lambda key: reader.fields[key].contents()
    assert value("tokenizer.chat_template") == CHAT_TEMPLATE
    vocab = {piece: n for n, piece in enumerate(value("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]
    tok = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    kinds = value("tokenizer.ggml.token_type")
    tok.add_special_tokens([p for p, n in vocab.items() if kinds[n] == 3])
    return Bpe(tok, None, value("tokenizer.ggml.eos_token_id"), False)


def digest_of(tok, fast, path, template):
    """What a whole file becomes, as counts and a hash of label starts and ids."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as f:
        items = json.loads(f.read()) if path.endswith(".json") else [json.loads(line) for line in f]
    digest, n, labels = hashlib.sha256(), 0, 0
    for i, item in enumerate(items):
        e = example(tok, fast, item, i, template, 512, False)
        if e is None:
            continue
        digest.update(np.asarray([e["label_start"], *e["ids"]], "<i4").tobytes())
        n += len(e["ids"])
        labels += len(e["ids"]) - e["label_start"]
    print(f"{path} {template}: {n} tokens, {labels} labels")
    return {"template": template, "cutoff_len": 512, "items": len(items), "tokens": n,
            "label_tokens": labels, "sha256": digest.hexdigest()}


def whole_files():
    """By SmolLM2's vocabulary and by LLaMA's; the public data where it is there."""
    bpe = smollm2_tokenizer(os.environ["VMA_MODEL"])
    fast = fast_of(bpe.tok)
    files = [{"tokenizer": "smollm2", "path": SAMPLES, **digest_of(bpe, fast, SAMPLES, "chatml")}]
    shared = os.environ.get("VMA_TEST_DATA", "../shared/data")
    if not os.path.isdir(shared):
        sys.exit(f"{shared}: not there; set VMA_TEST_DATA")
    spm = Spm(f"{shared}/tokenizers/llama.tokenizer.model")
    for name in ("instruct/medical_meadow_small.json", "instruct/medquad.jsonl.gz"):
        path = f"{shared}/{name}"
        files.append({"tokenizer": "smollm2", "shared": name, **digest_of(bpe, fast, path, "chatml")})
        files.append({"tokenizer": "llama", "shared": name, **digest_of(spm, None, path, "alpaca")})
    return files


def fast_of(tok):
    from transformers import PreTrainedTokenizerFast
    copy = tokenizers.Tokenizer.from_str(tok.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=copy, chat_template=CHAT_TEMPLATE)


def main():
    samples = json.load(open(SAMPLES))
    texts = [t for item in samples for t in (item["instruction"], item["input"], item["output"]) if t]
    texts += [ALPACA["alpaca"][0]] * 20
    if not rc.CHECK:
        train_bpe(texts)
        train_spm([line for t in texts for line in t.split("\n") if line])
    write(f"{OUT}/items.json", json.dumps(ITEMS, indent=1, ensure_ascii=False) + "\n")
    tok = tokenizers.Tokenizer.from_file(f"{OUT}/bpe/tokenizer.json")
    bpe = Bpe(tok, tok.token_to_id("<|im_start|>"), tok.token_to_id("<|im_end|>"), False)
    spm, fast = Spm(f"{OUT}/spm/tokenizer.model"), fast_of(tok)
    cases = [case(bpe, fast, "bpe", t, 256, False) for t in (*ALPACA, "chatml")]
    cases += [case(spm, None, "spm", t, 256, False) for t in ALPACA]
    cases += [case(bpe, fast, "bpe", t, 90, False) for t in ("alpaca_short", "chatml")]
    cases += [case(spm, None, "spm", t, 61, True) for t in ("alpaca_short", "alpaca_stanford")]
    n = len(example(bpe, fast, ITEMS[0], 0, "alpaca_short", 9999, False)["ids"]) - 1  # EOS just fits, and not
    cases += [case(bpe, fast, "bpe", "alpaca_short", n + more, False) for more in (0, 1)]
    expected = {"cases": cases, "files": whole_files()}
    write(f"{OUT}/expected.json", json.dumps(expected, separators=(",", ":")).replace('{"item"', '\n{"item"').replace('{"tok', '\n{"tok') + "\n")


main()
