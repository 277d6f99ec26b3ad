"""SmolLM2-135M-Instruct as the reference sees it: the weights of the GGUF file, dequantised by the
`gguf` package, in a transformers model; its vocabulary in a `tokenizers` pipeline.

transformers' own GGUF loading is not used: it builds a tokenizer without the digit split, so its
ids are no reference ("a  1" differs). Weights are q * d + m in f32 as `gguf` computes them; the
rows of q and k, which llama.cpp stores with interleaved rotary pairs, are put back in order.

Where the file lies: $VMA_MODEL, else build/models/SmolLM2-135M-Instruct.Q4_1.gguf.
"""
import hashlib
import os

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

PATH = os.environ.get("VMA_MODEL", "build/models/SmolLM2-135M-Instruct.Q4_1.gguf")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GOLDEN_DIR = "tests/golden/smollm2"
EOS = 2  # <|im_end|>

NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def reader():
    found = hashlib.sha256(open(PATH, "rb").read()).hexdigest()
    assert found == SHA256, f"{PATH} is another file than the golden numbers were made with"
    return gguf.GGUFReader(PATH)


def value(r, key):
    return r.fields[key].contents()


def hf_name(name):
    if name in TOP:
        return TOP[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[kind]}.weight"


def unpermute(w, heads):
    """GGUF row h*D + 2i+j is Hugging Face's row h*D + j*D/2 + i."""
    d = len(w) // heads
    return w.reshape(heads, d // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def config(r, attention):
    heads = value(r, "llama.attention.head_count")
    return LlamaConfig(
        hidden_size=value(r, "llama.embedding_length"),
        intermediate_size=value(r, "llama.feed_forward_length"),
        num_hidden_layers=value(r, "llama.block_count"), num_attention_heads=heads,
        num_key_value_heads=value(r, "llama.attention.head_count_kv"),
        vocab_size=value(r, "llama.vocab_size"),
        max_position_embeddings=value(r, "llama.context_length"),
        rms_norm_eps=value(r, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value(r, "llama.rope.freq_base")},
        tie_word_embeddings=True, hidden_act="silu", attention_bias=False, mlp_bias=False,
        bos_token_id=1, eos_token_id=EOS, attn_implementation=attention)


def model(attention="eager"):
    """The f32 model, in eval mode."""
    r = reader()
    c = config(r, attention)
    state = {}
    for t in r.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w = w.reshape([int(n) for n in reversed(t.shape)])
        if ".attn_q." in t.name:
            w = unpermute(w, c.num_attention_heads)
        if ".attn_k." in t.name:
            w = unpermute(w, c.num_key_value_heads)
        state[hf_name(t.name)] = torch.from_numpy(np.ascontiguousarray(w))
    m = LlamaForCausalLM(c)
    missing, unexpected = m.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    m.tie_weights()
    return m.float().eval()


def tokenizer():
    """Text is encoded with specials parsed; set .encode_special_tokens for text as text."""
    r = reader()
    assert value(r, "tokenizer.ggml.model") == "gpt2" and value(r, "tokenizer.ggml.pre") == "smollm"
    pieces, kinds = value(r, "tokenizer.ggml.tokens"), value(r, "tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in value(r, "tokenizer.ggml.merges")]
    out = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges))
    out.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens([AddedToken(p, special=True, normalized=False)
                            for p, k in zip(pieces, kinds) if k == gguf.TokenType.CONTROL])
    return out


def encode(tok, text, specials=False):
    tok.encode_special_tokens = not specials
    return np.asarray(tok.encode(text, add_special_tokens=False).ids, np.int32)


def chat(question):
    """SmolLM2-Instruct's own template with the answer to come."""
    return ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            f"Face<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
