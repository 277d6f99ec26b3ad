// What the parts of the tokenizer share: its struct, which the readers of the file formats fill and
// the encoders and the decoder use. Not for other modules: see tokenizer.h.
#ifndef VMA_TOKENIZER_IMPL_H
#define VMA_TOKENIZER_IMPL_H

#include "added_tokens.h"
#include "merge_queue.h"
#include "pretokenize.h"
#include "string_table.h"
#include "text_ops.h"
#include "tokenizer.h"

#include <stdatomic.h>

#define SPM_SPACE "\xE2\x96\x81" // U+2581, which stands for a space in pieces
enum { SPM_SPACE_BYTES = 3 };

typedef enum TokenizerFamily {
  FAMILY_SPM,      // SentencePiece BPE: merges by the score of what they give
  FAMILY_BYTE_BPE, // merges of byte symbols by rank
  FAMILY_CHAR_BPE, // merges of characters by rank, bytes for those that are no piece
} TokenizerFamily;

// Piece types, numbered as in SentencePiece and GGUF. 0: no piece has the id.
typedef enum PieceType {
  PIECE_NONE,
  PIECE_NORMAL,
  PIECE_UNKNOWN,
  PIECE_CONTROL,
  PIECE_USER,
  PIECE_UNUSED,
  PIECE_BYTE,
} PieceType;

// (left, right) -> rank and result, in open addressing.
typedef struct MergeEntry {
  int32_t left, right; // left -1: free
  uint32_t rank;
  int32_t id;
} MergeEntry;

typedef struct MergeTable {
  MergeEntry *entries;
  int64_t count; // a power of two
  int64_t used;
} MergeTable;

// How a run of byte tokens becomes text, and when.
typedef enum BytesDecoding {
  BYTES_LOSSY, // one U+FFFD for each maximal subpart (byte-level BPE: all tokens are bytes)
  BYTES_EACH,  // one U+FFFD for each byte that is not part of a character (sentencepiece)
  BYTES_RUN,   // one U+FFFD for each byte of a run that is not well-formed (tokenizers)
} BytesDecoding;

// Which space at the beginning of a text is the dummy prefix and left out.
typedef enum LeadingSpace {
  LEADING_KEPT,
  LEADING_OF_PIECE, // U+2581 that a piece begins with (sentencepiece)
  LEADING_OF_TEXT,  // any space (the decoder Strip)
  LEADING_OF_FIRST, // all of the first piece (the decoder Metaspace)
} LeadingSpace;

struct Tokenizer {
  TokenizerFamily family;
  char kind[64];
  StringTable pieces; // as they stand in the vocabulary, added tokens included
  uint8_t *type;      // [pieces.n] PieceType; special tokens are PIECE_CONTROL
  int32_t bos, eos;
  bool adds_bos, adds_eos;

  // Encoding.
  AddedTokens added;      // cut out of the text as it is
  AddedTokens added_late; // cut out of the normalised text ("normalized": true)
  TextOps normalizer;     // of each stretch between added tokens
  TextOps prefix;         // Metaspace: after added_late
  PreTokenizer pre;       // FAMILY_BYTE_BPE
  StringTable bytes;      // FAMILY_BYTE_BPE: pieces as the bytes that they stand for
  MergeTable merges;      // both BPE families
  uint32_t *rank;         // [pieces.n] FAMILY_SPM: order of the scores, the best 0
  AddedTokens frozen;     // FAMILY_SPM: user-defined pieces, found inside of a stretch
  int32_t byte_id[256];   // a byte's own token or -1 (byte-level symbols or byte fallback)
  bool byte_fallback;     // all of <0x00> to <0xFF> are there and used
  int32_t unk;            // for what is no piece and has no bytes, -1: dropped
  bool fuse_unk;          // a run of unknowns gives one
  bool ignore_merges;     // a word that is a piece needs no merges
  bool split_spaces;      // a word begins at every U+2581
  bool split_words;       // a word begins at U+2581 after something else: no piece spans it
  atomic_uchar *whole;    // [pieces.n] see encode_word
  uint32_t serial;        // in the memo of words (word_memo.h)

  // Decoding.
  StringTable read_as; // what an added token reads as where the reference has it normalised
  BytesDecoding bytes_decoding;
  LeadingSpace leading;
  bool bytes_by_name; // "<0x41>" is a byte whatever its type
  char *unk_text;     // FAMILY_SPM: what an unknown piece reads as
};

// What one call of tokenizer_encode works with.
typedef struct EncodeWork {
  const Tokenizer *tokenizer;
  MergeQueue queue;
  TokenIds *out;
} EncodeWork;

// Appends the ids of one word, which is never empty (bytes for FAMILY_BYTE_BPE, else normalised
// text).
void bpe_encode_word(EncodeWork *work, const char *word, int64_t bytes);
void spm_encode_word(EncodeWork *work, const char *word, int64_t bytes);

// Both of these answer from a memo, tokenizer->whole, whether a word that is a piece also comes out
// of its merges as that one piece: each word of the vocabulary is merged once for all threads, and
// what the memo says does not depend on who wrote it.
enum { WHOLE_UNKNOWN, WHOLE_YES, WHOLE_NO };

static inline bool whole_is_known(const Tokenizer *tokenizer, int32_t id) {
  return atomic_load_explicit(&tokenizer->whole[id], memory_order_relaxed) == WHOLE_YES;
}

static inline void whole_remember(const Tokenizer *tokenizer, int32_t id, bool yes) {
  atomic_store_explicit(&tokenizer->whole[id], yes ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
}

// The alphabet of byte-level BPE: each byte as a printable character (GPT-2).
// byte_level_text writes at most 2 bytes per byte and returns their number; byte_level_bytes turns
// a piece back into bytes (at most `size`), -1 when a character is not of the alphabet.
int64_t byte_level_text(const char *bytes, int64_t size, char *text);
int64_t byte_level_bytes(const char *text, int64_t size, char *bytes);

// The rule of the pair is replaced when it is there already (the last one counts, as in the
// reference).
void merge_table_set(MergeTable *table, int32_t left, int32_t right, uint32_t rank, int32_t id);
const MergeEntry *merge_table_find(const MergeTable *table, int32_t left, int32_t right);

// The byte of a piece "<0x41>", -1 for any other.
int piece_byte(const char *piece, int64_t size);

// The readers. Each fills a zero-initialised Tokenizer; on failure it is freed by tokenizer_close.
Tokenizer *tokenizer_new(TokenizerFamily family);

// Adds a piece with its type; STATUS_DATA for an id or a string that is there already.
Status tokenizer_add_piece(Tokenizer *tokenizer, int64_t id, const char *bytes, int64_t size,
                           PieceType type, const char *path, Error *err);

// For FAMILY_SPM, once all pieces are there: what follows from pieces, scores and types.
Status spm_finish(Tokenizer *tokenizer, const float *scores, const char *path, Error *err);
void spm_set_text(Tokenizer *tokenizer, bool dummy_prefix); // how spaces are written and read

// For the BPE families, likewise. One merge: the pieces left and right, of rank `rank`.
Status bpe_add_merge(Tokenizer *tokenizer, const char *left, int64_t left_size, const char *right,
                     int64_t right_size, int64_t rank, const char *path, Error *err);
Status bpe_finish(Tokenizer *tokenizer, const char *path, Error *err);

// The last step, once for each tokenizer: after it nothing changes but the memo.
void tokenizer_finish(Tokenizer *tokenizer);

// `data`: the file's content, [size] bytes. tokenizer_finish is the caller's.
Status tokenizer_from_json(Tokenizer **tokenizer, const char *path, const void *data, int64_t size,
                           Error *err);
Status tokenizer_from_model(Tokenizer **tokenizer, const char *path, const void *data, int64_t size,
                            Error *err);

#endif
