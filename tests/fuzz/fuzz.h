// What a fuzz target defines. A build with -DVMA_FUZZ=ON (clang; preset "fuzz") makes a libFuzzer
// program of each tests/fuzz/fuzz_NAME.c; every build replays tests/fuzz/corpus/NAME through the
// same function (replay_main.c), so that what was once found stays found.
//
//   cmake --preset fuzz && cmake --build build/fuzz --target fuzz_gguf
//   TMPDIR=/dev/shm build/fuzz/bin/fuzz_gguf -max_total_time=60 NEW_FOLDER tests/fuzz/corpus/gguf
#ifndef VMA_FUZZ_H
#define VMA_FUZZ_H

#include <stddef.h>
#include <stdint.h>

// Returns 0. A crash, a sanitizer's report or a failed CHECK is a finding.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
