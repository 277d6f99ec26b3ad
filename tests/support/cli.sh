# shellcheck shell=bash disable=SC2034,SC2154
# For scripts that try a program from outside; sourced by them, with $work a folder of their own. At the end: exit $failed
failed=0

fail() {
  echo "FAILED: $*"
  failed=1
}

# refuse STATUS PART COMMAND...: fails with that status and a single line on stderr that holds PART, prints nothing
# unless $refuse_output is "any"; its standard input is $refuse_stdin
refuse() {
  local expected=$1 part=$2 status=0
  shift 2
  "$@" >"$work/out" 2>"$work/err" <"${refuse_stdin:-/dev/null}" || status=$?
  if [ $status != "$expected" ]; then fail "$* : status $status, not $expected: $(cat "$work/err")"; fi
  if [ "$(wc -l <"$work/err")" != 1 ]; then fail "$* : not one message: $(cat "$work/err")"; fi
  if ! grep -qF -- "$part" "$work/err"; then fail "$* : no '$part' in: $(cat "$work/err")"; fi
  if [ "${refuse_output:-}" != any ] && [ -s "$work/out" ]; then fail "$* : output: $(head -c 200 "$work/out")"; fi
}

# accept COMMAND...: succeeds, says nothing on stderr; its output is in $work/out
accept() {
  local status=0
  "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [ $status != 0 ]; then fail "$* : status $status: $(cat "$work/err")"; fi
  if [ -s "$work/err" ]; then fail "$* : stderr: $(cat "$work/err")"; fi
}

# adapter_that_says FOLDER "KEY":"VALUE": a copy of an adapter of gqa with this in its file's metadata
adapter_that_says() {
  local all=tests/golden/tiny_lora/all
  local size=$(($(od -An -tu4 -N4 "$all/adapter_model.safetensors") + ${#2} + 1)) # of the header
  mkdir "$1"
  cp "$all/adapter_config.json" "$1"
  {
    printf '%b' "$(printf '\\x%02x' $((size & 255)) $((size >> 8)) 0 0 0 0 0 0)"
    printf '{"__metadata__":{%s,' "$2"
    tail -c +26 "$all/adapter_model.safetensors"
  } >"$1/adapter_model.safetensors"
}
