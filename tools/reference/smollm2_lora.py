"""Fifty steps of LoRA on SmolLM2 by transformers and PEFT: the loss curve in f32, and in bf16 as
torch does it (autocast over f32 weights).

Data: data/samples/biomed_qa.json with the prompts of the template `alpaca`, prompts masked, EOS at
the end, in an order drawn by the seed; a step takes sequences as long as they fit in 512 tokens. r 8, alpha
16, q_proj and v_proj, no dropout; A = refcommon.lora_a with the names of adapter_model.safetensors,
B = 0. AdamW: lr 1e-3, betas .9 .999, eps 1e-8, no decay, clipping at 1.0, linear schedule with 5
steps of warm-up out of 50.

tests/golden/smollm2/curve.safetensors
    ids          i32 [N]     all sequences, one behind the other
    lengths      i32 [S]     of the sequences
    label_start  i32 [S]     ids from here on are labels (transformers' labels, not shifted)
    step_seqs    i32 [50]    sequences of each step, in order
    lr           f32 [50]
    f32.loss, f32.grad_norm, bf16.loss, bf16.grad_norm   f32 [50]: before the step's update; the
                 norm before clipping. loss = sum of -log p over the step's labels / their number

    python tools/reference/smollm2_lora.py [--check] [--faults]
Prints both curves and their distance; with --faults also what planted faults do to the f32 curve
(minutes more).
"""
import json
import sys

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

import reftrain
import smollm2
from refcommon import lora_a, save, uniform

SCRIPT, SEED, STEPS, TOKENS = "smollm2_lora.py", 7, 50, 512
HYPER = dict(lr=1e-3, decay=0.0, warmup=5, clip=1.0)
WITHOUT = ("Below is an instruction that describes a task. Write a response that appropriately "
           "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n")
WITH = ("Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n### Instruction:\n"
        "{instruction}\n\n### Input:\n{input}\n\n### Response:\n")


def example(tok, item):
    prompt = (WITH if item.get("input") else WITHOUT).format(**item)
    ids = np.append(smollm2.encode(tok, prompt + item["output"]), smollm2.EOS).astype(np.int32)
    return ids, len(smollm2.encode(tok, prompt))


def batches(tokens=TOKENS):
    """Per step a list of (ids, label_start)."""
    tok, out = smollm2.tokenizer(), [[]]
    items = json.load(open("data/samples/biomed_qa.json"))
    for i in np.argsort(uniform(SEED, "order", len(items)), kind="stable"):
        ids, start = example(tok, items[i])
        if sum(len(i) for i, _ in out[-1]) + len(ids) > tokens:
            if len(out) == STEPS:
                return out
            out.append([])
        out[-1].append((ids, start))
    raise AssertionError("the data set is too small for 50 steps")


def with_labels(step):
    sequences = []
    for ids, start in step:
        labels = ids.copy()
        labels[:start] = -100
        sequences.append((ids, labels))
    return sequences


def model(alpha=16):
    out = get_peft_model(smollm2.model("sdpa"), LoraConfig(
        r=8, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM"))
    for k, p in reftrain.trainable(out).items():
        r, width = p.shape
        p.data.copy_(torch.from_numpy(lora_a(SEED, k.replace(".default", ""), r, width))
                     if ".lora_A." in k else torch.zeros_like(p))
    return out.train()


def curve(steps, autocast=False, alpha=16, **changes):
    return reftrain.run(model(alpha), steps, **{**HYPER, **changes}, autocast=autocast,
                        log=lambda k, x: k % 10 == 0 and print(f"    step {k}: {x:.4f}", flush=True))


def untrained(steps):
    """Mean loss of the last ten batches by the model as it comes."""
    with torch.no_grad():
        m, losses = smollm2.model("sdpa"), []
        for step in steps[-10:]:
            total = sum(m(input_ids=torch.from_numpy(i.astype(np.int64))[None],
                          labels=torch.from_numpy(lab.astype(np.int64))[None],
                          num_items_in_batch=torch.tensor(reftrain.label_count(step))).loss.item()
                        for i, lab in step)
            losses.append(total)
    return np.mean(losses)


def faults(plain, steps, reference):
    cases = {"alpha 8": dict(alpha=8), "schedule one step late": dict(warmup=6),
             "no clipping": dict(clip=1e9), "decay 0.1": dict(decay=0.1)}
    for name, change in cases.items():
        d = np.abs(curve(steps, **change)["loss"] - reference["loss"])
        print(f"fault: {name:24} max |d loss| {d.max():.4f} at step {d.argmax()}", flush=True)
    late = [step[:-1] + [(step[-1][0], step[-1][1] + 1)] for step in plain]
    d = np.abs(curve([with_labels(s) for s in late])["loss"] - reference["loss"])
    print(f"fault: one label less a step        max |d loss| {d.max():.4f} at step {d.argmax()}")


def main():
    torch.set_num_threads(2)
    plain = batches()
    steps = [with_labels(s) for s in plain]
    flat = [x for step in plain for x in step]
    out = {"ids": np.concatenate([ids for ids, _ in flat]),
           "lengths": np.asarray([len(ids) for ids, _ in flat], np.int32),
           "label_start": np.asarray([start for _, start in flat], np.int32),
           "step_seqs": np.asarray([len(step) for step in plain], np.int32)}
    before = untrained(steps)
    curves = {"f32": curve(steps), "bf16": curve(steps, autocast=True)}
    for name, c in curves.items():
        out |= {f"{name}.loss": c["loss"], f"{name}.grad_norm": c["grad_norm"], "lr": c["lr"]}
        print(f"{name}: loss {c['loss'][0]:.4f} -> {c['loss'][-10:].mean():.4f} (mean of the last ten; "
              f"untrained {before:.4f}), gradient norms {c['grad_norm'].min():.2f} .. "
              f"{c['grad_norm'].max():.2f}")
    d = np.abs(curves["f32"]["loss"] - curves["bf16"]["loss"])
    print(f"bf16 from f32: max |d loss| {d.max():.4f}, mean {d.mean():.4f}")
    save(f"{smollm2.GOLDEN_DIR}/curve.safetensors", out, SCRIPT, SEED, loose=("bf16.",))
    if "--faults" in sys.argv[1:]:
        faults(plain, steps, curves["f32"])


if __name__ == "__main__":
    main()
