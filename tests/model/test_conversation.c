// labels: quick
// A chat's prompts: their ids are those of all turns at once, the oldest questions make room, and
// an answer that goes on from what the cache holds is the answer to the whole.
#include "check.h"
#include "conversation.h"
#include "generator.h"
#include "mapped_file.h"
#include "test.h"
#include "tiny_engine.h"

enum { CONTEXT = 400 };

static Engine engine;

static Conversation make(bool one_turn) {
  return (Conversation){.tokenizer = engine.tokenizer,
                        .template = template_builtin(TEMPLATE_CHATML),
                        .one_turn = one_turn};
}

static void ask_and_answer(Conversation *c, const char *question, const char *answer) {
  conversation_add(c, ROLE_USER, question);
  conversation_add(c, ROLE_ASSISTANT, answer);
}

static void expect_turns(const TokenIds *ids, const Turn *turns, int64_t n, const char *what) {
  TokenIds expected = {0};
  template_encode(engine.tokenizer, template_builtin(TEMPLATE_CHATML), turns, n, MARK_NOTHING,
                  &expected);
  EXPECT(ids->n == expected.n &&
             memcmp(ids->ids, expected.ids, (size_t)ids->n * sizeof *ids->ids) == 0,
         "%s: %lld ids, not %lld", what, (long long)ids->n, (long long)expected.n);
  token_ids_free(&expected);
}

static const Turn all[] = {
    {.role = ROLE_SYSTEM, .text = "Be brief."}, {.role = ROLE_USER, .text = "one"},
    {.role = ROLE_ASSISTANT, .text = "first"},  {.role = ROLE_USER, .text = "two"},
    {.role = ROLE_ASSISTANT, .text = "second"}, {.role = ROLE_USER, .text = "three"}};

static Conversation whole(bool one_turn) {
  Conversation c = make(one_turn);
  ask_and_answer(&c, "one", "first");
  ask_and_answer(&c, "two", "second");
  conversation_add(&c, ROLE_USER, "three");
  conversation_set_system(&c, "not this");
  conversation_set_system(&c, "Be brief.");
  return c;
}

static void test_prompt(void) {
  TokenIds ids = {0};
  Conversation c = whole(false);
  EXPECT(conversation_prompt(&c, 1000, &ids) && c.n_left_out == 0);
  expect_turns(&ids, all, 6, "all turns");
  int64_t n = ids.n;
  EXPECT(conversation_prompt(&c, n, &ids) && ids.n == n);
  EXPECT(conversation_prompt(&c, n - 1, &ids) && c.n_left_out == 2);
  const Turn later[] = {all[0], all[3], all[4], all[5]};
  expect_turns(&ids, later, 4, "without the first question");
  EXPECT(conversation_prompt(&c, 1000, &ids) && c.n_left_out == 2, "what was left out comes back");
  const Turn last[] = {all[0], all[5]};
  EXPECT(!conversation_prompt(&c, 10, &ids), "a question of more than 10 tokens");
  expect_turns(&ids, last, 2, "the last question");
  conversation_set_system(&c, "");
  conversation_prompt(&c, 1000, &ids);
  expect_turns(&ids, &all[5], 1, "without a system text");
  conversation_drop_last(&c);
  conversation_reset(&c);
  EXPECT(c.n == 0 && c.n_left_out == 0);
  conversation_free(&c);
  c = whole(true);
  EXPECT(conversation_prompt(&c, 1000, &ids) && c.n_left_out == 0);
  expect_turns(&ids, last, 2, "a template of one turn");
  conversation_reset(&c);
  EXPECT(c.n == 1 && c.turns[0].role == ROLE_SYSTEM, "the system text stays");
  conversation_free(&c);
  token_ids_free(&ids);
}

static void test_save(void) {
  char path[600], *text;
  int64_t n;
  Error err = {0};
  Conversation c = make(false);
  ask_and_answer(&c, "a \"b\"", "\xC3\xA9\n");
  snprintf(path, sizeof path, "%s/saved.jsonl", test_tmp_dir());
  EXPECT(conversation_save(&c, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_read_all(&text, &n, path, 1000, &err) == STATUS_OK, "%s", err.message);
  EXPECT(strcmp(text, "{\"messages\":[{\"role\":\"user\",\"content\":\"a \\\"b\\\"\"},"
                      "{\"role\":\"assistant\",\"content\":\"\xC3\xA9\\n\"}]}\n") == 0,
         "%s", text);
  free(text);
  snprintf(path, sizeof path, "%s/no/where", test_tmp_dir());
  EXPECT(conversation_save(&c, path, &err) != STATUS_OK);
  conversation_free(&c);
}

// The newest prompt goes on from n_cached ids of the one before; a fresh generation is the same.
static void test_what_is_cached(int beams) {
  Decoder kept, fresh;
  Generator g;
  Error err = {0};
  GenerateOptions o = {.sampler = SAMPLER_GREEDY,
                       .beam = {.beams = beams, .length_penalty = 1},
                       .max_new_tokens = 30,
                       .context = CONTEXT,
                       .adapter = -1};
  DecoderSize size = {.max_len = CONTEXT, .chunk = 50, .seqs = beams};
  CHECK(engine_load(&engine, decoder_rehearse, &size, &err) == STATUS_OK, "%s", err.message);
  TokenIds ids = {0}, held = {0};
  decoder_init(&kept, &engine.ctx, &engine.model, &engine.memory.cache, size);
  generator_init(&g, &kept, engine.tokenizer,
                 (GeneratorSize){.slots = 1, .beams = beams, .max_tokens = CONTEXT, .max_new = 30});
  Conversation c = make(false);
  for (int turn = 0; turn < 4; turn++) {
    conversation_add(&c, ROLE_USER, turn == 2 ? "And what\nelse?" : "The heart");
    if (turn == 3) conversation_set_system(&c, "Be brief."); // little is left of the cache
    EXPECT(conversation_prompt(&c, CONTEXT - 30, &ids));
    int64_t cached = 0, in_cache = generator_cached(&g);
    while (cached < in_cache && cached < ids.n - 1 && held.ids[cached] == ids.ids[cached]) cached++;
    EXPECT(turn == 0 || turn == 3 ? cached < 20 : cached > 50, "turn %d: %lld ids are kept", turn,
           (long long)cached);
    Generation answer;
    GenerateRequest r = {.prompt = ids.ids, .n_prompt = ids.n, .n_cached = cached, .options = &o};
    EXPECT(generator_add(&g, &r, &answer, &err) == STATUS_OK, "%s", err.message);
    while (!answer.done) EXPECT(generator_step(&g, &err) == STATUS_OK, "%s", err.message);
    held.n = 0;
    for (int64_t i = 0; i < ids.n; i++) token_ids_push(&held, ids.ids[i]);
    for (int64_t i = 0; i < answer.n; i++) token_ids_push(&held, answer.ids[i]);
    conversation_add(&c, ROLE_ASSISTANT, answer.text);
    generation_free(&answer);
  }
  // All again, from nothing.
  int64_t n_last = c.n;
  char *last = strdup(c.turns[n_last - 1].text);
  conversation_drop_last(&c);
  generator_free(&g);
  fresh = kept; // the same memory, reset by generate()
  EXPECT(conversation_prompt(&c, CONTEXT - 30, &ids));
  Generation again;
  EXPECT(generate(&again, &fresh, engine.tokenizer, ids.ids, ids.n, &o, (TextSink){0}, &err) ==
             STATUS_OK,
         "%s", err.message);
  EXPECT(last != NULL && strcmp(again.text, last) == 0, "'%s', and from nothing '%s'", last,
         again.text);
  generation_free(&again);
  free(last);
  decoder_free(&fresh);
  arena_release(&engine.memory.cache, (ArenaMark){0, 0});
  conversation_free(&c);
  token_ids_free(&ids);
  token_ids_free(&held);
}

// As Ctrl-C does it: what has been drawn is the answer, and the next request is sound.
static void test_stop(void) {
  Decoder d;
  Generator g;
  Error err = {0};
  Generation first, second;
  const int32_t prompt[] = {50, 60, 70};
  GenerateOptions o = {
      .sampler = SAMPLER_GREEDY, .max_new_tokens = 30, .context = CONTEXT, .adapter = -1};
  GenerateRequest r = {.prompt = prompt, .n_prompt = 3, .options = &o};
  DecoderSize size = {.max_len = CONTEXT, .chunk = 50};
  decoder_init(&d, &engine.ctx, &engine.model, &engine.memory.cache, size);
  generator_init(&g, &d, engine.tokenizer,
                 (GeneratorSize){.slots = 1, .max_tokens = CONTEXT, .max_new = 30});
  EXPECT(generator_add(&g, &r, &first, &err) == STATUS_OK);
  for (int i = 0; i < 5; i++) EXPECT(generator_step(&g, &err) == STATUS_OK);
  EXPECT(generator_stop(&g, &err) == STATUS_OK && first.done && first.n == 5);
  EXPECT(generator_cached(&g) == 3 + 4, "the newest token is not read");
  EXPECT(generator_add(&g, &r, &second, &err) == STATUS_OK);
  while (!second.done) EXPECT(generator_step(&g, &err) == STATUS_OK);
  EXPECT(second.n == 30 && memcmp(first.ids, second.ids, 5 * sizeof *first.ids) == 0);
  generation_free(&first);
  generation_free(&second);
  generator_free(&g);
  decoder_free(&d);
}

static void test_one_text(void) {
  test_what_is_cached(1);
  test_stop();
  memory_close(&engine.memory);
}

static void test_beams(void) {
  test_what_is_cached(3);
}

int main(void) {
  tiny_engine_open(&engine, "mha", NULL);
  RUN(test_prompt);
  RUN(test_save);
  RUN(test_one_text);
  RUN(test_beams);
  engine_close(&engine);
  return test_done();
}
