"""Rotary frequencies as transformers computes them, for llama_config_inv_freq to match to the bit.

Writes tests/golden/rope_freqs.safetensors: inv_freq of each case as f32, and as i64 its numbers
(theta, head width, kind of scaling 0 none, 1 linear, 2 llama3, and 1000 times factor,
low_freq_factor, high_freq_factor; original_max_position_embeddings).
"""
import numpy as np
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from refcommon import save

CASES = [(10000, d, 0, 0, 0, 0, 0) for d in (8, 16, 24, 64, 80, 96, 128, 256)]
CASES += [(theta, d, 0, 0, 0, 0, 0) for theta in (100000, 500000, 1000000, 130000) for d in (64, 128)]
CASES += [(10000, d, 1, f, 0, 0, 0) for d in (24, 128) for f in (2500, 3000, 8000)]
CASES += [(500000, d, 2, f, 1000, 4000, l0) for d in (16, 64, 128)
          for f, l0 in ((8000, 64), (8000, 8192), (32000, 8192), (2500, 4096))]
CASES += [(10000, 128, 2, 7000, 1500, 3700, 3000)]


def main():
    out = {}
    for i, (theta, d, kind, factor, low, high, length) in enumerate(CASES):
        rope = {"rope_type": ("default", "linear", "llama3")[kind], "rope_theta": float(theta)}
        if kind:
            rope["factor"] = factor / 1000
        if kind == 2:
            rope.update(low_freq_factor=low / 1000, high_freq_factor=high / 1000,
                        original_max_position_embeddings=length)
        config = LlamaConfig(hidden_size=2 * d, num_attention_heads=2, head_dim=d,
                             max_position_embeddings=131072, rope_parameters=rope)
        out[f"case{i}.inv_freq"] = LlamaRotaryEmbedding(config).inv_freq.numpy()
        out[f"case{i}.numbers"] = np.array(CASES[i], np.int64)
    save("tests/golden/rope_freqs.safetensors", out, "rope_freqs.py", 0)


main()
