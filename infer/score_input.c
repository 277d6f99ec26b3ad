// The input of scoring: items of three kinds become ids.
#include "check.h"
#include "json_items.h"
#include "json_kind.h"
#include "score.h"

#include <stdlib.h>
#include <string.h>

typedef struct Input {
  JsonItems *json;
  JsonItem item;
  const Engine *engine;
  const ScoreOptions *options;
  ScoreItems *out;
} Input;

#define ITEM_ERROR(in, err, ...) json_items_error((in)->json, &(in)->item, err, __VA_ARGS__)

static Status need_string(const Input *in, const char *key, const json_t **value, Error *err) {
  *value = json_object_get(in->item.value, key);
  if (json_is_string(*value)) return STATUS_OK;
  return ITEM_ERROR(in, err, "\"%s\": expected a string, found %s", key, json_kind(*value));
}

static Status need_tokenizer(const Input *in, Error *err) {
  Status status = engine_need_tokenizer(in->engine, err);
  if (status != STATUS_OK) error_prefix(err, "a text needs a tokenizer");
  return status;
}

static void add_special(const Input *in, bool begin) {
  const Tokenizer *t = in->engine->tokenizer;
  if (!in->options->add_special) return;
  if (begin && tokenizer_adds_bos(t)) token_ids_push(&in->out->ids, tokenizer_bos(t));
  if (!begin && tokenizer_adds_eos(t)) token_ids_push(&in->out->ids, tokenizer_eos(t));
}

static Status read_text(const Input *in, Error *err) {
  Status status = STATUS_OK;
  const json_t *text;
  TRY(need_string(in, "text", &text, err));
  TRY(need_tokenizer(in, err));
  add_special(in, true);
  tokenizer_encode(in->engine->tokenizer, json_string_value(text),
                   (int64_t)json_string_length(text), SPECIAL_AS_TEXT, &in->out->ids);
  add_special(in, false);
done:
  return status;
}

static Status read_ids(const Input *in, Error *err) {
  const json_t *list = json_object_get(in->item.value, "ids");
  if (!json_is_array(list))
    return ITEM_ERROR(in, err, "\"ids\": expected a list, found %s", json_kind(list));
  int64_t vocab = in->engine->model.config.vocab;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *id = json_array_get(list, i);
    if (!json_is_integer(id)) {
      return ITEM_ERROR(in, err, "\"ids\"[%zu]: expected an integer, found %s", i, json_kind(id));
    }
    json_int_t value = json_integer_value(id);
    if (value < 0 || value >= vocab) {
      return ITEM_ERROR(in, err, "\"ids\"[%zu]: expected an id in 0..%lld, found %lld", i,
                        (long long)vocab - 1, (long long)value);
    }
    token_ids_push(&in->out->ids, (int32_t)value);
  }
  return STATUS_OK;
}

// The prompt alone is encoded only to be counted: P + C is one text.
static Status read_pair(const Input *in, int64_t *completion_start, Error *err) {
  Status status = STATUS_OK;
  TokenIds alone = {0};
  char *whole = NULL;
  const json_t *prompt, *completion;
  TRY(need_string(in, "prompt", &prompt, err));
  TRY(need_string(in, "completion", &completion, err));
  TRY(need_tokenizer(in, err));
  size_t n = json_string_length(prompt), m = json_string_length(completion), kept = n;
  whole = malloc(n + m + 1);
  CHECK(whole != NULL, "no memory for %zu bytes", n + m);
  memcpy(whole, json_string_value(prompt), n);
  memcpy(whole + n, json_string_value(completion), m);
  while (kept > 0 && whole[kept - 1] == ' ') kept--; // a token of the completion begins there
  const Tokenizer *t = in->engine->tokenizer;
  int64_t first = in->out->ids.n;
  add_special(in, true);
  tokenizer_encode(t, whole, (int64_t)kept, SPECIAL_AS_TEXT, &alone);
  *completion_start = in->out->ids.n - first + alone.n;
  tokenizer_encode(t, whole, (int64_t)(n + m), SPECIAL_AS_TEXT, &in->out->ids);
  add_special(in, false);
done:
  token_ids_free(&alone);
  free(whole);
  return status;
}

// An item is of exactly one kind; other keys (an id, a note) are passed over.
static Status read_by_kind(const Input *in, int64_t *completion_start, Error *err) {
  const json_t *object = in->item.value;
  const char *key;
  json_t *value;
  if (!json_is_object(object))
    return ITEM_ERROR(in, err, "expected an object, found %s", json_kind(object));
  int text = 0, ids = 0, pair = 0;
  json_object_foreach((json_t *)object, key, value) {
    text += strcmp(key, "text") == 0;
    ids += strcmp(key, "ids") == 0;
    pair += strcmp(key, "prompt") == 0 || strcmp(key, "completion") == 0;
  }
  if (text + ids + (pair > 0) != 1) {
    return ITEM_ERROR(in, err,
                      "expected either \"text\", or \"ids\", or \"prompt\" and \"completion\"; "
                      "found %s",
                      text + ids + pair == 0 ? "none of them" : "several of them");
  }
  return text ? read_text(in, err) : ids ? read_ids(in, err) : read_pair(in, completion_start, err);
}

static Status check_length(const Input *in, const ScoreItem *item, Error *err) {
  int64_t limit = in->engine->model.config.max_positions;
  if (item->n <= limit) return STATUS_OK;
  return ITEM_ERROR(in, err, "has %lld tokens, the model's context is %lld: shorten or split it",
                    (long long)item->n, (long long)limit);
}

static Status read_item(const Input *in, Error *err) {
  Status status = STATUS_OK;
  ScoreItems *out = in->out;
  if (out->n == out->capacity) {
    out->capacity = 2 * out->capacity + 64;
    out->items = realloc(out->items, (size_t)out->capacity * sizeof *out->items);
    CHECK(out->items != NULL, "no memory for %lld items", (long long)out->capacity);
  }
  ScoreItem *item = &out->items[out->n++];
  *item = (ScoreItem){.first = out->ids.n};
  TRY(read_by_kind(in, &item->completion_start, err));
  item->n = out->ids.n - item->first;
  TRY(check_length(in, item, err));
  TRY(engine_check_ids(in->engine, out->ids.ids + item->first, item->n, err));
done:
  return status;
}

Status score_items_read(ScoreItems *items, const Engine *engine, const ScoreOptions *options,
                        Error *err) {
  Status status = STATUS_OK;
  Input in = {.engine = engine, .options = options, .out = items};
  *items = (ScoreItems){0};
  if (options->add_special) TRY(engine_need_tokenizer(engine, err));
  bool standard = strcmp(options->input, "-") == 0;
  TRY(json_items_open(&in.json, standard ? "/dev/stdin" : options->input, err));
  for (;;) {
    TRY(json_items_next(in.json, &in.item, err));
    if (in.item.value == NULL) break;
    TRY(read_item(&in, err));
  }
done:
  json_items_close(in.json);
  return status;
}

void score_items_free(ScoreItems *items) {
  token_ids_free(&items->ids);
  free(items->items);
  *items = (ScoreItems){0};
}
