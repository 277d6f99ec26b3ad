// The input of --batch: lines become prompts.
#include "ask_file.h"
#include "check.h"
#include "json_items.h"
#include "json_kind.h"
#include "quote.h"

#include <stdlib.h>
#include <string.h>

typedef struct Input {
  JsonItems *json;
  JsonItem item;
  const Engine *engine;
  const AskOptions *options;
  AskItems *out;
} Input;

#define ITEM_ERROR(in, err, ...) json_items_error((in)->json, &(in)->item, err, __VA_ARGS__)

// NULL where the key is missing or null.
static Status get_string(const Input *in, const char *key, const char **text, int64_t *bytes,
                         Error *err) {
  const json_t *value = json_object_get(in->item.value, key);
  *text = NULL;
  if (value == NULL || json_is_null(value)) return STATUS_OK;
  if (!json_is_string(value))
    return ITEM_ERROR(in, err, "\"%s\": expected a string, found %s", key, json_kind(value));
  *text = json_string_value(value);
  *bytes = (int64_t)json_string_length(value);
  return STATUS_OK;
}

// A text that goes into a template, where a NUL would end it.
static Status get_text(const Input *in, const char *key, const char **text, Error *err) {
  int64_t bytes = 0;
  Status status = get_string(in, key, text, &bytes, err);
  if (status != STATUS_OK || *text == NULL || (int64_t)strlen(*text) == bytes) return status;
  return ITEM_ERROR(in, err, "\"%s\": expected a text, found a NUL character in it", key);
}

static Status get_adapter(const Input *in, int *adapter, Error *err) {
  const Engine *e = in->engine;
  const char *name;
  Status status = get_text(in, "adapter", &name, err);
  if (status != STATUS_OK) return status;
  *adapter = engine_adapter(e, name);
  if (name == NULL || *adapter >= 0) return STATUS_OK;
  const char *names[MAX_ADAPTERS];
  int n = 0;
  for (int i = 0; i < e->n_adapters; i++) {
    if (e->adapters[i].name != NULL) names[n++] = e->adapters[i].name;
  }
  if (n == 0)
    return ITEM_ERROR(
        in, err, "\"adapter\": no adapter has a name: give --adapter NAME=FOLDER, or leave %s out",
        quote_text(name).text);
  const char *near = error_nearest(name, names, n);
  return ITEM_ERROR(in, err,
                    "\"adapter\": %s is none of the %d that --adapter NAME=FOLDER names%s%s%s",
                    quote_text(name).text, n, near != NULL ? " (meant '" : "",
                    near != NULL ? near : "", near != NULL ? "'?)" : "");
}

static Status get_request(const Input *in, PromptRequest *r, Error *err) {
  Status status = STATUS_OK;
  *r = (PromptRequest){.template = in->options->template};
  if (!json_is_object(in->item.value))
    return ITEM_ERROR(in, err, "expected an object, found %s", json_kind(in->item.value));
  TRY(get_string(in, "prompt", &r->prompt, &r->prompt_bytes, err));
  TRY(get_text(in, "instruction", &r->instruction, err));
  TRY(get_text(in, "input", &r->input, err));
  TRY(get_adapter(in, &r->adapter, err));
  if ((r->prompt == NULL) == (r->instruction == NULL)) {
    return ITEM_ERROR(in, err, "expected either \"prompt\" or \"instruction\", found %s",
                      r->prompt == NULL ? "neither" : "both");
  }
  if (r->prompt != NULL && r->input != NULL)
    return ITEM_ERROR(in, err, "\"input\" goes with \"instruction\"");
  if (r->instruction != NULL && *r->instruction == '\0')
    return ITEM_ERROR(in, err, "\"instruction\": expected a text, found ''");
done:
  return status;
}

static Status get_id(const Input *in, AskItem *item, Error *err) {
  json_t *id = json_object_get(in->item.value, "id");
  if (id == NULL || json_is_null(id)) {
    item->id = json_integer(in->item.line);
    return STATUS_OK;
  }
  if (!json_is_string(id) && !json_is_number(id))
    return ITEM_ERROR(in, err, "\"id\": expected a string or a number, found %s", json_kind(id));
  item->id = json_incref(id);
  return STATUS_OK;
}

static const AskStops *stops_of(AskItems *out, const Engine *engine, const Template *template) {
  const int most = sizeof out->stops / sizeof *out->stops;
  for (int i = 0; i < out->n_stops; i++) {
    if (out->stops[i].template == template) return &out->stops[i];
  }
  CHECK(out->n_stops < most, "more than %d templates", most);
  AskStops *stops = &out->stops[out->n_stops++];
  *stops = (AskStops){.template = template};
  stops->n = engine_stop_ids(engine, template, stops->ids);
  return stops;
}

static Status encode(const Input *in, const PromptRequest *r, AskItem *item, Error *err) {
  Status status = STATUS_OK;
  AskItems *out = in->out;
  const Template *template;
  TRY(prompt_template(r, in->engine, &template, err));
  TRY(prompt_encode(r, in->engine, template, &out->ids, err));
  item->n = out->ids.n - item->first;
  item->options = in->options->generate;
  item->options.context = in->engine->model.config.max_positions;
  item->options.adapter = r->adapter;
  const AskStops *stops = stops_of(out, in->engine, template);
  item->options.stop_ids = stops->ids;
  item->options.n_stop_ids = stops->n;
  TRY(generate_check(item->n, &item->options, err));
done:
  return status;
}

static Status read_item(const Input *in, Error *err) {
  Status status = STATUS_OK;
  AskItems *out = in->out;
  PromptRequest request;
  if (out->n == out->capacity) {
    out->capacity = 2 * out->capacity + 64;
    out->items = realloc(out->items, (size_t)out->capacity * sizeof *out->items);
    CHECK(out->items != NULL, "no memory for %lld lines", (long long)out->capacity);
  }
  AskItem *item = &out->items[out->n++];
  *item = (AskItem){.first = out->ids.n};
  TRY(get_request(in, &request, err));
  TRY(get_id(in, item, err));
  Error why = {0};
  if (encode(in, &request, item, &why) != STATUS_OK) return ITEM_ERROR(in, err, "%s", why.message);
done:
  return status;
}

Status ask_items_read(AskItems *items, const Engine *engine, const AskOptions *options,
                      Error *err) {
  Status status = STATUS_OK;
  Input in = {.engine = engine, .options = options, .out = items};
  *items = (AskItems){0};
  bool standard = strcmp(options->input, "-") == 0;
  TRY(engine_need_tokenizer(engine, err));
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

void ask_items_free(AskItems *items) {
  for (int64_t i = 0; i < items->n; i++) json_decref(items->items[i].id);
  free(items->items);
  token_ids_free(&items->ids);
  *items = (AskItems){0};
}
