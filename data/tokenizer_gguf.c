// Vocabularies inside of GGUF files. Sources: ggml's docs/gguf.md, llama.cpp's llama-vocab.cpp for
// what a model and a pre-tokenizer name stand for.
#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct GgufVocab {
  GgufString *tokens, *merges;
  float *scores;
  int32_t *types;
  int64_t n, n_merges;
} GgufVocab;

static Status bad(const Gguf *gguf, Error *err, const char *text) {
  return error_set(err, STATUS_DATA, "%s: %s", gguf_path(gguf), text);
}

static Status read_vocab(GgufVocab *vocab, const Gguf *gguf, bool spm, Error *err) {
  Status status = STATUS_OK;
  int64_t n_scores = 0, n_types = 0;
  TRY(gguf_get_strings(gguf, "tokenizer.ggml.tokens", GGUF_REQUIRED, &vocab->tokens, &vocab->n,
                       err));
  TRY(gguf_get_ints(gguf, "tokenizer.ggml.token_type", spm ? GGUF_REQUIRED : GGUF_OPTIONAL,
                    &vocab->types, &n_types, err));
  if (spm) {
    TRY(gguf_get_floats(gguf, "tokenizer.ggml.scores", GGUF_REQUIRED, &vocab->scores, &n_scores,
                        err));
  } else {
    TRY(gguf_get_strings(gguf, "tokenizer.ggml.merges", GGUF_REQUIRED, &vocab->merges,
                         &vocab->n_merges, err));
  }
  if (vocab->n == 0) TRY(bad(gguf, err, "tokenizer.ggml.tokens is empty"));
  if ((vocab->types != NULL && n_types != vocab->n) || (spm && n_scores != vocab->n)) {
    TRY(error_set(err, STATUS_DATA, "%s: tokenizer.ggml: %lld tokens, but %lld %s", gguf_path(gguf),
                  (long long)vocab->n, (long long)(n_types != vocab->n ? n_types : n_scores),
                  n_types != vocab->n ? "token types" : "scores"));
  }
done:
  return status;
}

static Status add_pieces(Tokenizer *tokenizer, const GgufVocab *vocab, const Gguf *gguf,
                         Error *err) {
  Status status = STATUS_OK;
  bool spm = tokenizer->family == FAMILY_SPM;
  for (int64_t id = 0; id < vocab->n; id++) {
    GgufString token = vocab->tokens[id];
    int type = vocab->types == NULL ? PIECE_NORMAL : vocab->types[id];
    if (type < PIECE_NORMAL || type > PIECE_BYTE) {
      TRY(error_set(err, STATUS_DATA, "%s: token %lld: expected a type from 1 to 6, found %d",
                    gguf_path(gguf), (long long)id, type));
    }
    if (token.size == 0) {
      TRY(error_set(err, STATUS_DATA, "%s: token %lld is empty", gguf_path(gguf), (long long)id));
    }
    TRY(tokenizer_add_piece(tokenizer, id, token.data, token.size, (PieceType)type, gguf_path(gguf),
                            err));
    bool special = type == PIECE_CONTROL || (spm && type == PIECE_UNKNOWN);
    if (special || type == PIECE_USER) {
      added_tokens_add(&tokenizer->added, token.data, token.size,
                       (AddedToken){.id = (int32_t)id, .special = special});
    }
  }
done:
  return status;
}

static Status add_merges(Tokenizer *tokenizer, const GgufVocab *vocab, const Gguf *gguf,
                         Error *err) {
  Status status = STATUS_OK;
  for (int64_t i = 0; i < vocab->n_merges; i++) {
    GgufString merge = vocab->merges[i];
    const char *space = merge.size == 0 ? NULL : memchr(merge.data, ' ', (size_t)merge.size);
    int64_t left = space == NULL ? 0 : space - merge.data, right = merge.size - left - 1;
    if (left == 0 || right <= 0 || memchr(space + 1, ' ', (size_t)right) != NULL) {
      TRY(error_set(err, STATUS_DATA, "%s: merge %lld: expected two pieces and a space, found %s",
                    gguf_path(gguf), (long long)i, quote_bytes(merge.data, merge.size).text));
    }
    TRY(bpe_add_merge(tokenizer, merge.data, left, space + 1, right, i, gguf_path(gguf), err));
  }
done:
  return status;
}

static void add_step(Tokenizer *tokenizer, SplitStep step) {
  tokenizer->pre.steps[tokenizer->pre.n++] = step;
}

// The pre-tokenizers of llama.cpp by their names.
static Status set_pre_tokenizer(Tokenizer *tokenizer, const Gguf *gguf, Error *err) {
  GgufString pre = {"default", 7};
  Status status = gguf_get_string(gguf, "tokenizer.ggml.pre", GGUF_OPTIONAL, &pre, err);
  if (status != STATUS_OK) return status;
  if (gguf_string_is(pre, "default")) {
    add_step(tokenizer, (SplitStep){.kind = SPLIT_PUNCTUATION});
    add_step(tokenizer, (SplitStep){.kind = SPLIT_GPT2});
    add_step(tokenizer, (SplitStep){.kind = SPLIT_NUMBER_RUNS});
    add_step(tokenizer, (SplitStep){.kind = SPLIT_THREE_DIGITS});
  } else if (gguf_string_is(pre, "gpt-2")) {
    add_step(tokenizer, (SplitStep){.kind = SPLIT_GPT2});
  } else if (gguf_string_is(pre, "smollm") || gguf_string_is(pre, "starcoder")) {
    add_step(tokenizer, (SplitStep){.kind = SPLIT_DIGITS});
    add_step(tokenizer, (SplitStep){.kind = SPLIT_GPT2});
  } else if (gguf_string_is(pre, "llama-bpe")) {
    add_step(tokenizer, (SplitStep){.kind = SPLIT_LLAMA3, .digits = 3});
    tokenizer->ignore_merges = true;
    tokenizer->adds_bos = true;
  } else {
    return error_set(err, STATUS_DATA,
                     "%s: the pre-tokenizer %s is not supported (default, gpt-2, smollm, starcoder "
                     "and llama-bpe are)",
                     gguf_path(gguf), quote_bytes(pre.data, pre.size).text);
  }
  snprintf(tokenizer->kind, sizeof tokenizer->kind, "byte-level BPE (%.*s)", (int)pre.size,
           pre.data);
  return STATUS_OK;
}

static Status read_special(int32_t *id, const Tokenizer *tokenizer, const Gguf *gguf,
                           const char *key, Error *err) {
  // Converters write 0xFFFFFFFF or -1 for none.
  int64_t value = -1;
  Status status = gguf_get_int(gguf, key, GGUF_OPTIONAL, -1, UINT32_MAX, &value, err);
  if (status != STATUS_OK) return status;
  if (value == UINT32_MAX) value = -1;
  if (value >= tokenizer->pieces.n) {
    return error_set(err, STATUS_DATA, "%s: '%s': token %lld of a vocabulary of %lld",
                     gguf_path(gguf), key, (long long)value, (long long)tokenizer->pieces.n);
  }
  *id = (int32_t)value;
  return STATUS_OK;
}

static Status set_spm(Tokenizer *tokenizer, const GgufVocab *vocab, const Gguf *gguf, Error *err) {
  Status status = STATUS_OK;
  bool prefix = true, remove = false;
  TRY(gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", GGUF_OPTIONAL, &prefix, err));
  TRY(gguf_get_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces", GGUF_OPTIONAL, &remove, err));
  if (remove) TRY(bad(gguf, err, "remove_extra_whitespaces is not supported"));
  if (gguf_has(gguf, "tokenizer.ggml.precompiled_charsmap")) {
    TRY(bad(gguf, err, "a normaliser (precompiled_charsmap) is not supported"));
  }
  TRY(spm_finish(tokenizer, vocab->scores, gguf_path(gguf), err));
  spm_set_text(tokenizer, prefix);
  tokenizer->adds_bos = true;
done:
  return status;
}

Status tokenizer_from_gguf(Tokenizer **tokenizer, const Gguf *gguf, Error *err) {
  Status status = STATUS_OK;
  GgufString model = {0};
  GgufVocab vocab = {0};
  Tokenizer *made = NULL;
  *tokenizer = NULL;
  TRY(gguf_get_string(gguf, "tokenizer.ggml.model", GGUF_REQUIRED, &model, err));
  bool spm = gguf_string_is(model, "llama");
  if (!spm && !gguf_string_is(model, "gpt2")) {
    TRY(error_set(err, STATUS_DATA,
                  "%s: the tokenizer model %s is not supported (llama and gpt2 are)",
                  gguf_path(gguf), quote_bytes(model.data, model.size).text));
  }
  TRY(read_vocab(&vocab, gguf, spm, err));
  made = tokenizer_new(spm ? FAMILY_SPM : FAMILY_BYTE_BPE);
  TRY(add_pieces(made, &vocab, gguf, err));
  if (spm) {
    TRY(set_spm(made, &vocab, gguf, err));
  } else {
    TRY(set_pre_tokenizer(made, gguf, err));
    TRY(add_merges(made, &vocab, gguf, err));
    TRY(bpe_finish(made, gguf_path(gguf), err));
  }
  TRY(read_special(&made->bos, made, gguf, "tokenizer.ggml.bos_token_id", err));
  TRY(read_special(&made->eos, made, gguf, "tokenizer.ggml.eos_token_id", err));
  TRY(gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", GGUF_OPTIONAL, &made->adds_bos, err));
  TRY(gguf_get_bool(gguf, "tokenizer.ggml.add_eos_token", GGUF_OPTIONAL, &made->adds_eos, err));
  tokenizer_finish(made);
  *tokenizer = made;
  made = NULL;
done:
  tokenizer_close(made);
  free(vocab.tokens);
  free(vocab.merges);
  free(vocab.scores);
  free(vocab.types);
  return status;
}
