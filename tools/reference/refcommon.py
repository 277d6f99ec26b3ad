"""What every reference dumper shares: the seeded draws, the safetensors writer and the manifest.

Development only: nothing of the product imports or runs Python. The dumpers run in the repository's
root (regenerate.sh sees to it) and write below tests/golden.

Draws. Every drawn number is a function of (seed, name of the tensor, index of the element), by
Philox4x32-10 as kernels/core/rng.h has it:
    key        = seed << 32 | fnv1a32(name)
    u64(n)     = v0 << 32 | v1   of philox(key, counter (lo32(n), hi32(n), 0x766d6100, 0))
    uniform(n) = (u64(n) >> 11) * 2^-53                                         in [0, 1)
    normal(i)  = sqrt(-2 ln(1 - uniform(2i))) * cos(2 pi uniform(2i+1))
so a C test can repeat a draw with Rng {key, 0}: rng_uniform and rng_normal call after call.
"""
import hashlib
import importlib.metadata
import json
import os
import platform
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
from safetensors.numpy import load_file, save_file

GOLDEN = "tests/golden"
CHECK = "--check" in sys.argv[1:]  # recompute and compare, write nothing
MANIFEST = f"{GOLDEN}/manifest.json"
M32 = np.uint64(0xFFFFFFFF)


def philox(key, n):
    """u64(n) of the head comment for an array n of uint64."""
    s32 = np.uint64(32)
    k0, k1 = np.uint64(key) & M32, np.uint64(key) >> s32
    c0, c1 = n & M32, n >> s32
    c2, c3 = np.full_like(n, 0x766D6100), np.zeros_like(n)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> s32) ^ c1 ^ k0, p1 & M32, (p0 >> s32) ^ c3 ^ k1, p0 & M32
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & M32, (k1 + np.uint64(0xBB67AE85)) & M32
    return c0 << s32 | c1


def fnv1a32(text):
    h = 0x811C9DC5
    for byte in text.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def key_of(seed, name):
    return seed << 32 | fnv1a32(name)


def uniform(seed, name, count, start=0):
    n = np.arange(start, start + count, dtype=np.uint64)
    return (philox(key_of(seed, name), n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed, name, shape):
    u = uniform(seed, name, 2 * int(np.prod(shape))).reshape(-1, 2)
    z = np.sqrt(-2.0 * np.log(1.0 - u[:, 0])) * np.cos(6.283185307179586 * u[:, 1])
    return z.reshape(shape)


def integers(seed, name, count, below):
    """floor(uniform(i) * below): i32"""
    return np.floor(uniform(seed, name, count) * below).astype(np.int32)


def lora_a(seed, name, r, width):
    """PEFT's default distribution, U(-1/sqrt(in), 1/sqrt(in)), from our draws: element i of the
    row-major [r, in] matrix is (float)((2 uniform(i) - 1) / sqrt((double)in))."""
    u = uniform(seed, name, r * width)
    return ((2.0 * u - 1.0) / np.sqrt(np.float64(width))).astype(np.float32).reshape(r, width)


def versions():
    import peft, safetensors, tokenizers, torch, transformers
    mods = dict(torch=torch, transformers=transformers, peft=peft, tokenizers=tokenizers,
                safetensors=safetensors, numpy=np)
    out = {"python": platform.python_version(), **{k: m.__version__ for k, m in mods.items()}}
    if "gguf" in sys.modules:
        out["gguf"] = importlib.metadata.version("gguf")
    return out


def record(path, script, seed):
    """Enters a written file into the manifest."""
    manifest = json.load(open(MANIFEST)) if os.path.exists(MANIFEST) else {"files": {}}
    os.chmod(path, 0o644)
    data = open(path, "rb").read()
    assert len(data) < 1 << 20, f"{path}: {len(data)} bytes, a golden file stays below 1 MiB"
    manifest["files"][os.path.relpath(path, GOLDEN)] = {
        "script": f"tools/reference/{script}", "seed": seed, "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "versions": versions()}
    manifest["files"] = dict(sorted(manifest["files"].items()))
    with open(MANIFEST, "w") as f:
        json.dump(manifest, f, indent=1)
        f.write("\n")


def save(path, tensors, script, seed, loose=()):
    """Writes f32 / i32 / i64 / u8 arrays and enters the file into the manifest; with --check
    compares them with what the file holds. loose: name starts of what was computed in bf16."""
    out = {}
    for name, t in tensors.items():
        t = t.detach().numpy() if hasattr(t, "detach") else np.asarray(t)
        assert t.dtype in (np.float32, np.int32, np.int64, np.uint8), (name, t.dtype)
        assert t.dtype != np.float32 or np.isfinite(t).all(), name
        out[name] = np.ascontiguousarray(t)
    if CHECK:
        check_same(path, out, loose)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file(out, path, metadata={"format": "pt"})
    record(path, script, seed)
    print(f"{path}: {os.path.getsize(path)} bytes")


def check_same(path, out, loose):
    """Integers equal, reals to 1e-4 of the tensor's norm (torch's last bits hang on the CPU), loose
    ones to 1e-2."""
    stored, worst = load_file(path), 0.0
    if set(stored) != set(out):
        sys.exit(f"{path}: holds other tensors: {sorted(set(stored) ^ set(out))}")
    for name, t in out.items():
        d = np.linalg.norm((t.astype(np.float64) - stored[name].astype(np.float64)).ravel())
        d /= max(np.linalg.norm(stored[name].astype(np.float64).ravel()), 1e-30)
        worst = max(worst, d)
        allowed = 1e-2 if name.startswith(tuple(loose)) else 1e-4
        if d > (allowed if t.dtype == np.float32 else 0):
            sys.exit(f"{path}: {name} has moved by {d:.1e} of its norm: run regenerate.sh and look")
    print(f"{path}: as stored (to {worst:.1e})")


def strip_json(path, drop=(), keep=None, replace=None):
    """Rewrites a JSON file sorted and without keys that name a machine or a moment."""
    data = json.load(open(path))
    data = {k: v for k, v in data.items() if k not in drop and (keep is None or k in keep)}
    data.update(replace or {})
    with open(path, "w") as f:
        json.dump(data, f, indent=2, sort_keys=True)
        f.write("\n")
