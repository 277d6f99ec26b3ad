"""Training of the tiny models (all weights, and LoRA by PEFT) in f32: the first step's gradients
and ten AdamW steps. Needs the folders that tiny_llama.py wrote.

Ten batches of five sequences each: lengths from 3 to 20 by the formula in `batches`, prompts
masked; sequence 3 of each batch is one token long, sequence 4 of the even batches has no label at
all. AdamW: lr 1e-3, betas .9 .999, eps 1e-8, decay 0.1 except on norms and biases, clipping at 1.0,
linear schedule with 2 steps of warm-up out of 10 (so the first step runs at lr 0).

tests/golden/tiny_llama/<mha|gqa|biases>/train.safetensors
    step<k>.ids, step<k>.labels, step<k>.cu_seqlens      k = 0..9, see reftrain.py
    loss, grad_norm, lr   f32 [10]   before step k's update; the norm before clipping; step k's rate
    grad.<name>           f32        step 0's gradient of every weight, before clipping
    final.<name>          f32        the weights after the ten steps
tests/golden/tiny_lora/<qv|all|ranks>/
    adapter_config.json, adapter_model.safetensors       PEFT's folder over tiny_llama/gqa: r 4,
        alpha 8, no dropout, A = refcommon.lora_a, B = 0.5 n / sqrt(r); targets q_proj,v_proj / all
        seven linears of a block / "all-linear", rank-stabilised, with patterns of ranks and alphas
    expected.safetensors
        seq<i>.ids, seq<i>.logits                        as in tiny_llama, with the adapter
        step<k>.*, loss, grad_norm, lr, grad.<name>, final.<name>   as above; <name> as in
                                                         adapter_model.safetensors; every adapter
                                                         matrix is decayed
tests/golden/tiny_lora/all/plus.safetensors
    loss, grad_norm, lr, final.<name>                    the same ten steps with PEFT's LoRA+
                                                         optimizer: B at 16 times the rate of A

    python tools/reference/tiny_llama_train.py [--check]
--check writes nothing and compares with the stored files. Either way the script prints how far the
results move when the weights are perturbed by one unit in the last place (what a test may ask for)
and by planted faults.
"""
import os
import shutil

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

import reftrain
import tinymodels as tm
from refcommon import CHECK, GOLDEN, integers, lora_a, normal, record, save, strip_json, uniform

SCRIPT, SEED, STEPS = "tiny_llama_train.py", 5, 10
HYPER = dict(lr=1e-3, decay=0.1, warmup=2, clip=1.0)
LORA = {"qv": dict(target_modules=["q_proj", "v_proj"]),
        "all": dict(target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                    "down_proj"]),
        # Keys that match one another's modules, in the order in which PEFT saves them (sorted: the
        # first that matches counts).
        "ranks": dict(target_modules="all-linear", use_rslora=True,
                      rank_pattern={"down_proj": 6, "layers.0.self_attn.q_proj": 2,
                                    r"model\.layers\.1\..*_proj": 3},
                      alpha_pattern={r".*\.1\..*(gate|up)_proj": 5.5, "o_proj": 12})}
PLUS = 16.0


def batches():
    out, vocab = [], tm.BASE["vocab_size"]
    for k in range(STEPS):
        lengths = 3 + integers(SEED, f"step{k}/lengths", 5, 18)
        lengths[3] = 1
        sequences = []
        for s, t in enumerate(int(n) for n in lengths):
            ids = integers(SEED, f"step{k}/seq{s}", t, vocab)
            labels = ids.copy()
            prompt = int(uniform(SEED, f"step{k}/prompt{s}", 1)[0] * t)
            labels[: t if s == 4 and k % 2 == 0 else prompt] = -100
            sequences.append((ids, labels))
        out.append(sequences)
    return out


def load(folder):
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def jitter(model, seed):
    """Moves every trainable weight by at most one unit in the last place."""
    for k, p in reftrain.trainable(model).items():
        u = torch.from_numpy(normal(seed, k, tuple(p.shape)).astype(np.float32)).clamp(-1, 1)
        p.data *= 1 + u * 2.0**-23


def train(model, name=lambda k: k):
    out, start = {}, {k: p.detach().clone() for k, p in reftrain.trainable(model).items()}
    steps = batches()
    for k, sequences in enumerate(steps):
        out.update(reftrain.pack(f"step{k}.", sequences))
    model.train()
    out.update(reftrain.run(model, steps, **HYPER, after_first=lambda g: out.update(
        {f"grad.{name(k)}": v for k, v in g.items()})))
    final = {k: p.detach() for k, p in reftrain.trainable(model).items()}
    out.update({f"final.{name(k)}": v for k, v in final.items()})
    return out, {name(k): final[k] - start[k] for k in start}


def compare(label, ref, change, other, other_change):
    """Worst relative distance of the gradients, and of the weights' changes."""
    def dist(a, b):
        return max((torch.linalg.norm((b[k] - a[k]).double()) / torch.linalg.norm(a[k].double())
                    ).item() for k in a)
    grads = [{k: r[f"grad.{k}"] for k in change} for r in (ref, other)]
    loss = np.abs(other["loss"] - ref["loss"])
    print(f"  {label:36} loss {loss[0]:.1e} (step 0) {loss.max():.1e} (worst)  "
          f"gradient {dist(*grads):.1e}  ten steps {dist(change, other_change):.1e}")


def with_faults(label, make, name=lambda k: k):
    """The reference's result, with what one ulp and the planted faults do to it printed."""
    ref, change = train(make(), name)
    print(f"{label}: loss {ref['loss'][0]:.4f} -> {ref['loss'][-1]:.4f}, "
          f"gradient norms {ref['grad_norm'].min():.2f} .. {ref['grad_norm'].max():.2f}")
    assert (ref["grad_norm"] > HYPER["clip"]).any(), "clipping is never felt"
    for seed in (1, 2):
        model = make()
        jitter(model, seed)
        compare(f"weights moved by one ulp, draw {seed}", ref, change,
                *train(model, name))
    for fault, hyper in (("no decay", dict(decay=0.0)), ("no clipping", dict(clip=1e9)),
                         ("schedule one step late", dict(warmup=3))):
        saved = dict(HYPER)
        HYPER.update(hyper)
        compare(f"fault: {fault}", ref, change, *train(make(), name))
        HYPER.update(saved)
    return ref


def check_padded(folder):
    """The loss of one padded batch with num_items_in_batch is that of the sequences run alone."""
    sequences = batches()[0]
    width = max(len(ids) for ids, _ in sequences)
    ids, labels, mask = (torch.full((len(sequences), width), v) for v in (0, -100, 0))
    for i, (a, b) in enumerate(sequences):
        ids[i, :len(a)], labels[i, :len(a)] = torch.from_numpy(a), torch.from_numpy(b)
        mask[i, :len(a)] = 1
    model = load(folder)
    loss = model(input_ids=ids, labels=labels, attention_mask=mask,
                 num_items_in_batch=torch.tensor(reftrain.label_count(sequences))).loss.item()
    alone = reftrain.backward(model, sequences)
    assert abs(loss - alone) < 1e-5, (loss, alone)


def saved_name(k):
    """PEFT's name of a parameter to that of the file."""
    return k.replace(".default", "")


def lora_model(base, case):
    model = get_peft_model(load(base), LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none",
                                                  task_type="CAUSAL_LM", **LORA[case]))
    for k, p in reftrain.trainable(model).items():
        r, width = p.shape
        if ".lora_A." in k:
            w = lora_a(SEED, saved_name(k), r, width)
        else:
            w = (0.5 / np.sqrt(width) * normal(SEED, saved_name(k), (r, width))).astype(np.float32)
        p.data.copy_(torch.from_numpy(w))
    return model


def write_adapter(model, folder, base):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    if os.path.exists(f"{folder}/README.md"):
        os.remove(f"{folder}/README.md")
    strip_json(f"{folder}/adapter_config.json", replace={"base_model_name_or_path": base})
    for name in sorted(os.listdir(folder)):
        record(f"{folder}/{name}", SCRIPT, SEED)


def lora(case):
    base, folder = f"{GOLDEN}/tiny_llama/gqa", f"{GOLDEN}/tiny_lora/{case}"
    if not CHECK:
        write_adapter(lora_model(base, case), folder, base)
    out, plain = {}, load(base).eval()
    model = PeftModel.from_pretrained(load(base), folder).eval()
    moved = 0.0
    for i, ids in enumerate(tm.sequences("gqa")):
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        with torch.no_grad():
            out[f"seq{i}.ids"], out[f"seq{i}.logits"] = ids, model(input_ids=batch).logits[0]
            moved = max(moved, (out[f"seq{i}.logits"] - plain(input_ids=batch).logits[0]).abs().max())
    assert moved > 0.1, "the adapter is too weak to be seen"
    out.update(with_faults(f"lora {case} (moves the logits by {moved:.2f})",
                           lambda: lora_model(base, case), saved_name))
    save(f"{folder}/expected.safetensors", out, SCRIPT, SEED)


def lora_plus():
    base, folder = f"{GOLDEN}/tiny_llama/gqa", f"{GOLDEN}/tiny_lora/all"
    HYPER["plus"] = PLUS
    out = with_faults("lora all, LoRA+", lambda: lora_model(base, "all"), saved_name)
    HYPER["plus"] = PLUS - 1
    change = train(lora_model(base, "all"), saved_name)[1]
    HYPER.pop("plus")
    start = {saved_name(k): p for k, p in reftrain.trainable(lora_model(base, "all")).items()}
    worst = max((torch.linalg.norm(out[f"final.{k}"] - start[k] - change[k])
                 / torch.linalg.norm(change[k])).item() for k in change)
    print(f"  fault: ratio {PLUS - 1:g}: ten steps {worst:.1e}")
    save(f"{folder}/plus.safetensors",
         {k: v for k, v in out.items() if not k.startswith(("step", "grad."))}, SCRIPT, SEED)


def main():
    torch.set_num_threads(1)
    for variant in ("mha", "gqa", "biases"):
        folder = f"{GOLDEN}/tiny_llama/{variant}"
        check_padded(folder)
        out = with_faults(variant, lambda: load(folder))
        save(f"{folder}/train.safetensors", out, SCRIPT, SEED)
    for case in LORA:
        lora(case)
    lora_plus()


if __name__ == "__main__":
    main()
