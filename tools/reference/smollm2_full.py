"""Fifty steps of training all weights of SmolLM2 by transformers: the loss curve in f32, and in
bf16 as torch does it (autocast over f32 weights, which are the masters).

The sequences are those of tests/golden/smollm2/curve.safetensors, in their order (smollm2_lora.py);
a step takes as many as fit in 128 tokens, or one longer one. Embedding and head are one weight. AdamW: lr 5e-5, betas
.9 .999, eps 1e-8, decay 0.1 except on norms, clipping at 1.0, linear schedule with 5 steps of
warm-up out of 50.

tests/golden/smollm2/full.safetensors
    step_seqs    i32 [50]    sequences of each step, in order
    lr           f32 [50]
    f32.loss, f32.grad_norm, bf16.loss, bf16.grad_norm   f32 [50], as in curve.safetensors

    python tools/reference/smollm2_full.py [--check]
"""
import numpy as np
import torch

import reftrain
import smollm2
import smollm2_lora
from refcommon import save

SCRIPT, SEED, TOKENS = "smollm2_full.py", smollm2_lora.SEED, 128
HYPER = dict(lr=5e-5, decay=0.1, warmup=5, clip=1.0)


def model():
    out = smollm2.model("sdpa")
    for p in out.parameters():
        p.requires_grad_(True)
    return out.train()


def curve(steps, autocast):
    return reftrain.run(model(), steps, **HYPER, autocast=autocast,
                        log=lambda k, x: k % 10 == 0 and print(f"    step {k}: {x:.4f}", flush=True))


def main():
    torch.set_num_threads(2)
    steps = [smollm2_lora.with_labels(s) for s in smollm2_lora.batches(TOKENS)]
    out, curves = {"step_seqs": np.asarray([len(step) for step in steps], np.int32)}, {}
    for name in ("f32", "bf16"):
        curves[name] = c = curve(steps, name == "bf16")
        out |= {f"{name}.loss": c["loss"], f"{name}.grad_norm": c["grad_norm"], "lr": c["lr"]}
        print(f"{name}: loss {c['loss'][0]:.4f} -> {c['loss'][-10:].mean():.4f} (mean of the last "
              f"ten), gradient norms {c['grad_norm'].min():.2f} .. {c['grad_norm'].max():.2f}",
              flush=True)
    d = np.abs(curves["f32"]["loss"] - curves["bf16"]["loss"])
    print(f"bf16 from f32: max |d loss| {d.max():.4f}, mean {d.mean():.4f}")
    save(f"{smollm2.GOLDEN_DIR}/full.safetensors", out, SCRIPT, SEED, loose=("bf16.",))


if __name__ == "__main__":
    main()
