// Ids back to text. Everything is a stream: decoding at once is a stream that is not looked at
// before its end.
#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD";

static void put_bytes(void *buffer, int64_t *size, int64_t *capacity, const char *bytes, int64_t n,
                      const char *what) {
  char **data = buffer;
  if (n > *capacity - *size || *data == NULL) {
    *capacity = 2 * (*size + n) + 64;
    *data = realloc(*data, (size_t)*capacity);
    CHECK(*data != NULL, "no memory for %lld bytes of %s", (long long)*capacity, what);
  }
  if (n > 0) memcpy(*data + *size, bytes, (size_t)n);
  *size += n;
}

static void put_text(TokenStream *stream, const char *bytes, int64_t n) {
  put_bytes(&stream->text, &stream->size, &stream->capacity, bytes, n, "text");
}

static void hold(TokenStream *stream, const char *bytes, int64_t n) {
  put_bytes(&stream->held, &stream->held_size, &stream->held_capacity, bytes, n, "a character");
}

// Text in the open: the first of it may lose the space that encoding put there.
static void put(TokenStream *stream, const char *bytes, int64_t n, bool of_piece) {
  if (n == 0) return;
  LeadingSpace leading = stream->tokenizer->leading;
  bool strips = leading == LEADING_OF_TEXT || (leading == LEADING_OF_PIECE && of_piece);
  if (!stream->started && strips && bytes[0] == ' ') {
    bytes++;
    n--;
  }
  stream->started = true;
  put_text(stream, bytes, n);
}

// Bytes that are held become text as far as that is decided; at the end of a run it is.
static void settle(TokenStream *stream, bool end) {
  BytesDecoding decoding = stream->tokenizer->bytes_decoding;
  const uint8_t *held = stream->held;
  int64_t size = stream->held_size, i = 0;
  if (size == 0 || (decoding == BYTES_RUN && !end)) return;
  bool broken_run = decoding == BYTES_RUN && !utf8_is_well_formed((const char *)held, size);
  while (i < size) {
    int length = broken_run ? 0 : utf8_character_length(held + i, size - i);
    if (length > 0) {
      put(stream, (const char *)held + i, length, false);
    } else {
      bool cut = false;
      int broken = broken_run ? 1 : utf8_broken_length(held + i, size - i, &cut);
      if (cut && !end) break;
      length = decoding == BYTES_LOSSY ? broken : 1;
      put(stream, replacement, 3, false);
    }
    i += length;
  }
  memmove(stream->held, held + i, (size_t)(size - i));
  stream->held_size = size - i;
}

int piece_byte(const char *piece, int64_t size) {
  static const char digits[] = "0123456789ABCDEFabcdef";
  if (size != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>') return -1;
  int byte = 0;
  for (int i = 3; i < 5; i++) {
    const char *digit = piece[i] == 0 ? NULL : strchr(digits, piece[i]);
    if (digit == NULL) return -1;
    int value = (int)(digit - digits);
    byte = 16 * byte + (value < 16 ? value : value - 6);
  }
  return byte;
}

// A piece with U+2581 as spaces.
static void put_piece(TokenStream *stream, const char *piece, int64_t size) {
  // Metaspace as a decoder leaves all of them out in the first token.
  bool drops = stream->tokenizer->leading == LEADING_OF_FIRST && !stream->started;
  bool space = size >= SPM_SPACE_BYTES && memcmp(piece, SPM_SPACE, SPM_SPACE_BYTES) == 0;
  for (int64_t i = 0; i < size;) {
    const char *next = memmem(piece + i, (size_t)(size - i), SPM_SPACE, SPM_SPACE_BYTES);
    int64_t plain = next == NULL ? size - i : next - (piece + i);
    put(stream, piece + i, plain, false);
    i += plain;
    if (next == NULL) break;
    if (!drops) put(stream, " ", 1, space);
    i += SPM_SPACE_BYTES;
  }
  if (drops) stream->started = true;
}

static void push_byte_level(TokenStream *stream, const char *piece, int64_t size) {
  char small[256];
  char *bytes = size <= (int64_t)sizeof small ? small : malloc((size_t)size);
  CHECK(bytes != NULL, "no memory for a piece of %lld bytes", (long long)size);
  int64_t n = byte_level_bytes(piece, size, bytes);
  if (n >= 0) {
    hold(stream, bytes, n);
  } else {
    hold(stream, piece, size); // not of the alphabet: it is text as it stands
  }
  if (bytes != small) free(bytes);
  settle(stream, false);
}

static void push(TokenStream *stream, int32_t id) {
  const Tokenizer *tokenizer = stream->tokenizer;
  CHECK(id >= 0 && id < tokenizer->pieces.n, "token %d of a vocabulary of %lld", id,
        (long long)tokenizer->pieces.n);
  PieceType type = tokenizer->type[id];
  if (type == PIECE_NONE) return;
  if (type == PIECE_CONTROL && stream->skip_special) {
    if (tokenizer->family == FAMILY_SPM) settle(stream, true); // it ends a run of bytes
    return;
  }
  const StringTable *texts = &tokenizer->pieces;
  if (string_table_has(&tokenizer->read_as, id)) texts = &tokenizer->read_as;
  const char *piece = string_table_get(texts, id);
  int64_t size = texts->size[id];
  if (tokenizer->family == FAMILY_BYTE_BPE) {
    push_byte_level(stream, piece, size);
    return;
  }
  int byte = type == PIECE_BYTE || tokenizer->bytes_by_name ? piece_byte(piece, size) : -1;
  if (byte >= 0) {
    char c = (char)byte;
    hold(stream, &c, 1);
    settle(stream, false);
    return;
  }
  settle(stream, true);
  if (type == PIECE_UNKNOWN && tokenizer->unk_text != NULL) {
    put(stream, tokenizer->unk_text, (int64_t)strlen(tokenizer->unk_text), false);
  } else {
    put_piece(stream, piece, size);
  }
}

// Ends the newest piece with a NUL that is not part of it.
static const char *finished(TokenStream *stream) {
  put_text(stream, "", 1);
  stream->size--;
  return stream->text;
}

void token_stream_init(TokenStream *stream, const Tokenizer *tokenizer, bool skip_special) {
  *stream = (TokenStream){.tokenizer = tokenizer, .skip_special = skip_special};
}

void token_stream_free(TokenStream *stream) {
  free(stream->text);
  free(stream->held);
  *stream = (TokenStream){0};
}

const char *token_stream_push(TokenStream *stream, int32_t id) {
  stream->size = 0;
  push(stream, id);
  return finished(stream);
}

const char *token_stream_end(TokenStream *stream) {
  stream->size = 0;
  settle(stream, true);
  return finished(stream);
}

char *tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, int64_t n, bool skip_special,
                       int64_t *bytes) {
  TokenStream stream;
  token_stream_init(&stream, tokenizer, skip_special);
  for (int64_t i = 0; i < n; i++) push(&stream, ids[i]);
  settle(&stream, true);
  finished(&stream);
  if (bytes != NULL) *bytes = stream.size;
  char *text = stream.text;
  stream.text = NULL;
  token_stream_free(&stream);
  return text;
}
