// The ids of words that were encoded before: a text repeats few words, and a word's ids follow from
// its bytes and the tokenizer alone, so that what stands here is what encoding would give.
//
// Each thread has one memo of 512 KiB for all tokenizers, without locks; a word takes the place of
// another one that falls on it. Words of more than WORD_MEMO_BYTES or WORD_MEMO_IDS are not kept.
#ifndef VMA_WORD_MEMO_H
#define VMA_WORD_MEMO_H

#include "tokenizer.h"

enum { WORD_MEMO_BYTES = 26, WORD_MEMO_IDS = 8 };

// A number for a tokenizer, which no other one of this process has.
uint32_t word_memo_serial(void);

// Appends the word's ids to `out`; false when they are not known.
bool word_memo_find(uint32_t serial, const char *word, int64_t bytes, TokenIds *out);

// Keeps them, n >= 1, if they are few enough.
void word_memo_keep(uint32_t serial, const char *word, int64_t bytes, const int32_t *ids,
                    int64_t n);

#endif
