"""Beam search by transformers, f32, eager attention.

tests/golden/tiny_llama/beams.safetensors, for each of its cases i, on the tiny models mha and gqa:
    case<i>.model   u8  [name]
    case<i>.ids     i32 [T]   the prompt
    case<i>.eos     i32 [E]   ids that end a text, E may be 0
    case<i>.numbers f32 [5]   beams, length penalty, early stopping (0 false, 1 true, 2 never),
                              new tokens at most, repetition penalty
    case<i>.new     i32 [N]   what it goes on with
    case<i>.score   f32 [1]   transformers' score of it
tests/golden/smollm2/beams.safetensors, for the ten prompts of smollm2_text.py (special tokens parsed),
4 beams, 48 new tokens at most:
    prompt<i>.ids   i32 [T]
    prompt<i>.new   i32 [N]
    prompt<i>.score f32 [1]

    python tools/reference/beams.py [--check] [tiny] [smollm2]      default: both
Every search is run again with its log-probabilities moved at random by up to NOISE, several times
what f32 rounding moves: one that then ends elsewhere hangs on the last bits and is no reference.
"""
import sys

import numpy as np
import torch
from transformers import LlamaForCausalLM, LogitsProcessor, LogitsProcessorList

import smollm2
from refcommon import save
from smollm2_text import PROMPTS

SCRIPT, SEED, NOISE = "beams.py", 11, 5e-5
EARLY = {0: False, 1: True, 2: "never"}


class Noise(LogitsProcessor):
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids, scores):
        return scores + (2 * torch.rand(scores.shape, generator=self.generator) - 1) * NOISE


def search(model, ids, eos, beams, penalty, early, new, repetition, noise=None):
    settings = {} if repetition == 1 else {"repetition_penalty": repetition}
    with torch.no_grad():
        out = model.generate(
            torch.from_numpy(ids.astype(np.int64))[None], do_sample=False, num_beams=beams,
            length_penalty=penalty, early_stopping=EARLY[early], max_new_tokens=new,
            eos_token_id=list(eos) or None, pad_token_id=0, return_dict_in_generate=True,
            output_scores=True, logits_processor=LogitsProcessorList([Noise(noise)] if noise else []),
            **settings)
    return out.sequences[0, len(ids):].int().numpy(), out.sequences_scores[0].item()


def steady(model, ids, **settings):
    new, score = search(model, ids, **settings)
    moved = [search(model, ids, noise=seed, **settings)[0] for seed in (1, 2)]
    return new, score, all(len(m) == len(new) and (m == new).all() for m in moved)


def tiny_case(rng, model, beams):
    """A prompt and ids that end a text: some that a search without any does find, some at random."""
    ids = rng.integers(3, 131, int(rng.integers(1, 40))).astype(np.int32)
    new, repetition = int(rng.integers(3, 40)), 1.0 if rng.random() < 0.7 else 1.3
    found, _ = search(model, ids, [], beams, 1.0, 0, new, repetition)
    likely = rng.choice(np.unique(found), min(int(rng.integers(0, 3)), len(np.unique(found))), replace=False)
    eos = np.unique(np.concatenate([likely, rng.integers(0, 131, int(rng.integers(0, 11)))])).astype(np.int32)
    return ids, eos, new, repetition


def tiny():
    rng = np.random.default_rng(SEED)
    out, kept, dropped, ended, differ, never = {}, 0, 0, 0, 0, 0
    for name in ("mha", "gqa"):
        model = LlamaForCausalLM.from_pretrained(f"tests/golden/tiny_llama/{name}",
                                                 dtype=torch.float32, attn_implementation="eager").eval()
        model.generation_config.eos_token_id = None
        for beams in (2, 4, 7):
            for penalty in (1.0, 0.0, 2.0, -1.0, 0.6):
                kinds, settings = 0, None
                for _ in range(10):  # until the kinds of early stopping differ
                    ids_, eos, new, repetition = tiny_case(rng, model, beams)
                    tried = dict(eos=eos.tolist(), beams=beams, penalty=penalty, new=new,
                                 repetition=repetition)
                    results = [tuple(search(model, ids_, early=early, **tried)[0]) for early in EARLY]
                    # "never" and "false" are one for a penalty that does not favour length
                    got = len(set(results)) + (results[0] != results[2])
                    if got > kinds:
                        kinds, settings, ids = got, tried, ids_
                    if kinds >= (3 if penalty > 0 else 2):
                        break
                eos, new = np.asarray(settings["eos"], np.int32), settings["new"]
                repetition = settings["repetition"]
                results = set()
                for early in EARLY:
                    found, score, sure = steady(model, ids, early=early, **settings)
                    results.add(tuple(found))
                    if not sure:
                        dropped += 1
                        continue
                    key = f"case{kept}"
                    numbers = np.asarray([beams, penalty, early, new, repetition], np.float32)
                    out |= {f"{key}.model": np.frombuffer(name.encode(), np.uint8),
                            f"{key}.ids": ids, f"{key}.eos": eos, f"{key}.numbers": numbers,
                            f"{key}.new": found, f"{key}.score": np.asarray([score], np.float32)}
                    kept += 1
                    ended += len(found) < new
                differ += len(results) - 1
                never += kinds >= 3
    print(f"tiny: {kept} searches, {ended} ended before their length, {dropped} hang on rounding, "
          f"early stopping makes {differ} differ, 'never' of 'false' {never}")
    assert kept >= 60 and ended >= 30 and differ >= 5 and never >= 1
    save("tests/golden/tiny_llama/beams.safetensors", out, SCRIPT, SEED)


def real():
    model, tok = smollm2.model(), smollm2.tokenizer()
    out = {}
    for i, text in enumerate(PROMPTS):
        ids = smollm2.encode(tok, text, specials=True)
        new, score, sure = steady(model, ids, eos=[smollm2.EOS], beams=4, penalty=1.0, early=0, new=48,
                                  repetition=1.0)
        print(f"prompt {i}: {len(new)} tokens, score {score:.4f}, {'sure' if sure else 'NOT SURE'}  "
              f"{tok.decode(new)[:70]!r}", flush=True)
        assert sure, "a prompt hangs on the last bits: take another"
        out |= {f"prompt{i}.ids": ids, f"prompt{i}.new": new,
                f"prompt{i}.score": np.asarray([score], np.float32)}
    save(f"{smollm2.GOLDEN_DIR}/beams.safetensors", out, SCRIPT, 0)


def main():
    parts = [a for a in sys.argv[1:] if a != "--check"] or ["tiny", "smollm2"]
    if "tiny" in parts:
        torch.set_num_threads(1)
        tiny()
    if "smollm2" in parts:
        torch.set_num_threads(2)
        real()


if __name__ == "__main__":
    main()
