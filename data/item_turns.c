#include "item_turns.h"

#include "check.h"
#include "quote.h"

#include <stdlib.h>
#include <string.h>

typedef struct Reading {
  ItemTurns *turns;
  const JsonItems *items;
  const JsonItem *item;
  Error *err;
} Reading;

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

void item_turns_free(ItemTurns *turns) {
  free(turns->turns);
  *turns = (ItemTurns){0};
}

static void add_turn(Reading *r, Turn turn) {
  ItemTurns *t = r->turns;
  if (t->n == t->capacity) {
    t->capacity = t->capacity == 0 ? 16 : 2 * t->capacity;
    t->turns = realloc(t->turns, (size_t)t->capacity * sizeof *t->turns);
    CHECK(t->turns != NULL, "no memory for %lld turns", (long long)t->capacity);
  }
  t->turns[t->n++] = turn;
}

// ---- fields ----

// The text of a value that stands at `place` ("\"output\"", "\"messages\"[3]: \"content\"").
static Status text_of(const Reading *r, const json_t *value, const char *place, const char **text) {
  if (!json_is_string(value)) {
    return json_items_error(r->items, r->item, r->err, "%s: expected a text, found %s", place,
                            kind_name(value));
  }
  *text = json_string_value(value);
  if (memchr(*text, '\0', json_string_length(value)) != NULL) {
    return json_items_error(r->items, r->item, r->err,
                            "%s: expected a text, found a NUL character (\\u0000) in it", place);
  }
  return STATUS_OK;
}

// A field of the item; "" for an optional one that is missing or null.
static Status read_field(const Reading *r, const char *key, bool optional, const char **text) {
  const json_t *value = json_object_get(r->item->value, key);
  char place[64];
  *text = "";
  if (optional && (value == NULL || json_is_null(value))) return STATUS_OK;
  if (value == NULL) {
    return json_items_error(r->items, r->item, r->err,
                            "expected a text \"%s\", found no such field in %s", key,
                            quote_bytes(r->item->text, r->item->size).text);
  }
  snprintf(place, sizeof place, "\"%s\"", key);
  return text_of(r, value, place, text);
}

static Status read_list(const Reading *r, const char *key, const json_t **list) {
  *list = json_object_get(r->item->value, key);
  if (json_is_array(*list)) return STATUS_OK;
  if (*list == NULL) {
    return json_items_error(r->items, r->item, r->err,
                            "expected a list \"%s\", found no such field in %s", key,
                            quote_bytes(r->item->text, r->item->size).text);
  }
  return json_items_error(r->items, r->item, r->err, "\"%s\": expected a list, found %s", key,
                          kind_name(*list));
}

// ---- forms ----

static Status read_system(Reading *r) {
  const char *text;
  Status status = read_field(r, "system", true, &text);
  if (status == STATUS_OK && text[0] != '\0')
    add_turn(r, (Turn){.role = ROLE_SYSTEM, .text = text});
  return status;
}

static Status read_history(Reading *r) {
  Status status = STATUS_OK;
  const json_t *history = json_object_get(r->item->value, "history"), *pair;
  size_t i;
  if (history == NULL || json_is_null(history)) return STATUS_OK;
  TRY(read_list(r, "history", &history));
  json_array_foreach(history, i, pair) {
    const char *texts[2];
    if (json_array_size(pair) != 2) {
      TRY(json_items_error(r->items, r->item, r->err,
                           "\"history\"[%zu]: expected a list of two texts, a question and an "
                           "answer, found %s%s",
                           i, kind_name(pair), json_is_array(pair) ? " of another length" : ""));
    }
    for (size_t k = 0; k < 2; k++) {
      char place[64];
      snprintf(place, sizeof place, "\"history\"[%zu][%zu]", i, k);
      TRY(text_of(r, json_array_get(pair, k), place, &texts[k]));
    }
    add_turn(r, (Turn){.role = ROLE_USER, .text = texts[0]});
    add_turn(r, (Turn){.role = ROLE_ASSISTANT, .text = texts[1]});
  }
done:
  return status;
}

static Status read_alpaca(Reading *r) {
  Status status = STATUS_OK;
  Turn question = {.role = ROLE_USER}, answer = {.role = ROLE_ASSISTANT};
  TRY(read_field(r, "instruction", false, &question.text));
  TRY(read_field(r, "input", true, &question.input));
  TRY(read_field(r, "output", false, &answer.text));
  TRY(read_system(r));
  TRY(read_history(r));
  add_turn(r, question);
  add_turn(r, answer);
done:
  return status;
}

typedef struct RoleName {
  const char *name;
  Role role;
} RoleName;

// How a form spells a turn.
typedef struct TurnForm {
  const char *list, *role, *text;
  RoleName roles[6];
} TurnForm;

static const TurnForm messages_form = {
    "messages",
    "role",
    "content",
    {{"system", ROLE_SYSTEM}, {"user", ROLE_USER}, {"assistant", ROLE_ASSISTANT}}};
static const TurnForm sharegpt_form = {"conversations",
                                       "from",
                                       "value",
                                       {{"system", ROLE_SYSTEM},
                                        {"human", ROLE_USER},
                                        {"user", ROLE_USER},
                                        {"gpt", ROLE_ASSISTANT},
                                        {"assistant", ROLE_ASSISTANT}}};

static Status find_role(const Reading *r, const TurnForm *form, size_t i, const char *name,
                        Role *role) {
  for (const RoleName *known = form->roles; known->name != NULL; known++) {
    if (strcmp(known->name, name) != 0) continue;
    *role = known->role;
    return STATUS_OK;
  }
  char expected[128] = "";
  for (const RoleName *known = form->roles; known->name != NULL; known++) {
    size_t used = strlen(expected);
    snprintf(expected + used, sizeof expected - used, "%s%s",
             used == 0               ? ""
             : known[1].name == NULL ? " or "
                                     : ", ",
             known->name);
  }
  return json_items_error(r->items, r->item, r->err,
                          "\"%s\"[%zu]: \"%s\": expected %s, found %s; tools and functions cannot "
                          "be trained on",
                          form->list, i, form->role, expected, quote_text(name).text);
}

static const char *const role_words[] = {
    [ROLE_SYSTEM] = "a system text", [ROLE_USER] = "a question", [ROLE_ASSISTANT] = "an answer"};

// The turn has its place: a system text first, then questions and answers in turn.
static Status check_order(const Reading *r, const TurnForm *form, size_t i, Role role) {
  const ItemTurns *t = r->turns;
  bool asked = t->n > 0 && t->turns[t->n - 1].role == ROLE_USER;
  Role expected = asked ? ROLE_ASSISTANT : ROLE_USER;
  if (role == expected || (role == ROLE_SYSTEM && t->n == 0)) return STATUS_OK;
  return json_items_error(r->items, r->item, r->err, "\"%s\"[%zu]: expected %s%s, found %s",
                          form->list, i, t->n == 0 ? "a system text or " : "", role_words[expected],
                          role_words[role]);
}

// "weight" of a message: 0 or 1.
static Status read_weight(const Reading *r, const TurnForm *form, size_t i, const json_t *object,
                          Turn *turn) {
  const json_t *weight = json_object_get(object, "weight");
  if (weight == NULL || json_is_null(weight)) return STATUS_OK;
  double value = json_number_value(weight);
  if (!json_is_number(weight) || (value != 0 && value != 1)) {
    return json_items_error(r->items, r->item, r->err,
                            "\"%s\"[%zu]: \"weight\": expected 0 or 1, found %s", form->list, i,
                            json_is_number(weight) ? "another number" : kind_name(weight));
  }
  turn->unlearned = value == 0;
  return STATUS_OK;
}

static Status read_turn(Reading *r, const TurnForm *form, size_t i, const json_t *object) {
  Status status = STATUS_OK;
  const char *keys[] = {form->role, form->text}, *texts[2];
  Turn turn = {0};
  if (!json_is_object(object)) {
    return json_items_error(r->items, r->item, r->err,
                            "\"%s\"[%zu]: expected an object {\"%s\", \"%s\"}, found %s",
                            form->list, i, form->role, form->text, kind_name(object));
  }
  for (int k = 0; k < 2; k++) {
    char place[96];
    const json_t *value = json_object_get(object, keys[k]);
    snprintf(place, sizeof place, "\"%s\"[%zu]: \"%s\"", form->list, i, keys[k]);
    if (value == NULL) {
      TRY(json_items_error(r->items, r->item, r->err, "%s: expected a text, found no such field",
                           place));
    }
    TRY(text_of(r, value, place, &texts[k]));
    if (k == 0) TRY(find_role(r, form, i, texts[0], &turn.role));
  }
  turn.text = texts[1];
  if (form == &messages_form) TRY(read_weight(r, form, i, object, &turn));
  TRY(check_order(r, form, i, turn.role));
  add_turn(r, turn);
done:
  return status;
}

// Fields beside the list that would change what the turns mean.
static Status refuse_tools(const Reading *r) {
  static const char *const names[] = {"tools", "functions"};
  for (int i = 0; i < 2; i++) {
    const json_t *value = json_object_get(r->item->value, names[i]);
    if (value == NULL || json_is_null(value)) continue;
    if (json_is_array(value) && json_array_size(value) == 0) continue;
    if (json_is_string(value) && json_string_length(value) == 0) continue;
    return json_items_error(r->items, r->item, r->err,
                            "\"%s\": tools and functions cannot be trained on", names[i]);
  }
  return STATUS_OK;
}

static Status read_conversation(Reading *r, const TurnForm *form) {
  Status status = STATUS_OK;
  const json_t *list, *object;
  size_t i;
  TRY(refuse_tools(r));
  TRY(read_list(r, form->list, &list));
  if (form == &sharegpt_form) TRY(read_system(r));
  json_array_foreach(list, i, object) TRY(read_turn(r, form, i, object));
  ItemTurns *t = r->turns;
  if (t->n > 0 && t->turns[t->n - 1].role == ROLE_USER) {
    t->n--;
    t->unanswered = true;
  }
done:
  return status;
}

// ---- an item ----

static const struct {
  DataFormat format;
  const char *key;
} format_keys[] = {{DATA_FORMAT_MESSAGES, "messages"},
                   {DATA_FORMAT_SHAREGPT, "conversations"},
                   {DATA_FORMAT_ALPACA, "instruction"},
                   {DATA_FORMAT_TEXT, "text"}};
enum { N_FORMATS = sizeof format_keys / sizeof *format_keys };

DataFormat item_format(const JsonItem *item) {
  for (int i = 0; i < N_FORMATS; i++) {
    if (json_object_get(item->value, format_keys[i].key) != NULL) return format_keys[i].format;
  }
  return DATA_FORMAT_AUTO;
}

// One form a file: an item of another one is told as that, not as a lack of fields.
static Status check_form(const Reading *r, DataFormat format) {
  static const char *const fields[] = {[DATA_FORMAT_ALPACA] =
                                           "{\"instruction\", \"input\", \"output\"}",
                                       [DATA_FORMAT_MESSAGES] = "{\"messages\"}",
                                       [DATA_FORMAT_SHAREGPT] = "{\"conversations\"}",
                                       [DATA_FORMAT_TEXT] = "{\"text\"}"};
  if (!json_is_object(r->item->value)) {
    return json_items_error(r->items, r->item, r->err, "expected an object %s, found %s",
                            fields[format], kind_name(r->item->value));
  }
  DataFormat found = item_format(r->item);
  if (found == DATA_FORMAT_AUTO || found == format) return STATUS_OK;
  for (int i = 0; i < N_FORMATS; i++) {
    if (format_keys[i].format == format &&
        json_object_get(r->item->value, format_keys[i].key) != NULL)
      return STATUS_OK; // it has fields of both
  }
  return json_items_error(r->items, r->item, r->err,
                          "expected %s, found %s: the items of a file have one form; give the "
                          "others in a file of their own",
                          fields[format], fields[found]);
}

Status item_turns_read(ItemTurns *turns, const JsonItems *items, const JsonItem *item,
                       DataFormat format, Error *err) {
  Status status = STATUS_OK;
  Reading r = {.turns = turns, .items = items, .item = item, .err = err};
  turns->n = 0;
  turns->unanswered = false;
  TRY(check_form(&r, format));
  switch (format) {
  case DATA_FORMAT_AUTO:
  case DATA_FORMAT_ALPACA:
    TRY(read_alpaca(&r));
    break;
  case DATA_FORMAT_MESSAGES:
    TRY(read_conversation(&r, &messages_form));
    break;
  case DATA_FORMAT_SHAREGPT:
    TRY(read_conversation(&r, &sharegpt_form));
    break;
  case DATA_FORMAT_TEXT: {
    Turn document = {.role = ROLE_USER};
    TRY(read_field(&r, "text", false, &document.text));
    add_turn(&r, document);
    break;
  }
  }
done:
  return status;
}
