#include "chat.h"

#include "check.h"
#include "conversation.h"
#include "generator.h"
#include "prompt.h"
#include "quote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 512 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

typedef struct Chat {
  const Engine *engine;
  GenerateOptions options;
  uint64_t seed;
  Conversation conversation;
  Decoder decoder;
  Generator generator;
  TokenIds prompt;
  TokenIds held; // what the cache was fed with: the newest prompt and its answer
  bool terminal;
  char *line; // of getline
  size_t line_capacity;
  char *text; // the question: lines put together
} Chat;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  fprintf(stderr, "[");
  vfprintf(stderr, fmt, args);
  fprintf(stderr, "]\n");
  va_end(args);
}

static Status put_stdout(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  errno = 0;
  if (fwrite(text, 1, (size_t)bytes, stdout) == (size_t)bytes && fflush(stdout) == 0)
    return STATUS_OK;
  return error_set(err, STATUS_IO, "standard output: writing failed: %s", strerror(errno));
}

// ---- questions ----

static void append(char **text, const char *more) {
  size_t n = *text != NULL ? strlen(*text) : 0, m = strlen(more);
  *text = realloc(*text, n + m + 1);
  CHECK(*text != NULL, "no memory for a question of %zu bytes", n + m);
  memcpy(*text + n, more, m + 1);
}

static bool is_utf8(const char *text, int64_t left) {
  for (const uint8_t *at = (const uint8_t *)text; left > 0;) {
    int n = *at != 0 ? utf8_character_length(at, left) : 0;
    if (n == 0) return false;
    at += n;
    left -= n;
  }
  return true;
}

// The next question or command in chat->text; false at the end of the input.
static bool read_question(Chat *c) {
  free(c->text);
  c->text = NULL;
  for (;;) {
    if (c->terminal) fputs(c->text == NULL ? "> " : ". ", stderr);
    interrupted = 0;
    errno = 0;
    ssize_t n = getline(&c->line, &c->line_capacity, stdin);
    if (n < 0 && errno == EINTR) { // Ctrl-C at the prompt
      clearerr(stdin);
      fprintf(stderr, "\n");
      say("Ctrl-D or /quit ends the chat");
      free(c->text);
      c->text = NULL;
      continue;
    }
    if (n < 0) return c->text != NULL;
    while (n > 0 && (c->line[n - 1] == '\n' || c->line[n - 1] == '\r')) c->line[--n] = '\0';
    if (!is_utf8(c->line, n)) {
      say("that line is no UTF-8 text: passed over");
      continue;
    }
    bool goes_on = n > 0 && c->line[n - 1] == '\\';
    if (goes_on) c->line[n - 1] = '\n';
    append(&c->text, c->line);
    if (!goes_on) return true;
  }
}

// ---- answers ----

static int64_t common_start(const TokenIds *a, int64_t n_a, const TokenIds *b) {
  int64_t n = 0;
  while (n < n_a && n < b->n && a->ids[n] == b->ids[n]) n++;
  return n;
}

static void hold(Chat *c, const Generation *answer) {
  c->held.n = 0;
  for (int64_t i = 0; i < c->prompt.n; i++) token_ids_push(&c->held, c->prompt.ids[i]);
  for (int64_t i = 0; i < answer->n; i++) token_ids_push(&c->held, answer->ids[i]);
}

// Draws the answer to the prompt, until its end or Ctrl-C.
static Status draw(Chat *c, Generation *answer, Error *err) {
  Status status = STATUS_OK;
  int64_t held = generator_cached(&c->generator);
  GenerateRequest request = {.prompt = c->prompt.ids,
                             .n_prompt = c->prompt.n,
                             .n_cached = common_start(&c->held, held, &c->prompt),
                             .options = &c->options,
                             .sink = {.put = put_stdout}};
  if (request.n_cached == c->prompt.n) request.n_cached--; // its last id's logits are wanted
  TRY(generator_add(&c->generator, &request, answer, err));
  while (!answer->done && !interrupted) TRY(generator_step(&c->generator, err));
  bool cut = !answer->done;
  if (cut) TRY(generator_stop(&c->generator, err));
  TRY(put_stdout(NULL, "\n", 1, err));
  if (cut) {
    say("stopped");
  } else if (answer->finish == FINISH_LENGTH || answer->finish == FINISH_CONTEXT) {
    say("cut after %lld tokens: %s", (long long)answer->n,
        answer->finish == FINISH_LENGTH ? "see --max-new-tokens" : "the context is full");
  }
done:
  return status;
}

static Status answer_question(Chat *c, Error *err) {
  Status status = STATUS_OK;
  Conversation *v = &c->conversation;
  Generation answer = {0};
  int64_t context = c->options.context, left_out = v->n_left_out;
  int64_t room = c->options.max_new_tokens < context / 4 ? c->options.max_new_tokens : context / 4;
  conversation_add(v, ROLE_USER, c->text);
  bool fits = conversation_prompt(v, context - (room > 1 ? room : 1), &c->prompt);
  if (!fits && c->prompt.n >= context) {
    say("the question makes a prompt of %lld tokens, the context has %lld: shorten it",
        (long long)c->prompt.n, (long long)context);
    conversation_drop_last(v);
    v->n_left_out = left_out;
    return STATUS_OK;
  }
  if (v->n_left_out > left_out) {
    say("the conversation is longer than the context of %lld tokens: its first %lld turns are no "
        "longer seen",
        (long long)context, (long long)v->n_left_out);
  }
  TRY(engine_check_ids(c->engine, c->prompt.ids, c->prompt.n, err));
  c->options.sampler.seed = c->seed++; // or a drawn answer would draw as the one before
  TRY(draw(c, &answer, err));
  hold(c, &answer);
  conversation_add(v, ROLE_ASSISTANT, answer.text);
done:
  generation_free(&answer);
  return status;
}

// ---- commands ----

static const char help[] =
    "/reset         begin a new conversation (the system text stays)\n"
    "/system TEXT   what the model is told first; without a text the template's own\n"
    "/save FILE     write the conversation as one JSON line, as vma-train reads it\n"
    "/quit          end, as Ctrl-D does\n"
    "Ctrl-C stops an answer. A line that ends in \\ goes on in the next one.\n";

// Whether the text is this command; *argument: what follows it.
static bool is_command(const char *text, const char *name, const char **argument) {
  size_t n = strlen(name);
  if (strncmp(text, name, n) != 0 || (text[n] != '\0' && text[n] != ' ')) return false;
  *argument = text + n + strspn(text + n, " ");
  return true;
}

// False: the chat is over.
static bool obey(Chat *c) {
  const char *argument = "";
  Error why = {0};
  if (is_command(c->text, "/quit", &argument)) return false;
  if (is_command(c->text, "/help", &argument)) {
    fputs(help, stderr);
  } else if (is_command(c->text, "/reset", &argument)) {
    conversation_reset(&c->conversation);
    say("a new conversation");
  } else if (is_command(c->text, "/system", &argument)) {
    conversation_set_system(&c->conversation, argument);
    say(*argument != '\0' ? "the system text is set" : "the template's own system text");
  } else if (is_command(c->text, "/save", &argument) && *argument == '\0') {
    say("/save FILE: where to?");
  } else if (is_command(c->text, "/save", &argument)) {
    if (conversation_save(&c->conversation, argument, &why) != STATUS_OK)
      say("%s", why.message);
    else
      say("saved in %s", argument);
  } else {
    say("unknown command %s: /help, /reset, /system TEXT, /save FILE, /quit (a question that "
        "begins "
        "with / needs a space before it)",
        quote_text(c->text).text);
  }
  return true;
}

// ---- the chat ----

static Status talk(Chat *c, Error *err) {
  Status status = STATUS_OK;
  if (c->terminal) say("/help says what else can be typed; Ctrl-D ends");
  while (read_question(c)) {
    if (c->text[strspn(c->text, " \t\n")] == '\0') continue;
    if (c->text[0] == '/') {
      if (!obey(c)) break;
    } else {
      TRY(answer_question(c, err));
    }
  }
  if (c->terminal) fprintf(stderr, "\n");
done:
  return status;
}

// The alpaca forms, own ones too, and none.
static bool is_of_one_turn(const Template *t) {
  return t->end_if_room || t == template_builtin(TEMPLATE_ALPACA_STANFORD);
}

static Status set_up(Chat *c, Engine *e, const ChatOptions *o, int32_t *stop_ids, Error *err) {
  Status status = STATUS_OK;
  const Template *template;
  PromptRequest request = {
      .instruction = "", .adapter = engine_adapter(e, NULL), .template = o->template};
  TRY(engine_need_tokenizer(e, err));
  TRY(prompt_template(&request, e, &template, err));
  int64_t most = e->model.config.max_positions;
  int64_t wanted = o->context > 0 ? o->context : CHAT_CONTEXT;
  c->options = o->generate;
  c->options.context = wanted < most ? wanted : most;
  c->options.adapter = request.adapter;
  c->options.stop_ids = stop_ids;
  c->options.n_stop_ids = engine_stop_ids(e, template, stop_ids);
  c->seed = o->generate.sampler.seed;
  c->conversation = (Conversation){
      .tokenizer = e->tokenizer, .template = template, .one_turn = is_of_one_turn(template)};
  DecoderSize size = {
      .max_len = c->options.context, .chunk = CHUNK, .seqs = generate_seqs(&c->options)};
  GeneratorSize one = {.slots = 1,
                       .beams = generate_seqs(&c->options),
                       .max_tokens = c->options.context,
                       .max_new = c->options.max_new_tokens < c->options.context
                                      ? c->options.max_new_tokens
                                      : c->options.context,
                       .n_stop_ids = c->options.n_stop_ids};
  TRY(engine_load(e, decoder_rehearse, &size, err));
  decoder_init(&c->decoder, &e->ctx, &e->model, &e->memory.cache, size);
  generator_init(&c->generator, &c->decoder, e->tokenizer, one);
done:
  return status;
}

Status chat_run(Engine *engine, const ChatOptions *options, Error *err) {
  Status status = STATUS_OK;
  int32_t stop_ids[ENGINE_STOPS_MAX];
  Chat chat = {.engine = engine, .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO)};
  struct sigaction before, action = {.sa_handler = on_interrupt}; // reading is not begun again
  TRY(set_up(&chat, engine, options, stop_ids, err));
  sigaction(SIGINT, &action, &before);
  status = talk(&chat, err);
  sigaction(SIGINT, &before, NULL);
done:
  generator_free(&chat.generator);
  decoder_free(&chat.decoder);
  conversation_free(&chat.conversation);
  token_ids_free(&chat.prompt);
  token_ids_free(&chat.held);
  free(chat.line);
  free(chat.text);
  return status;
}
