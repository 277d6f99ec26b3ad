"""Training all weights of the tiny model `gqa` (embedding and head tied) in other forms than
tiny_llama_train.py: with frozen parts, and in bf16 with f32 masters. Ten steps over the batches of
tiny_llama/gqa/train.safetensors with its AdamW, decay, clipping and schedule.

tests/golden/tiny_llama/gqa/full.safetensors, with FORM = frozen or bf16:
    FORM.loss, FORM.grad_norm, FORM.lr   f32 [10]
    FORM.grad.<name>                     f32   step 0's gradients, before clipping
    FORM.final.<name>                    f32   the trained weights after the ten steps

frozen: f32; the embedding (so the head), the first block and every q_proj stay as they are.
bf16: a bf16 model whose weights are the roundings of f32 masters, which begin as the file's values.
    Per sequence torch computes bf16 gradients; they are added up in f32, clipped, and AdamW moves
    the masters; then the weights are rounded from them.

    python tools/reference/tiny_llama_full.py [--check]
Prints what two draws of rounding (the bf16 weights moved by their last place where rounding is not
exact) and planted faults do to the bf16 form.
"""
import re

import numpy as np
import torch
from transformers import LlamaForCausalLM

import reftrain
import tiny_llama_train as tt
from refcommon import GOLDEN, normal, save

SCRIPT, SEED = "tiny_llama_full.py", tt.SEED
FOLDER = f"{GOLDEN}/tiny_llama/gqa"
FROZEN = r"model\.embed_tokens\..*|model\.layers\.0\..*|.*\.q_proj\.weight"


def frozen_model():
    model = tt.load(FOLDER)
    for k, p in model.named_parameters():
        p.requires_grad_(re.fullmatch(FROZEN, k) is None)
    return model


def run_masters(masters, half, batches, lr, decay, warmup, clip, jitter=0, lose=False):
    """The bf16 form: `masters` in f32, `half` the bf16 model. lose: no masters, the rounded weights
    are what the next step begins with. jitter: a seed, the gradients carry a bf16 rounding more."""
    out, weights = {}, reftrain.trainable(masters)
    twins = {k: p for k, p in half.named_parameters()}
    opt, schedule = reftrain.optimizer(masters, lr, decay, warmup, len(batches))
    curve = {"loss": [], "grad_norm": [], "lr": []}
    for step, sequences in enumerate(batches):
        with torch.no_grad():
            for k, p in weights.items():
                twins[k].copy_(p)
                if lose:
                    p.copy_(twins[k])
                p.grad = torch.zeros_like(p)
        count, total = torch.tensor(reftrain.label_count(sequences)), 0.0
        for ids, labels in sequences:
            if reftrain.label_count([(ids, labels)]) == 0:
                continue
            half.zero_grad()
            loss = half(input_ids=torch.from_numpy(ids.astype(np.int64))[None],
                        labels=torch.from_numpy(labels.astype(np.int64))[None],
                        num_items_in_batch=count, use_cache=False).loss
            loss.backward()
            total += loss.item()
            for k, p in weights.items():
                g = twins[k].grad.float()
                if jitter:
                    u = normal(jitter, f"{k}/{step}/{len(ids)}", tuple(p.shape)).astype(np.float32)
                    g = g * (1 + torch.from_numpy(u).clamp(-1, 1) * 2.0**-8)
                p.grad += g
        if step == 0:
            out |= {f"grad.{k}": p.grad.clone() for k, p in weights.items()}
        curve["loss"].append(total)
        curve["grad_norm"].append(float(torch.nn.utils.clip_grad_norm_(list(weights.values()), clip)))
        curve["lr"].append(schedule.get_last_lr()[0])
        opt.step()
        schedule.step()
    out |= {k: np.asarray(v, np.float32) for k, v in curve.items()}
    return out | {f"final.{k}": p.detach().clone() for k, p in weights.items()}


def bf16(**changes):
    half = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16, attn_implementation="eager")
    return run_masters(tt.load(FOLDER), half.train(), tt.batches(), **{**tt.HYPER, **changes})


def distance(ref, other, label):
    start = {k: p.detach() for k, p in tt.load(FOLDER).named_parameters()}
    def worst(of):
        return max(((torch.linalg.norm(of(other, k) - of(ref, k)) / torch.linalg.norm(of(ref, k))
                     ).item(), k) for k in start)
    grad, change = (worst(lambda r, k: r[f"grad.{k}"]), worst(lambda r, k: r[f"final.{k}"] - start[k]))
    print(f"  {label:28} loss {np.abs(other['loss'] - ref['loss']).max():.1e}  "
          f"gradient {grad[0]:.1e} ({grad[1]})  ten steps {change[0]:.1e} ({change[1]})")


def main():
    torch.set_num_threads(1)
    frozen, _ = tt.train(frozen_model())
    half = bf16()
    print(f"bf16: loss {half['loss'][0]:.4f} -> {half['loss'][-1]:.4f}")
    exact, _ = tt.train(tt.load(FOLDER))
    distance(exact, half, "from f32")
    for seed in (1, 2):
        distance(half, bf16(jitter=seed), f"a rounding more, draw {seed}")
    distance(half, bf16(lose=True), "fault: no masters")
    distance(half, bf16(decay=0.0), "fault: no decay")
    out = {f"frozen.{k}": v for k, v in frozen.items() if not k.startswith("step")}
    out |= {f"bf16.{k}": v for k, v in half.items()}
    save(f"{FOLDER}/full.safetensors", out, SCRIPT, SEED, loose=("bf16.",))


if __name__ == "__main__":
    main()
