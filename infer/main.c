// vma-infer: goes on with a text, answers an instruction or a file of them, talks, or scores given
// texts.
#include "answer_json.h"
#include "chat.h"
#include "check.h"
#include "environment.h"
#include "infer_options.h"
#include "mapped_file.h"
#include "standard_streams.h"
#include "stopwatch.h"
#include "template_file.h"
#include "thread_wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PREFILL_CHUNK = 512, PROMPT_BYTES_MAX = 64 << 20 };

// ---- output ----

static Status put_stdout(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  errno = 0;
  if (fwrite(text, 1, (size_t)bytes, stdout) == (size_t)bytes && fflush(stdout) == 0)
    return STATUS_OK;
  return error_set(err, STATUS_IO, "standard output: writing failed: %s", strerror(errno));
}

static double per_second(double n, double seconds) {
  return seconds > 0 ? n / seconds : 0;
}

static Status print_json(const Generation *g, double load_seconds, Error *err) {
  json_t *root = answer_json(g);
  json_t *rest =
      json_pack("{s:I, s:{s:f, s:f, s:f, s:f, s:f}}", "prompt_tokens", (json_int_t)g->n_prompt,
                "timings", "load_seconds", load_seconds, "prefill_seconds", g->prefill_seconds,
                "decode_seconds", g->decode_seconds, "prefill_tokens_per_second",
                per_second((double)g->n_prompt, g->prefill_seconds), "decode_tokens_per_second",
                per_second((double)(g->n - 1), g->decode_seconds));
  CHECK(rest != NULL && json_object_update(root, rest) == 0, "no memory for the answer");
  json_decref(rest);
  char *line = answer_line(root);
  Status status = put_stdout(NULL, line, (int64_t)strlen(line), err);
  free(line);
  return status;
}

// The newline after a streamed answer and, for someone who watches, what it took.
static Status finish_stream(const Generation *g, Error *err) {
  Status status = STATUS_OK;
  if (g->bytes == 0 || g->text[g->bytes - 1] != '\n') status = put_stdout(NULL, "\n", 1, err);
  if (status == STATUS_OK && isatty(STDERR_FILENO)) {
    fprintf(stderr, "[%lld tokens, %.1f tokens/s, %s]\n", (long long)g->n,
            per_second((double)(g->n - 1), g->decode_seconds), finish_name(g->finish));
  }
  return status;
}

// ---- the jobs ----

static Status run_generation(const InferOptions *o, Engine *e, double start, Error *err) {
  Status status = STATUS_OK;
  TokenIds prompt = {0};
  Generation answer = {0};
  Decoder decoder = {0};
  char *from_stdin = NULL;
  const Template *template;
  int32_t stop_ids[ENGINE_STOPS_MAX];
  TRY(engine_need_tokenizer(e, err));
  PromptRequest request = o->request;
  if (request.prompt != NULL && strcmp(request.prompt, "-") == 0) {
    TRY(file_read_all(&from_stdin, &request.prompt_bytes, "/dev/stdin", PROMPT_BYTES_MAX, err));
    request.prompt = from_stdin;
  }
  request.adapter = engine_adapter(e, NULL);
  TRY(prompt_template(&request, e, &template, err));
  TRY(prompt_encode(&request, e, template, &prompt, err));
  GenerateOptions options = o->generate;
  options.context = e->model.config.max_positions;
  options.adapter = request.adapter;
  options.stop_ids = stop_ids;
  options.n_stop_ids = engine_stop_ids(e, template, stop_ids);
  TRY(generate_check(prompt.n, &options, err));
  DecoderSize size = {.max_len = generate_cache_len(prompt.n, &options),
                      .chunk = prompt.n < PREFILL_CHUNK ? prompt.n : PREFILL_CHUNK,
                      .seqs = generate_seqs(&options),
                      .pages = generate_cache_pages(prompt.n, &options)};
  if (size.chunk < size.seqs) size.chunk = size.seqs;
  TRY(engine_load(e, decoder_rehearse, &size, err));
  decoder_init(&decoder, &e->ctx, &e->model, &e->memory.cache, size);
  double load_seconds = seconds_now() - start;
  TextSink sink = {.put = o->json ? NULL : put_stdout};
  TRY(generate(&answer, &decoder, e->tokenizer, prompt.ids, prompt.n, &options, sink, err));
  TRY(o->json ? print_json(&answer, load_seconds, err) : finish_stream(&answer, err));
done:
  decoder_free(&decoder);
  generation_free(&answer);
  token_ids_free(&prompt);
  free(from_stdin);
  return status;
}

static Status run_scoring(const InferOptions *o, Engine *e, Error *err) {
  ScoreStats stats;
  ScoreOptions options = {.input = o->score,
                          .output = o->output,
                          .add_special = o->add_special,
                          .batch_tokens =
                              o->batch_tokens > 0 ? o->batch_tokens : SCORE_BATCH_TOKENS};
  Status status = score_file(e, &options, &stats, err);
  if (status == STATUS_OK && isatty(STDERR_FILENO)) {
    fprintf(stderr, "[%lld lines, %lld tokens, %.0f tokens/s]\n", (long long)stats.lines,
            (long long)stats.tokens, per_second((double)stats.tokens, stats.seconds));
  }
  return status;
}

// On a terminal one line that is written over, else a line a minute.
static void print_progress(int64_t done, int64_t lines, int64_t tokens, double seconds) {
  static double last;
  bool terminal = isatty(STDERR_FILENO);
  if (done == lines || seconds - last < (terminal ? 0.2 : 60)) return;
  last = seconds;
  char left[40] = "";
  double per_line = done > 0 ? seconds / (double)done : 0;
  int64_t s = (int64_t)(per_line * (double)(lines - done));
  if (done > 0) snprintf(left, sizeof left, "  ETA %lld:%02d", (long long)s / 60, (int)(s % 60));
  fprintf(stderr, "%s%lld of %lld lines  %.1f tokens/s%s%s", terminal ? "\r" : "", (long long)done,
          (long long)lines, per_second((double)tokens, seconds), left, terminal ? "\033[K" : "\n");
}

static Status run_batch(const InferOptions *o, Engine *e, Error *err) {
  AskStats stats;
  AskOptions options = {
      .input = o->batch,
      .output = o->output,
      .slots = o->batch_size > 0 ? (int)o->batch_size : ASK_SLOTS,
      .batch_tokens = o->batch_tokens > 0 ? o->batch_tokens : ASK_BATCH_TOKENS,
      .template = o->request.template,
      .generate = o->generate,
  };
  Status status = ask_file(e, &options, print_progress, &stats, err);
  if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
  if (status == STATUS_OK && isatty(STDERR_FILENO)) {
    fprintf(stderr, "[%lld lines, %lld + %lld tokens, %.1f new tokens/s]\n", (long long)stats.lines,
            (long long)stats.prompt_tokens, (long long)stats.tokens,
            per_second((double)stats.tokens, stats.seconds));
  }
  return status;
}

static Status run_chat(const InferOptions *o, Engine *e, Error *err) {
  return chat_run(e,
                  &(ChatOptions){.generate = o->generate,
                                 .template = o->request.template,
                                 .context = o->context},
                  err);
}

static void print_warning(const char *message) {
  fprintf(stderr, "vma-infer: warning: %s\n", message);
}

static void print_line(const char *line) {
  fprintf(stderr, "[%s]\n", line);
}

int main(int argc, char **argv) {
  Status status = STATUS_OK;
  Error err = {0};
  InferOptions options;
  Engine engine = {0};
  standard_streams_hold();
  thread_wait_asleep(argv);
  double start = seconds_now();
  if (environment_wanted(argc, argv)) {
    options.own_template = NULL;
    TRY(environment_run(argc, "vma-infer", &err));
    return STATUS_OK;
  }
  TRY(infer_options_parse(&options, argc, argv, &err));
  options.engine.warn = print_warning;
  if (isatty(STDERR_FILENO)) options.engine.say = print_line;
  TRY(engine_open(&engine, &options.engine, &err));
  switch (options.job) {
  case JOB_BATCH:
    TRY(run_batch(&options, &engine, &err));
    break;
  case JOB_CHAT:
    TRY(run_chat(&options, &engine, &err));
    break;
  case JOB_SCORE:
    TRY(run_scoring(&options, &engine, &err));
    break;
  default:
    TRY(run_generation(&options, &engine, start, &err));
  }
done:
  if (status != STATUS_OK) fprintf(stderr, "vma-infer: %s\n", err.message);
  engine_close(&engine);
  template_free(options.own_template);
  return (int)status;
}
