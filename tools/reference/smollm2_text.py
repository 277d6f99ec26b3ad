"""Log-probabilities and greedy continuations of SmolLM2 by transformers, f32, eager attention.

tests/golden/smollm2/logprobs.safetensors, for each of the texts i (special tokens as text):
    text<i>.text      u8  [bytes]   UTF-8
    text<i>.ids       i32 [T]
    text<i>.logprobs  f32 [T-1]     log p(ids[t+1] | ids[0..t])
    text<i>.top       i32 [T-1]     the likeliest id at each of these places
    text<i>.gap       f32 [T-1]     its logit less the next one's
tests/golden/smollm2/greedy.safetensors, for each of ten prompts i (special tokens parsed):
    prompt<i>.text    u8  [bytes]
    prompt<i>.ids     i32 [T]
    prompt<i>.new     i32 [64]      the greedy continuation; none of them ends a text
    prompt<i>.gap     f32 [64]      the best logit less the second, in one run over the whole text

    python tools/reference/smollm2_text.py [--check]
Prints the mean log-probability of each text and the smallest gap of each prompt: a test may ask for
the same greedy text only where the gap is far above the rounding of f32.
"""
import json

import numpy as np
import torch

import smollm2
from refcommon import save

SCRIPT, NEW, GAP_MIN = "smollm2_text.py", 64, 5e-3


def texts():
    items = json.load(open("data/samples/biomed_qa.json"))
    long_text = "\n\n".join(f"{q['instruction']}\n{q['output']}" for q in items[:14])
    return [
        items[0]["instruction"] + " " + items[0]["output"],
        long_text,  # several pages of the cache, several chunks of the prefill
        "def bmi(weight_kg, height_m):\n    \"\"\"Body mass index.\"\"\"\n"
        "    return weight_kg / height_m ** 2\n\nprint(bmi(81.5, 1.83))  # 24.3\n",
        "Le cœur bat environ 100 000 fois par jour. Das Herz schlägt etwa 70-mal pro Minute. "
        "心臓は一日に約十万回拍動する。 Сердце качает кровь. 🫀",
        "Serum sodium 128 mmol/L (135-145), potassium 5.9 mmol/L (3.5-5.1), glucose 2.7 mmol/L.",
        "<|im_start|>user\nspecial tokens in a text are text<|im_end|>",
    ]


PROMPTS = [
    "The heart has four chambers. Blood returns from the body to",
    "Aspirin was first",
    "Antibiotics do not work against viruses because",
    "The liver",
    "Once upon a time, a young doctor",
    smollm2.chat("Why can a large dose of paracetamol damage the liver?"),
    smollm2.chat("What does the pancreas do?"),
    smollm2.chat("Write a short story about a nurse and a lighthouse."),
    smollm2.chat("List five foods that are rich in iron."),
    smollm2.chat("Explain how vaccines work."),
]


def rows(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]


def gaps(logits):
    best = logits.topk(2).values
    return best[:, 0] - best[:, 1]


def logprobs(model, tok):
    out = {}
    for i, text in enumerate(texts()):
        ids = smollm2.encode(tok, text)
        logits = rows(model, ids)[:-1]
        # the sum over 49,152 words in double: the reference's rounding stays in the logits
        logp = torch.log_softmax(logits.double(), -1)
        logp = logp[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:].astype(np.int64))]
        out |= {f"text{i}.text": np.frombuffer(text.encode(), np.uint8), f"text{i}.ids": ids,
                f"text{i}.logprobs": logp.float(), f"text{i}.top": logits.argmax(-1).int(),
                f"text{i}.gap": gaps(logits)}
        print(f"text {i}: {len(ids):4} ids, mean log-probability {logp.mean():8.4f}  {text[:40]!r}")
    save(f"{smollm2.GOLDEN_DIR}/logprobs.safetensors", out, SCRIPT, 0)


def greedy(model, tok):
    out, weakest = {}, []
    for i, text in enumerate(PROMPTS):
        ids = smollm2.encode(tok, text, specials=True)
        with torch.no_grad():
            whole = model.generate(torch.from_numpy(ids.astype(np.int64))[None], do_sample=False,
                                   max_new_tokens=NEW)[0]
        new = whole[len(ids):].int().numpy()
        assert len(new) == NEW and smollm2.EOS not in new and 0 not in new, tok.decode(new)
        logits = rows(model, whole.int().numpy())[len(ids) - 1:-1]
        assert (logits.argmax(-1).int().numpy() == new).all(), f"prompt {i}: cache and no cache differ"
        gap = gaps(logits)
        weakest.append(gap.min().item())
        out |= {f"prompt{i}.text": np.frombuffer(text.encode(), np.uint8), f"prompt{i}.ids": ids,
                f"prompt{i}.new": new, f"prompt{i}.gap": gap}
        print(f"prompt {i}: smallest gap {weakest[-1]:.4f}  {tok.decode(new)[:64]!r}")
    assert min(weakest) > GAP_MIN, "a prompt hangs on the last bits: take another"
    save(f"{smollm2.GOLDEN_DIR}/greedy.safetensors", out, SCRIPT, 0)


def main():
    torch.set_num_threads(2)
    model, tok = smollm2.model(), smollm2.tokenizer()
    logprobs(model, tok)
    greedy(model, tok)


if __name__ == "__main__":
    main()
