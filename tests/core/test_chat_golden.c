// labels: quick
// Conversations as transformers' apply_chat_template makes them, ids and which of them are the
// assistant's, for chatml, llama2 and llama3 (tests/golden/dataset/chat.json;
// tools/reference/chat_golden.py says how it was made): by the encoder, and through a data file of
// messages.
#include "dataset.h"
#include "json_items.h"
#include "test.h"
#include "tmp_file.h"

enum { TURNS_MAX = 8 };

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static int64_t make_turns(const json_t *list, Turn *turns) {
  const json_t *one;
  size_t i;
  json_array_foreach(list, i, one) {
    const char *role = json_string_value(json_array_get(one, 0));
    turns[i] = (Turn){.role = role[0] == 's'   ? ROLE_SYSTEM
                              : role[0] == 'u' ? ROLE_USER
                                               : ROLE_ASSISTANT,
                      .text = json_string_value(json_array_get(one, 1))};
  }
  return (int64_t)json_array_size(list);
}

static void compare(const char *where, const int32_t *tokens, int64_t n, const json_t *expected,
                    bool labels) {
  const json_t *ids = json_object_get(expected, "ids");
  EXPECT(n == (int64_t)json_array_size(ids), "%s: %lld ids, not %zu", where, (long long)n,
         json_array_size(ids));
  for (int64_t i = 0; i < n && i < (int64_t)json_array_size(ids); i++) {
    int64_t id = json_integer_value(json_array_get(ids, (size_t)i));
    int64_t label =
        json_integer_value(json_array_get(json_object_get(expected, "labels"), (size_t)i));
    EXPECT(token_id(tokens[i]) == id, "%s: id %lld is %d, not %lld", where, (long long)i,
           token_id(tokens[i]), (long long)id);
    EXPECT(token_is_label(tokens[i]) == (labels && label == 1), "%s: label %lld", where,
           (long long)i);
  }
}

static void check_file(const Tokenizer *tokenizer, const Template *template, const json_t *one) {
  const json_t *turn;
  size_t i;
  json_t *messages = json_array();
  json_array_foreach(json_object_get(one, "turns"), i, turn) {
    json_array_append_new(messages, json_pack("{s:O, s:O}", "role", json_array_get(turn, 0),
                                              "content", json_array_get(turn, 1)));
  }
  json_t *item = json_pack("{s:o}", "messages", messages);
  char *line = json_dumps(item, JSON_COMPACT);
  tmp_put_text("chat.jsonl", line);
  free(line);
  json_decref(item);
  DatasetOptions options = {.template = template, .cutoff_len = 4096};
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, tmp_path("chat.jsonl"), tokenizer, &options, &err) == STATUS_OK, "%s",
         err.message);
  EXPECT(d.n == 1 && d.stats.unanswered == 0);
  compare("messages", d.tokens, d.n_tokens, one, true);
  dataset_free(&d);
}

static void test_conversations(void) {
  Error err = {0};
  json_t *root = NULL;
  const json_t *one;
  size_t i;
  EXPECT(json_document_load(&root, "tests/golden/dataset/chat.json", 1 << 20, &err) == STATUS_OK,
         "%s", err.message);
  EXPECT(json_array_size(root) == 15);
  json_array_foreach(root, i, one) {
    char path[256], where[64];
    Turn turns[TURNS_MAX];
    TokenIds tokens = {0};
    Tokenizer *tokenizer = NULL;
    const Template *template = template_builtin(template_kind_from_name(text_of(one, "template")));
    snprintf(path, sizeof path, "tests/golden/dataset/%s", text_of(one, "tokenizer"));
    snprintf(where, sizeof where, "%s %zu", template->name, i);
    EXPECT(tokenizer_open(&tokenizer, path, &err) == STATUS_OK, "%s", err.message);
    EXPECT(template_check(tokenizer, template, &err) == STATUS_OK, "%s", err.message);
    int64_t n = make_turns(json_object_get(one, "turns"), turns);
    template_encode(tokenizer, template, turns, n, MARK_ANSWERS, &tokens);
    compare(where, tokens.ids, tokens.n, one, true);
    tokens.n = 0;
    template_encode(tokenizer, template, turns, n, MARK_NOTHING, &tokens);
    compare(where, tokens.ids, tokens.n, one, false);
    if (turns[n - 1].role == ROLE_ASSISTANT) check_file(tokenizer, template, one);
    token_ids_free(&tokens);
    tokenizer_close(tokenizer);
  }
  json_decref(root);
}

int main(void) {
  RUN(test_conversations);
  return test_done();
}
