"""Tiny LLaMA-family models and their logits by transformers, f32, eager attention.

Writes tests/golden/tiny_llama/<variant>/
    config.json, model.safetensors (or shards and model.safetensors.index.json)
        a Hugging Face folder as save_pretrained writes it (variants and draws: tinymodels.py)
    expected.safetensors, for each of three sequences i, each run alone:
        seq<i>.ids     i32 [T]     T = 1, 13, 65
        seq<i>.logits  f32 [T, V]  every position
        seq<i>.loss    f32 [1]     mean over t < T-1 of -log p(ids[t+1]); absent where T = 1
The reference reads the folder back before it runs, so config.json is what was meant.

    python tools/reference/tiny_llama.py [--check]
--check writes nothing and compares with the stored files. Both print two tables: the drawing (std
of the logits, entropy of the attention relative to uniform, transformers' own rounding against a
double implementation) and the planted faults, max |d logits|; it fails where a fault stays below
100 tolerances (1e-4).
"""
import glob
import json
import os
import shutil
import sys

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import tinymodels as tm
from refcommon import CHECK, GOLDEN, record, save, strip_json

TOLERANCE = 1e-4
SCRIPT = "tiny_llama.py"


def write_folder(variant, folder):
    s, weights = tm.spec(variant), tm.draw(variant)
    model = LlamaForCausalLM(tm.config(variant))
    state = {k: torch.from_numpy(v) for k, v in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    shutil.rmtree(folder, ignore_errors=True)
    dtype = getattr(torch, s["store"])
    model.to(dtype).save_pretrained(folder, max_shard_size=s["shard"] or "10GB")
    for name in os.listdir(folder):
        if name == "generation_config.json":
            os.remove(f"{folder}/{name}")
    if s["inv_freq"]:
        path = f"{folder}/model.safetensors"
        tensors = load_file(path)
        for i in range(s["num_hidden_layers"]):
            # rounded through f16, as the old files that carry it: whoever uses it is off
            inv = torch.from_numpy(tm.inv_freq(s)).half().float()
            tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = inv
        save_file(tensors, path, metadata={"format": "pt"})
    replace, drop = {}, ["transformers_version", "rope_parameters" if s["style"] == "v4" else ""]
    if s["style"] == "v4":
        drop.append("dtype")
        replace = {"rope_theta": s["rope_theta"], "rope_scaling": s["scaling"],
                   "torch_dtype": s["store"]}
        if s["head_dim"] * s["num_attention_heads"] == s["hidden_size"]:
            drop.append("head_dim")  # what old files leave to be inferred
        if s["num_key_value_heads"] == s["num_attention_heads"]:
            drop.append("num_key_value_heads")
    strip_json(f"{folder}/config.json", drop, replace=replace)


def check_folder(variant, folder):
    """The files hold what was drawn, under Hugging Face's names."""
    found = {}
    for path in glob.glob(f"{folder}/model*.safetensors"):
        with safe_open(path, "pt") as f:
            found.update({k: f.get_tensor(k) for k in f.keys()})
    found = {k: v for k, v in found.items() if not k.endswith("inv_freq")}
    weights = tm.draw(variant)
    assert set(found) == set(weights), set(found) ^ set(weights)
    for k, v in weights.items():
        assert found[k].dtype == getattr(torch, tm.spec(variant)["store"]), k
        assert np.array_equal(found[k].float().numpy(), v), k


def expected(variant, folder):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                             attn_implementation="eager").eval()
    out = {}
    for i, ids in enumerate(tm.sequences(variant)):
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        with torch.no_grad():
            result = model(input_ids=batch, labels=batch)
        out[f"seq{i}.ids"] = ids
        out[f"seq{i}.logits"] = result.logits[0]
        if len(ids) > 1:
            out[f"seq{i}.loss"] = result.loss.reshape(1)
    return out


def tables(variants, reference):
    """Prints both tables; False where the drawing is too weak for a test to see a fault."""
    good = True
    print(f"{'drawing':10} {'logits std':>10} {'entropy/uniform by layer':>26} {'f32 rounding':>13}")
    for v in variants:
        s, w, ids = tm.spec(v), tm.draw(v), tm.sequences(v)[-1]
        trace = []
        logits = tm.forward(s, w, ids, trace=trace)
        ents = [tm.entropy(p) for p in trace]
        error = max(np.abs(tm.forward(s, w, q) - reference[v][f"seq{i}.logits"].numpy()).max()
                    for i, q in enumerate(tm.sequences(v)))
        print(f"{v:10} {logits.std():10.2f} {' '.join(f'{e:.2f}' for e in ents):>26} {error:13.1e}")
        good &= logits.std() >= 1 and max(ents) < 0.8 and error < TOLERANCE / 4
    print(f"\n{'max |d|':16} " + " ".join(f"{v:>8}" for v in variants))
    for fault in tm.FAULTS:
        row = []
        for v in variants:
            s, w, ids = tm.spec(v), tm.draw(v), tm.sequences(v)[-1]
            wrong = tm.forward(s, w, ids, fault)
            d = None if wrong is None else np.abs(wrong - tm.forward(s, w, ids)).max()
            row.append("       -" if d is None else f"{d:8.3f}")
            good &= d is None or d > 100 * TOLERANCE
        print(f"{fault:16} " + " ".join(row))
    return good


def main():
    torch.set_num_threads(1)
    reference = {}
    for variant in tm.VARIANTS:
        folder = f"{GOLDEN}/tiny_llama/{variant}"
        if not CHECK:
            write_folder(variant, folder)
        check_folder(variant, folder)
        reference[variant] = expected(variant, folder)
        save(f"{folder}/expected.safetensors", reference[variant], SCRIPT, tm.SEED)
        if not CHECK:
            for path in sorted(glob.glob(f"{folder}/*")):
                if not path.endswith("expected.safetensors"):
                    record(path, SCRIPT, tm.SEED)
    if not tables(list(tm.VARIANTS), reference):
        sys.exit("the drawing is too weak (see the tables above)")


if __name__ == "__main__":
    main()
