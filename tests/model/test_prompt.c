// labels: quick
// Which template serves, and what an adapter's files say about template and base weights.
#include "prompt.h"
#include "template_file.h"
#include "test.h"
#include "tiny_engine.h"

// A copy of the golden adapter with metadata of its own; returns its folder.
static const char *adapter_with(const char *template_name, const char *base_hash) {
  static char folder[600];
  static int n;
  PeftAdapter a;
  Error err = {0};
  snprintf(folder, sizeof folder, "%s/adapter%d", test_tmp_dir(), n++);
  EXPECT(peft_adapter_read(&a, "tests/golden/tiny_lora/qv", &err) == STATUS_OK, "%s", err.message);
  a.template_name = template_name != NULL ? strdup(template_name) : NULL;
  a.base_hash = base_hash != NULL ? strdup(base_hash) : NULL;
  EXPECT(peft_adapter_write(&a, folder, &err) == STATUS_OK, "%s", err.message);
  peft_adapter_free(&a);
  return folder;
}

static const Template *choose_template(const Engine *e, PromptRequest r, Status expected) {
  const Template *template = NULL;
  Error err = {0};
  r.adapter = engine_adapter(e, NULL);
  Status status = prompt_template(&r, e, &template, &err);
  EXPECT(status == expected, "status %d: %s", status, err.message);
  return template;
}

static TemplateKind choose(const Engine *e, PromptRequest r, Status expected) {
  const Template *template = choose_template(e, r, expected);
  return template != NULL ? template_kind_from_name(template->name) : TEMPLATE_COUNT;
}

static const PromptRequest ask = {.instruction = "hi", .adapter = -1},
                           go_on = {.prompt = "hi", .adapter = -1};

static PromptRequest with(PromptRequest r, TemplateKind kind) {
  r.template = template_builtin(kind);
  return r;
}

static void test_without_an_adapter(void) {
  Engine e;
  tiny_engine_open(&e, "gqa", NULL);
  EXPECT(choose(&e, ask, STATUS_OK) == TEMPLATE_CHATML);
  EXPECT(choose(&e, go_on, STATUS_OK) == TEMPLATE_NONE);
  EXPECT(choose(&e, with(ask, TEMPLATE_ALPACA), STATUS_OK) == TEMPLATE_ALPACA);
  EXPECT(choose(&e, with(go_on, TEMPLATE_ALPACA), STATUS_OK) == TEMPLATE_ALPACA);
  EXPECT(choose(&e, with(ask, TEMPLATE_NONE), STATUS_OK) == TEMPLATE_NONE);
  engine_close(&e);
}

static void test_the_adapters_template(void) {
  Engine e;
  tiny_engine_open(&e, "gqa", adapter_with("alpaca_short", NULL));
  EXPECT(e.adapters[0].warning[0] == '\0');
  EXPECT(choose(&e, ask, STATUS_OK) == TEMPLATE_ALPACA_SHORT);
  EXPECT(choose(&e, with(ask, TEMPLATE_ALPACA_SHORT), STATUS_OK) == TEMPLATE_ALPACA_SHORT);
  choose(&e, with(ask, TEMPLATE_CHATML), STATUS_USAGE);
  choose(&e, with(ask, TEMPLATE_NONE), STATUS_USAGE);
  choose(&e, with(go_on, TEMPLATE_CHATML), STATUS_USAGE);
  EXPECT(choose(&e, go_on, STATUS_OK) == TEMPLATE_NONE, "a prompt is taken as it is");
  EXPECT(choose(&e, with(go_on, TEMPLATE_NONE), STATUS_OK) == TEMPLATE_NONE);
  engine_close(&e);
}

static void test_an_own_template(void) {
  static const char text[] = "{\"prompt_input\": \"Q: {instruction} ({input})\\nA: \", "
                             "\"prompt_no_input\": \"Q: {instruction}\\nA: \"}";
  Engine e;
  Error err = {0};
  TokenIds ids = {0};
  Template *same = NULL, *other = NULL;
  tiny_engine_open(&e, "gqa", adapter_with(text, NULL));
  EXPECT(template_parse(&same, "same.json", text, sizeof text - 1, &err) == STATUS_OK);
  EXPECT(template_parse(&other, "other.json", text, sizeof text - 2, &err) != STATUS_OK);
  const Template *found = choose_template(&e, ask, STATUS_OK);
  EXPECT(found != NULL && found->source != NULL && strcmp(found->source, text) == 0);
  EXPECT(prompt_encode(&ask, &e, found, &ids, &err) == STATUS_OK, "%s", err.message);
  char *back = tokenizer_decode(e.tokenizer, ids.ids, ids.n, true, NULL);
  EXPECT(strcmp(back, "Q: hi\nA: ") == 0, "'%s'", back);
  PromptRequest given = ask;
  given.template = same;
  choose_template(&e, given, STATUS_OK);
  choose_template(&e, with(ask, TEMPLATE_ALPACA), STATUS_USAGE);
  free(back);
  token_ids_free(&ids);
  template_free(same);
  engine_close(&e);
}

static void expect_refused(const char *variant, const char *adapter, Status expected,
                           const char *part) {
  Engine e;
  Error err = {0};
  EngineOptions o = {.model = tiny_model_folder(variant),
                     .adapters = {{.folder = adapter}},
                     .n_adapters = 1,
                     .dtype = DT_F32};
  Status status = engine_open(&e, &o, &err);
  EXPECT(status == expected && strstr(err.message, part) != NULL, "status %d: %s", status,
         err.message);
}

static void test_unknown_template(void) {
  expect_refused("gqa", adapter_with("vicuna", NULL), STATUS_DATA, "'vicuna'");
  expect_refused("gqa", adapter_with("{\"prompt\": 1}", NULL), STATUS_DATA, "metadata");
}

static void test_base_hash(void) {
  Engine e;
  char hash[65], other[65];
  Error err = {0};
  tiny_engine_open(&e, "gqa", NULL);
  EXPECT(store_hash(e.store, hash, &err) == STATUS_OK);
  engine_close(&e);
  tiny_engine_open(&e, "gqa", adapter_with(NULL, hash));
  EXPECT(e.adapters[0].warning[0] == '\0', "%s", e.adapters[0].warning);
  EXPECT(choose(&e, ask, STATUS_OK) == TEMPLATE_CHATML, "an adapter that does not say");
  engine_close(&e);
  memcpy(other, hash, sizeof other);
  other[10] = other[10] == '0' ? '1' : '0';
  tiny_engine_open(&e, "gqa", adapter_with(NULL, other));
  EXPECT(strstr(e.adapters[0].warning, "made for other weights") != NULL, "'%s'",
         e.adapters[0].warning);
  engine_close(&e);
}

// Names or shapes of another model.
static void test_another_models_adapter(void) {
  PeftAdapter a;
  Error err = {0};
  static char folder[600];
  EXPECT(peft_adapter_read(&a, "tests/golden/tiny_lora/qv", &err) == STATUS_OK, "%s", err.message);
  snprintf(folder, sizeof folder, "%s/renamed", test_tmp_dir());
  for (int64_t i = 0; i < a.n_targets; i++) {
    if (strcmp(a.targets[i], "q_proj") == 0) a.targets[i][0] = 'z';
  }
  for (int64_t i = 0; i < a.n_pairs; i++) {
    char *at = strstr(a.pairs[i].module, "q_proj");
    if (at != NULL) at[0] = 'z';
  }
  EXPECT(peft_adapter_write(&a, folder, &err) == STATUS_OK, "%s", err.message);
  peft_adapter_free(&a);
  expect_refused("gqa", folder, STATUS_DATA, "z_proj");
  expect_refused("odd80", "tests/golden/tiny_lora/qv", STATUS_DATA, "the model needs [");
}

static TokenIds encode(const Engine *e, PromptRequest r, TemplateKind kind, Status expected) {
  TokenIds ids = {0};
  Error err = {0};
  if (r.prompt != NULL) r.prompt_bytes = (int64_t)strlen(r.prompt);
  Status status = prompt_encode(&r, e, template_builtin(kind), &ids, &err);
  EXPECT(status == expected, "status %d: %s", status, err.message);
  return ids;
}

static void test_encode(void) {
  Engine e;
  tiny_engine_open(&e, "gqa", NULL);
  TokenIds ids = encode(&e, go_on, TEMPLATE_NONE, STATUS_OK);
  EXPECT(ids.n == 2 && ids.ids[0] == 74 && ids.ids[1] == 75, "'h', 'i'");
  token_ids_free(&ids);
  ids =
      encode(&e, (PromptRequest){.prompt = "<|im_end|>", .adapter = -1}, TEMPLATE_NONE, STATUS_OK);
  EXPECT(ids.n > 1, "text that spells a special token is text");
  token_ids_free(&ids);
  ids = encode(&e, (PromptRequest){.prompt = "", .adapter = -1}, TEMPLATE_NONE, STATUS_USAGE);
  token_ids_free(&ids);
  ids = encode(&e, ask, TEMPLATE_CHATML, STATUS_OK);
  EXPECT(ids.n > 5 && ids.ids[0] == 1 && ids.ids[ids.n - 1] == 98, "begins <|im_start|>, ends \\n");
  token_ids_free(&ids);
  int32_t stops[ENGINE_STOPS_MAX];
  EXPECT(engine_stop_ids(&e, template_builtin(TEMPLATE_CHATML), stops) == 1 && stops[0] == 2,
         "each once");
  e.model.config.vocab = 50; // as of another model
  ids = encode(&e, go_on, TEMPLATE_NONE, STATUS_DATA);
  token_ids_free(&ids);
  engine_close(&e);
}

int main(void) {
  RUN(test_without_an_adapter);
  RUN(test_the_adapters_template);
  RUN(test_an_own_template);
  RUN(test_unknown_template);
  RUN(test_base_hash);
  RUN(test_another_models_adapter);
  RUN(test_encode);
  return test_done();
}
