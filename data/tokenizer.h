// Text to token ids and back, behind one interface for three families of tokenizers:
//
//   SentencePiece BPE with byte fallback   tokenizer.model, or GGUF "llama"
//   byte-level BPE (GPT-2 and its kin)     tokenizer.json, or GGUF "gpt2"
//   LLaMA's BPE as a fast tokenizer        tokenizer.json (byte_fallback, Prepend/Metaspace)
//
// Ids are those of the reference (the sentencepiece and tokenizers packages, llama.cpp for GGUF
// vocabularies). Text in memory is bytes of any length; invalid UTF-8 is read as Python's
// decode("utf-8", errors="replace") reads it, and may have 2^31 characters between two places where
// it can be cut (sentencepiece: a word). Encoding takes time linear in the text (up to a
// logarithm). A Tokenizer is not changed by its use: any number of threads may share one.
#ifndef VMA_TOKENIZER_H
#define VMA_TOKENIZER_H

#include "error.h"
#include "gguf.h"
#include "sha256.h"
#include "text_ops.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Tokenizer Tokenizer;

typedef struct TokenIds {
  int32_t *ids; // grown as needed; freed by token_ids_free
  int64_t n, capacity;
} TokenIds;

void token_ids_push(TokenIds *list, int32_t id);
void token_ids_free(TokenIds *list);

typedef enum SpecialText {
  SPECIAL_AS_TEXT, // "<|im_start|>" in a text is text like any other
  SPECIAL_PARSED,  // it becomes the special token (chat templates)
} SpecialText;

// `path`: a folder (tokenizer.json is taken before tokenizer.model; tokenizer_config.json and
// config.json say about BOS and EOS), a tokenizer.json, a tokenizer.model or a GGUF file.
// STATUS_NO_INPUT when there is none; STATUS_DATA for what is not sound, or not supported, by name.
Status tokenizer_open(Tokenizer **tokenizer, const char *path, Error *err);

// From a GGUF file that is open already; keeps nothing of it.
Status tokenizer_from_gguf(Tokenizer **tokenizer, const Gguf *gguf, Error *err);

// May be given NULL.
void tokenizer_close(Tokenizer *tokenizer);

// The number of ids: 1 + the largest.
int64_t tokenizer_vocab(const Tokenizer *tokenizer);

// -1: none. add_bos, add_eos: what the tokenizer's own config says about texts to train on.
int32_t tokenizer_bos(const Tokenizer *tokenizer);
int32_t tokenizer_eos(const Tokenizer *tokenizer);
bool tokenizer_adds_bos(const Tokenizer *tokenizer);
bool tokenizer_adds_eos(const Tokenizer *tokenizer);

// The id of a piece as it stands in the vocabulary ("<|im_end|>", "</s>"), or -1.
int32_t tokenizer_find(const Tokenizer *tokenizer, const char *piece);

// Adds to the hash all that decides which ids a text gets: where two tokenizers agree in it, they
// agree in their ids.
void tokenizer_identify(const Tokenizer *tokenizer, Sha256 *sha);

// Whether the id is a special (control) token, which decoding can leave out.
bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id);

// "sentencepiece", "byte-level BPE (smollm)", ...: for vma-model info.
const char *tokenizer_kind(const Tokenizer *tokenizer);

// Appends the ids of the text. No BOS or EOS is added.
void tokenizer_encode(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                      SpecialText special, TokenIds *out);

// The same, special tokens as text, for a part of a text: some tokenizers put a space in front of a
// text where all of it begins, or behind a special token too.
void tokenizer_encode_part(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                           TextPlace place, TokenIds *out);

// The id of the first special token that the text spells, with its place [*begin, *end); -1: none.
int32_t tokenizer_next_special(const Tokenizer *tokenizer, const char *text, int64_t bytes,
                               int64_t *begin, int64_t *end);

// The text of the ids, NUL-terminated (*bytes may be NULL), to be freed by the caller. Well-formed
// UTF-8: what is not becomes U+FFFD as the reference does. Ids out of range are our mistake.
char *tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, int64_t n, bool skip_special,
                       int64_t *bytes);

// Decoding while the ids come: what each new id adds to the text, held back until its characters
// are complete. All pieces together are tokenizer_decode of all ids.
typedef struct TokenStream {
  const Tokenizer *tokenizer;
  bool skip_special;
  bool started;           // something has come: a space at the beginning was seen to
  char *text;             // the newest piece, NUL-terminated
  int64_t size, capacity; // of text
  uint8_t *held;          // bytes of byte tokens whose character is not complete
  int64_t held_size, held_capacity;
} TokenStream;

void token_stream_init(TokenStream *stream, const Tokenizer *tokenizer, bool skip_special);
void token_stream_free(TokenStream *stream);

// The new text after one more id ("" when none is complete); valid until the next call. Its length
// is stream->size (a token can be a NUL).
const char *token_stream_push(TokenStream *stream, int32_t id);

// What is still held back (broken characters as U+FFFD).
const char *token_stream_end(TokenStream *stream);

#endif
