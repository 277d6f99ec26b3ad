#include "tiny_tokenizer.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

// The character that stands for a byte in a byte-level vocabulary (GPT-2's bytes_to_unicode).
static void put_byte_piece(Bytes *b, int byte) {
  int c = byte, other = 0;
  for (int i = 0; i < byte; i++) {
    other += !((i >= 33 && i <= 126) || (i >= 161 && i != 173));
  }
  if (!((c >= 33 && c <= 126) || (c >= 161 && c != 173))) c = 256 + other;
  char text[3] = {(char)c, 0, 0};
  if (c >= 128) {
    text[0] = (char)(0xC0 | c >> 6);
    text[1] = (char)(0x80 | (c & 0x3F));
  }
  gguf_put_string(b, text);
}

Bytes tiny_tokenizer_file(void) {
  static const char *const more[] = {"he",           "ll",          "hell",
                                     "\xC4\xA0t",    "\xC4\xA0the", "</end>",
                                     "<|im_start|>", "<|im_end|>",  "\xC3\xA9\xC3\xA9"};
  static const char *const merges[] = {"h e",        "l l",          "he ll",
                                       "\xC4\xA0 t", "\xC4\xA0t he", "\xC3\xA9 \xC3\xA9"};
  enum { MORE = sizeof more / sizeof *more, MERGES = sizeof merges / sizeof *merges };
  Bytes b = {0};
  gguf_put_header(&b, 3, 0, 8);
  gguf_put_key_string(&b, "general.architecture", "llama");
  gguf_put_key_string(&b, "tokenizer.ggml.model", "gpt2");
  gguf_put_key_string(&b, "tokenizer.ggml.pre", "smollm");
  gguf_put_key_array(&b, "tokenizer.ggml.tokens", 8, 256 + MORE);
  for (int i = 0; i < 256; i++) put_byte_piece(&b, i);
  for (int i = 0; i < MORE; i++) gguf_put_string(&b, more[i]);
  gguf_put_key_array(&b, "tokenizer.ggml.token_type", 5, 256 + MORE);
  for (int i = 0; i < 256 + MORE; i++) bytes_u32(&b, i >= 261 && i < 264 ? 3 : 1);
  gguf_put_key_array(&b, "tokenizer.ggml.merges", 8, MERGES);
  for (int i = 0; i < MERGES; i++) gguf_put_string(&b, merges[i]);
  gguf_put_key_u32(&b, "tokenizer.ggml.bos_token_id", 261);
  gguf_put_key_u32(&b, "tokenizer.ggml.eos_token_id", 261);
  return b;
}

void use_tokenizer_on(const Tokenizer *tokenizer, const void *text, int64_t bytes) {
  for (int special = 0; special < 2; special++) {
    TokenIds list = {0};
    TokenStream stream;
    int64_t length = 0, at = 0;
    tokenizer_encode(tokenizer, text, bytes, special ? SPECIAL_PARSED : SPECIAL_AS_TEXT, &list);
    for (int64_t i = 0; i < list.n; i++) {
      CHECK(list.ids[i] >= 0 && list.ids[i] < tokenizer_vocab(tokenizer), "%d", list.ids[i]);
    }
    char *whole = tokenizer_decode(tokenizer, list.ids, list.n, special, &length);
    token_stream_init(&stream, tokenizer, special);
    for (int64_t i = 0; i <= list.n; i++) {
      const char *part =
          i < list.n ? token_stream_push(&stream, list.ids[i]) : token_stream_end(&stream);
      int64_t n = (int64_t)strlen(part);
      if (memchr(whole, 0, (size_t)length) != NULL) continue; // a NUL cuts the pieces short
      CHECK(n <= length - at && memcmp(whole + at, part, (size_t)n) == 0, "piece %lld",
            (long long)i);
      at += n;
    }
    CHECK(at == length || memchr(whole, 0, (size_t)length) != NULL, "%lld of %lld bytes",
          (long long)at, (long long)length);
    token_stream_free(&stream);
    free(whole);
    token_ids_free(&list);
  }
}

void use_tokenizer(const Tokenizer *tokenizer) {
  static const char *const texts[] = {"", " hello  the\tworld 123,456\n\n",
                                      "\xF0\x9F\x98\x80\xE4\xB8\xAD\xCC\x81\xE2\x96\x81",
                                      "\xFF\xC3 \xED\xA0\x80", "<s></s><|im_start|>user<0x0A>"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    use_tokenizer_on(tokenizer, texts[i], (int64_t)strlen(texts[i]));
  }
}
