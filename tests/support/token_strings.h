// Generated strings and ids for the tokenizer tests, and the comparison of a whole vocabulary with
// the hashes of what the reference gave. The recipe is written down, and written a second time, in
// tools/reference/tokenizer_strings.py.
#ifndef VMA_TOKEN_STRINGS_H
#define VMA_TOKEN_STRINGS_H

#include "bytes.h"
#include "tokenizer.h"

enum { TOKEN_STRINGS = 100000, TOKEN_STRINGS_BLOCK = 1000 };

// Appends string i / the ids of item i for a vocabulary of this size.
void token_string_make(Bytes *out, int64_t i);
void token_ids_make(TokenIds *out, int64_t i, int64_t vocab);

// Opens `path` and compares with tests/golden/tokenizer/hashes/NAME.txt the ids of all strings,
// specials as text and parsed, and the text of all generated ids, which a stream must give too.
// Only every `stride`-th block.
void token_strings_check(const char *name, const char *path, int stride);

// The strings themselves against strings.txt.
void token_strings_check_recipe(void);

#endif
