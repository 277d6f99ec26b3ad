"""Models go both ways between vma and transformers, f32: called by
tests/nightly/test_model_roundtrip.sh.

    python tools/reference/model_roundtrip.py BIN FOLDER [VOCABULARIES]

BIN holds vma-model and vma-infer; FOLDER is empty and is filled; VOCABULARIES is the folder of GGUF
vocabularies with llama.cpp's ids beside them (NAME.gguf, .inp, .out), if there is one.
  1. Tiny models exported by vma give transformers the golden logits: every rope scaling, biases,
     grouped heads, ties, shards.
  2. SmolLM2 exported from GGUF: transformers' log-probabilities are those of the reference
     (1e-3), and AutoTokenizer's ids those of the reference on 3,000 generated strings; the chat
     template is the file's.
  3. Exported vocabularies: AutoTokenizer's ids are those of vma on every tiny GGUF vocabulary, and
     llama.cpp's on its own.
  4. vma-model merge of an adapter saved by PEFT: transformers' log-probabilities of the merged
     folder are PEFT's; in bf16 the weights are those of PEFT's own merge, but for single
     roundings.
  5. A folder written by transformers in bf16 shards: vma-infer --score agrees with transformers,
     and vma-model diff finds no difference from vma's own export of the same weights.
VMA_BREAK=1 changes what is expected a little: each comparison must then fail (the first one ends it;
VMA_BREAK=2 to 5 break only that part).
"""
import glob
import json
import os
import subprocess
import sys

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import smollm2
import tokenizer_strings
from peft_roundtrip import TEXTS, TOLERANCE, ours, reference, run
from refcommon import lora_a, normal

BREAK = int(os.environ.get("VMA_BREAK", 0))
TINY = ["mha", "gqa", "llama3", "linear", "biases", "wide", "odd80"]
STRINGS, SEED = 3000, 12


def broken(part):
    return BREAK == part


def check(what, worst, limit):
    print(f"{what}: max |d| {worst:.1e} (at most {limit:g})", flush=True)
    if not worst <= limit:
        sys.exit(f"{what}: vma and the reference disagree")


def opened(folder, dtype=torch.float32):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def tiny_models(bin_folder, folder):
    for variant in TINY:
        target = f"{folder}/tiny-{variant}"
        run(f"{bin_folder}/vma-model", "export", "--model", f"tests/golden/tiny_llama/{variant}",
            "--output", target, "--dtype", "f32", "--shard-size", "60KB")
        model = opened(target)
        expected = load_file(f"tests/golden/tiny_llama/{variant}/expected.safetensors")
        worst = 0
        for s in range(3):
            with torch.no_grad():
                logits = model(input_ids=expected[f"seq{s}.ids"].long()[None]).logits[0]
            if broken(1):
                logits = logits * 1.01
            worst = max(worst, (logits - expected[f"seq{s}.logits"]).abs().max().item())
        check(f"tiny {variant} in transformers, logits", worst, 1e-4)


def same_ids(what, tok, texts, expected, specials=True):
    different = [t for t, ids in zip(texts, expected)
                 if tok.encode(t, add_special_tokens=False, split_special_tokens=not specials)
                 != [int(i) for i in ids]]
    if broken(2 if what.startswith("SmolLM2") else 3):
        different.append("broken")
    print(f"{what}: {len(texts)} strings, {len(different)} with other ids", flush=True)
    if different:
        sys.exit(f"{what}: other ids for {different[0]!r}")


def smol(bin_folder, folder, texts):
    run(f"{bin_folder}/vma-model", "export", "--model", smollm2.PATH, "--output", f"{folder}/smol",
        "--dtype", "f32")
    model = opened(f"{folder}/smol")
    expected = smollm2.model()
    worst = max(np.abs(reference(model, t) - reference(expected, t)).max() for t in texts)
    check("SmolLM2 from GGUF in transformers, log-probabilities", worst + broken(2), TOLERANCE)
    tok, ref = AutoTokenizer.from_pretrained(f"{folder}/smol"), smollm2.tokenizer()
    strings = [tokenizer_strings.string(i).decode("utf-8", "replace") for i in range(STRINGS)]
    same_ids("SmolLM2", tok, strings, [smollm2.encode(ref, s, specials=True) for s in strings])
    template = smollm2.value(smollm2.reader(), "tokenizer.chat_template")
    assert tok.chat_template == template and (tok.bos_token_id, tok.eos_token_id) == (1, 2)
    chat = tok.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False,
                                   add_generation_prompt=True)
    assert chat == smollm2.chat("hi"), chat
    return expected


def vocabularies(bin_folder, folder, source):
    for name in ["gpt-2", "starcoder", "llama-spm"]:
        path = f"{source}/{name}.gguf"
        run(f"{bin_folder}/vma-model", "export", "--tokenizer-only", "--model", path, "--output",
            f"{folder}/{name}")
        tok = AutoTokenizer.from_pretrained(f"{folder}/{name}")
        texts = open(f"{path}.inp", newline="").read().split("\n__ggml_vocab_test__\n")
        ids = [[int(i) for i in line.split()] for line in open(f"{path}.out")]
        if len(texts) == len(ids) + 1 and texts[-1] == "":
            texts.pop()
        assert len(texts) == len(ids) > 40, (len(texts), len(ids))
        same_ids(name, tok, texts, ids)


def tiny_vocabularies(bin_folder, folder):
    """Every kind of vocabulary, as vma itself reads it from the GGUF file; specials as text."""
    strings = [tokenizer_strings.string(i).decode("utf-8", "replace") for i in range(STRINGS)]
    with open(f"{folder}/texts.jsonl", "w") as f:
        f.writelines(json.dumps({"text": s}) + "\n" for s in strings)
    for path in sorted(glob.glob("tests/golden/tokenizer/gguf/*.gguf")):
        name = os.path.basename(path)
        run(f"{bin_folder}/vma-model", "export", "--tokenizer-only", "--model", path, "--output",
            f"{folder}/{name}")
        run(f"{bin_folder}/vma-model", "tokenize", "--model", path, "--input",
            f"{folder}/texts.jsonl", "--output", f"{folder}/ids.jsonl")
        tok = AutoTokenizer.from_pretrained(f"{folder}/{name}")
        same_ids(name, tok, strings, [json.loads(line) for line in open(f"{folder}/ids.jsonl")],
                 specials=False)
        config = json.load(open(f"{folder}/{name}/tokenizer_config.json"))
        around = tok.encode("a")
        expected = tok.encode("a", add_special_tokens=False)
        if config["add_bos_token"]:
            expected = [tok.bos_token_id] + expected
        if config["add_eos_token"]:
            expected = expected + [tok.eos_token_id]
        assert around == expected, (name, around, expected)


def drawn_adapter(model, folder):
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, bias="none",
                                             target_modules="all-linear", task_type="CAUSAL_LM"))
    for k, p in model.named_parameters():
        if ".lora_A." in k:
            p.data.copy_(torch.from_numpy(lora_a(SEED, k, *p.shape)))
        if ".lora_B." in k:
            p.data.copy_(torch.from_numpy(0.02 * normal(SEED, k, tuple(p.shape))))
    model.save_pretrained(folder)
    return model.eval()


def merging(bin_folder, folder, texts, model):
    plain = [reference(model, t) for t in texts]
    tuned = drawn_adapter(model, f"{folder}/adapter")
    for dtype in ["f32", "bf16"]:
        run(f"{bin_folder}/vma-model", "merge", "--model", smollm2.PATH, "--adapter",
            f"{folder}/adapter", "--output", f"{folder}/merged-{dtype}", "--dtype", dtype)
    expected = [reference(tuned, t) for t in texts]
    moved = max(np.abs(a - b).max() for a, b in zip(expected, plain))
    assert moved > 0.05, "the adapter does too little to be seen"
    merged = opened(f"{folder}/merged-f32")
    if broken(4):
        merged.model.layers[3].self_attn.q_proj.weight.data *= 1.01
    worst = max(np.abs(a - reference(merged, t)).max() for a, t in zip(expected, texts))
    check("a merged folder in transformers, log-probabilities", worst, TOLERANCE)
    theirs = tuned.merge_and_unload().to(torch.bfloat16).state_dict()
    ours_bf16 = load_file(f"{folder}/merged-bf16/model.safetensors")
    n = different = 0
    for name, tensor in ours_bf16.items():
        a, b = tensor.float(), theirs[name].float()
        different += int((a != b).sum())
        n += a.numel()
        # One unit in the last place; and what f32 sums differ by where they nearly cancel.
        room = torch.maximum(a.abs(), b.abs()) / 128 + 1e-7
        assert ((a - b).abs() <= room).all(), f"{name} differs by more than one rounding"
    print(f"bf16 merge: {different} of {n} values are rounded the other way than PEFT's", flush=True)
    assert different < n / 1000


def theirs_in_ours(bin_folder, folder, texts):
    model = smollm2.model().to(torch.bfloat16)
    model.save_pretrained(f"{folder}/theirs", max_shard_size="100MB")
    AutoTokenizer.from_pretrained(f"{folder}/smol").save_pretrained(f"{folder}/theirs")
    assert os.path.exists(f"{folder}/theirs/model.safetensors.index.json")
    run(f"{bin_folder}/vma-model", "export", "--model", smollm2.PATH, "--output", f"{folder}/bf16")
    run(f"{bin_folder}/vma-model", "diff", f"{folder}/bf16", f"{folder}/theirs")
    # Opened again: .to(bfloat16) has rounded the rotary frequencies, too.
    model = opened(f"{folder}/theirs")
    if broken(5):
        model.model.norm.weight.data *= 1.01
    expected = [reference(model, t) for t in texts]
    smollm2.PATH = f"{folder}/theirs"
    got = ours(bin_folder, folder, texts)
    worst = max(np.abs(a - b).max() for a, b in zip(expected, got))
    check("a folder of transformers in vma-infer, log-probabilities", worst, TOLERANCE)


def main():
    bin_folder, folder = sys.argv[1:3]
    torch.set_num_threads(2)
    tok = smollm2.tokenizer()
    texts = [[int(i) for i in smollm2.encode(tok, t)] for t in TEXTS]
    tiny_models(bin_folder, folder)
    model = smol(bin_folder, folder, texts)
    tiny_vocabularies(bin_folder, folder)
    if len(sys.argv) > 3:
        vocabularies(bin_folder, folder, sys.argv[3])
    merging(bin_folder, folder, texts, model)
    theirs_in_ours(bin_folder, folder, texts)


if __name__ == "__main__":
    main()
