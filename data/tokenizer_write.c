// A tokenizer as a tokenizer.json, for the families that GGUF files hold. SentencePiece's rule
// (merge what gives the piece of the best score) becomes a list of merges as transformers'
// converter makes it: every split of a piece into two pieces, the best scores first, of equal ones
// the longest left part, then the longest right part.
#include "check.h"
#include "tokenizer_json.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

// The list and object makers of jansson fail only without memory: all text here is UTF-8.
static json_t *made(json_t *value) {
  CHECK(value != NULL, "no memory for a tokenizer.json");
  return value;
}

static void put(json_t *object, const char *key, json_t *value) {
  CHECK(json_object_set_new(object, key, made(value)) == 0, "no memory for a tokenizer.json");
}

static void add(json_t *list, json_t *value) {
  CHECK(json_array_append_new(list, made(value)) == 0, "no memory for a tokenizer.json");
}

static json_t *piece_text(const Tokenizer *t, int32_t id) {
  return json_stringn(string_table_get(&t->pieces, id), (size_t)t->pieces.size[id]);
}

// ---- what is around the model ----

static int by_id(const void *a, const void *b) {
  const AddedToken *x = *(const AddedToken *const *)a, *y = *(const AddedToken *const *)b;
  return (x->id > y->id) - (x->id < y->id);
}

json_t *tokenizer_added_tokens(const Tokenizer *t) {
  json_t *list = made(json_array());
  const AddedToken **sorted = malloc((size_t)(t->added.n + 1) * sizeof *sorted);
  CHECK(sorted != NULL, "no memory for %lld added tokens", (long long)t->added.n);
  for (int64_t i = 0; i < t->added.n; i++) sorted[i] = &t->added.items[i];
  qsort(sorted, (size_t)t->added.n, sizeof *sorted, by_id);
  for (int64_t i = 0; i < t->added.n; i++) {
    const AddedToken *token = sorted[i];
    json_t *item = made(json_object());
    put(item, "id", json_integer(token->id));
    put(item, "content", json_stringn(token->text, (size_t)token->size));
    put(item, "single_word", json_false());
    put(item, "lstrip", json_boolean(token->lstrip));
    put(item, "rstrip", json_boolean(token->rstrip));
    put(item, "normalized", json_false());
    put(item, "special", json_boolean(token->special));
    add(list, item);
  }
  free(sorted);
  return list;
}

static bool has_dummy_prefix(const Tokenizer *t) {
  return t->leading == LEADING_OF_PIECE;
}

static json_t *replace(const char *from, const char *to) {
  return json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", from, "content",
                   to);
}

static json_t *spm_normalizer(const Tokenizer *t) {
  json_t *steps = made(json_array());
  if (has_dummy_prefix(t))
    add(steps, json_pack("{s:s,s:s}", "type", "Prepend", "prepend", SPM_SPACE));
  add(steps, replace(" ", SPM_SPACE));
  return json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *spm_decoder(const Tokenizer *t) {
  json_t *steps = made(json_array());
  add(steps, replace(SPM_SPACE, " "));
  if (t->byte_fallback) add(steps, json_pack("{s:s}", "type", "ByteFallback"));
  add(steps, json_pack("{s:s}", "type", "Fuse"));
  if (has_dummy_prefix(t)) {
    add(steps,
        json_pack("{s:s,s:s,s:i,s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
  }
  return json_pack("{s:s,s:o}", "type", "Sequence", "decoders", steps);
}

static json_t *byte_level(bool prefix, bool regex) {
  return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", prefix,
                   "trim_offsets", true, "use_regex", regex);
}

// The steps, the last of which also turns bytes into their symbols.
static json_t *byte_pre_tokenizer(const Tokenizer *t) {
  json_t *steps = made(json_array());
  bool regex = false; // of ByteLevel itself: GPT-2's
  for (int i = 0; i < t->pre.n; i++) {
    SplitStep step = t->pre.steps[i];
    regex = step.kind == SPLIT_GPT2 && i + 1 == t->pre.n;
    if (regex) break;
    if (step.kind == SPLIT_DIGITS) {
      add(steps, json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", true));
      continue;
    }
    const char *pattern = json_split_regex(step);
    CHECK(pattern != NULL, "a step of kind %d", (int)step.kind);
    add(steps, json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", pattern,
                         "behavior", "Isolated", "invert", false));
  }
  add(steps, byte_level(false, regex));
  return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", steps);
}

// BOS and EOS around a text, as TemplateProcessing.
static json_t *post_processor(const Tokenizer *t) {
  bool bos = t->adds_bos && t->bos >= 0, eos = t->adds_eos && t->eos >= 0;
  if (!bos && !eos) return json_null();
  json_t *single = made(json_array()), *pair = made(json_array()), *tokens = made(json_object());
  json_t *lists[] = {single, pair};
  for (int k = 0; k < 2; k++) {
    for (int text = 0; text <= k; text++) {
      for (int side = 0; side < 3; side++) { // BOS, the text, EOS
        if (side == 0 ? !bos : side == 2 && !eos) continue;
        if (side == 1) {
          add(lists[k],
              json_pack("{s:{s:s,s:i}}", "Sequence", "id", text == 0 ? "A" : "B", "type_id", text));
        } else {
          add(lists[k],
              json_pack("{s:{s:o,s:i}}", "SpecialToken", "id",
                        made(piece_text(t, side == 0 ? t->bos : t->eos)), "type_id", text));
        }
      }
    }
  }
  for (int side = 0; side < 2; side++) {
    int32_t id = side == 0 ? t->bos : t->eos;
    if (side == 0 ? !bos : !eos) continue;
    json_t *entry = made(json_object()), *name = made(piece_text(t, id));
    put(entry, "id", json_incref(name));
    put(entry, "ids", json_pack("[i]", id));
    put(entry, "tokens", json_pack("[O]", name));
    CHECK(json_object_setn_new(tokens, json_string_value(name), json_string_length(name), entry) ==
              0,
          "no memory for a tokenizer.json");
    json_decref(name);
  }
  return json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", single, "pair",
                   pair, "special_tokens", tokens);
}

// ---- the model ----

typedef struct Merge {
  int32_t left, right, id;
  uint32_t rank;
  int32_t left_chars, right_chars;
} Merge;

static int by_rank(const void *a, const void *b) {
  const Merge *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
  if (x->left_chars != y->left_chars) return x->left_chars > y->left_chars ? -1 : 1;
  if (x->right_chars != y->right_chars) return x->right_chars > y->right_chars ? -1 : 1;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  if (x->left != y->left) return x->left < y->left ? -1 : 1;
  return (x->right > y->right) - (x->right < y->right);
}

typedef struct Merges {
  Merge *items;
  int64_t n, capacity;
} Merges;

static void add_merge(Merges *merges, Merge merge) {
  if (merges->n == merges->capacity) {
    merges->capacity = 2 * merges->capacity + 1024;
    merges->items = realloc(merges->items, (size_t)merges->capacity * sizeof *merges->items);
    CHECK(merges->items != NULL, "no memory for %lld merges", (long long)merges->capacity);
  }
  merges->items[merges->n++] = merge;
}

static int32_t normal_piece(const Tokenizer *t, const char *text, int64_t size) {
  int32_t id = string_table_find(&t->pieces, text, size);
  return id >= 0 && t->type[id] == PIECE_NORMAL ? id : -1;
}

static void split_piece(Merges *merges, const Tokenizer *t, int32_t id) {
  const char *text = string_table_get(&t->pieces, id);
  int64_t size = t->pieces.size[id];
  int32_t chars = 0, before = 0;
  for (int64_t i = 0; i < size; i += utf8_length(text[i])) chars++;
  for (int64_t i = utf8_length(text[0]); i < size; i += utf8_length(text[i])) {
    before++;
    int32_t left = normal_piece(t, text, i), right = normal_piece(t, text + i, size - i);
    if (left < 0 || right < 0) continue;
    add_merge(merges, (Merge){left, right, id, t->rank[id], before, chars - before});
  }
}

static void collect_merges(Merges *merges, const Tokenizer *t) {
  if (t->family == FAMILY_SPM) {
    for (int32_t id = 0; id < t->pieces.n; id++) {
      if (string_table_has(&t->pieces, id) && t->type[id] == PIECE_NORMAL)
        split_piece(merges, t, id);
    }
  } else {
    for (int64_t i = 0; i < t->merges.count; i++) {
      const MergeEntry *entry = &t->merges.entries[i];
      if (entry->left >= 0)
        add_merge(merges, (Merge){entry->left, entry->right, entry->id, entry->rank, 0, 0});
    }
  }
  if (merges->n > 0) qsort(merges->items, (size_t)merges->n, sizeof *merges->items, by_rank);
}

static bool has_space(const Tokenizer *t, int32_t id) {
  return memchr(string_table_get(&t->pieces, id), ' ', (size_t)t->pieces.size[id]) != NULL;
}

// "left right", which all versions of the package read; pairs, which newer ones read, where a piece
// has a space in it.
static json_t *merge_list(const Tokenizer *t) {
  Merges merges = {0};
  json_t *list = made(json_array());
  char *both = malloc(2 * (size_t)t->pieces.longest + 2);
  CHECK(both != NULL, "no memory for a merge");
  collect_merges(&merges, t);
  bool pairs = false;
  for (int64_t i = 0; !pairs && i < merges.n; i++)
    pairs = has_space(t, merges.items[i].left) || has_space(t, merges.items[i].right);
  for (int64_t i = 0; i < merges.n; i++) {
    int32_t left = merges.items[i].left, right = merges.items[i].right;
    if (pairs) {
      add(list, json_pack("[o,o]", made(piece_text(t, left)), made(piece_text(t, right))));
      continue;
    }
    size_t a = (size_t)t->pieces.size[left], b = (size_t)t->pieces.size[right];
    memcpy(both, string_table_get(&t->pieces, left), a);
    both[a] = ' ';
    memcpy(both + a + 1, string_table_get(&t->pieces, right), b);
    add(list, json_stringn(both, a + 1 + b));
  }
  free(both);
  free(merges.items);
  return list;
}

static json_t *model(const Tokenizer *t) {
  json_t *object = made(json_object()), *vocab = made(json_object());
  bool spm = t->family == FAMILY_SPM;
  for (int32_t id = 0; id < t->pieces.n; id++) {
    if (!string_table_has(&t->pieces, id)) continue;
    CHECK(json_object_setn_new(vocab, string_table_get(&t->pieces, id), (size_t)t->pieces.size[id],
                               made(json_integer(id))) == 0,
          "no memory for a tokenizer.json");
  }
  put(object, "type", json_string("BPE"));
  put(object, "dropout", json_null());
  put(object, "unk_token", spm ? piece_text(t, t->unk) : json_null());
  put(object, "continuing_subword_prefix", json_null());
  put(object, "end_of_word_suffix", json_null());
  put(object, "fuse_unk", json_boolean(spm));
  put(object, "byte_fallback", json_boolean(spm && t->byte_fallback));
  put(object, "ignore_merges", json_boolean(t->ignore_merges));
  put(object, "vocab", vocab);
  put(object, "merges", merge_list(t));
  return object;
}

char *tokenizer_json_text(const Tokenizer *t) {
  bool spm = t->family == FAMILY_SPM;
  CHECK(spm || t->family == FAMILY_BYTE_BPE, "a tokenizer of family %d", (int)t->family);
  json_t *root = made(json_object());
  put(root, "version", json_string("1.0"));
  put(root, "truncation", json_null());
  put(root, "padding", json_null());
  put(root, "added_tokens", tokenizer_added_tokens(t));
  put(root, "normalizer", spm ? spm_normalizer(t) : json_null());
  put(root, "pre_tokenizer", spm ? json_null() : byte_pre_tokenizer(t));
  put(root, "post_processor", post_processor(t));
  put(root, "decoder", spm ? spm_decoder(t) : byte_level(true, true));
  put(root, "model", model(t));
  char *text = json_dumps(root, JSON_INDENT(2));
  CHECK(text != NULL, "no memory for a tokenizer.json");
  json_decref(root);
  return text;
}
