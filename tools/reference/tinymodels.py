"""The tiny LLaMA-family models of the golden tests: their configurations and how they are drawn.

    weight                    drawn as (n = normal of refcommon, per tensor name and element)
    embed_tokens              E n                     E = 0.02, as small as real ones are, so that
                                                      the norms' eps is felt (tied: 0.04)
    q_proj, k_proj            1.4 n / sqrt(H)         scores of std about 2: attention picks
    v_proj                    n / sqrt(H)
    o_proj                    0.04 n / sqrt(heads D)  the residual stream stays about as small as E
    gate_proj, up_proj        1.2 n / sqrt(H)
    down_proj                 0.06 n / sqrt(F)
    layer norms               1 + 0.3 n
    model.norm                1 + 0.3 n; tied: (2 / (E sqrt(H))) (1 + 0.3 n): logits of std 2
    lm_head                   1.6 n / sqrt(H)
    biases                    0.5 n (q, k), 0.3 n (v, gate, up), 0.02 n (o, down)

`forward` is a second implementation, in double and from the formulas of the paper rather than from
transformers' code: it measures the reference's own rounding and carries the planted faults.
"""
import math

import numpy as np
import torch

from refcommon import integers, normal

SEED = 3
LENGTHS = (1, 13, 65)  # one token; a prime; one more than a tile and than a page of the KV cache

# What differs from the base below. `style` is how the folder is written: "v4" has rope_theta,
# rope_scaling (kind under "type") and torch_dtype; "v5" has rope_parameters and dtype.
# `store` is the dtype of the file, `shard` the size at which it is split.
BASE = dict(hidden_size=48, intermediate_size=104, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=8, vocab_size=131, max_position_embeddings=128,
            rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=False, attention_bias=False,
            mlp_bias=False, scaling=None, style="v5", store="float32", shard=None, inv_freq=False)
VARIANTS = {
    # LLaMA-1: every head its own keys, untied, old files' extra inv_freq tensors
    "mha": dict(num_attention_heads=3, num_key_value_heads=3, head_dim=16, rms_norm_eps=1e-6,
                style="v4", inv_freq=True),
    # SmolLM2: grouped heads, tied, theta 1e5
    "gqa": dict(rope_theta=1e5, tie_word_embeddings=True),
    # Llama 3: at L0 = 64 and D = 16 the wavelengths 6.3, 32, 167, ... are kept, blended, stretched
    "llama3": dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16, rope_theta=5e5,
                   scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                high_freq_factor=4.0, original_max_position_embeddings=64)),
    # linear scaling as old files spell it; one key head for all; D = 24
    "linear": dict(num_attention_heads=2, num_key_value_heads=1, head_dim=24, style="v4",
                   scaling=dict(type="linear", factor=2.5), shard="80KB"),
    # every bias that the family has; one key head for all
    "biases": dict(num_attention_heads=3, num_key_value_heads=1, head_dim=16, attention_bias=True,
                   mlp_bias=True),
    # heads * D = 96, not H = 48; three layers; stored as F16
    "wide": dict(num_attention_heads=4, num_key_value_heads=2, head_dim=24, store="float16",
                 num_hidden_layers=3),
    # D = 80, heads * D = 160, H = 40 (not a multiple of 16); stored as BF16
    "odd80": dict(hidden_size=40, intermediate_size=72, num_attention_heads=2,
                  num_key_value_heads=1, head_dim=80, store="bfloat16", tie_word_embeddings=True),
}


def spec(variant):
    return {**BASE, **VARIANTS[variant]}


def shapes(s):
    h, f, v, d = s["hidden_size"], s["intermediate_size"], s["vocab_size"], s["head_dim"]
    nq, nk = s["num_attention_heads"] * d, s["num_key_value_heads"] * d
    out = {"model.embed_tokens.weight": (v, h)}
    for i in range(s["num_hidden_layers"]):
        p = f"model.layers.{i}"
        out[f"{p}.input_layernorm.weight"] = (h,)
        for name, rows, cols, bias in (("self_attn.q_proj", nq, h, s["attention_bias"]),
                                       ("self_attn.k_proj", nk, h, s["attention_bias"]),
                                       ("self_attn.v_proj", nk, h, s["attention_bias"]),
                                       ("self_attn.o_proj", h, nq, s["attention_bias"]),
                                       ("mlp.gate_proj", f, h, s["mlp_bias"]),
                                       ("mlp.up_proj", f, h, s["mlp_bias"]),
                                       ("mlp.down_proj", h, f, s["mlp_bias"])):
            out[f"{p}.{name}.weight"] = (rows, cols)
            if bias:
                out[f"{p}.{name}.bias"] = (rows,)
        out[f"{p}.post_attention_layernorm.weight"] = (h,)
    out["model.norm.weight"] = (h,)
    if not s["tie_word_embeddings"]:
        out["lm_head.weight"] = (v, h)
    return out


def draw(variant):
    """name -> f32 array, exactly representable in the variant's stored dtype."""
    s, out = spec(variant), {}
    embed = 0.04 if s["tie_word_embeddings"] else 0.02
    for name, shape in shapes(s).items():
        n, h = normal(SEED, f"{variant}/{name}", shape), s["hidden_size"]
        kind = name.split(".")[-2]
        if name.endswith(".bias"):
            scale = {"q_proj": 0.5, "k_proj": 0.5, "o_proj": 0.02, "down_proj": 0.02}.get(kind, 0.3)
            w = scale * n
        elif kind.endswith("norm"):
            w = 1.0 + 0.3 * n
            if kind == "norm" and s["tie_word_embeddings"]:
                w *= 2.0 / (embed * math.sqrt(h))
        elif kind == "embed_tokens":
            w = embed * n
        else:
            gain = {"q_proj": 1.4, "k_proj": 1.4, "v_proj": 1.0, "o_proj": 0.04, "gate_proj": 1.2,
                    "up_proj": 1.2, "down_proj": 0.06, "lm_head": 1.6}[kind]
            w = gain * n / math.sqrt(shape[1])
        w = torch.from_numpy(w.astype(np.float32))
        out[name] = w.to(getattr(torch, s["store"])).float().numpy()
    return out


def config(variant):
    """LlamaConfig of the variant."""
    from transformers import LlamaConfig
    s = spec(variant)
    rope = {"rope_type": "default", "rope_theta": s["rope_theta"]}
    if s["scaling"]:
        rope.update(s["scaling"])
        rope["rope_type"] = rope.pop("type", rope["rope_type"])
        if "type" in s["scaling"]:
            rope["rope_type"] = s["scaling"]["type"]
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings",
            "rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias")
    return LlamaConfig(**{k: s[k] for k in keys}, rope_parameters=rope, hidden_act="silu",
                       bos_token_id=1, eos_token_id=2, attn_implementation="eager")


def sequences(variant):
    return [integers(SEED, f"{variant}/seq{i}", t, spec(variant)["vocab_size"])
            for i, t in enumerate(LENGTHS)]


# ---------------------------------------------------------------------------------------------
def inv_freq(s):
    d = s["head_dim"]
    inv = s["rope_theta"] ** -(np.arange(0, d, 2) / d)
    sc = s["scaling"]
    kind = sc and sc.get("rope_type", sc.get("type"))
    if kind == "linear":
        inv = inv / sc["factor"]
    elif kind == "llama3":
        l0, lf, hf = (sc["original_max_position_embeddings"], sc["low_freq_factor"],
                      sc["high_freq_factor"])
        wave = 2 * math.pi / inv
        t = np.clip((l0 / wave - lf) / (hf - lf), 0, 1)
        inv = (1 - t) * inv / sc["factor"] + t * inv
    return inv


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def rotate(x, inv, pairing):
    """x [T, heads, D]: element i turns with i + D/2 ("half") or, as Meta's files do, 2i with 2i+1."""
    angle = np.arange(len(x))[:, None] * inv[None, :]
    c, s, half = np.cos(angle)[:, None], np.sin(angle)[:, None], x.shape[-1] // 2
    out = np.empty_like(x)
    a, b = (slice(0, half), slice(half, None)) if pairing == "half" else (slice(0, None, 2),
                                                                         slice(1, None, 2))
    out[..., a] = x[..., a] * c - x[..., b] * s
    out[..., b] = x[..., b] * c + x[..., a] * s
    return out


def permute_rows(w, heads):
    """Hugging Face's row order to Meta's (what a GGUF holds), per head."""
    d = len(w) // heads
    return w.reshape(heads, 2, d // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


FAULTS = ("rotary pairing", "theta", "eps", "grouped heads", "norm order", "tied head",
          "q/k permutation", "scale", "rope scaling", "biases")


def forward(s, weights, ids, fault=None, trace=None):
    """Logits [T, V] in double, or None where the fault has no meaning for this variant."""
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    nh, nkv, d = s["num_attention_heads"], s["num_key_value_heads"], s["head_dim"]
    eps, t = s["rms_norm_eps"], len(ids)
    if fault == "theta":
        s = {**s, "rope_theta": 1e5 if s["rope_theta"] == 1e4 else 1e4}
    if fault == "eps":
        eps = 1e-5 if eps == 1e-6 else 1e-6
    if fault == "rope scaling":
        if not s["scaling"]:
            return None
        s = {**s, "scaling": None}
    if fault == "biases":
        if not (s["attention_bias"] or s["mlp_bias"]):
            return None
        w = {k: v * (not k.endswith(".bias")) for k, v in w.items()}
    if fault == "grouped heads" and not 1 < nkv < nh:
        return None
    if fault == "tied head" and s["tie_word_embeddings"]:
        return None  # there is no second matrix to take by mistake
    pairing = "adjacent" if fault == "rotary pairing" else "half"
    scale = d**-0.5
    if fault == "scale":
        # heads * D != H: the width of a head guessed from H; else none at all
        scale = (s["hidden_size"] / nh) ** -0.5 if nh * d != s["hidden_size"] else 1.0
    first, second = "input_layernorm", "post_attention_layernorm"
    if fault == "norm order":
        first, second = second, first

    def linear(x, name):
        y = x @ w[f"{name}.weight"].T
        return y + w[f"{name}.bias"] if f"{name}.bias" in w else y

    inv = inv_freq(s)
    mask = np.tril(np.ones((t, t), bool))
    of = [j % nkv if fault == "grouped heads" else j // (nh // nkv) for j in range(nh)]
    if fault == "q/k permutation":
        for k in list(w):
            if ".q_proj." in k or ".k_proj." in k:
                w[k] = permute_rows(w[k], nh if ".q_proj." in k else nkv)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(s["num_hidden_layers"]):
        p = f"model.layers.{i}"
        h = rms_norm(x, w[f"{p}.{first}.weight"], eps)
        q, k, v = (linear(h, f"{p}.self_attn.{n}_proj").reshape(t, -1, d) for n in "qkv")
        q, k = rotate(q, inv, pairing), rotate(k, inv, pairing)
        score = np.einsum("qhd,khd->hqk", q, k[:, of]) * scale
        score = np.where(mask, score, -np.inf)
        prob = np.exp(score - score.max(-1, keepdims=True))
        prob /= prob.sum(-1, keepdims=True)
        if trace is not None:
            trace.append(prob)
        o = np.einsum("hqk,khd->qhd", prob, v[:, of]).reshape(t, nh * d)
        x = x + linear(o, f"{p}.self_attn.o_proj")
        h = rms_norm(x, w[f"{p}.{second}.weight"], eps)
        gate, up = linear(h, f"{p}.mlp.gate_proj"), linear(h, f"{p}.mlp.up_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * up, f"{p}.mlp.down_proj")
    x = rms_norm(x, w["model.norm.weight"], eps)
    head = "model.embed_tokens.weight"
    if not s["tie_word_embeddings"] and fault != "tied head":
        head = "lm_head.weight"
    return x @ w[head].T


def entropy(prob):
    """Mean over heads and queries (from the third on) of H(p) / ln(keys): 1 is uniform."""
    keys = np.arange(1, prob.shape[-1] + 1)
    h = -(prob * np.log(np.maximum(prob, 1e-300))).sum(-1)
    return (h[:, 2:] / np.log(keys[2:])).mean()
