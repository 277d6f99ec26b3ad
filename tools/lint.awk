# The rules of tools/lint.sh that need C text without its comments and strings. Input: C files, one after the other.
# Prints "path:line: rule: what is wrong" (a warning has "warning" as its rule and does not fail the lint).
#
#   banned    functions that overrun buffers, hide errors or run a shell; assert and the build's date outside tests
#   include   a folder includes only what the design allows (the variable `owners`: "name folder" lines)
#   ptx       inline PTX outside the header that gives it names
#   kernel    a file of kernels begins with what its threads own, its shared memory, flops and bytes
#   length    more than 700 lines in a file (error), more than 100 in a function (warning)

BEGIN {
  n = split("strcpy strcat sprintf vsprintf gets strtok atoi atol atoll atof system popen alloca", words, " ")
  for (i = 1; i <= n; i++) banned[words[i]] = 1
  while ((getline line < owners) > 0) {
    split(line, part, " ")
    owner[part[1]] = part[2]
  }
  # What a folder may include besides itself: folders, or single headers.
  may["kernels/core"] = ""
  may["kernels"] = "kernels/core cuda_module.h cuda_scratch.h"
  may["kernels/cpu"] = "kernels/core kernels kernels/cpu/simd"
  may["kernels/cpu/simd"] = "kernels/core kernels kernels/cpu"
  may["kernels/cuda"] = "kernels/core kernels"
  may["kernels/null"] = "kernels/core kernels"
  may["configs"] = "kernels/core"
  may["data/formats"] = "kernels/core configs"
  may["data"] = "kernels/core configs data/formats"
  may["nn"] = "kernels/core backend.h batch.h data/formats"
  may["train"] = "kernels/core backend.h nn data data/formats configs generate.h"
  may["infer"] = "kernels/core backend.h nn data data/formats configs"
  # Libraries and the folders that may know of them.
  library["yaml.h"] = "configs"
  library["dnnl.h"] = "kernels/cpu"
  library["oneapi/dnnl/dnnl.h"] = "kernels/cpu"
  library["utf8proc.h"] = "data data/formats"
  library["zlib.h"] = "data data/formats"
  library["omp.h"] = "kernels/cpu kernels/cpu/simd"
  library["cublasLt.h"] = "kernels/cuda"
}

function report(line, rule, text) {
  printf "%s:%d: %s: %s\n", FILENAME, line, rule, text
}

function has_word(list, word) {
  return index(" " list " ", " " word " ") > 0
}

# The line without comments and with empty strings; in_comment goes on over lines.
function strip(line,    out, c, two, quote) {
  out = ""
  while (line != "") {
    if (in_comment) {
      c = index(line, "*/")
      if (c == 0) return out
      line = substr(line, c + 2)
      in_comment = 0
      continue
    }
    if (!match(line, /["']|\/\*|\/\//)) return out line
    out = out substr(line, 1, RSTART - 1)
    two = substr(line, RSTART, 2)
    quote = substr(line, RSTART, 1)
    line = substr(line, RSTART + RLENGTH)
    if (two == "//") return out
    if (two == "/*") {
      in_comment = 1
      continue
    }
    out = out quote quote
    while (line != "") {
      c = substr(line, 1, 1)
      if (c == "\\") {
        line = substr(line, 3)
        continue
      }
      line = substr(line, 2)
      if (c == quote) break
    }
  }
  return out
}

function check_calls(code,    rest, word) {
  rest = code
  while (match(rest, /[A-Za-z_][A-Za-z0-9_]*[ ]*\(/)) {
    word = substr(rest, RSTART, RLENGTH - 1)
    sub(/ +$/, "", word)
    rest = substr(rest, RSTART + RLENGTH)
    if (word in banned) report(FNR, "banned", word "() is not used here (see tools/lint.awk)")
    if (word == "assert" && !is_test) report(FNR, "banned", "assert() outside tests: CHECK, or an Error for the world's faults")
  }
  if (code ~ /__DATE__|__TIME__|__TIMESTAMP__/) report(FNR, "banned", "the build's time makes binaries differ")
}

function check_include(line,    name, home) {
  if (match(line, /"[^"]*"/)) {
    name = substr(line, RSTART + 1, RLENGTH - 2)
    sub(/^.*\//, "", name)
    if (!(name in owner)) return # the compiler complains if it does not exist
    home = owner[name]
    if (!(folder in may) || home == folder || has_word(may[folder], home) || has_word(may[folder], name)) return
    report(FNR, "include", folder " may not include " name " of " home)
  } else if (match(line, /<[^>]*>/)) {
    name = substr(line, RSTART + 1, RLENGTH - 2)
    if (name ~ /^(cuda|cooperative_groups|mma\.)/ && (folder in may) && folder != "kernels/cuda")
      report(FNR, "include", folder " may not include <" name ">: only kernels/cuda may")
    if (name in library && (folder in may) && !has_word(library[name], folder))
      report(FNR, "include", folder " may not include <" name ">: only " library[name] " may")
  }
}

function check_kernels(code,    wanted, n, i) {
  if (folder != "kernels/cuda") return
  if (code ~ /(^|[^A-Za-z0-9_])(asm|__asm__)[ ]*(volatile|\()/ && FILENAME !~ /\/cuda_ptx.cuh$/)
    report(FNR, "ptx", "inline PTX stands behind a name of cuda_ptx.cuh")
  if (code !~ /__global__/ || FILENAME !~ /\.cu$/ || opening == "") return
  n = split("thread|lane|warp shared.memory flops bytes", wanted, " ")
  for (i = 1; i <= n; i++) {
    if (tolower(opening) !~ wanted[i]) report(1, "kernel", "its opening comment does not say: " wanted[i])
  }
  opening = ""
}

FNR == 1 {
  if (previous != "" && previous_lines > 700) printf "%s:%d: length: more than 700 lines: two ideas in one file\n", previous, previous_lines
  previous = FILENAME
  in_comment = 0
  start = 0
  header = ""
  opening = "//"
  in_opening = 1
  folder = FILENAME
  sub(/\/[^\/]*$/, "", folder)
  is_test = folder ~ /^tests/
}

{
  previous_lines = FNR
  if ($0 ~ /^[ ]*#[ ]*include/ && !in_comment) check_include($0)
  if (in_opening && $0 ~ /^\/\//) opening = opening $0
  else in_opening = 0
  code = strip($0)
  check_calls(code)
  check_kernels(code)
  # A function begins at an unindented line and its body ends at the next line that is "}".
  if (code ~ /^[A-Za-z_]/) {
    header = code
    start = FNR
  } else if (code ~ /^[ ]/ && header != "" && !opened) {
    header = header code
  }
  if (!opened && header ~ /\).*\{ *$/ && header !~ /^(typedef|struct|union|enum) [A-Za-z_0-9]* *\{/ && header !~ /= *\{/) opened = 1
  if (code ~ /^}/) {
    if (opened && FNR - start + 1 > 100) report(start, "warning", "a function of " FNR - start + 1 " lines (more than 100)")
    opened = 0
    header = ""
  }
}

END {
  if (previous_lines > 700) printf "%s:%d: length: more than 700 lines: two ideas in one file\n", previous, previous_lines
}
