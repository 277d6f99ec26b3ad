"""Adapters go both ways between vma and PEFT over SmolLM2, f32: called by
tests/nightly/test_peft_roundtrip.sh.

    python tools/reference/peft_roundtrip.py BIN FOLDER

BIN holds vma-train and vma-infer; FOLDER is empty and is filled.
  1. vma-train trains an adapter for a few steps; PEFT opens it over the same weights; the
     log-probabilities of vma-infer --score with it and of PEFT differ by at most 1e-3. Once with
     two target layers, once with all, rank-stabilised, ranks and alphas by module, LoRA+.
  2. PEFT saves an adapter with drawn A and B (r 4, all seven linear layers, another scale; and with
     patterns of ranks and alphas, rank-stabilised); vma-infer --score with it and PEFT agree
     likewise, and so does what PEFT saves of the adapters of 1.
All adapters must move some log-probability by more than 0.05, or the comparison would say nothing.
VMA_BREAK=1 scales PEFT's side of B by 1.01: the check must then fail.
"""
import json
import os
import subprocess
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import smollm2
from refcommon import lora_a, normal

TOLERANCE, SEED = 1e-3, 11
TRAINED = {"plain": [],
           "ranks": ["lora.targets=all-linear", "lora.rank_stabilised=true", "lora.plus_ratio=4",
                     "lora.rank_pattern=down_proj=16,layers.1?.*=5,layers.0.self_attn.q_proj=2",
                     "lora.alpha_pattern=o_proj=5.5,layers.2?.*=7"]}
SAVED = {"all": dict(target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                     "down_proj"]),
         "ranks": dict(target_modules="all-linear", use_rslora=True,
                       rank_pattern={"down_proj": 6, r"layers\.\d\..*(q|k)_proj": 3},
                       alpha_pattern={r"model\.layers\.1\d\..*": 4.5, "o_proj": 9})}
TEXTS = ["Below is an instruction that describes a task. Write a response that appropriately "
         "completes the request.\n\n### Instruction:\nWhat does the pancreas do?\n\n### Response:\n"
         "It makes insulin and glucagon, and enzymes that digest food.",
         "Serum potassium 5.9 mmol/L (3.5-5.1)."]


def run(*command):
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nexit status {done.returncode}")


def reference(model, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
    return torch.log_softmax(logits, -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()


def ours(bin_folder, folder, texts, adapter=None):
    with open(f"{folder}/score.jsonl", "w") as f:
        f.writelines(json.dumps({"ids": ids}) + "\n" for ids in texts)
    run(f"{bin_folder}/vma-infer", "--model", smollm2.PATH, "--dtype", "f32", "--score",
        f"{folder}/score.jsonl", "--output", f"{folder}/scored.jsonl",
        *(["--adapter", adapter] if adapter else []))
    lines = [json.loads(line) for line in open(f"{folder}/scored.jsonl")]
    assert [x["ids"] for x in lines] == texts
    return [np.array(x["logprobs"][1:], np.float64) for x in lines]


def compare(name, bin_folder, folder, texts, plain, adapter, model):
    if os.environ.get("VMA_BREAK"):
        for k, p in model.named_parameters():
            if ".lora_B." in k:
                p.data *= 1.01
    expected = [reference(model, ids) for ids in texts]
    got = ours(bin_folder, folder, texts, adapter)
    worst = max(np.abs(a - b).max() for a, b in zip(expected, got))
    moved = max(np.abs(a - b).max() for a, b in zip(plain, got))
    print(f"{name}: max |d log-probability| {worst:.1e} (at most {TOLERANCE:g}); the adapter moves "
          f"them by up to {moved:.2f}", flush=True)
    if not moved > 0.05:
        sys.exit("the adapter does too little to be seen")
    if not worst <= TOLERANCE:
        sys.exit("vma and PEFT disagree")


def main():
    bin_folder, folder = sys.argv[1:3]
    torch.set_num_threads(2)
    tok = smollm2.tokenizer()
    texts = [[int(i) for i in smollm2.encode(tok, t)] for t in TEXTS]
    plain = ours(bin_folder, folder, texts)

    for name, keys in TRAINED.items():
        run(f"{bin_folder}/vma-train", "--config", "configs/lora_smollm2.yaml",
            f"model.path={smollm2.PATH}", f"output.dir={folder}/{name}", "model.dtype=f32",
            "train.max_steps=6", "train.batch_size=8", "train.warmup_steps=1", "train.lr=2e-3",
            "data.val_set_size=4", *keys)
        adapter = f"{folder}/{name}/adapter"
        model = PeftModel.from_pretrained(smollm2.model(), adapter).eval()
        compare(f"vma-train's adapter ({name}) in PEFT", bin_folder, folder, texts, plain, adapter,
                model)
        model.save_pretrained(f"{folder}/{name}/again")
        compare(f"the same ({name}), saved by PEFT", bin_folder, folder, texts, plain,
                f"{folder}/{name}/again", model)

    for name, keys in SAVED.items():
        model = get_peft_model(smollm2.model(), LoraConfig(
            r=4, lora_alpha=6, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", **keys))
        for k, p in model.named_parameters():
            if ".lora_A." in k:
                p.data.copy_(torch.from_numpy(lora_a(SEED, k, *p.shape)))
            if ".lora_B." in k:
                p.data.copy_(torch.from_numpy(0.02 * normal(SEED, k, tuple(p.shape))))
        adapter = f"{folder}/peft_{name}"
        model.save_pretrained(adapter)
        compare(f"PEFT's adapter ({name}) in vma-infer", bin_folder, folder, texts, plain, adapter,
                model.eval())


if __name__ == "__main__":
    main()
