"""The peer of tools/bench/bench_train_step: one LoRA step by PyTorch + PEFT on the CPU.

SmolLM2-135M's shape (30 blocks of 576, 9 heads over 3, F 1536, V 49152, tied) with random weights, r
8 on q_proj and v_proj, a batch of 4 x 512 tokens, every token a label; a step is forward, backward,
clipping and AdamW. Each case runs in a process of its own.

    python tools/reference/bench_peft.py [--threads 2] [--steps 5] [--cases f32-sdpa,...]

Cases: DTYPE-ATTENTION, DTYPE one of
    f32       f32 throughout
    autocast  f32 weights under torch.autocast(bfloat16)
    bf16      bf16 weights and activations; PEFT keeps the adapters in f32
and ATTENTION sdpa (torch's fused one, transformers' default) or eager. Prints, for each, the median
and the least seconds of a step (the first, which warms up, left out) and the process's peak
resident memory, with and without what the imports take.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

CASES = ["f32-sdpa", "autocast-sdpa", "bf16-sdpa", "f32-eager", "autocast-eager", "bf16-eager"]
SEQUENCES, LENGTH = 4, 512


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_case(case, threads, steps):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM
    imports = peak_mib()
    dtype, attention = case.split("-")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5}, tie_word_embeddings=True,
        attn_implementation=attention))
    if dtype == "bf16":
        base = base.to(torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none",
                                            target_modules=["q_proj", "v_proj"],
                                            task_type="CAUSAL_LM")).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    ids = torch.randint(0, 49152, (SEQUENCES, LENGTH))
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "autocast"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"case": case, "median": statistics.median(seconds[1:]),
                      "best": min(seconds[1:]), "peak_mib": peak_mib(), "imports_mib": imports,
                      "torch": torch.__version__}))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_case(args.one, args.threads, args.steps)
        return
    print(f"{'PyTorch + PEFT':16} {'median s':>9} {'best s':>8} {'tokens/s':>9} {'peak MiB':>9} "
          f"{'less imports':>13}")
    for case in args.cases.split(","):
        env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
        r = json.loads(subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--one", case, "--threads",
             str(args.threads), "--steps", str(args.steps)],
            env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        print(f"{case:16} {r['median']:9.2f} {r['best']:8.2f} "
              f"{SEQUENCES * LENGTH / r['median']:9.0f} {r['peak_mib']:9.0f} "
              f"{r['peak_mib'] - r['imports_mib']:13.0f}", flush=True)


if __name__ == "__main__":
    main()
