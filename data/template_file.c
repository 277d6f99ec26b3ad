#include "template_file.h"

#include "json_items.h"
#include "mapped_file.h"
#include "quote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS_MAX = 16 };

// A Template with the memory of its texts.
typedef struct OwnTemplate {
  Template template; // first: the one is the other's address
  char *texts[TEXTS_MAX];
  int n_texts;
} OwnTemplate;

typedef struct Parsing {
  OwnTemplate *own;
  const char *name;
  const json_t *root;
  Error *err;
} Parsing;

void template_free(Template *template) {
  OwnTemplate *own = (OwnTemplate *)template;
  if (own == NULL) return;
  for (int i = 0; i < own->n_texts; i++) free(own->texts[i]);
  free(own);
}

static Status refuse(const Parsing *p, const char *key, const char *expected) {
  return error_set(p->err, STATUS_DATA, "%s: %s: expected %s", p->name, key, expected);
}

static char *keep(Parsing *p, char *text) {
  if (text != NULL) p->own->texts[p->own->n_texts++] = text;
  return text;
}

static Status no_memory(const Parsing *p) {
  return error_set(p->err, STATUS_MEMORY, "%s: no memory for a template", p->name);
}

// The text of a key; NULL for an optional one that is not there.
static Status get_text(const Parsing *p, const char *key, bool optional, const char **text) {
  const json_t *value = json_object_get(p->root, key);
  *text = json_string_value(value);
  if (value == NULL && optional) return STATUS_OK;
  if (*text == NULL) return refuse(p, key, value == NULL ? "a text, found no such key" : "a text");
  for (size_t i = 0; i < json_string_length(value); i++) {
    if ((uint8_t)(*text)[i] <= 2) return refuse(p, key, "a text without control characters");
  }
  return STATUS_OK;
}

// Copies text[0, size) with {bos} and {eos} as their marks, and where `doubled` is, "{{" and "}}"
// as single braces and no other one.
static Status copy_frame(Parsing *p, const char *key, const char *text, size_t size, bool doubled,
                         const char **frame) {
  char *out = malloc(size + 1), *end = out;
  if (keep(p, out) == NULL) return no_memory(p);
  for (size_t i = 0; i < size;) {
    if (!doubled && size - i >= 5 && memcmp(text + i, "{bos}", 5) == 0) {
      *end++ = TEMPLATE_BOS[0];
      i += 5;
    } else if (!doubled && size - i >= 5 && memcmp(text + i, "{eos}", 5) == 0) {
      *end++ = TEMPLATE_EOS[0];
      p->own->template.needs_eos = true;
      i += 5;
    } else if (doubled && (text[i] == '{' || text[i] == '}')) {
      if (i + 1 == size || text[i + 1] != text[i]) {
        return refuse(p, key,
                      "{instruction} and {input} once each and in this order (prompt_no_input: the "
                      "first alone), other braces as {{ and }}");
      }
      *end++ = text[i];
      i += 2;
    } else {
      *end++ = text[i++];
    }
  }
  *end = '\0';
  *frame = out;
  return STATUS_OK;
}

// ---- Alpaca-LoRA's form ----

// The text around the n slots.
static Status split_prompt(Parsing *p, const char *key, const char *const *slots, int n,
                           const char **frames) {
  Status status = STATUS_OK;
  const char *text;
  TRY(get_text(p, key, false, &text));
  for (int i = 0; i <= n; i++) {
    const char *slot = i < n ? strstr(text, slots[i]) : text + strlen(text);
    if (slot == NULL) {
      TRY(refuse(p, key,
                 n == 2 ? "{instruction}, then {input}, each once" : "{instruction}, once"));
    }
    TRY(copy_frame(p, key, text, (size_t)(slot - text), true, &frames[i]));
    if (i < n) text = slot + strlen(slots[i]);
  }
done:
  return status;
}

static Status parse_alpaca(Parsing *p) {
  static const char *const slots[] = {"{instruction}", "{input}"};
  Status status = STATUS_OK;
  Template *t = &p->own->template;
  const char *unused;
  *t = (Template){.name = t->name,
                  .source = t->source,
                  .system = {"", "\n\n"},
                  .no_system = "",
                  .no_system_input = "",
                  .next = "\n\n",
                  .answer = {"", "", TEMPLATE_EOS},
                  .end_if_room = true};
  TRY(get_text(p, "description", true, &unused));
  TRY(get_text(p, "response_split", true, &unused));
  TRY(split_prompt(p, "prompt_no_input", slots, 1, t->user));
  TRY(split_prompt(p, "prompt_input", slots, 2, t->user_input));
done:
  return status;
}

// ---- a chat's form ----

static Status split_frame(Parsing *p, const char *key, const char **before, const char **after) {
  static const char slot[] = "{content}";
  Status status = STATUS_OK;
  const char *text, *at;
  TRY(get_text(p, key, false, &text));
  at = strstr(text, slot);
  if (at == NULL || strstr(at + 1, slot) != NULL) TRY(refuse(p, key, "{content}, once"));
  if (strstr(text, "{{") != NULL || strstr(text, "{%") != NULL) {
    TRY(refuse(p, key, "a frame around {content}, found a program (Jinja), which is not run"));
  }
  TRY(copy_frame(p, key, text, (size_t)(at - text), false, before));
  at += sizeof slot - 1;
  TRY(copy_frame(p, key, at, strlen(at), false, after));
done:
  return status;
}

static Status parse_chat(Parsing *p) {
  Status status = STATUS_OK;
  Template *t = &p->own->template;
  const char *begin, *text, *head, *before, *after;
  char *joined = NULL;
  const json_t *trim = json_object_get(p->root, "trim");
  if (trim != NULL && !json_is_boolean(trim)) TRY(refuse(p, "trim", "true or false"));
  t->trims = json_is_true(trim);
  t->next = "";
  t->answer[1] = "";
  TRY(get_text(p, "begin", true, &begin));
  if (begin == NULL) begin = "";
  TRY(copy_frame(p, "begin", begin, strlen(begin), false, &head));
  TRY(get_text(p, "default_system", true, &text));
  TRY(split_frame(p, "system", &before, &after));
  TRY(split_frame(p, "user", &t->user[0], &t->user[1]));
  TRY(split_frame(p, "assistant", &t->answer[0], &t->answer[2]));
  t->system[1] = after;
  t->user_input[0] = t->user[0];
  t->user_input[1] = "\n\n";
  t->user_input[2] = t->user[1];
  if (asprintf(&joined, "%s%s", head, before) < 0 || keep(p, joined) == NULL) TRY(no_memory(p));
  t->system[0] = joined;
  t->no_system = head;
  if (text != NULL) {
    if (asprintf(&joined, "%s%s%s%s", head, before, text, after) < 0 || keep(p, joined) == NULL)
      TRY(no_memory(p));
    t->no_system = joined;
  }
  t->no_system_input = t->no_system;
  if (t->answer[2][0] == '\0') {
    TRY(refuse(p, "assistant", "what ends an answer behind {content}, {eos} for one"));
  }
done:
  return status;
}

// ---- either ----

static Status check_keys(const Parsing *p, const char *const *known, int n) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)p->root, key, value) {
    bool found = false;
    for (int i = 0; i < n; i++) found = found || strcmp(known[i], key) == 0;
    if (!found) {
      return error_set(p->err, STATUS_DATA,
                       "%s: expected the keys prompt_input, prompt_no_input (description, "
                       "response_split) or system, user, assistant (begin, default_system, trim), "
                       "found %s",
                       p->name, quote_text(key).text);
    }
  }
  return STATUS_OK;
}

static Status parse_root(Parsing *p) {
  static const char *const alpaca[] = {"prompt_input", "prompt_no_input", "description",
                                       "response_split"};
  static const char *const chat[] = {"system", "user",           "assistant",
                                     "begin",  "default_system", "trim"};
  Status status = STATUS_OK;
  if (!json_is_object(p->root)) TRY(refuse(p, "the template", "a JSON object"));
  bool of_alpaca = json_object_get(p->root, "prompt_no_input") != NULL ||
                   json_object_get(p->root, "prompt_input") != NULL;
  TRY(of_alpaca ? check_keys(p, alpaca, 4) : check_keys(p, chat, 6));
  TRY(of_alpaca ? parse_alpaca(p) : parse_chat(p));
done:
  return status;
}

Status template_parse(Template **result, const char *name, const char *text, int64_t size,
                      Error *err) {
  Status status = STATUS_OK;
  json_t *root = NULL;
  OwnTemplate *own = calloc(1, sizeof *own);
  Parsing p = {.own = own, .name = name, .err = err};
  *result = NULL;
  if (own == NULL) return no_memory(&p);
  TRY(json_document_parse(&root, name, text, size, err));
  p.root = root;
  own->template.name = keep(&p, strdup(name));
  own->template.source = keep(&p, strndup(text, (size_t)size));
  if (own->n_texts < 2) TRY(no_memory(&p));
  TRY(parse_root(&p));
done:
  json_decref(root);
  if (status == STATUS_OK) {
    *result = &own->template;
  } else {
    template_free(&own->template);
  }
  return status;
}

Status template_load(Template **result, const char *path, Error *err) {
  char *text = NULL;
  int64_t size;
  *result = NULL;
  Status status = file_read_all(&text, &size, path, TEMPLATE_FILE_BYTES_MAX, err);
  if (status == STATUS_OK) status = template_parse(result, path, text, size, err);
  free(text);
  return status;
}
