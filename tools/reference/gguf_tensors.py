"""SHA-256 of tensors of the small real model as the gguf package dequantises them, for
tests/core/test_small_weights.c: f32, rows of q and k in Hugging Face's order.

    PYTHON tools/reference/gguf_tensors.py build/models/SmolLM2-135M-Instruct.Q4_1.gguf
"""
import hashlib
import sys

import numpy as np
from gguf import GGUFReader, dequantize

NAMES = {"token_embd.weight": "model.embed_tokens.weight",
         "output_norm.weight": "model.norm.weight",
         "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
         "blk.0.attn_k.weight": "model.layers.0.self_attn.k_proj.weight",
         "blk.13.attn_v.weight": "model.layers.13.self_attn.v_proj.weight",
         "blk.29.attn_k.weight": "model.layers.29.self_attn.k_proj.weight",
         "blk.29.ffn_down.weight": "model.layers.29.mlp.down_proj.weight",
         "blk.7.ffn_norm.weight": "model.layers.7.post_attention_layernorm.weight"}


def main():
    reader = GGUFReader(sys.argv[1])
    heads = {"q": reader.get_field("llama.attention.head_count").contents(),
             "k": reader.get_field("llama.attention.head_count_kv").contents()}
    for t in reader.tensors:
        if t.name not in NAMES:
            continue
        w = dequantize(t.data, t.tensor_type).astype(np.float32)
        kind = t.name.split(".")[-2]
        if kind in ("attn_q", "attn_k"):
            n = heads[kind[-1]]
            w = w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        print(f'{{"{NAMES[t.name]}", "{hashlib.sha256(np.ascontiguousarray(w)).hexdigest()}"}},')


main()
