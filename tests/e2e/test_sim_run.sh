#!/usr/bin/env bash
# labels: sim
# Whole programs on the simulated device: a run that is stopped and goes on has the bits of one that is not, text is that
# of the CPU. Any report of the device fails the program. With a real device's module in VMA_SIM_MODULE: on that.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/e2e/train_lib.sh
infer=$VMA_BIN/vma-infer
on_device "${VMA_SIM_MODULE:-$VMA_BUILD/tests/libvma_cuda_sim.so}"

tiny_model tiny mha
counting_data
tiny_run
sed -i 's/epochs: 3/epochs: 1/; s/keep: 20/keep: 20, samples: 0/' "$work/run.yaml" # 3 steps

# ---- training ----

accept "$train" --config "$work/run.yaml"
grep -q '^# device: .* (train.device=auto: a GPU that can be used)' "$work/out" ||
  fail "the device is not named: $(head -30 "$work/out")"
grep -q 'context .*measured' "$work/out" || fail "no line of the context in the plan"
grep -q 'device: "cuda"' "$work/whole/config.yaml" || fail "config.yaml leaves the device open"
grep -q '"backend": "cuda"' "$work/whole/manifest.json" || fail "the manifest names another backend"

# Stopped by the file STOP after the step at hand; it goes on with another order of blocks and warps.
# stop_and_go_on WHOLE AGAIN SETTINGS...
stop_and_go_on() {
  local whole=$1 again=$2 pid status=0
  shift 2
  "$train" --config "$work/run.yaml" output.dir="$again" "$@" >"$work/stopped.out" 2>"$work/stopped.err" &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q '"step": 1' "$again/metrics.jsonl" 2>/dev/null; do sleep 0.05; done
  touch "$again/STOP"
  wait $pid || status=$?
  [ $status = 75 ] || fail "stopping: status $status: $(cat "$work/stopped.err")"
  VMA_SIM_SEED=99 VMA_SIM_SMS=7 accept "$train" --config "$work/run.yaml" output.dir="$again" resume=auto "$@"
  [ "$(without_seconds "$whole/metrics.jsonl")" = "$(without_seconds "$again/metrics.jsonl")" ] ||
    fail "$again: other metrics: $(diff "$whole/metrics.jsonl" "$again/metrics.jsonl")"
}
stop_and_go_on "$work/whole" "$work/again"
cmp -s "$work"/{whole,again}/adapter/adapter_model.safetensors || fail "going on: another adapter"
# All weights in bf16, with masters.
sed -i.lora 's/^lora: .*/method: full/' "$work/run.yaml"
accept "$train" --config "$work/run.yaml" output.dir="$work/full" model.dtype=bf16
stop_and_go_on "$work/full" "$work/full-again" model.dtype=bf16
cmp -s "$work"/{full,full-again}/model/model.safetensors || fail "going on: another model"
mv "$work/run.yaml.lora" "$work/run.yaml"
# What was trained on a device goes on there, or says that it differs.
VMA_CUDA_MODULE=$work/none.so "$train" --config "$work/run.yaml" output.dir="$work/whole" resume=auto >"$work/out" 2>"$work/err" ||
  fail "going on without the device: $(cat "$work/err")"
grep -qF 'the GEMM was cublaslt and is' "$work/err" || fail "nothing is said of another device: $(cat "$work/err")"

# ---- text ----

for prompt in 'The heart' 'What is' 'A'; do
  accept "$infer" --model "$work/tiny" --prompt "$prompt" --max-new-tokens 12 --device cpu --json
  sed 's/,"timings.*//' "$work/out" >"$work/cpu"
  accept "$infer" --model "$work/tiny" --prompt "$prompt" --max-new-tokens 12 --device cuda --json
  sed 's/,"timings.*//' "$work/out" | cmp -s - "$work/cpu" || fail "another text after '$prompt': $(cat "$work/out" "$work/cpu")"
done
accept "$infer" --model "$work/tiny" --prompt 'The heart' --max-new-tokens 8 --temperature 0.9 --seed 3 --device cpu
cp "$work/out" "$work/cpu"
accept "$infer" --model "$work/tiny" --prompt 'The heart' --max-new-tokens 8 --temperature 0.9 --seed 3 --device cuda
cmp -s "$work/out" "$work/cpu" || fail "another draw"

# ---- scores: the CPU's, but for rounding ----

printf '{"text": "%s"}\n' 'The heart is a muscle that pumps' A 'What is the use of the liver, and where is it?' >"$work/texts.jsonl"
for device in cpu cuda; do
  accept "$infer" --model "$work/tiny" --score "$work/texts.jsonl" --output "$work/$device.jsonl" --device $device
done
awk -F'[][,{}:]' 'NR == FNR { of_cpu[FNR] = $0; next }
  { n = split(of_cpu[FNR], cpu, FS); if (n != NF) exit 1
    for (i = 1; i <= n; i++) if (cpu[i] != $i && (cpu[i] + 0 == 0 || (cpu[i] - $i) ^ 2 > 1e-8)) exit 1 }
  END { if (FNR != 3) exit 1 }' "$work"/{cpu,cuda}.jsonl || fail "other scores: $(diff "$work"/{cpu,cuda}.jsonl)"
exit $failed
