#include "conversation.h"

#include "check.h"
#include "mapped_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static char *copy(const char *text) {
  char *out = strdup(text);
  CHECK(out != NULL, "no memory for a turn");
  return out;
}

static void set_text(Turn *turn, const char *text) {
  free((char *)turn->text);
  turn->text = copy(text);
}

static int64_t first_turn(const Conversation *c) {
  return c->n > 0 && c->turns[0].role == ROLE_SYSTEM ? 1 : 0;
}

void conversation_free(Conversation *c) {
  for (int64_t i = 0; i < c->n; i++) free((char *)c->turns[i].text);
  free(c->turns);
  *c = (Conversation){0};
}

static void insert(Conversation *c, int64_t at, Turn turn) {
  if (c->n == c->capacity) {
    c->capacity = 2 * c->capacity + 16;
    c->turns = realloc(c->turns, (size_t)c->capacity * sizeof *c->turns);
    CHECK(c->turns != NULL, "no memory for %lld turns", (long long)c->capacity);
  }
  memmove(c->turns + at + 1, c->turns + at, (size_t)(c->n - at) * sizeof *c->turns);
  c->turns[at] = turn;
  c->n++;
}

static void erase(Conversation *c, int64_t at) {
  free((char *)c->turns[at].text);
  c->n--;
  memmove(c->turns + at, c->turns + at + 1, (size_t)(c->n - at) * sizeof *c->turns);
}

void conversation_add(Conversation *c, Role role, const char *text) {
  insert(c, c->n, (Turn){.role = role, .text = copy(text)});
}

void conversation_drop_last(Conversation *c) {
  CHECK(c->n > 0, "no turn to take back");
  erase(c, c->n - 1);
}

void conversation_set_system(Conversation *c, const char *text) {
  bool there = first_turn(c) == 1;
  if (*text == '\0') {
    if (there) erase(c, 0);
  } else if (there) {
    set_text(&c->turns[0], text);
  } else {
    insert(c, 0, (Turn){.role = ROLE_SYSTEM, .text = copy(text)});
  }
}

void conversation_reset(Conversation *c) {
  while (c->n > first_turn(c)) erase(c, c->n - 1);
  c->n_left_out = 0;
}

// The system text, and the turns from `from` on.
static void encode(const Conversation *c, int64_t from, TokenIds *ids) {
  int64_t system = first_turn(c), n = system + c->n - from;
  Turn *turns = calloc((size_t)n, sizeof *turns);
  CHECK(turns != NULL, "no memory for %lld turns", (long long)n);
  if (system == 1) turns[0] = c->turns[0];
  memcpy(turns + system, c->turns + from, (size_t)(c->n - from) * sizeof *turns);
  ids->n = 0;
  template_encode(c->tokenizer, c->template, turns, n, MARK_NOTHING, ids);
  free(turns);
}

bool conversation_prompt(Conversation *c, int64_t limit, TokenIds *ids) {
  int64_t begin = first_turn(c);
  CHECK(c->n > begin && c->turns[c->n - 1].role == ROLE_USER, "a prompt without a question");
  int64_t from = c->one_turn ? c->n - 1 : begin + c->n_left_out;
  for (;; from += 2) { // a question and its answer at a time
    encode(c, from, ids);
    if (ids->n <= limit || from + 2 >= c->n) break;
  }
  if (!c->one_turn) c->n_left_out = from - begin;
  return ids->n <= limit;
}

Status conversation_save(const Conversation *c, const char *path, Error *err) {
  static const char *const roles[] = {
      [ROLE_SYSTEM] = "system", [ROLE_USER] = "user", [ROLE_ASSISTANT] = "assistant"};
  json_t *messages = json_array();
  for (int64_t i = 0; i < c->n; i++) {
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", roles[c->turns[i].role],
                                              "content", c->turns[i].text));
  }
  json_t *root = json_pack("{s:o}", "messages", messages);
  char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
  CHECK(text != NULL, "no memory for a conversation");
  json_decref(root);
  size_t n = strlen(text);
  text[n] = '\n'; // in place of the NUL
  Status status = file_write(path, text, (int64_t)n + 1, err);
  free(text);
  return status;
}
