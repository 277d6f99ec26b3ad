"""Training all weights of SmolLM2 by transformers: the loss curve in f32, and in bf16 as torch does
it (autocast over f32 weights, which are the masters).

The sequences are those of tests/golden/smollm2/curve.safetensors, in their order (smollm2_lora.py);
a step takes as many as fit in its number of tokens, or one longer one. Embedding and head are one
weight. AdamW: lr 5e-5, betas .9 .999, eps 1e-8, decay 0.1 except on norms, clipping at 1.0, linear
schedule with 5 steps of warm-up.

tests/golden/smollm2/full.safetensors     S = 50 steps of 128 tokens, each sequence run alone
tests/golden/smollm2/full_20.safetensors  S = 20 steps of 512 tokens, a step's sequences run as one
                                          row under a block-diagonal mask
    step_seqs    i32 [S]    sequences of each step, in order
    lr           f32 [S]
    f32.loss, f32.grad_norm, bf16.loss, bf16.grad_norm   f32 [S], as in curve.safetensors

    python tools/reference/smollm2_full.py [--check] [20|50]
"""
import sys

import numpy as np
import torch

import reftrain
import smollm2
import smollm2_lora
from refcommon import save

SCRIPT, SEED = "smollm2_full.py", smollm2_lora.SEED
CURVES = {"50": ("full", 50, 128), "20": ("full_20", 20, 512)}  # file, steps, tokens a step
HYPER = dict(lr=5e-5, decay=0.1, warmup=5, clip=1.0)


def model():
    out = smollm2.model("sdpa")
    for p in out.parameters():
        p.requires_grad_(True)
    return out.train()


class Packed(torch.nn.Module):
    """The model over a packed row, in the form that reftrain calls it with one sequence."""

    def __init__(self, inner, lengths):
        super().__init__()
        self.inner, self.lengths = inner, lengths

    def forward(self, input_ids, labels, num_items_in_batch, use_cache):
        lengths = next(self.lengths)
        which = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        seen = (which[:, None] == which[None]) & torch.ones(len(which), len(which)).tril().bool()
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        return self.inner(input_ids=input_ids, labels=labels, position_ids=positions,
                          attention_mask=seen[None, None], use_cache=use_cache,
                          num_items_in_batch=num_items_in_batch)


def one_row(step):
    """A sequence's first token is nobody's label, so the row has the labels of its sequences."""
    step = [(ids, np.concatenate([[-100], labels[1:]]).astype(labels.dtype)) for ids, labels in step]
    return [tuple(np.concatenate(part) for part in zip(*step))]


def curve(steps, autocast, packed):
    net = model()
    if packed:
        lengths = iter([[len(ids) for ids, _ in step] for step in steps])
        net, steps = Packed(net, lengths), [one_row(step) for step in steps]
    return reftrain.run(net, steps, **HYPER, autocast=autocast,
                        log=lambda k, x: k % 10 == 0 and print(f"    step {k}: {x:.4f}", flush=True))


def make(name, n, tokens):
    steps = [smollm2_lora.with_labels(s) for s in smollm2_lora.batches(tokens)][:n]
    out, curves = {"step_seqs": np.asarray([len(step) for step in steps], np.int32)}, {}
    for kind in ("f32", "bf16"):
        curves[kind] = c = curve(steps, kind == "bf16", name != "full")
        out |= {f"{kind}.loss": c["loss"], f"{kind}.grad_norm": c["grad_norm"], "lr": c["lr"]}
        print(f"{name} {kind}: loss {c['loss'][0]:.4f} -> {c['loss'][-10:].mean():.4f} (mean of the "
              f"last ten), gradient norms {c['grad_norm'].min():.2f} .. {c['grad_norm'].max():.2f}",
              flush=True)
    d = np.abs(curves["f32"]["loss"] - curves["bf16"]["loss"])
    print(f"bf16 from f32: max |d loss| {d.max():.4f}, mean {d.mean():.4f}")
    save(f"{smollm2.GOLDEN_DIR}/{name}.safetensors", out, SCRIPT, SEED, loose=("bf16.",))


def main():
    torch.set_num_threads(2)
    for which in [a for a in sys.argv[1:] if a in CURVES] or CURVES:
        make(*CURVES[which])


if __name__ == "__main__":
    main()
