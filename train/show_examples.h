// --show N: what the run would learn from, token by token.
#ifndef VMA_SHOW_EXAMPLES_H
#define VMA_SHOW_EXAMPLES_H

#include "config.h"

// Prints the first n training examples, in the order in which the first epoch takes them, on
// standard output: each token's place, id, text, and whether it is a label; on a terminal in
// colours (NO_COLOR: without). Reads the tokenizer and the data, makes no files.
Status show_examples(const RunConfig *config, int64_t n, Error *err);

#endif
