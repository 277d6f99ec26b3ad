// Added tokens: strings that are cut out of a text before anything else is done with it, the
// leftmost first, of those that begin at one place the longest.
#ifndef VMA_ADDED_TOKENS_H
#define VMA_ADDED_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct AddedToken {
  char *text; // not empty
  int32_t size;
  int32_t id;
  bool special;        // cut out only when special tokens are parsed
  bool lstrip, rstrip; // takes the white space on this side along
} AddedToken;

typedef struct AddedTokens {
  AddedToken *items; // sorted by text once it is ready
  int64_t n, capacity;
  bool first[256]; // bytes that a token begins with
} AddedTokens;

void added_tokens_add(AddedTokens *tokens, const char *text, int64_t size, AddedToken token);

// Sorts; call it once, after the last one was added. Of tokens with one text the first one stays.
void added_tokens_ready(AddedTokens *tokens);

void added_tokens_free(AddedTokens *tokens);

// The longest token at the front of text, or NULL.
const AddedToken *added_tokens_match(const AddedTokens *tokens, const char *text, int64_t bytes);

// The next token in text[from, bytes), with its place [*begin, *end); NULL when there is none. A
// special token that is not asked for is stepped over as a whole: nothing inside it is found.
const AddedToken *added_tokens_next(const AddedTokens *tokens, const char *text, int64_t from,
                                    int64_t bytes, bool specials, int64_t *begin, int64_t *end);

#endif
