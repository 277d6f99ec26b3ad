#include "dataset.h"

#include "json_items.h"
#include "quote.h"
#include "sha256.h"

#include <stdlib.h>
#include <string.h>

// The texts of an item; borrowed from its JSON value.
typedef struct Texts {
  const char *instruction, *input, *output;
} Texts;

// A growing Dataset.
typedef struct Loading {
  Dataset *dataset;
  const DatasetOptions *options;
  const Tokenizer *tokenizer;
  int64_t room, room_tokens; // allocated
  TokenIds tokens;           // of the item at hand
} Loading;

static const char *kind_name(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT:
    return "an object";
  case JSON_ARRAY:
    return "a list";
  case JSON_STRING:
    return "a text";
  case JSON_INTEGER:
  case JSON_REAL:
    return "a number";
  case JSON_TRUE:
    return "true";
  case JSON_FALSE:
    return "false";
  case JSON_NULL:
    return "null";
  }
  return "something else";
}

// The text of a field; "" for an optional one that is missing or null.
static Status read_field(const JsonItems *items, const JsonItem *item, const char *key,
                         bool optional, const char **text, Error *err) {
  const json_t *value = json_object_get(item->value, key);
  *text = "";
  if (optional && (value == NULL || json_is_null(value))) return STATUS_OK;
  if (value == NULL) {
    return json_items_error(items, item, err, "expected a text \"%s\", found no such field in %s",
                            key, quote_bytes(item->text, item->size).text);
  }
  if (!json_is_string(value)) {
    return json_items_error(items, item, err, "\"%s\": expected a text, found %s", key,
                            kind_name(value));
  }
  *text = json_string_value(value);
  if (memchr(*text, '\0', json_string_length(value)) != NULL) {
    return json_items_error(items, item, err,
                            "\"%s\": expected a text, found a NUL character (\\u0000) in it", key);
  }
  return STATUS_OK;
}

static Status read_texts(const JsonItems *items, const JsonItem *item, Texts *texts, Error *err) {
  Status status = STATUS_OK;
  if (!json_is_object(item->value)) {
    return json_items_error(items, item, err,
                            "expected an object {\"instruction\", \"input\", \"output\"}, found %s",
                            kind_name(item->value));
  }
  TRY(read_field(items, item, "instruction", false, &texts->instruction, err));
  TRY(read_field(items, item, "input", true, &texts->input, err));
  TRY(read_field(items, item, "output", false, &texts->output, err));
done:
  return status;
}

// Room for `count` more elements of `bytes` each behind the first n.
static Status make_room(void **array, int64_t *room, int64_t n, int64_t count, size_t bytes,
                        Error *err) {
  if (n + count <= *room) return STATUS_OK;
  int64_t want = n + count > *room * 2 ? n + count : *room * 2;
  void *grown = realloc(*array, (size_t)want * bytes);
  if (grown == NULL)
    return error_set(err, STATUS_MEMORY, "no memory for %lld examples", (long long)n);
  *array = grown;
  *room = want;
  return STATUS_OK;
}

// Cuts the tokens, or ends them by EOS where the template leaves that to us.
static bool cut_or_end(Loading *l) {
  TokenIds *tokens = &l->tokens;
  int32_t eos = tokenizer_eos(l->tokenizer);
  int64_t limit = l->options->cutoff_len;
  if (tokens->n > limit) {
    tokens->n = limit;
    return true;
  }
  bool ended = tokens->n > 0 && token_id(tokens->ids[tokens->n - 1]) == eos;
  if (l->options->template->end_if_room && eos >= 0 && !ended && tokens->n < limit) {
    token_ids_push(tokens, eos | TOKEN_LABEL);
  }
  return false;
}

static Status add_item(Loading *l, const Texts *texts, int64_t index, Error *err) {
  Status status = STATUS_OK;
  Dataset *d = l->dataset;
  const DatasetOptions *o = l->options;
  Turn turns[] = {{ROLE_USER, texts->instruction, texts->input},
                  {ROLE_ASSISTANT, texts->output, NULL}};
  l->tokens.n = 0;
  template_encode(l->tokenizer, o->template, turns, 2, o->train_on_inputs ? MARK_ALL : MARK_ANSWERS,
                  &l->tokens);
  bool cut = cut_or_end(l);
  int64_t n = l->tokens.n, labels = 0;
  for (int64_t i = 0; i < n; i++) labels += token_is_label(l->tokens.ids[i]);
  d->stats.items++;
  d->stats.cut += cut;
  d->stats.with_input += texts->input[0] != '\0';
  if (labels == 0) {
    d->stats.no_label++;
    return STATUS_OK;
  }
  TRY(make_room((void **)&d->examples, &l->room, d->n, 1, sizeof *d->examples, err));
  TRY(make_room((void **)&d->tokens, &l->room_tokens, d->n_tokens, n, sizeof *d->tokens, err));
  memcpy(d->tokens + d->n_tokens, l->tokens.ids, (size_t)n * sizeof *d->tokens);
  d->examples[d->n++] = (Example){.first = d->n_tokens,
                                  .n = (int32_t)n,
                                  .n_labels = (int32_t)labels,
                                  .item = (int32_t)index,
                                  .cut = cut};
  d->n_tokens += n;
  d->stats.label_tokens += labels;
done:
  return status;
}

static int compare_lengths(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

// The smallest length that at least p of 100 examples do not exceed (nearest rank).
static int32_t percentile(const int32_t *sorted, int64_t n, int64_t p) {
  return sorted[(n * p + 99) / 100 - 1];
}

static Status count_lengths(Dataset *d, Error *err) {
  int32_t *lengths = malloc((size_t)d->n * sizeof *lengths);
  if (lengths == NULL) {
    return error_set(err, STATUS_MEMORY, "no memory for %lld lengths", (long long)d->n);
  }
  for (int64_t i = 0; i < d->n; i++) lengths[i] = d->examples[i].n;
  qsort(lengths, (size_t)d->n, sizeof *lengths, compare_lengths);
  DatasetStats *s = &d->stats;
  s->examples = d->n;
  s->tokens = d->n_tokens;
  s->shortest = lengths[0];
  s->median = percentile(lengths, d->n, 50);
  s->p90 = percentile(lengths, d->n, 90);
  s->p99 = percentile(lengths, d->n, 99);
  s->longest = lengths[d->n - 1];
  free(lengths);
  return STATUS_OK;
}

static void hash_file(Dataset *d, const JsonItems *items) {
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  int64_t bytes;
  const void *data = json_items_file(items, &bytes);
  sha256_init(&sha);
  sha256_add(&sha, data, bytes);
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, d->sha256);
}

static Status read_items(Loading *l, JsonItems *items, Error *err) {
  Status status = STATUS_OK;
  for (;;) {
    JsonItem item;
    Texts texts;
    TRY(json_items_next(items, &item, err));
    if (item.value == NULL) break;
    TRY(read_texts(items, &item, &texts, err));
    if (item.index == INT32_MAX) {
      TRY(json_items_error(items, &item, err, "expected at most %d items", INT32_MAX));
    }
    TRY(add_item(l, &texts, item.index, err));
  }
done:
  return status;
}

static Status check_template(const Tokenizer *tokenizer, const Template *template, Error *err) {
  Status status = template_check(tokenizer, template, err);
  if (status != STATUS_OK) error_prefix(err, "the template %s", template->name);
  return status;
}

Status dataset_load(Dataset *dataset, const char *path, const Tokenizer *tokenizer,
                    const DatasetOptions *options, Error *err) {
  Status status = STATUS_OK;
  JsonItems *items = NULL;
  Loading l = {.dataset = dataset, .options = options, .tokenizer = tokenizer};
  *dataset = (Dataset){0};
  TRY(check_template(tokenizer, options->template, err));
  TRY(json_items_open(&items, path, err));
  hash_file(dataset, items); // json_items_next checks at the end that the file has not changed
  TRY(read_items(&l, items, err));
  if (dataset->stats.items == 0) {
    TRY(error_set(err, STATUS_DATA, "%s: expected items with instruction and output, found none",
                  path));
  }
  if (dataset->n == 0) {
    TRY(error_set(err, STATUS_DATA,
                  "%s: the prompts alone fill data.cutoff_len = %lld tokens in all %lld items, so "
                  "that nothing is left to learn: raise it",
                  path, (long long)options->cutoff_len, (long long)dataset->stats.items));
  }
  TRY(count_lengths(dataset, err));
done:
  json_items_close(items);
  token_ids_free(&l.tokens);
  if (status != STATUS_OK) dataset_free(dataset);
  return status;
}

void dataset_free(Dataset *dataset) {
  free(dataset->tokens);
  free(dataset->examples);
  *dataset = (Dataset){0};
}

void dataset_mark(Dataset *dataset, int64_t example, int32_t start) {
  Example *e = &dataset->examples[example];
  int32_t *tokens = dataset->tokens + e->first;
  if (start < 1) start = 1; // no row stands before the first token
  for (int32_t i = 0; i < e->n; i++) {
    tokens[i] = token_id(tokens[i]) | (i >= start ? TOKEN_LABEL : 0);
  }
  e->n_labels = e->n > start ? e->n - start : 0;
}
