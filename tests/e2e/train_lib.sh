# What the tests of vma-train share: sourced, with $work a folder of its own.
# shellcheck shell=bash disable=SC2034,SC2154 # $work
# shellcheck source=tests/support/cli.sh
. tests/support/cli.sh
refuse_output=any # the config and the data are shown before some mistakes are found
train=$VMA_BIN/vma-train

# without_seconds FILE: the metrics without what a clock decides
without_seconds() { sed 's/, "seconds": [0-9.]*//' "$1"; }

# same_run A B: the same adapter to the bit, the same metrics
same_run() {
  cmp -s "$1/adapter/adapter_model.safetensors" "$2/adapter/adapter_model.safetensors" || fail "$1, $2: other adapters"
  [ "$(without_seconds "$1/metrics.jsonl")" = "$(without_seconds "$2/metrics.jsonl")" ] ||
    fail "$1, $2: other metrics: $(diff "$1/metrics.jsonl" "$2/metrics.jsonl")"
}

# tiny_model NAME GOLDEN: a model folder $work/NAME
tiny_model() {
  mkdir "$work/$1"
  cp "tests/golden/tiny_llama/$2"/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/$1"
}

# counting_data: $work/data.jsonl, 13 items
counting_data() {
  local i
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
    echo "{\"instruction\": \"Count to $i\", \"output\": \"$(seq -s ' ' 1 "$i")\"}"
  done >"$work/data.jsonl"
}

# tiny_run: $work/run.yaml, 9 steps: 10 examples in 3 epochs of 4 + 4 + 2
tiny_run() {
  cat >"$work/run.yaml" <<END
model: {path: "$work/tiny", dtype: f32}
data: {path: "$work/data.jsonl", template: none, cutoff_len: 64, val_set_size: 3}
lora: {r: 4, dropout: 0.1}
train: {epochs: 3, batch_size: 4, micro_tokens: 60, lr: 1.0e-2, schedule: cosine, warmup_steps: 2, eval_steps: 2, threads: 1, gemm: own}
output: {dir: "$work/whole", save_steps: 0, keep: 20}
END
}
run() { "$train" --config "$work/run.yaml" "$@"; }

# wait_until PID COMMAND...: until the command succeeds, the process has ended or a minute has passed
wait_until() {
  local pid=$1 tries=1200
  shift
  until "$@" || ! kill -0 "$pid" 2>/dev/null || [ $((tries -= 1)) = 0 ]; do sleep 0.05; done
}

# has_lines FILE N
has_lines() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
gone() { [ ! -e "$1" ]; }

# on_device MODULE: programs take their GPU from MODULE, and fail on any report of a simulated one. Skips the test where
# the module was not built.
on_device() {
  if [ ! -e "$1" ]; then
    echo "SKIP: no CUDA toolkit: there is no simulated device in this build"
    exit 77
  fi
  export VMA_CUDA_MODULE=$1 VMA_SIM_EXIT=1
}
